import { checkArgument, flag, integer, type Kind } from "../../arguments.js";
import * as ops from "../operations.js";
import { scan } from "../scan.js";
import type { Tensor } from "../tensor.js";
import { inverse, luFactors, solveBy } from "./lu.js";
import { batchOf, extentsOf, flat, matrices, narrowed, normalized, squareMatrices, unflat } from "./matrices.js";
import { singular } from "./svd.js";

/** Norms, powers and the exponential of matrices. */

/** Which norm: "fro" or "nuc", or one of the numbers 1, −1, 2, −2, ∞ and −∞. */
export type MatrixNormOrder = "fro" | "nuc" | number;

const orders: readonly unknown[] = ["fro", "nuc", 1, -1, 2, -2, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const orderKind: Kind = { wanted: '"fro", "nuc", 1, −1, 2, −2, ∞ or −∞', fits: (value) => orders.includes(value) };

/**
 * A norm of a [..., m, n] over its last two axes, as in `numpy.linalg.matrix_norm`: "fro" is √Σa², without overflow and with the derivative 0
 * at 0; "nuc" the sum of the singular values; 1 and −1 the largest and the smallest sum of sizes down a column, ∞ and −∞ along a row; 2 and −2 the
 * largest and the smallest singular value. Sizes and extremes have the derivatives of `abs`, `max` and `min`.
 *
 * @throws ShapeError for less than two axes, and where there is nothing to be the largest; OptionError for another order
 */
export function matrixNorm(a: Tensor, order: MatrixNormOrder = "fro", keepDims = false): Tensor {
  const where = "linalg.matrixNorm";
  const matrix = matrices(where, "a", a);
  checkArgument(where, "order", order, orderKind);
  checkArgument(where, "keepDims", keepDims, flag);
  const batch = batchOf(matrix);
  const found = unflat(normOf(flat(matrix), order), batch);
  return narrowed(keepDims ? ops.reshape(found, [...batch, 1, 1]) : found, a);
}

/** The norms [B] of a stack. */
function normOf(a: Tensor, order: MatrixNormOrder): Tensor {
  if (order === "fro") return frobenius(a);
  if (order === "nuc") return ops.sum(singular(a)[1], 1);
  const pick = order > 0 ? ops.max : ops.min;
  if (Math.abs(order) === 2) return pick(singular(a)[1], 1);
  return pick(ops.sum(ops.abs(a), Math.abs(order) === 1 ? 1 : 2), 1);
}

function frobenius(a: Tensor): Tensor {
  if (Math.min(...extentsOf(a)) === 0) return ops.zeros(a.shape.slice(0, 1), { dtype: a.dtype });
  const [scaled, scale] = normalized(a);
  const size = ops.reshape(scale, [-1]);
  const squares = ops.sum(ops.mul(scaled, scaled), [1, 2]);
  const none = ops.equal(squares, 0);
  const norm = ops.where(none, 0, ops.mul(size, ops.sqrt(ops.where(none, 1, squares))));
  return ops.where(ops.less(size, Number.POSITIVE_INFINITY), norm, size);
}

/**
 * aⁿ of a [..., m, m] for an integer n, by squaring; the identity for n = 0, and powers of the inverse for n < 0.
 *
 * @throws ShapeError for matrices that are not square, OptionError for an n that is no integer
 */
export function matrixPower(a: Tensor, n: number): Tensor {
  const matrix = squareMatrices("linalg.matrixPower", "a", a);
  checkArgument("linalg.matrixPower", "n", n, integer());
  let square = n < 0 ? inverse(matrix) : matrix;
  let power: Tensor | undefined;
  for (let left = Math.abs(n); left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = power === undefined ? square : ops.matmul(power, square);
    if (left > 1) square = ops.matmul(square, square);
  }
  const identity = (): Tensor => ops.broadcastTo(ops.eye(extentsOf(matrix)[0], { dtype: matrix.dtype }), matrix.shape);
  return narrowed(power ?? identity(), a);
}

/** The Padé approximant of eˣ of each width: its coefficients, and the norm up to which it is exact to rounding (Higham 2005, tables 2.2 and 2.3). */
const pade = {
  f32: { bound: 3.925724783138660, coefficients: [17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1] },
  f64: {
    bound: 5.371920351148152,
    coefficients: [
      64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600, 670442572800,
      33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
    ],
  },
} as const; // biome-ignore format: one table
/** How often matrices are halved, and the result squared, at most. */
const mostSquarings = 16;

/**
 * The exponential 1 + a + a²/2! + a³/3! + … of a [..., n, n], by scaling and squaring (Higham 2005). It takes the time of 16 products and a solution
 * at least. NaN where the largest column sum of sizes is above 2.5·10⁵. Differentiable to any order.
 *
 * @throws ShapeError for matrices that are not square
 */
export function expm(a: Tensor): Tensor {
  const matrix = squareMatrices("linalg.expm", "a", a);
  const [n] = extentsOf(matrix);
  if (n === 0) return narrowed(matrix, a);
  const stack = flat(matrix);
  const { bound, coefficients } = pade[stack.dtype === "f64" ? "f64" : "f32"];
  const norm = ops.reshape(ops.stopGradient(normOf(stack, 1)), [-1, 1, 1]);
  let factor: Tensor = ops.onesLike(norm);
  for (let i = 0; i < mostSquarings; i++) factor = ops.where(ops.less(bound * 2 ** i, norm), ops.mul(factor, 0.5), factor);
  const start = approximant(ops.mul(stack, factor), coefficients);
  const least = ops.full([], bound, { dtype: stack.dtype });
  const step = ({ x, at }: { x: Tensor; at: Tensor }): [{ x: Tensor; at: Tensor }, null] => [
    { x: ops.where(ops.less(at, norm), ops.matmul(x, x), x), at: ops.mul(at, 2) },
    null,
  ];
  const [{ x }] = scan(step, { x: start, at: least }, null, { length: mostSquarings });
  const fits = ops.lessEqual(norm, bound * 2 ** mostSquarings);
  return narrowed(unflat(ops.where(fits, x, Number.NaN), batchOf(matrix)), a);
}

/** (V − U)⁻¹·(V + U) with U the odd and V the even terms Σ cᵢ·aⁱ. */
function approximant(a: Tensor, coefficients: readonly number[]): Tensor {
  const identity = ops.broadcastTo(ops.eye(extentsOf(a)[0], { dtype: a.dtype }), a.shape);
  const square = ops.matmul(a, a);
  // Horner's rule in a².
  const terms = (parity: 0 | 1): Tensor =>
    coefficients
      .filter((_, i) => i % 2 === parity)
      .reduceRight<Tensor | undefined>((sum, c) => {
        const term = ops.mul(identity, c);
        return sum === undefined ? term : ops.add(ops.matmul(sum, square), term);
      }, undefined) as Tensor;
  const [even, odd] = [terms(0), ops.matmul(a, terms(1))];
  const below = ops.sub(even, odd);
  return solveBy(below, luFactors(below), ops.add(even, odd), false);
}
