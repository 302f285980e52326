import { checkOptions, flag, type OptionKinds, optional } from "../../arguments.js";
import * as ops from "../operations.js";
import { callOf } from "../region.js";
import { scan } from "../scan.js";
import type { CallPullback, Tensor } from "../tensor.js";
import {
  batchOf,
  diagonalOf,
  extentsOf,
  flat,
  narrowed,
  onDiagonal,
  outer,
  rightSide,
  squareMatrices,
  symmetric,
  together,
  transposed,
  unflat,
} from "./matrices.js";

/** Triangular equations, and the factors of positive definite matrices. */

export interface TriangularSolveOptions {
  /** Whether the elements of a that count are those on and below its diagonal, rather than on and above it. Default true. */
  readonly lower?: boolean;
  /** Whether to solve aᵀ·x = b. Default false. */
  readonly transpose?: boolean;
  /** Whether the diagonal counts as ones, whatever it holds. Default false. */
  readonly unitDiagonal?: boolean;
}

type Triangle = Required<TriangularSolveOptions>;
const triangleKinds: OptionKinds<TriangularSolveOptions> = {
  lower: optional(flag),
  transpose: optional(flag),
  unitDiagonal: optional(flag),
};

/**
 * x with a·x = b for triangular a [..., n, n], by substitution; b is a vector [n], or [..., n, k], and leading axes broadcast. What a holds
 * on the other side of its diagonal is not looked at. Infinite or NaN where a diagonal element is 0. Differentiable to any order:
 * b̄ = a⁻ᵀ·x̄, ā = −(b̄·xᵀ) within the triangle.
 *
 * @throws ShapeError for matrices that are not square and a b that does not fit
 */
export function triangularSolve(a: Tensor, b: Tensor, options: TriangularSolveOptions = {}): Tensor {
  const where = "linalg.triangularSolve";
  const matrix = squareMatrices(where, "a", a);
  const right = rightSide(where, b, extentsOf(matrix)[0]);
  checkOptions(where, options, triangleKinds);
  const triangle: Triangle = { lower: true, transpose: false, unitDiagonal: false, ...options };
  const pair = together(where, matrix, right.matrices);
  return narrowed(right.back(unflat(triangular(pair.a, pair.b, triangle), pair.batch)), b);
}

/** The same of stacks [B, n, n] and [B, n, k]. */
export function triangular(a: Tensor, b: Tensor, triangle: Triangle): Tensor {
  const [n] = extentsOf(a);
  if (n === 0) return b;
  const pullback: CallPullback = ({ inputs: [m], results: [x] }, [ct], needs) => {
    const solved = triangular(m as Tensor, ct as Tensor, { ...triangle, transpose: !triangle.transpose });
    const [left, right] = triangle.transpose ? [x as Tensor, solved] : [solved, x as Tensor];
    const product = (): Tensor => inTriangle(ops.neg(ops.matmul(left, transposed(right))), triangle);
    return [needs[0] ? product() : null, solved];
  };
  return callOf("triangularSolve", triangle, [a, b], ([m, r]) => [substitute(m as Tensor, r as Tensor, triangle)], pullback)
    .results[0] as Tensor;
}

/** The part of a matrix that a triangular one consists of. */
const inTriangle = (a: Tensor, { lower, unitDiagonal }: Triangle): Tensor =>
  lower ? ops.tril(a, unitDiagonal ? -1 : 0) : ops.triu(a, unitDiagonal ? 1 : 0);

/** Forward or back substitution: xᵢ = (bᵢ − Σ aᵢⱼ·xⱼ)/aᵢᵢ over the rows j that are done, the others being 0 so far. */
export function substitute(a: Tensor, b: Tensor, triangle: Triangle): Tensor {
  const [n, k] = extentsOf(b);
  const kept = inTriangle(a, triangle);
  const lower = triangle.lower !== triangle.transpose;
  const byRows = ops.permute(triangle.transpose ? transposed(kept) : kept, [1, 0, 2]);
  const pivots = triangle.unitDiagonal ? null : ops.transpose(diagonalOf(kept));
  const xs = { row: byRows, right: ops.permute(b, [1, 0, 2]), pivots, i: ops.arange(n) };
  const step = (x: Tensor, { row, right, pivots: pivot, i }: typeof xs): [Tensor, null] => {
    const rest = ops.sub(right, ops.squeeze(ops.matmul(ops.unsqueeze(row, 1), x), 1));
    const value = pivot === null ? rest : ops.div(rest, ops.unsqueeze(pivot, 1));
    const here = ops.equal(ops.reshape(ops.iota([n], 0), [n, 1]), i);
    return [ops.where(ops.broadcastTo(here, [n, k]), ops.unsqueeze(value, 1), x), null];
  };
  return scan(step, ops.zerosLike(b), xs, { reverse: !lower })[0];
}

/**
 * The lower triangular L with a = L·Lᵀ and a positive diagonal, for symmetric positive definite a [..., n, n]; a is taken as (a + aᵀ)/2. All of L
 * is NaN where that is not positive definite (as in JAX). ‖L·Lᵀ − a‖ is some n·u·‖a‖, with u = 6·10⁻⁸ in f32. Differentiable to any order:
 * ā = ½·(S + Sᵀ), S = L⁻ᵀ·Φ(Lᵀ·L̄)·L⁻¹ with Φ the lower triangle and half of the diagonal (Murray 2016).
 *
 * @throws ShapeError for matrices that are not square
 */
export function cholesky(a: Tensor): Tensor {
  const matrix = squareMatrices("linalg.cholesky", "a", a);
  if (extentsOf(matrix)[0] === 0) return narrowed(matrix, a);
  const { results } = callOf("cholesky", {}, [symmetric(flat(matrix))], ([m]) => [choleskyFactor(m as Tensor)], choleskyPullback);
  return narrowed(unflat(results[0] as Tensor, batchOf(matrix)), a);
}

/** Column by column: that of what is left, over the root of its pivot; what is left becomes the Schur complement. */
function choleskyFactor(a: Tensor): Tensor {
  const [n] = extentsOf(a);
  const step = (rest: Tensor, k: Tensor): [Tensor, { column: Tensor; fits: Tensor }] => {
    const whole = ops.gather(rest, k, 2);
    const pivot = ops.gather(whole, k, 1);
    const fits = ops.greater(pivot, 0);
    const root = ops.sqrt(ops.where(fits, pivot, 1));
    const below = ops.greaterEqual(ops.iota([n], 0), k);
    const column = ops.where(below, ops.div(whole, ops.unsqueeze(root, 1)), 0);
    return [ops.sub(rest, outer(column, column)), { column, fits: ops.cast(fits, "i32") }];
  };
  const [, { column, fits }] = scan(step, a, ops.arange(n));
  const definite = ops.reshape(ops.equal(ops.min(fits, 0), 1), [-1, 1, 1]);
  return ops.where(definite, ops.permute(column, [1, 2, 0]), Number.NaN);
}

const choleskyPullback: CallPullback = ({ results: [l] }, [ct]) => {
  const factor = l as Tensor;
  const product = ops.tril(ops.matmul(transposed(factor), ct as Tensor));
  const half = ops.mul(product, ops.where(onDiagonal(product), ops.full([], 0.5, { dtype: product.dtype }), 1));
  const byTransposed = (b: Tensor): Tensor => triangular(factor, b, { lower: true, transpose: true, unitDiagonal: false });
  return [symmetric(byTransposed(transposed(byTransposed(half))))];
};
