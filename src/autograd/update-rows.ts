import { checkArgument } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { updateRowsCall } from "../ir/row-update.js";
import { sameShape, show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { callOf } from "./region.js";
import type { Tensor } from "./tensor.js";

/**
 * x […, S, D] with rows […, T, D] in the places start … start + T − 1 of its second last axis; rows whose place is none are left out.
 *
 *   y[…, s, d] = rows[…, s − start, d]   where 0 ≤ s − start < T, else x[…, s, d]
 *
 * `start` is data, an i32 scalar. Where y takes over the memory of a donated x, T rows are written and nothing else is touched.
 * Throws ShapeError and DtypeError for what does not fit.
 */
export function updateRows(x: Tensor, rows: Tensor, start: Tensor): Tensor {
  for (const [name, value] of Object.entries({ x, rows, start })) checkArgument("updateRows", name, value, tensorKind);
  const rank = x.rank;
  const rest = (shape: readonly number[]): readonly number[] => shape.filter((_, axis) => axis !== shape.length - 2);
  if (rank < 2 || rows.rank !== rank || !sameShape(rest(x.shape), rest(rows.shape))) {
    throw new ShapeError(`updateRows: rows ${show(rows.shape)} for ${show(x.shape)}`, {
      hint: "both are the same but for their second last axis, along which rows are placed",
    });
  }
  if (rows.dtype !== x.dtype) throw new DtypeError(`updateRows: rows of ${rows.dtype} for ${x.dtype}`, { hint: "cast the rows" });
  if (start.dtype !== "i32" || start.rank !== 0) {
    throw new ShapeError(`updateRows: start is an i32 scalar, not ${start.dtype} of ${show(start.shape)}`);
  }
  const T = rows.shape[rank - 2] as number;
  if (T === 0) return x;
  const call = callOf(updateRowsCall, {}, [x, rows, start], ([x, rows, start]) => [
    definition(x as Tensor, rows as Tensor, start as Tensor),
  ]);
  return call.results[0] as Tensor;
}

function definition(x: Tensor, rows: Tensor, start: Tensor): Tensor {
  const [axis, T] = [x.rank - 2, rows.shape.at(-2) as number];
  const nth = ops.sub(ops.iota(x.shape, axis, { dtype: "i32" }), start); // which of the rows belongs at each place
  const taken = ops.and(ops.greaterEqual(nth, 0), ops.less(nth, T));
  const places = ops.sub(ops.arange(x.shape[axis] as number, { dtype: "i32" }), start);
  const moved = T === 1 ? ops.expand(rows, x.shape) : ops.gather(rows, ops.clip(places, 0, T - 1), axis);
  return ops.where(taken, moved, x);
}
