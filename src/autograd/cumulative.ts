/**
 * Running sums, products and extremes along an axis. The axis is cut into blocks: each block is taken by itself, the results at the ends of
 * the blocks are what runs over blocks, by the same function, and what came before a block is joined to all of it. That is some log n
 * kernels, and rounding grows with log n. (Blelloch 1990, Prefix Sums and Their Applications.)
 */
import { checkArgument, checkOptions, flag, integer, type OptionKinds, optional } from "../arguments.js";
import { type DType, integerRange, isFloat } from "../ir/dtype.js";
import { normalizeAxis } from "../ir/shape.js";
import { isnan, logAddExp } from "./elementary.js";
import { takeAlongAxis } from "./indexing.js";
import { tensorKind } from "./kinds.js";
import { alongAxis, cutLast, padLast } from "./last-axis.js";
import { logTotal } from "./log-total.js";
import { asFloat, asNumbers, inSingles } from "./operations/operands.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

export interface CumulativeOptions {
  /** From the last element to the first. Default false. */
  readonly reverse?: boolean;
}
const cumulativeKinds: OptionKinds<CumulativeOptions> = { reverse: optional(flag) };

/** How something runs along the last axis. */
interface Running {
  /** Elements of a block. */
  readonly width: number;
  /** What changes nothing. */
  readonly identity: number;
  /** It, over blocks […, width]. */
  readonly within: (x: Tensor) => Tensor;
  readonly join: (before: Tensor, here: Tensor) => Tensor;
}

function running(x: Tensor, how: Running): Tensor {
  const n = x.shape.at(-1) as number;
  const { width, identity, within, join } = how;
  if (n <= width) return within(x);
  const count = Math.ceil(n / width);
  const others = x.shape.slice(0, -1);
  const blocks = within(ops.reshape(padLast(x, 0, count * width - n, identity), [...others, count, width]));
  const ends = ops.reshape(cutLast(blocks, width - 1, width), [...others, count]);
  const before = padLast(running(cutLast(ends, 0, count - 1), how), 1, 0, identity);
  return cutLast(ops.reshape(join(ops.unsqueeze(before, -1), blocks), [...others, count * width]), 0, n);
}

/** Whether column j is not after row i of n: [n, n]. */
const notAfter = (n: number): Tensor => ops.lessEqual(ops.iota([1, n], 1), ops.iota([n, 1], 0));
/** The blocks […, n] as […, n, n]: for each element those up to it, and `other` after it. */
const upTo = (x: Tensor, other: number): Tensor => ops.where(notAfter(x.shape.at(-1) as number), ops.unsqueeze(x, -2), other);

/** Elements of a block for what is a reduction of those up to each: 32 operations for each element. */
const reducedWidth = 32;
/** Elements of a block that is written out element by element. */
const chainedWidth = 8;

const runningSum: Running = { width: reducedWidth, identity: 0, within: (x) => ops.sum(upTo(x, 0), -1), join: ops.add };

const runningProduct: Running = {
  width: chainedWidth,
  identity: 1,
  within: (x) => {
    const parts: Tensor[] = [];
    for (let i = 0; i < (x.shape.at(-1) as number); i++) {
      const next = cutLast(x, i, i + 1);
      parts.push(i === 0 ? next : ops.mul(parts[i - 1] as Tensor, next));
    }
    return ops.concat(parts, -1);
  },
  join: ops.mul,
};

const runningExtreme = (largest: boolean, dtype: DType): Running => {
  const ends = isFloat(dtype) ? [-Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] : integerRange(dtype as "i32" | "u32");
  const identity = ends[largest ? 0 : 1] as number;
  const reduce = largest ? ops.max : ops.min;
  return { width: reducedWidth, identity, within: (x) => reduce(upTo(x, identity), -1), join: largest ? ops.maximum : ops.minimum };
};

const runningLogSumExp: Running = {
  width: reducedWidth,
  identity: Number.NEGATIVE_INFINITY,
  within: (x) => {
    const terms = upTo(x, Number.NEGATIVE_INFINITY);
    return ops.squeeze(
      logTotal(terms, [terms.rank - 1], () => notAfter(x.shape.at(-1) as number)),
      -1,
    );
  },
  join: logAddExp,
};

/** A public function along an axis, which checks; halves are computed in f32. */
const cumulative =
  (name: string, ofLast: (x: Tensor) => Tensor, prepared: (x: Tensor) => Tensor = asNumbers) =>
  (x: Tensor, axis = -1, options: CumulativeOptions = {}): Tensor => {
    checkArgument(name, "x", x, tensorKind);
    checkArgument(name, "axis", axis, integer());
    checkOptions(name, options, cumulativeKinds);
    const { reverse = false } = options;
    const at = normalizeAxis(axis, x.rank, name);
    const numbers = prepared(x);
    if (x.size === 0) return numbers;
    const turned = (t: Tensor): Tensor => (reverse ? ops.flip(t, at) : t);
    return inSingles(numbers, (wide) => turned(alongAxis(name, turned(wide), at, ofLast)));
  };

/** yᵢ = Σ xⱼ over j ≤ i along an axis (the last by default). Integers wrap, and bools are counted in i32. */
export const cumsum = cumulative("cumsum", (x) => running(x, runningSum));

/**
 * yᵢ = Π xⱼ over j ≤ i along an axis (the last by default), with derivatives of every order that are right where factors are 0. Integers
 * wrap, and bools are multiplied in i32.
 */
export const cumprod = cumulative("cumprod", (x) => running(x, runningProduct));

/** yᵢ = ln Σ exp(xⱼ) over j ≤ i along an axis (the last by default), without overflow; integers are cast to f32 first. */
export const cumlogsumexp = cumulative(
  "cumlogsumexp",
  (x) => running(x, runningLogSumExp),
  (x) => asFloat("cumlogsumexp", x),
);

/** The extreme so far: where x attains it, the last such place has the derivative. */
const extremeSoFar = (largest: boolean) => (x: Tensor) => {
  const found = ops.stopGradient(running(x, runningExtreme(largest, x.dtype)));
  if (!isFloat(x.dtype)) return found;
  const attained = ops.or(ops.equal(x, found), isnan(x));
  const places = ops.where(attained, ops.iota(x.shape, -1), -1);
  return takeAlongAxis(x, running(places, runningExtreme(true, "i32")));
};

/**
 * yᵢ = max xⱼ over j ≤ i along an axis (the last by default), NaN from the first NaN on. As in PyTorch the last of equal elements has the
 * derivative. Bools are i32.
 */
export const cummax = cumulative("cummax", extremeSoFar(true));
/**
 * yᵢ = min xⱼ over j ≤ i along an axis (the last by default), NaN from the first NaN on. As in PyTorch the last of equal elements has the
 * derivative. Bools are i32.
 */
export const cummin = cumulative("cummin", extremeSoFar(false));
