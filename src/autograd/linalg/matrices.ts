/** What the functions of matrices share: how they read their arguments, and pieces of matrices. */
import { checkArgument } from "../../arguments.js";
import { ShapeError } from "../../errors.js";
import { isFloat, isHalf } from "../../ir/dtype.js";
import { broadcastShapes, type Shape, show, sizeOf } from "../../ir/shape.js";
import { tensorKind } from "../kinds.js";
import * as ops from "../operations.js";
import type { Tensor } from "../tensor.js";

/** Rows and columns of the matrices of a stack. */
export const extentsOf = (a: Tensor): [rows: number, columns: number] => a.shape.slice(-2) as [number, number];

/** A stack of matrices as floats of at least 32 bits. Throws OptionError and ShapeError. */
export function matrices(where: string, name: string, a: Tensor): Tensor {
  checkArgument(where, name, a, tensorKind);
  if (a.rank < 2) {
    throw new ShapeError(`${where}: ${name} is ${show(a.shape)}, and a matrix has two axes`, {
      hint: "the last two axes are rows and columns, those before count matrices",
    });
  }
  return isHalf(a.dtype) || !isFloat(a.dtype) ? ops.cast(a, "f32") : a;
}

/** The same of square matrices. */
export function squareMatrices(where: string, name: string, a: Tensor): Tensor {
  const wide = matrices(where, name, a);
  const [rows, columns] = extentsOf(wide);
  if (rows !== columns) {
    throw new ShapeError(`${where}: ${name} is ${show(a.shape)}, and the matrix must be square`, {
      hint: rows > columns ? "linalg.lstsq and linalg.pinv take more equations than unknowns" : "its last two axes have the same extent",
    });
  }
  return wide;
}

/** A result in the dtype that halves were given in; others stay as they are. */
export const narrowed = (x: Tensor, given: Tensor): Tensor => (isHalf(given.dtype) ? ops.cast(x, given.dtype) : x);

/** Extents before the last two. */
export const batchOf = (a: Tensor): Shape => a.shape.slice(0, -2);
/** A stack as [B, rows, columns]. */
export const flat = (a: Tensor): Tensor => ops.reshape(a, [sizeOf(batchOf(a)), ...extentsOf(a)]);
/** [B, …] as [...batch, …]. */
export const unflat = (x: Tensor, batch: Shape): Tensor => ops.reshape(x, [...batch, ...x.shape.slice(1)]);

/** A right-hand side: a vector [n], or matrices [..., n, k]. */
export interface RightSide {
  readonly matrices: Tensor;
  /** The result in the form of the right-hand side. */
  readonly back: (x: Tensor) => Tensor;
}

/** The right-hand side b of equations with n rows, in the dtype in which it meets a. */
export function rightSide(where: string, b: Tensor, n: number): RightSide {
  checkArgument(where, "b", b, tensorKind);
  const vector = b.rank === 1;
  const wide = matrices(where, "b", vector ? ops.unsqueeze(b, 1) : b);
  if (extentsOf(wide)[0] !== n) {
    throw new ShapeError(`${where}: b is ${show(b.shape)} for matrices of ${n} rows`, {
      hint: "b is a vector [n], or matrices [..., n, k]; vectors of a batch are matrices with one column",
    });
  }
  return { matrices: wide, back: (x) => (vector ? ops.squeeze(x, -1) : x) };
}

/** Two stacks with the same leading axes, as [B, …] each. */
export function together(where: string, a: Tensor, b: Tensor): { a: Tensor; b: Tensor; batch: Shape } {
  const batch = broadcastShapes(batchOf(a), batchOf(b), where);
  const both = [a, b].map((x) => flat(ops.broadcastTo(x, [...batch, ...extentsOf(x)]))) as [Tensor, Tensor];
  const dtype = both.some((x) => x.dtype === "f64") ? "f64" : "f32";
  return { a: ops.cast(both[0], dtype), b: ops.cast(both[1], dtype), batch };
}

/** [..., n] of [..., n, n] */
export const diagonalOf = (a: Tensor): Tensor => ops.sum(ops.where(onDiagonal(a), a, 0), -1);
/** [..., n] as diagonal matrices [..., n, n] */
export const diagonalMatrix = (x: Tensor): Tensor => {
  const n = x.shape.at(-1) as number;
  const spread = ops.broadcastTo(ops.unsqueeze(x, x.rank), [...x.shape, n]);
  return ops.where(onDiagonal(spread), spread, 0);
};
/** Where rows and columns meet, [rows, columns]. */
export const onDiagonal = (a: Tensor): Tensor => {
  const extents = extentsOf(a);
  return ops.equal(ops.iota(extents, 0), ops.iota(extents, 1));
};

export const transposed = (a: Tensor): Tensor => ops.transpose(a, -2, -1);
/** (a + aᵀ)/2 */
export const symmetric = (a: Tensor): Tensor => ops.mul(ops.add(a, transposed(a)), 0.5);

/** x yᵀ of vectors [B, m] and [B, n] */
export const outer = (x: Tensor, y: Tensor): Tensor => ops.mul(ops.unsqueeze(x, 2), ops.unsqueeze(y, 1));

/**
 * Matrices divided by the size of their largest element, so that no square overflows, and that size, [B, 1, 1]; 1 for matrices of zeros.
 * For the derivative it is a constant, which cancels where it is multiplied back.
 */
export function normalized(a: Tensor): [scaled: Tensor, scale: Tensor] {
  const largest = ops.stopGradient(ops.max(ops.abs(a), [-2, -1], true));
  const scale = ops.where(ops.equal(largest, 0), 1, largest);
  return [ops.div(a, scale), scale];
}

/** One-hot rows [B, n, n] that bring entries [B, n] into ascending order: row r has its 1 at the entry of rank r. Equal ones keep their order. */
export function sorting(values: Tensor): Tensor {
  const n = values.shape.at(-1) as number;
  const [mine, other] = [ops.unsqueeze(values, 2), ops.unsqueeze(values, 1)];
  const earlier = ops.less(ops.iota([n, n], 1), ops.iota([n, n], 0));
  const before = ops.or(ops.less(other, mine), ops.and(ops.equal(other, mine), earlier));
  const rank = ops.sum(ops.cast(before, "i32"), 2);
  return ops.cast(ops.equal(ops.unsqueeze(rank, 1), ops.iota([n, n], 0)), values.dtype);
}
