import type { DType } from "../../ir/dtype.js";
import { hypot } from "../elementary.js";
import * as ops from "../operations.js";
import type { Tensor } from "../tensor.js";

/**
 * Jacobi's method with all pairs of a round at once (Brent & Luk 1985). 2h rows lie in two halves, and row i of the first is paired with row i of
 * the second; between rounds all rows but the first move on by one place as players of a tournament do,
 *
 *   0 1 2 3        0 4 1 2
 *   4 5 6 7   →    5 6 7 3
 *
 * so that after 2h − 1 rounds, a sweep, every pair has met once and all rows are where they were.
 */

/**
 * A pair is left alone in a sweep where what it would do away with is less than this part of the largest at the beginning of the sweep. Between equal
 * values there is less, of second order, but angles of any size: turning them would mix up what has been done, and convergence would be linear.
 */
export const threshold = 1e-3;
/** Sweeps after which there is nothing left to do: some two more than matrices with scattered, equal and graded values were found to need. */
export const sweepsOf = (dtype: DType, n: number): number => (dtype === "f64" ? 10 : 5) + Math.ceil(Math.log2(Math.max(n, 2)));

/** How far values of a dtype that are equal may be apart by rounding alone, relative to the largest of n. */
export const roundingOf = (dtype: DType, n: number): number => n * (dtype === "f64" ? 2 ** -52 : 2 ** -23);

/** Half of an even number of rows, of which n are there to be paired. */
export const pairsOf = (n: number): number => Math.ceil(n / 2);
/** Rounds of a sweep. */
export const roundsOf = (n: number): number => 2 * pairsOf(n) - 1;

/** Both halves along an axis. */
export function halves(x: Tensor, axis: number): [Tensor, Tensor] {
  const h = (x.shape[axis] as number) / 2;
  return ops.split(x, [h, h], axis) as [Tensor, Tensor];
}

/** Where everybody goes. */
export function movedOn(first: Tensor, second: Tensor, axis: number): Tensor {
  const h = first.shape[axis] as number;
  if (h === 1) return ops.concat([first, second], axis);
  const part = (x: Tensor, from: number, to: number): Tensor =>
    ops.slice(
      x,
      x.shape.map((_, i) => (i === axis ? [from, to] : null)),
    );
  return ops.concat([part(first, 0, 1), part(second, 0, 1), part(first, 1, h - 1), part(second, 1, h), part(first, h - 1, h)], axis);
}

/** What is done with each pair, [B, h]. */
export interface Rotation {
  /** The sine of an angle, and the tangent of its half. */
  readonly s: Tensor;
  readonly half: Tensor;
}

/**
 * The rotations of at most 45° that make [[p, g], [g, q]] diagonal, from d = q − p and twice g: tan = ±2g/(|d| + √(d² + 4g²)) (Golub & Van Loan
 * 2013, section 8.5).
 */
export function rotationOf(d: Tensor, twice: Tensor): Rotation {
  const below = ops.add(ops.abs(d), hypot(d, twice));
  const none = ops.equal(below, 0);
  const size = ops.div(twice, ops.where(none, 1, below));
  const t = ops.where(ops.less(d, 0), ops.neg(size), size);
  const c = ops.recip(ops.sqrt(ops.add(1, ops.mul(t, t))));
  const s = ops.mul(t, c);
  return { s, half: ops.div(s, ops.add(1, c)) };
}

/**
 * Both halves turned against each other along an axis (1 or 2) of [B, …], and everybody moved on: x − s·(y + x·tan ½) and
 * y + s·(x − y·tan ½), which round less than with cosines.
 */
export function turned(x: Tensor, rotation: Rotation, axis: 1 | 2): Tensor {
  const [first, second] = halves(x, axis);
  const [s, half] = [rotation.s, rotation.half].map((y) => ops.unsqueeze(y, 3 - axis)) as [Tensor, Tensor];
  const a = ops.sub(first, ops.mul(s, ops.add(second, ops.mul(first, half))));
  const b = ops.add(second, ops.mul(s, ops.sub(first, ops.mul(second, half))));
  return movedOn(a, b, axis);
}

/** Rows [B, n, w] with zeros below for an even number of them. */
export const evenRows = (x: Tensor): Tensor => {
  const n = x.shape[1] as number;
  const more = 2 * pairsOf(n) - n;
  return more === 0 ? x : ops.pad(x, [[0, 0], [0, more], [0, 0]]); // biome-ignore format: one line
};

/** 1 or −1 for each row [B, n, 1]: what makes its largest element positive. */
export function signOfLargest(rows: Tensor): Tensor {
  const place = ops.argmax(ops.abs(rows), 2, true);
  const largest = ops.sum(ops.where(ops.equal(ops.iota([rows.shape[2] as number], 0), place), rows, 0), 2, true);
  return ops.where(ops.less(largest, 0), ops.full([], -1, { dtype: rows.dtype }), 1);
}
