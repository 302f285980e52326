import * as ops from "../operations.js";
import { callOf } from "../region.js";
import { scan } from "../scan.js";
import type { CallPullback, Tensor } from "../tensor.js";
import { batchOf, diagonalOf, extentsOf, flat, matrices, narrowed, normalized, onDiagonal, outer, transposed, unflat } from "./matrices.js";
import { triangular } from "./triangular.js";

/** Orthonormal columns and what is above the diagonal. */

/**
 * [q, r] with a = q·r for a [..., m, n]: q [..., m, k] has orthonormal columns, r [..., k, n] is upper triangular with a diagonal of no negative
 * numbers, which makes both unique where the first k = min(m, n) columns are independent. (LAPACK's signs differ.) By Householder's reflections:
 * ‖qᵀq − 1‖ and ‖q·r − a‖/‖a‖ are some √n·u, with u = 6·10⁻⁸ in f32. Differentiable to any order where those columns are independent, else the
 * derivative is infinite or NaN: ā = (q̄ + q·C)·r⁻ᵀ with C the lower triangle of r·r̄ᵀ − q̄ᵀ·q, mirrored (Seeger et al. 2017).
 *
 * @throws ShapeError for less than two axes
 */
export function qr(a: Tensor): [q: Tensor, r: Tensor] {
  const matrix = matrices("linalg.qr", "a", a);
  const [m, n] = extentsOf(matrix);
  const k = Math.min(m, n);
  const batch = batchOf(matrix);
  const { dtype } = matrix;
  if (k === 0) {
    return [narrowed(ops.zeros([...batch, m, 0], { dtype }), a), narrowed(ops.zeros([...batch, 0, n], { dtype }), a)];
  }
  const stack = flat(matrix);
  const [q, r] = tall(ops.slice(stack, [null, null, [0, k]]));
  const rest = n > k ? [ops.matmul(transposed(q), ops.slice(stack, [null, null, [k, n]]))] : [];
  return [narrowed(unflat(q, batch), a), narrowed(unflat(ops.concat([r, ...rest], 2), batch), a)];
}

/** The same of stacks [B, m, k] with m ≥ k. */
export function tall(a: Tensor): [q: Tensor, r: Tensor] {
  const pullback: CallPullback = ({ results }, [ctQ, ctR]) => {
    const [q, r] = results as [Tensor, Tensor];
    const [byQ, byR] = [ctQ ?? ops.zerosLike(q), ctR ?? ops.zerosLike(r)];
    const c = ops.sub(ops.matmul(r, transposed(byR)), ops.matmul(transposed(byQ), q));
    const mirrored = ops.add(ops.tril(c), transposed(ops.tril(c, -1)));
    const right = transposed(ops.add(byQ, ops.matmul(q, mirrored)));
    return [transposed(triangular(r, right, { lower: false, transpose: false, unitDiagonal: false }))];
  };
  return callOf("qr", {}, [a], ([m]) => householder(m as Tensor), pullback).results as [Tensor, Tensor];
}

/**
 * Reflections 1 − β·v·vᵀ that turn one column after another into multiples of unit vectors, applied to a from the first to the last, and to the
 * identity from the last to the first.
 */
function householder(a: Tensor): [q: Tensor, r: Tensor] {
  const [m, n] = extentsOf(a);
  const [scaled, scale] = normalized(a);
  const reflected = (x: Tensor, v: Tensor, beta: Tensor): Tensor => {
    const along = ops.squeeze(ops.matmul(ops.unsqueeze(v, 1), x), 1);
    return ops.sub(x, outer(ops.mul(v, ops.unsqueeze(beta, 1)), along));
  };
  const step = (rest: Tensor, k: Tensor): [Tensor, { v: Tensor; beta: Tensor }] => {
    const whole = ops.gather(rest, k, 2);
    const column = ops.where(ops.greaterEqual(ops.iota([m], 0), k), whole, 0);
    const first = ops.gather(whole, k, 1);
    const norm = ops.sqrt(ops.sum(ops.mul(column, column), 1));
    // Of what is so small beside the largest element, 1, squares have no digits.
    const none = ops.less(norm, a.dtype === "f64" ? 2 ** -480 : 2 ** -56);
    const length = ops.where(none, 1, norm);
    const sign = ops.where(ops.less(first, 0), ops.full([], -1, { dtype: a.dtype }), 1);
    const unit = ops.where(ops.equal(ops.iota([m], 0), k), ops.unsqueeze(sign, 1), 0);
    const v = ops.add(ops.div(column, ops.unsqueeze(length, 1)), unit);
    const beta = ops.where(none, 0, ops.recip(ops.add(1, ops.div(ops.abs(first), length))));
    return [reflected(rest, v, beta), { v, beta }];
  };
  const [triangle, reflections] = scan(step, scaled, ops.arange(n));
  const identity = ops.broadcastTo(ops.cast(onDiagonal(a), a.dtype), a.shape);
  const [q] = scan((x: Tensor, { v, beta }: typeof reflections) => [reflected(x, v, beta), null], identity, reflections, { reverse: true });
  const r = ops.triu(ops.slice(triangle, [null, [0, n]]));
  const signs = ops.unsqueeze(ops.where(ops.less(diagonalOf(r), 0), ops.full([], -1, { dtype: a.dtype }), 1), 1);
  return [ops.mul(q, signs), ops.mul(ops.mul(r, transposed(signs)), scale)];
}
