/**
 * Order along an axis. What is sorted are positions: a bitonic network (Batcher 1968) compares each element with one at a distance and keeps
 * the earlier or the later of both, ½·log²n times, a loop whose kernels exist once whatever n is. Of equal elements the earlier position comes
 * first. Values are picked by position, so that their derivatives go back to where they came from.
 */

import { checkArgument, checkOptions, flag, integer, type Kind, number, type OptionKinds, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { integerRange, isFloat, isHalf } from "../ir/dtype.js";
import { noElements } from "../ir/primitives.js";
import { normalizeAxis, show } from "../ir/shape.js";
import { isnan } from "./elementary.js";
import { takeAlongAxis } from "./indexing.js";
import { tensorKind } from "./kinds.js";
import { alongAxis, cutLast, overAxes, padLast } from "./last-axis.js";
import { asFloat, asNumbers, inSingles } from "./operations/operands.js";
import type { Axes } from "./operations.js";
import * as ops from "./operations.js";
import { callOf } from "./region.js";
import { scan } from "./scan.js";
import type { Tensor } from "./tensor.js";

export interface SortOptions {
  /** From the largest to the smallest. Default false. */
  readonly descending?: boolean;
}
const sortKinds: OptionKinds<SortOptions> = { descending: optional(flag) };

/** Elements in order are those with ascending keys, and among equal keys those with ascending tickets, of which no two are equal. */
interface Ordered {
  readonly key: Tensor;
  /** The position, and n more for what comes after all other elements with its key. */
  readonly ticket: Tensor;
}

/** x: [n, …] with keys in ascending order. NaN is larger than all numbers. */
function ordered(x: Tensor, descending: boolean): Ordered {
  const n = x.shape[0] as number;
  const position = ops.iota(x.shape, 0);
  if (!isFloat(x.dtype)) return { key: descending ? ops.not(x) : x, ticket: position };
  const wide = isHalf(x.dtype) ? ops.cast(x, "f32") : x;
  const none = isnan(wide);
  const end = descending ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const late = ops.mul(descending ? ops.not(none) : none, n);
  return { key: ops.where(none, end, descending ? ops.neg(wide) : wide), ticket: ops.add(position, late) };
}

/** The order of the elements along the first axis of x: [n, …], as positions i32. */
function orderOf(x: Tensor, descending: boolean): Tensor {
  const n = x.shape[0] as number;
  const numbers = ops.stopGradient(asNumbers(x));
  if (n <= 1 || x.size === 0) return ops.iota(x.shape, 0);
  const bits = Math.ceil(Math.log2(n));
  const { key, ticket } = ordered(numbers, descending);
  const [size, rest] = [2 ** bits, 2 ** bits - n];
  const widths = x.shape.map((_, i): [number, number] => [0, i === 0 ? rest : 0]);
  const last = isFloat(key.dtype) ? Number.POSITIVE_INFINITY : integerRange(key.dtype as "i32" | "u32")[1];
  // Tickets of what fills up to a power of two are beyond those of all elements.
  const start = {
    key: rest > 0 ? ops.pad(key, widths, last) : key,
    ticket: rest > 0 ? ops.where(ops.less(ops.iota([size, ...x.shape.slice(1)], 0), n), ops.pad(ticket, widths), 2 * n) : ticket,
    run: ops.full([], 2, { dtype: "i32" }),
    distance: ops.full([], 1, { dtype: "i32" }),
  };
  const place = ops.iota([size], 0);
  const bit = (mask: Tensor): Tensor => ops.notEqual(ops.and(place, mask), 0);
  const [end] = scan(
    ({ key, ticket, run, distance }: typeof start) => {
      // place xor distance
      const partner = ops.add(place, ops.where(bit(distance), ops.neg(distance), distance));
      const [otherKey, otherTicket] = [ops.gather(key, partner), ops.gather(ticket, partner)];
      const first = ops.or(ops.less(key, otherKey), ops.and(ops.equal(key, otherKey), ops.less(ticket, otherTicket)));
      // Runs of length `run` ascend and descend by turns, so that two of them are one that rises and falls.
      const wantsFirst = ops.reshape(ops.equal(bit(run), bit(distance)), [size, ...x.shape.slice(1).map(() => 1)]);
      const stays = ops.equal(first, ops.expand(wantsFirst, first.shape));
      const done = ops.equal(distance, 1);
      const next = {
        key: ops.where(stays, key, otherKey),
        ticket: ops.where(stays, ticket, otherTicket),
        run: ops.where(done, ops.mul(run, 2), run),
        distance: ops.where(done, run, ops.truncDiv(distance, 2)),
      };
      return [next, null] as const;
    },
    start,
    null,
    { length: (bits * (bits + 1)) / 2 },
  );
  const found = rest > 0 ? ops.slice(end.ticket, [[0, n]]) : end.ticket;
  return ops.where(ops.less(found, n), found, ops.sub(found, n));
}

/** Checks, and the axis from the front. */
function checkSort(where: string, x: Tensor, axis: number): number {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "axis", axis, integer());
  return normalizeAxis(axis, x.rank, where);
}

