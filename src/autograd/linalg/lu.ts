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
  outer,
  rightSide,
  squareMatrices,
  together,
  transposed,
  unflat,
} from "./matrices.js";
import { substitute } from "./triangular.js";

/** Gaussian elimination with complete pivoting, and what it gives: solutions, inverses, determinants. */

/** One step of it, of stacks [B, …]: which rows and columns are left, and what is left of the matrix. */
interface Elimination {
  readonly rest: Tensor;
  readonly rows: Tensor;
  readonly columns: Tensor;
}

/**
 * The largest element of what is left is the pivot, and multiples of its row are taken off the others. Where it is 0, all that is left is, and
 * nothing is taken off.
 */
function eliminate({ rest, rows, columns }: Elimination): {
  next: Elimination;
  /** One-hot, [B, n] each. */
  row: Tensor;
  column: Tensor;
  pivot: Tensor;
  /** Multiples that are taken off by row, and the pivot's row by column. */
  multiples: Tensor;
  pivotRow: Tensor;
} {
  const n = extentsOf(rest)[0];
  const free = ops.and(ops.unsqueeze(rows, 2), ops.unsqueeze(columns, 1));
  const place = ops.unsqueeze(ops.argmax(ops.where(free, ops.abs(rest), -1), [1, 2]), 1);
  const row = ops.equal(ops.iota([n], 0), ops.truncDiv(place, n));
  const column = ops.equal(ops.iota([n], 0), ops.mod(place, n));
  const pivotRow = ops.sum(ops.where(ops.unsqueeze(row, 2), rest, 0), 1);
  const pivotColumn = ops.sum(ops.where(ops.unsqueeze(column, 1), rest, 0), 2);
  const pivot = ops.sum(ops.where(column, pivotRow, 0), 1);
  const others = ops.and(rows, ops.not(row));
  const divisor = ops.unsqueeze(ops.where(ops.equal(pivot, 0), 1, pivot), 1);
  const multiples = ops.where(others, ops.div(pivotColumn, divisor), 0);
  const left = ops.and(columns, ops.not(column));
  return {
    next: { rest: ops.sub(rest, outer(multiples, pivotRow)), rows: others, columns: left },
    row,
    column,
    pivot,
    multiples,
    pivotRow: ops.where(columns, pivotRow, 0),
  };
}

const beginning = (a: Tensor): Elimination => {
  const free = ops.full(a.shape.slice(0, 2), 1, { dtype: "bool" });
  return { rest: a, rows: free, columns: free };
};

/** P·a·Qᵀ = L·U with L unit lower and U upper triangular, P and Q permutations as matrices; [B, n, n] each. */
export interface Factors {
  readonly l: Tensor;
  readonly u: Tensor;
  readonly p: Tensor;
  readonly q: Tensor;
}

/** The factors of a stack [B, n, n], as constants for differentiation. */
export function luFactors(a: Tensor): Factors {
  const { results } = callOf("lu", {}, [ops.stopGradient(a)], ([m]) => {
    const { dtype } = a;
    const step = (now: Elimination): [Elimination, { l: Tensor; u: Tensor; p: Tensor; q: Tensor }] => {
      const { next, row, column, multiples, pivotRow } = eliminate(now);
      return [next, { l: multiples, u: pivotRow, p: ops.cast(row, dtype), q: ops.cast(column, dtype) }];
    };
    const [, ys] = scan(step, beginning(m as Tensor), null, { length: extentsOf(a)[0] });
    // Steps count rows of U, P and Q, and columns of L.
    const [u, p, q] = [ys.u, ys.p, ys.q].map((y) => ops.transpose(y, 0, 1)) as [Tensor, Tensor, Tensor];
    return [ops.matmul(p, ops.permute(ys.l, [1, 2, 0])), ops.matmul(u, transposed(q)), p, q];
  });
  const [l, u, p, q] = results as [Tensor, Tensor, Tensor, Tensor];
  return { l, u, p, q };
}

/** x with a·x = b, or aᵀ·x = b, by the factors of a. */
export function solveBy(a: Tensor, factors: Factors, b: Tensor, transpose: boolean): Tensor {
  const { l, u, p, q } = factors;
  const pullback: CallPullback = ({ inputs, results: [x] }, [ct], needs) => {
    const [m, L, U, P, Q] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const solved = solveBy(m, { l: L, u: U, p: P, q: Q }, ct as Tensor, !transpose);
    const [left, right] = transpose ? [x as Tensor, solved] : [solved, x as Tensor];
    return [needs[0] ? ops.neg(ops.matmul(left, transposed(right))) : null, null, null, null, null, solved];
  };
  const body = ([, L, U, P, Q, right]: readonly Tensor[]): Tensor[] => {
    const byL = (y: Tensor): Tensor => substitute(L as Tensor, y, { lower: true, transpose, unitDiagonal: true });
    const byU = (y: Tensor): Tensor => substitute(U as Tensor, y, { lower: false, transpose, unitDiagonal: false });
    const [before, after] = transpose ? [Q as Tensor, P as Tensor] : [P as Tensor, Q as Tensor];
    const permuted = ops.matmul(before, right as Tensor);
    return [ops.matmul(transposed(after), transpose ? byL(byU(permuted)) : byU(byL(permuted)))];
  };
  return callOf("solve", { transpose }, [a, l, u, p, q, b], body, pullback).results[0] as Tensor;
}

