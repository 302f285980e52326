import { checkOptions, notNegative, type OptionKinds, optional } from "../../arguments.js";
import * as ops from "../operations.js";
import { callOf } from "../region.js";
import type { CallPullback, Tensor } from "../tensor.js";
import { roundingOf } from "./jacobi.js";
import { batchOf, extentsOf, flat, matrices, narrowed, onDiagonal, rightSide, together, transposed, unflat } from "./matrices.js";
import { singular } from "./svd.js";

/** What singular values tell of matrices of any shape and rank. */

export interface RankOptions {
  /** Singular values of at most this part of the largest count as 0. Default max(m, n)·ε, with ε = 1.2·10⁻⁷ in f32. */
  readonly rtol?: number;
}
const rankKinds: OptionKinds<RankOptions> = { rtol: optional(notNegative) };

/** Which singular values [..., k] of matrices [..., m, n] count. */
function counted(s: Tensor, a: Tensor, rtol: number | undefined): Tensor {
  const least = ops.mul(ops.max(s, -1, true), rtol ?? roundingOf(a.dtype, Math.max(...extentsOf(a))));
  return ops.less(least, s);
}

/**
 * How many singular values of a [..., m, n] are larger than `rtol` times the largest, i32 [...].
 *
 * @throws ShapeError for less than two axes, OptionError for a tolerance below 0
 */
export function matrixRank(a: Tensor, options: RankOptions = {}): Tensor {
  const matrix = matrices("linalg.matrixRank", "a", a);
  checkOptions("linalg.matrixRank", options, rankKinds);
  const batch = batchOf(matrix);
  if (Math.min(...extentsOf(matrix)) === 0) return ops.zeros(batch, { dtype: "i32" });
  const stack = flat(matrix);
  const [, s] = singular(ops.stopGradient(stack));
  return unflat(ops.sum(ops.cast(counted(s, stack, options.rtol), "i32"), 1), batch);
}

/** The pseudoinverse of stacks [B, m, n], V·S⁻¹·Uᵀ with 0 for the inverse of values that do not count. */
function pseudoinverse(a: Tensor, rtol: number | undefined): Tensor {
  const [m, n] = extentsOf(a);
  if (Math.min(m, n) === 0) return ops.zeros([a.shape[0] as number, n, m], { dtype: a.dtype });
  const body = ([x]: readonly Tensor[]): Tensor[] => {
    const [u, s, vt] = singular(x as Tensor);
    const counts = counted(s, a, rtol);
    const inverse = ops.where(counts, ops.recip(ops.where(counts, s, 1)), 0);
    // Where there is NaN, no value counts.
    const whole = ops.where(ops.equal(s, s), inverse, s);
    return [ops.matmul(ops.mul(transposed(vt), ops.unsqueeze(whole, 1)), transposed(u))];
  };
  return callOf("pinv", {}, [a], body, pinvPullback).results[0] as Tensor;
}

/** ā = −Pᵀ·P̄·Pᵀ + (1 − a·P)·P̄ᵀ·P·Pᵀ + Pᵀ·P·P̄ᵀ·(1 − P·a), for changes of a that keep its rank (Golub & Pereyra 1973, eq. 4.12). */
const pinvPullback: CallPullback = ({ inputs: [a], results: [p] }, [ct]) => {
  const [matrix, inverse] = [a as Tensor, p as Tensor];
  const [back, across] = [transposed(inverse), transposed(ct as Tensor)];
  const rest = (product: Tensor): Tensor => ops.sub(ops.cast(onDiagonal(product), product.dtype), product);
  const chain = (...factors: Tensor[]): Tensor => factors.reduce((x, y) => ops.matmul(x, y));
  const parts = [
    ops.neg(chain(back, ct as Tensor, back)),
    chain(rest(ops.matmul(matrix, inverse)), across, inverse, back),
    chain(back, inverse, across, rest(ops.matmul(inverse, matrix))),
  ];
  return [parts.reduce((x, y) => ops.add(x, y))];
};

/**
 * The pseudoinverse [..., n, m] of a [..., m, n] (Moore 1920, Penrose 1955), by singular values of which those of at most `rtol` times the largest
 * count as 0. Differentiable to any order among matrices of the same rank.
 *
 * @throws ShapeError for less than two axes, OptionError for a tolerance below 0
 */
export function pinv(a: Tensor, options: RankOptions = {}): Tensor {
  const matrix = matrices("linalg.pinv", "a", a);
  checkOptions("linalg.pinv", options, rankKinds);
  return narrowed(unflat(pseudoinverse(flat(matrix), options.rtol), batchOf(matrix)), a);
}

/**
 * The x for which ‖a·x − b‖ is smallest, and of those the one with the smallest ‖x‖, for a [..., m, n] of any rank; b is a vector [m], or
 * [..., m, k], and leading axes broadcast. It is pinv(a)·b, and differentiable as that is.
 *
 * @throws ShapeError for a b that does not fit, OptionError for a tolerance below 0
 */
export function lstsq(a: Tensor, b: Tensor, options: RankOptions = {}): Tensor {
  const where = "linalg.lstsq";
  const matrix = matrices(where, "a", a);
  const right = rightSide(where, b, extentsOf(matrix)[0]);
  checkOptions(where, options, rankKinds);
  const pair = together(where, matrix, right.matrices);
  const x = ops.matmul(pseudoinverse(pair.a, options.rtol), pair.b);
  return narrowed(right.back(unflat(x, pair.batch)), b);
}