/** The order along the last axis of rows, as positions. */
function orderOfRows(rows: Tensor, descending: boolean): Tensor {
  const others = rows.shape.slice(1).map((_, i) => i);
  const order = orderOf(ops.permute(rows, [rows.rank - 1, ...others]), descending);
  return ops.permute(order, [...others.map((i) => i + 1), 0]);
}

const orderAlong = (where: string, x: Tensor, axis: number, descending: boolean): Tensor =>
  alongAxis(where, x, axis, (rows) => orderOfRows(rows, descending));

/** Elements of a block of which the first k are looked for, at least. */
const leastBlock = 64;

/**
 * The first k positions of {@link orderOfRows}. Of long rows the first k of each block stay, and the first k of those: the blocks are sorted in
 * fewer stages than the rows would be.
 */
function firstOfRows(rows: Tensor, k: number, descending: boolean): Tensor {
  const n = rows.shape.at(-1) as number;
  const width = Math.max(leastBlock, 4 * 2 ** Math.ceil(Math.log2(Math.max(1, k))));
  if (n <= 4 * width || rows.size === 0) return cutLast(orderOfRows(rows, descending), 0, k);
  const [others, count] = [rows.shape.slice(0, -1), Math.ceil(n / width)];
  // What fills up the last block comes after all else, since its positions do.
  const [lowest, highest] = isFloat(rows.dtype)
    ? [Number.NEGATIVE_INFINITY, Number.NaN]
    : integerRange(rows.dtype as "i32" | "u32" | "bool");
  const whole = padLast(ops.stopGradient(rows), 0, count * width - n, descending ? lowest : highest);
  const inBlocks = firstOfRows(ops.reshape(whole, [...others, count, width]), k, descending);
  const start = ops.mul(ops.iota([count, 1], 0), width);
  const candidates = ops.reshape(ops.add(inBlocks, start), [...others, count * k]);
  return takeAlongAxis(candidates, firstOfRows(takeAlongAxis(whole, candidates), k, descending));
}

/**
 * The positions, i32, that sort x along an axis (the last by default): x at them ascends, or descends. Equal elements stay in the order
 * in which they are, and −0 equals 0. NaN is larger than every number, as in NumPy and PyTorch: last, or first where it descends.
 */
export function argsort(x: Tensor, axis = -1, options: SortOptions = {}): Tensor {
  const at = checkSort("argsort", x, axis);
  checkOptions("argsort", options, sortKinds);
  return orderAlong("argsort", x, at, options.descending ?? false);
}

/** The elements of x in order along an axis (the last by default), as {@link argsort} has it. Derivatives go back to where elements were. */
export function sort(x: Tensor, axis = -1, options: SortOptions = {}): Tensor {
  const at = checkSort("sort", x, axis);
  checkOptions("sort", options, sortKinds);
  return takeAlongAxis(x, orderAlong("sort", x, at, options.descending ?? false), at);
}

export interface TopKOptions {
  /** The largest, or the smallest. Default true. */
  readonly largest?: boolean;
}
const topKKinds: OptionKinds<TopKOptions> = { largest: optional(flag) };

