import * as ops from "../operations.js";
import { callOf } from "../region.js";
import { scan } from "../scan.js";
import type { CallPullback, Tensor } from "../tensor.js";
import { evenRows, halves, rotationOf, roundingOf, roundsOf, signOfLargest, sweepsOf, threshold, turned } from "./jacobi.js";
import {
  batchOf,
  diagonalMatrix,
  diagonalOf,
  extentsOf,
  flat,
  matrices,
  narrowed,
  normalized,
  onDiagonal,
  sorting,
  transposed,
  unflat,
} from "./matrices.js";
import { tall } from "./qr.js";

/** Singular values. */

/**
 * [u, s, vt] with a = u·diag(s)·vt for a [..., m, n] and k = min(m, n): u [..., m, k] and vtᵀ [..., n, k] have orthonormal columns, also where singular
 * values are 0, and s [..., k] descends; of each column of u the largest element is positive. By one-sided Jacobi rotations, which never square
 * the condition: values are right to some √n·u·‖a‖, with u = 6·10⁻⁸ in f32. NaN where a holds NaN or infinities.
 *
 * Differentiable to any order where values differ and none is 0 (Townsend 2016). What would be divided by the difference of values that are equal up
 * to rounding, n·u·‖a‖, or by a value that is 0 up to it, is 0: first derivatives are right there for functions of the values alone that have one,
 * and of the vectors alone that are the same for every choice of them, such as projections. Functions of both, and second derivatives, are not.
 *
 * @throws ShapeError for less than two axes
 */
export function svd(a: Tensor): [u: Tensor, s: Tensor, vt: Tensor] {
  const matrix = matrices("linalg.svd", "a", a);
  const batch = batchOf(matrix);
  const [u, s, vt] = singular(flat(matrix)).map((x) => narrowed(unflat(x, batch), a));
  return [u, s, vt] as [Tensor, Tensor, Tensor];
}

/** The same of stacks [B, m, n]. */
export function singular(a: Tensor): [u: Tensor, s: Tensor, vt: Tensor] {
  const [m, n] = extentsOf(a);
  const k = Math.min(m, n);
  const [B, { dtype }] = [a.shape[0] as number, a];
  if (k === 0) return [ops.zeros([B, m, 0], { dtype }), ops.zeros([B, 0], { dtype }), ops.zeros([B, 0, n], { dtype })];
  return callOf("svd", {}, [a], ([x]) => oneSided(x as Tensor), svdPullback).results as [Tensor, Tensor, Tensor];
}

/** Signs are by u, also where it is the right factor of the transpose that is turned. */
function oneSided(a: Tensor): [u: Tensor, s: Tensor, vt: Tensor] {
  const [m, n] = extentsOf(a);
  const [scaled, scale] = normalized(a);
  const [left, values, right] = m >= n ? turnedRows(scaled) : turnedRows(transposed(scaled));
  const [u, v] = m >= n ? [left, right] : [right, left];
  const signs = signOfLargest(transposed(u));
  const finite = ops.less(scale, Number.POSITIVE_INFINITY);
  return [
    ops.where(finite, ops.mul(u, transposed(signs)), Number.NaN),
    ops.where(ops.squeeze(finite, 2), ops.mul(values, ops.squeeze(scale, 2)), Number.NaN),
    ops.where(finite, ops.mul(transposed(v), signs), Number.NaN),
  ];
}

/**
 * [u, s, v] of [B, m, n] with m ≥ n. The columns, here as rows, are turned until all are at right angles (Hestenes 1958): a·v = u·s. Their lengths are
 * the singular values; u comes from QR, which completes it where lengths are 0.
 */
