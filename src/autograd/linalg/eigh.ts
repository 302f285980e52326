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
  narrowed,
  normalized,
  onDiagonal,
  sorting,
  squareMatrices,
  symmetric,
  transposed,
  unflat,
} from "./matrices.js";

/** Eigenvalues of symmetric matrices. */

/**
 * [values, vectors] of symmetric a [..., n, n], taken as (a + aᵀ)/2: values [..., n] ascend, and column i of the orthogonal matrix of vectors
 * [..., n, n] belongs to value i; of each the largest element is positive. By Jacobi's method: values and ‖a·v − v·λ‖ are right to some √n·u·‖a‖,
 * with u = 6·10⁻⁸ in f32. NaN where a holds NaN or infinities.
 *
 * Differentiable to any order where values differ: ā = V·(diag(λ̄) + F∘(Vᵀ·V̄))·Vᵀ with F[i, j] = 1/(λⱼ − λᵢ). Between values that are equal up to
 * rounding, n·u·‖a‖, F is 0: first derivatives are right there for functions of the values alone, such as their sum of squares, and of the vectors
 * alone that are the same for every choice of them, such as projections. Functions of both, and second derivatives, are not.
 *
 * @throws ShapeError for matrices that are not square
 */
export function eigh(a: Tensor): [values: Tensor, vectors: Tensor] {
  const matrix = squareMatrices("linalg.eigh", "a", a);
  const batch = batchOf(matrix);
  if (extentsOf(matrix)[0] === 0) return [narrowed(ops.zeros([...batch, 0], { dtype: matrix.dtype }), a), narrowed(matrix, a)];
  const { results } = callOf("eigh", {}, [symmetric(flat(matrix))], ([m]) => jacobi(m as Tensor), eighPullback);
  return results.map((x) => narrowed(unflat(x, batch), a)) as [Tensor, Tensor];
}

const eighPullback: CallPullback = ({ results }, [ctValues, ctVectors]) => {
  const [values, vectors] = results as [Tensor, Tensor];
  const back = transposed(vectors);
  const parts: Tensor[] = [];
  if (ctValues) parts.push(diagonalMatrix(ctValues));
  if (ctVectors) parts.push(ops.mul(ops.matmul(back, ctVectors), gaps(values)));
  const inner = parts.reduce((sum, part) => ops.add(sum, part));
  return [symmetric(ops.matmul(ops.matmul(vectors, inner), back))];
};

/** 1/(xⱼ − xᵢ) of values [B, n], and 0 where they are equal up to rounding. */
function gaps(values: Tensor): Tensor {
  const difference = ops.sub(ops.unsqueeze(values, 1), ops.unsqueeze(values, 2));
  const largest = ops.stopGradient(ops.max(ops.abs(values), -1, true));
  const least = ops.unsqueeze(ops.mul(largest, roundingOf(values.dtype, values.shape[1] as number)), 2);
  const same = ops.lessEqual(ops.abs(difference), least);
  return ops.where(same, 0, ops.recip(ops.where(same, 1, difference)));
}

/** Square matrices of an even number of rows: with a value that is smaller than those of a, whose elements are 1 at most. */
function evenSquare(a: Tensor): Tensor {
  const [n] = extentsOf(a);
  const even = transposed(evenRows(transposed(evenRows(a))));
  const added = ops.greaterEqual(ops.iota(extentsOf(even), 0), n);
  return ops.where(ops.and(added, onDiagonal(even)), ops.full([], -2 * n, { dtype: a.dtype }), even);
}

/** Turns a to a diagonal matrix, and the rows of the identity with it, which become eigenvectors. */
function jacobi(a: Tensor): [values: Tensor, vectors: Tensor] {
  const [n] = extentsOf(a);
  const { dtype } = a;
  const [scaled, scale] = normalized(a);
  const start = {
    matrix: evenSquare(scaled),
    rows: evenRows(ops.broadcastTo(ops.eye(n, { dtype }), a.shape)),
  };
  type State = typeof start;
  const round =
    (least: Tensor) =>
    ({ matrix, rows }: State): [State, null] => {
      const [upper, lower] = halves(matrix, 1);
      const [p, g] = halves(upper, 2).map(diagonalOf) as [Tensor, Tensor];
      const q = diagonalOf(halves(lower, 2)[1]);
      const rotation = rotationOf(ops.sub(q, p), ops.mul(ops.where(ops.less(ops.abs(g), least), 0, g), 2));
      return [{ matrix: turned(turned(matrix, rotation, 1), rotation, 2), rows: turned(rows, rotation, 1) }, null];
    };
  const sweep = (now: State): [State, null] => {
    const largest = ops.max(ops.abs(ops.where(onDiagonal(now.matrix), 0, now.matrix)), [1, 2]);
    const least = ops.unsqueeze(ops.mul(largest, threshold), 1);
    return [scan(round(least), now, null, { length: roundsOf(n) })[0], null];
  };
  const [{ matrix, rows }] = scan(sweep, start, null, { length: sweepsOf(dtype, n) });
  // The row that made their number even is where it was, the last.
  const found = ops.slice(diagonalOf(matrix), [null, [0, n]]);
  const order = sorting(found);
  const values = ops.mul(ops.squeeze(ops.matmul(order, ops.unsqueeze(found, 2)), 2), ops.squeeze(scale, 2));
  const vectors = ops.matmul(order, ops.slice(rows, [null, [0, n], [0, n]]));
  const finite = ops.less(scale, Number.POSITIVE_INFINITY);
  return [
    ops.where(ops.squeeze(finite, 2), values, Number.NaN),
    transposed(ops.where(finite, ops.mul(vectors, signOfLargest(vectors)), Number.NaN)),
  ];
}