/**
 * The k largest elements along an axis (the last by default), the largest first, and their positions, i32; with `largest: false` the smallest.
 * Of equal elements the one with the lower position comes first, and NaN is larger than every number. Throws OptionError for more than there
 * are.
 */
export function topK(x: Tensor, k: number, axis = -1, options: TopKOptions = {}): { values: Tensor; indices: Tensor } {
  const at = checkSort("topK", x, axis);
  checkArgument("topK", "k", k, integer(0));
  checkOptions("topK", options, topKKinds);
  const n = x.shape[at] as number;
  if (k > n)
    throw new OptionError(`topK: k is ${k}, and axis ${at} of ${show(x.shape)} has ${n}`, { hint: "k is at most the extent of the axis" });
  const indices = alongAxis("topK", x, at, (rows) => firstOfRows(rows, k, options.largest ?? true));
  return { values: takeAlongAxis(x, indices, at), indices };
}

const share: Kind = {
  wanted: "a number with 0 ≤ q ≤ 1",
  fits: (value) => number.fits(value) && (value as number) >= 0 && (value as number) <= 1,
};
const shares: Kind = {
  wanted: "a number with 0 ≤ q ≤ 1 or a list of them",
  fits: (value) => (Array.isArray(value) ? value.every(share.fits) : share.fits(value)),
};

/**
 * What a share q of the elements over axes (all by default) lies below: the element at place q·(n − 1) of those in order, and between two
 * elements on the line that joins them (NumPy's and PyTorch's "linear"). A list of q gives an axis in front, with one entry for each. NaN
 * where any element is. Of integers in f32. The derivative is shared by the two elements as the value is. Throws ShapeError for an empty axis.
 */
export function quantile(x: Tensor, q: number | readonly number[], axes?: Axes, keepDims = false): Tensor {
  return quantiles("quantile", x, q, axes, keepDims);
}

/**
 * The middle one of the elements over axes (all by default), or the mean of the two in the middle: the quantile ½, as in NumPy and JAX.
 * (PyTorch's median is the lower of the two.) NaN where any element is. Throws ShapeError for an empty axis.
 */
export function median(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  return quantiles("median", x, 0.5, axes, keepDims);
}

function quantiles(where: string, x: Tensor, q: number | readonly number[], axes: Axes, keepDims: boolean): Tensor {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "q", q, shares);
  checkArgument(where, "keepDims", keepDims, flag);
  return inSingles(asFloat(where, x), (wide) => {
    const { rows, shaped } = overAxes(where, wide, axes, keepDims);
    const n = rows.shape.at(-1) as number;
    if (n === 0) throw new ShapeError(`${where} of an empty axis has no value (shape ${show(x.shape)})`, { hint: noElements });
    const inOrder = takeAlongAxis(rows, orderAlong(where, rows, -1, false));
    const missing = ops.squeeze(isnan(cutLast(inOrder, n - 1, n)), -1);
    const at = (place: number): Tensor => ops.squeeze(cutLast(inOrder, place, place + 1), -1);
    const one = (share: number): Tensor => {
      const place = share * (n - 1);
      const [below, part] = [Math.floor(place), place - Math.floor(place)];
      const value = part === 0 ? at(below) : between(at(below), at(below + 1), part);
      return shaped(ops.where(missing, Number.NaN, value));
    };
    if (typeof q === "number") return one(q);
    return q.length > 0 ? ops.stack(q.map(one)) : ops.zeros([0, ...one(0).shape], { dtype: wide.dtype });
  });
}

/** (1 − t)·a + t·b for a ≤ b, which rounding keeps between both. */
function between(a: Tensor, b: Tensor, t: number): Tensor {
  const { results } = callOf(
    "between",
    {},
    [a, b],
    ([low, high]) => {
      const sum = ops.add(ops.mul(low as Tensor, 1 - t), ops.mul(high as Tensor, t));
      return [ops.where(ops.less(sum, low as Tensor), low as Tensor, ops.where(ops.less(high as Tensor, sum), high as Tensor, sum))];
    },
    (_, [ct]) => [ct ? ops.mul(ct, 1 - t) : null, ct ? ops.mul(ct, t) : null],
  );
  return results[0] as Tensor;
}
