/** Reductions that are made of others: products, norms, and what bools and counts are asked. */

import { checkArgument, checkOptions, flag, type Kind, type OptionKinds, optional } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { noElements } from "../ir/primitives.js";
import { normalizeAxes, show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import { cutLast, overAxes, padLast } from "./last-axis.js";
import { asFloat, asNumbers, inSingles } from "./operations/operands.js";
import type { Axes } from "./operations.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

/** Checks what every reduction takes. */
function checkReduction(where: string, x: Tensor, keepDims: boolean): void {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "keepDims", keepDims, flag);
}

/**
 * Π x over axes (all by default), 1 where there is nothing to multiply. Factors are multiplied in pairs, the products in pairs again, so
 * that derivatives of every order are products of the others: right where factors are 0. Integers wrap, and bools are multiplied in i32.
 */
export function prod(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  checkReduction("prod", x, keepDims);
  return inSingles(asNumbers(x), (wide) => {
    const { rows, shaped } = overAxes("prod", wide, axes, keepDims);
    return shaped(productOfLast(rows));
  });
}

/** The lower half of the last axis times the upper half, until one element is left; what is left over where its extent is odd comes last. */
function productOfLast(x: Tensor): Tensor {
  let product = x.shape.at(-1) === 0 ? padLast(x, 0, 1, 1) : x;
  let rest: Tensor | undefined;
  for (let n = product.shape.at(-1) as number; n > 1; n = Math.floor(n / 2)) {
    const half = Math.floor(n / 2);
    if (n % 2 === 1) {
      const last = cutLast(product, n - 1, n);
      rest = rest === undefined ? last : ops.mul(rest, last);
    }
    product = ops.mul(cutLast(product, 0, half), cutLast(product, half, 2 * half));
  }
  return ops.squeeze(rest === undefined ? product : ops.mul(product, rest), -1);
}

export interface NormOptions {
  /** p: a number of at least 0, ∞ or −∞. Default 2. */
  readonly ord?: number;
  /** Whether reduced axes stay, with extent 1. Default false. */
  readonly keepDims?: boolean;
}
const order: Kind = {
  wanted: "a number of at least 0, Infinity or -Infinity",
  fits: (value) => typeof value === "number" && (value >= 0 || value === Number.NEGATIVE_INFINITY),
};
const normKinds: OptionKinds<NormOptions> = { ord: optional(order), keepDims: optional(flag) };

/**
 * The p-norm (Σ|x|ᵖ)^(1/p) of the vector of all elements over axes (all by default): √Σx² for the order 2, Σ|x| for 1, the largest and the
 * smallest |x| for ∞ and −∞, and how many are not 0 for 0. Elements are divided by the largest before, so that their powers do not
 * overflow or vanish where the norm would not. Derivatives at 0 are 0, as in PyTorch, and equal extremes share theirs evenly; integers are
 * cast to f32 first. Throws ShapeError for the extreme of an empty axis.
 */
export function norm(x: Tensor, axes?: Axes, options: NormOptions = {}): Tensor {
  checkArgument("norm", "x", x, tensorKind);
  checkOptions("norm", options, normKinds);
  const { ord = 2, keepDims = false } = options;
  const list = normalizeAxes(axes, x.rank, "norm");
  return inSingles(asFloat("norm", x), (wide) => {
    const sizes = ops.abs(wide);
    if (ord === 0) return ops.cast(countNonzero(wide, list, keepDims), wide.dtype);
    if (ord === 1) return ops.sum(sizes, list, keepDims);
    if (Math.abs(ord) === Number.POSITIVE_INFINITY) {
      if (list.some((axis) => x.shape[axis] === 0))
        throw new ShapeError(`norm of order ${ord} of an empty axis (shape ${show(x.shape)})`, { hint: noElements });
      return (ord > 0 ? ops.max : ops.min)(sizes, list, keepDims);
    }
    if (x.size === 0) return ops.sum(sizes, list, keepDims);
    const scale = scaleOf(sizes, list);
    const parts = ops.div(wide, scale);
    const total = ops.sum(ord === 2 ? ops.mul(parts, parts) : powerOf(ops.abs(parts), ord), list, true);
    const root = ops.mul(powerOf(total, 1 / ord), scale);
    return keepDims ? root : ops.squeeze(root, list);
  });
}

/** What to divide by before powers are taken: the largest, and 1 where that is 0 or ∞. Norms are what they are whatever it is. */
function scaleOf(sizes: Tensor, axes: readonly number[]): Tensor {
  const largest = ops.stopGradient(ops.max(sizes, axes, true));
  const none = ops.or(ops.equal(largest, 0), ops.equal(largest, Number.POSITIVE_INFINITY));
  return ops.where(none, 1, largest);
}

/** xᵖ for x ≥ 0 and p > 0, with derivatives of 0 at 0. */
function powerOf(x: Tensor, p: number): Tensor {
  const zero = ops.equal(x, 0);
  return ops.where(zero, 0, ops.pow(ops.where(zero, 1, x), p));
}

/** How many elements over axes satisfy a condition, i32. */
const counting =
  (where: string, condition: (x: Tensor) => Tensor) =>
  (x: Tensor, axes?: Axes, keepDims = false): Tensor => {
    checkReduction(where, x, keepDims);
    return ops.sum(ops.cast(condition(x), "i32"), normalizeAxes(axes, x.rank, where), keepDims);
  };
const isNotZero = (x: Tensor): Tensor => ops.notEqual(x, 0);

/** How many elements over axes (all by default) are not 0, i32. NaN is not 0. */
export const countNonzero = counting("countNonzero", isNotZero);
const nonzeros = counting("any", isNotZero);
const zeros = counting("all", (x) => ops.equal(x, 0));
/** Whether any element over axes (all by default) is not 0, bool; false where there is none. NaN is not 0. */
export const any = (x: Tensor, axes?: Axes, keepDims?: boolean): Tensor => ops.notEqual(nonzeros(x, axes, keepDims), 0);
/** Whether no element over axes (all by default) is 0, bool; true where there is none. NaN is not 0. */
export const all = (x: Tensor, axes?: Axes, keepDims?: boolean): Tensor => ops.equal(zeros(x, axes, keepDims), 0);