/**
 * x with a·x = b for a [..., n, n]; b is a vector [n], or [..., n, k], and leading axes broadcast. By elimination with complete pivoting: the
 * relative error of x is some n·u·κ(a), with u = 6·10⁻⁸ in f32 and κ the condition of a. Infinite or NaN where a is singular. Differentiable to
 * any order: b̄ = a⁻ᵀ·x̄, ā = −b̄·xᵀ.
 *
 * @throws ShapeError for matrices that are not square and a b that does not fit
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  const where = "linalg.solve";
  const matrix = squareMatrices(where, "a", a);
  const [n] = extentsOf(matrix);
  const right = rightSide(where, b, n);
  const pair = together(where, matrix, right.matrices);
  const x = n === 0 ? pair.b : solveBy(pair.a, luFactors(pair.a), pair.b, false);
  return narrowed(right.back(unflat(x, pair.batch)), b);
}

/** a⁻¹ for a [..., n, n], as {@link solve} of the identity. Infinite or NaN where a is singular; `solve(a, b)` is better than `inverse(a)·b`. */
export function inverse(a: Tensor): Tensor {
  const matrix = squareMatrices("linalg.inverse", "a", a);
  const [n] = extentsOf(matrix);
  if (n === 0) return narrowed(matrix, a);
  const stack = flat(matrix);
  const identity = ops.broadcastTo(ops.eye(n, { dtype: stack.dtype }), stack.shape);
  return narrowed(unflat(solveBy(stack, luFactors(stack), identity, false), batchOf(matrix)), a);
}

/** 1 or −1, [B]: the sign of permutations given as one-hot rows [B, n, n], by counting the pairs that are out of order. */
function parity(p: Tensor): Tensor {
  const [n] = extentsOf(p);
  const place = ops.argmax(p, 2);
  const swapped = ops.less(ops.unsqueeze(place, 1), ops.unsqueeze(place, 2));
  const ordered = ops.less(ops.iota([n, n], 0), ops.iota([n, n], 1));
  const inversions = ops.sum(ops.cast(ops.and(swapped, ordered), "i32"), [1, 2]);
  return ops.cast(ops.sub(1, ops.mul(2, ops.mod(inversions, 2))), p.dtype);
}

/**
 * The determinant of a [..., n, n], 1 for n = 0. Its derivative are the cofactors, also where a is singular; second derivatives are
 * right where its rank is n − 1 at least. `slogdet` overflows later.
 *
 * @throws ShapeError for matrices that are not square
 */
export function det(a: Tensor): Tensor {
  const matrix = squareMatrices("linalg.det", "a", a);
  const [n] = extentsOf(matrix);
  const batch = batchOf(matrix);
  if (n === 0) return narrowed(ops.ones(batch, { dtype: matrix.dtype }), a);
  const stack = flat(matrix);
  const { dtype } = stack;
  const start = { now: beginning(stack), product: ops.ones(stack.shape.slice(0, 1), { dtype }) };
  const step = ({ now, product }: typeof start): [typeof start, { p: Tensor; q: Tensor }] => {
    const { next, row, column, pivot } = eliminate(now);
    return [
      { now: next, product: ops.mul(product, pivot) },
      { p: ops.cast(row, dtype), q: ops.cast(column, dtype) },
    ];
  };
  const [{ product }, order] = scan(step, start, null, { length: n });
  const [p, q] = [order.p, order.q].map((one) => parity(ops.transpose(one, 0, 1))) as [Tensor, Tensor];
  return narrowed(unflat(ops.mul(product, ops.mul(p, q)), batch), a);
}

/**
 * [sign, ln |det a|] of a [..., n, n], without overflow; [0, −∞] where a is singular. The derivative of the logarithm is a⁻ᵀ, of any order; the
 * sign has none.
 *
 * @throws ShapeError for matrices that are not square
 */
export function slogdet(a: Tensor): [sign: Tensor, logAbsDet: Tensor] {
  const matrix = squareMatrices("linalg.slogdet", "a", a);
  const [n] = extentsOf(matrix);
  const batch = batchOf(matrix);
  const { dtype } = matrix;
  if (n === 0) return [narrowed(ops.ones(batch, { dtype }), a), narrowed(ops.zeros(batch, { dtype }), a)];
  const stack = flat(matrix);
  const { l, u, p, q } = luFactors(stack);
  const pullback: CallPullback = ({ inputs }, [, ct]) => {
    const [m, L, U, P, Q] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor];
    if (!ct) return [null, null, null, null, null];
    const identity = ops.broadcastTo(ops.eye(n, { dtype }), m.shape);
    const inverted = solveBy(m, { l: L, u: U, p: P, q: Q }, identity, true);
    return [ops.mul(ops.reshape(ct, [-1, 1, 1]), inverted), null, null, null, null];
  };
  const body = ([, , U, P, Q]: readonly Tensor[]): Tensor[] => {
    const pivots = diagonalOf(U as Tensor);
    const negative = ops.sum(ops.cast(ops.less(pivots, 0), "i32"), 1);
    const sign = ops.cast(ops.sub(1, ops.mul(2, ops.mod(negative, 2))), dtype);
    const singular = ops.equal(ops.min(ops.abs(pivots), 1), 0);
    const whole = ops.mul(sign, ops.mul(parity(P as Tensor), parity(Q as Tensor)));
    return [ops.where(singular, 0, whole), ops.sum(ops.log(ops.abs(pivots)), 1)];
  };
  const { results } = callOf("slogdet", {}, [stack, l, u, p, q], body, pullback);
  return results.map((x) => narrowed(unflat(x, batch), a)) as [Tensor, Tensor];
}
