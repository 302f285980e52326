/** Random orders and random picks of what there is, each a pure function of a key: the same on every backend. */
import { checkArgument, checkOptions, either, flag, given, integer, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import { normalizeAxis, readShape, type Shape, show, sizeOf } from "../ir/shape.js";
import { categorical, exponential } from "./distributions.js";
import { keyKind, tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { randint, randomBits } from "./random.js";
import { argsort } from "./sorting.js";
import { Tensor } from "./tensor.js";

const rowsKind = either(integer(0), tensorKind);

/** How many there are to order or to pick from, and what takes positions to what is there. */
function rowsOf(where: string, x: Tensor | number, axis: number): { count: number; at: (positions: Tensor) => Tensor } {
  checkArgument(where, "x", x, rowsKind);
  checkArgument(where, "axis", axis, integer());
  if (!(x instanceof Tensor)) return { count: x, at: (positions) => positions };
  if (x.rank === 0) {
    throw new ShapeError(`${where}: x is a scalar, which has no rows`, {
      hint: `${where}(key, 10) takes the integers 0 to 9; in a compiled function name a count in { static: [position] }`,
    });
  }
  const along = normalizeAxis(axis, x.rank, where);
  return { count: x.shape[along] as number, at: (positions) => ops.gather(x, positions, along) };
}

/** The integers 0 … n − 1 in random order: that of 64 random bits for each, by the lower 32 and then, which keeps ties in order, by the upper. */
function randomOrder(k: Tensor, n: number): Tensor {
  const words = randomBits(k, [2, n]);
  const word = (i: number): Tensor => ops.squeeze(ops.slice(words, [[i, i + 1]]), 0);
  const byLower = argsort(word(1));
  return ops.gather(byLower, argsort(ops.gather(word(0), byLower)));
}

/**
 * The integers 0 … x − 1 in random order, i32 [x]; or the rows of a tensor x along an axis (the first by default) in random order. Each order is
 * as likely as any other, to within a factor of 1 ± n²·2⁻⁶⁴. Of integers the same on every backend. Can be differentiated by a tensor x.
 *
 * @throws OptionError for a count that is no integer from 0 on, ShapeError for an axis that there is not
 */
export function permutation(k: Tensor, x: Tensor | number, axis = 0): Tensor {
  checkArgument("permutation", "key", k, keyKind);
  const { count, at } = rowsOf("permutation", x, axis);
  return at(randomOrder(k, count));
}

export interface ChoiceOptions {
  /** Whether one entry may be drawn more than once. Default true. */
  readonly replace?: boolean;
  /** How likely each entry is, relative to the others: floats of at least 0, [n]. Default all alike. */
  readonly p?: Tensor;
  /** The axis of a tensor whose rows are drawn. Default 0. */
  readonly axis?: number;
}

/**
 * Draws from the integers 0 … x − 1, i32, or from the rows of a tensor x along an axis, whose place the shape of the draws takes. With `p` an
 * entry is drawn with probability p[i]/Σp; without replacement one after another of those that are left, as the first of the entries in the
 * order of E[i]/p[i] with E exponential (Efraimidis & Spirakis 2006). Entries with p = 0 come after all others.
 *
 * @throws OptionError where there is nothing to draw from, or less than is drawn without replacement; ShapeError for a `p` that is not [n]
 */
export function choice(k: Tensor, x: Tensor | number, shape: Shape | number, options: ChoiceOptions = {}): Tensor {
  checkArgument("choice", "key", k, keyKind);
  checkOptions("choice", options, { replace: optional(flag), p: optional(tensorKind), axis: optional(given) });
  const { replace = true, p, axis = 0 } = options;
  const { count, at } = rowsOf("choice", x, axis);
  const extents = readShape(shape, "choice");
  const size = sizeOf(extents);
  if (p !== undefined && (p.rank !== 1 || p.shape[0] !== count || !isFloat(p.dtype))) {
    throw new ShapeError(`choice: p is ${p.dtype}${show(p.shape)} for ${count} entries`, { hint: "p holds one float for each entry" });
  }
  if (size > 0 && (count === 0 || (!replace && size > count))) {
    const of = x instanceof Tensor ? ` of x ${show(x.shape)}` : "";
    throw new OptionError(`choice: ${size} draws from ${count} entries${of}${replace ? "" : " without replacement"}`, {
      hint: replace ? "there must be something to draw from" : "draw at most as many as there are, or with replacement",
    });
  }
  if (size === 0) return at(ops.zeros(extents, { dtype: "i32" }));
  if (!replace) {
    const order = p === undefined ? randomOrder(k, count) : weightedOrder(k, p);
    return at(ops.reshape(ops.slice(order, [[0, size]]), extents));
  }
  return at(p === undefined ? randint(k, extents, 0, count) : categorical(k, ops.log(p), { shape: extents }));
}

/** Entries with larger p come earlier: ascending in E/p. */
function weightedOrder(k: Tensor, p: Tensor): Tensor {
  const impossible = ops.lessEqual(p, 0);
  const waiting = ops.div(exponential(k, p.shape), ops.where(impossible, 1, p));
  return argsort(ops.where(impossible, Number.POSITIVE_INFINITY, waiting));
}