function turnedRows(a: Tensor): [u: Tensor, s: Tensor, v: Tensor] {
  const n = extentsOf(a)[1];
  const { dtype } = a;
  const identity = ops.broadcastTo(ops.eye(n, { dtype }), [a.shape[0] as number, n, n]);
  const start = { columns: evenRows(transposed(a)), rows: evenRows(identity) };
  type State = typeof start;
  const product = (x: Tensor, y: Tensor): Tensor => ops.sum(ops.mul(x, y), 2);
  const round =
    (least: Tensor) =>
    ({ columns, rows }: State): [State, null] => {
      const [first, second] = halves(columns, 1);
      const [p, q, g] = [product(first, first), product(second, second), product(first, second)];
      const small = ops.less(ops.abs(g), ops.mul(least, ops.sqrt(ops.maximum(p, q))));
      const rotation = rotationOf(ops.sub(q, p), ops.mul(ops.where(small, 0, g), 2));
      return [{ columns: turned(columns, rotation, 1), rows: turned(rows, rotation, 1) }, null];
    };
  const sweep = (now: State): [State, null] => {
    const least = ops.unsqueeze(ops.mul(largestOverlap(now.columns), threshold), 1);
    return [scan(round(least), now, null, { length: roundsOf(n) })[0], null];
  };
  const [last] = scan(sweep, start, null, { length: sweepsOf(dtype, n) });
  const [columns, rows] = [last.columns, last.rows].map((x) => ops.slice(x, [null, [0, n]])) as [Tensor, Tensor];
  const lengths = ops.sqrt(ops.sum(ops.mul(columns, columns), 2));
  const order = sorting(ops.neg(lengths));
  const s = ops.squeeze(ops.matmul(order, ops.unsqueeze(lengths, 2)), 2);
  const [u] = tall(transposed(ops.matmul(order, columns)));
  return [u, s, transposed(ops.matmul(order, rows))];
}

/** The largest product of two rows over the length of the longer one, [B]: how far the matrix is from one with rows at right angles. */
function largestOverlap(rows: Tensor): Tensor {
  const products = ops.matmul(rows, transposed(rows));
  const squares = diagonalOf(products);
  const longer = ops.sqrt(ops.maximum(ops.unsqueeze(squares, 1), ops.unsqueeze(squares, 2)));
  const none = ops.or(onDiagonal(products), ops.equal(longer, 0));
  return ops.max(ops.where(none, 0, ops.div(ops.abs(products), ops.where(none, 1, longer))), [1, 2]);
}

/** 1/x where x is more than rounding makes of 0 beside `largest`, else 0. */
function boundedRecip(x: Tensor, largest: Tensor, n: number): Tensor {
  const none = ops.lessEqual(ops.abs(x), ops.mul(largest, roundingOf(x.dtype, n)));
  return ops.where(none, 0, ops.recip(ops.where(none, 1, x)));
}

/**
 * ā = U·(E∘(UᵀŪ − ŪᵀU)·S + S·E∘(VᵀV̄ − V̄ᵀV) + diag(s̄))·Vᵀ + (1 − UUᵀ)·Ū·S⁻¹·Vᵀ + U·S⁻¹·V̄ᵀ·(1 − VVᵀ) with E[i, j] = 1/(sⱼ² − sᵢ²).
 */
const svdPullback: CallPullback = ({ results }, [ctU, ctS, ctVt]) => {
  const [u, s, vt] = results as [Tensor, Tensor, Tensor];
  const [[m, k], n] = [extentsOf(u), extentsOf(vt)[1]];
  const v = transposed(vt);
  const largest = ops.stopGradient(ops.max(s, -1, true));
  const [byColumn, byRow] = [ops.unsqueeze(s, 1), ops.unsqueeze(s, 2)];
  const inverse = ops.unsqueeze(boundedRecip(s, largest, Math.max(m, n)), 1);
  const skew = (x: Tensor, ct: Tensor): Tensor => {
    const product = ops.matmul(transposed(x), ct);
    const bound = ops.unsqueeze(largest, 2);
    const e = ops.div(boundedRecip(ops.sub(byColumn, byRow), bound, Math.max(m, n)), sumsOf(byColumn, byRow));
    return ops.mul(e, ops.sub(product, transposed(product)));
  };
  const inner: Tensor[] = ctS ? [diagonalMatrix(ctS)] : [];
  const outside: Tensor[] = [];
  if (ctU) {
    inner.push(ops.mul(skew(u, ctU), byColumn));
    if (m > k) {
      const across = ops.sub(ctU, ops.matmul(u, ops.matmul(transposed(u), ctU)));
      outside.push(ops.matmul(ops.mul(across, inverse), vt));
    }
  }
  if (ctVt) {
    const ct = transposed(ctVt);
    inner.push(ops.mul(byRow, skew(v, ct)));
    if (n > k) {
      const across = ops.sub(ct, ops.matmul(v, ops.matmul(vt, ct)));
      outside.push(transposed(ops.matmul(ops.mul(across, inverse), transposed(u))));
    }
  }
  const within = ops.matmul(ops.matmul(u, inner.reduce((a, b) => ops.add(a, b))), vt); // biome-ignore format: one line
  return [outside.reduce((a, b) => ops.add(a, b), within)];
};

/** sⱼ + sᵢ, or 1 where both are 0. */
function sumsOf(a: Tensor, b: Tensor): Tensor {
  const sum = ops.add(a, b);
  return ops.where(ops.equal(sum, 0), 1, sum);
}
