import { checkArgument, integer } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { normalizeAxis, show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { moveaxis } from "./rearranging.js";
import type { Tensor } from "./tensor.js";

/** Diagonals of matrices, taken and laid. In row-major order the elements of one are columns + 1 places apart. */

/**
 * The k-th diagonal of the matrices along two axes (the first two unless said otherwise), as a new last axis: y[…, i] = x[i, i + k, …], or
 * x[i − k, i, …] for k < 0. Empty where the diagonal lies outside.
 */
export function diagonal(x: Tensor, k = 0, axis1 = 0, axis2 = 1): Tensor {
  return diagonalOf("diagonal", x, k, axis1, axis2);
}

function diagonalOf(where: string, x: Tensor, k: number, axis1: number, axis2: number): Tensor {
  checkArgument(where, "x", x, tensorKind);
  for (const [name, value] of Object.entries({ k, axis1, axis2 })) checkArgument(where, name, value, integer());
  if (x.rank < 2)
    throw new ShapeError(`${where}: a diagonal needs two axes, not ${show(x.shape)}`, { hint: "diag makes a matrix of a vector" });
  const axes = [normalizeAxis(axis1, x.rank, where), normalizeAxis(axis2, x.rank, where)];
  if (axes[0] === axes[1]) throw new ShapeError(`${where}: axis1 and axis2 are both axis ${axes[0]}`);
  const matrices = moveaxis(x, axes, [-2, -1]);
  const [rows, columns] = matrices.shape.slice(-2) as [number, number];
  const [above, below] = [Math.max(k, 0), Math.max(-k, 0)];
  const count = Math.max(0, Math.min(rows - below, columns - above));
  const batch = matrices.shape.slice(0, -2);
  const start = count === 0 ? 0 : below * columns + above;
  const flat = ops.reshape(matrices, [...batch, rows * columns]);
  const stop = count === 0 ? 0 : start + (count - 1) * (columns + 1) + 1;
  return ops.slice(flat, [...batch.map(() => null), [start, stop, columns + 1]]);
}

/** Σᵢ x[i, i + k, …]: the sum of a {@link diagonal}; of no elements 0. */
export function trace(x: Tensor, k = 0, axis1 = 0, axis2 = 1): Tensor {
  return ops.sum(diagonalOf("trace", x, k, axis1, axis2), -1);
}

/** Matrices with the vectors of the last axis on their k-th diagonal, 0 elsewhere: […, n] → […, n + |k|, n + |k|]. */
export function diagEmbed(x: Tensor, k = 0): Tensor {
  return laid("diagEmbed", x, k);
}

function laid(where: string, x: Tensor, k: number): Tensor {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "k", k, integer());
  if (x.rank === 0) throw new ShapeError(`${where}: a scalar has no elements to lay on a diagonal`, { hint: "reshape it to [1]" });
  const count = x.shape.at(-1) as number;
  const n = count + Math.abs(k);
  const batch = x.shape.slice(0, -1);
  if (count === 0) return ops.zeros([...batch, n, n], { dtype: x.dtype });
  // Each element and the n others up to the next one; the last has no next.
  const none = batch.map((): [number, number] => [0, 0]);
  const apart = ops.reshape(ops.pad(ops.unsqueeze(x, -1), [...none, [0, 0], [0, n]]), [...batch, count * (n + 1)]);
  const cut = ops.slice(apart, [...batch.map(() => null), [0, (count - 1) * (n + 1) + 1]]);
  const start = Math.max(-k, 0) * n + Math.max(k, 0);
  const whole = ops.pad(cut, [...none, [start, n * n - start - (cut.shape.at(-1) as number)]]);
  return ops.reshape(whole, [...batch, n, n]);
}

/** The k-th diagonal of a matrix, or the matrix with a vector on its k-th diagonal and 0 elsewhere. */
export function diag(x: Tensor, k = 0): Tensor {
  checkArgument("diag", "x", x, tensorKind);
  if (x.rank !== 1 && x.rank !== 2) {
    throw new ShapeError(`diag: ${show(x.shape)} is neither a vector nor a matrix`, { hint: "use diagonal or diagEmbed" });
  }
  return x.rank === 1 ? laid("diag", x, k) : diagonalOf("diag", x, k, 0, 1);
}
