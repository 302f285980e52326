import { checkArgument, integer } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { isInteger } from "../ir/dtype.js";
import { broadcastShapes, normalizeAxis, type Shape, sameShape, show, stridesOf } from "../ir/shape.js";
import { tensorKind, tensorLikeKind } from "./kinds.js";
import { operands } from "./operations/operands.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { moveaxis } from "./rearranging.js";
import type { Tensor } from "./tensor.js";

/**
 * Elements picked and placed by tensors of indices. As with `gather`, an index outside of 0…n − 1, negative ones included, picks NaN
 * (0 of integers and bool) and places nothing.
 */

function requireIntegers(where: string, index: Tensor): void {
  checkArgument(where, "index", index, tensorKind);
  if (!isInteger(index.dtype)) {
    throw new DtypeError(`${where}: index must hold integers, found ${index.dtype}`, { hint: 'cast it: index.cast("i32")' });
  }
}

/**
 * The class of each integer as a row of zeros with a one, f32: […] → […, classes]. An integer outside of 0…classes − 1 gives a row
 * of zeros.
 */
export function oneHot(index: Tensor, classes: number): Tensor {
  requireIntegers("oneHot", index);
  checkArgument("oneHot", "classes", classes, integer(0));
  return ops.cast(ops.equal(ops.iota([...index.shape, classes], -1, { dtype: index.dtype }), ops.unsqueeze(index, index.rank)), "f32");
}

/** An index that is repeated to meet x outside of an axis, and the row-major places in x that it names. */
interface Along {
  readonly index: Tensor;
  readonly places: Tensor;
}

function along(where: string, x: Tensor, index: Tensor, axis: number): Along {
  checkArgument(where, "x", x, tensorKind);
  requireIntegers(where, index);
  const at = normalizeAxis(axis, x.rank, where);
  const problem = `${where}: index ${show(index.shape)} for ${show(x.shape)} along axis ${at}`;
  const hint = "index has as many axes as x and, on every other axis than that one, the extent of x or 1";
  if (index.rank !== x.rank) throw new ShapeError(problem, { hint });
  const shape = x.shape.map((extent, i) => {
    const found = index.shape[i] as number;
    if (i !== at && found !== extent && found !== 1 && extent !== 1) throw new ShapeError(problem, { hint });
    return i === at || extent === 1 ? found : extent;
  });
  const whole = ops.broadcastTo(index, shape);
  const strides = stridesOf(x.shape);
  let places = ops.mul(whole, strides[at] as number);
  shape.forEach((extent, i) => {
    if (i === at || extent === 1 || x.shape[i] === 1) return;
    places = ops.add(places, ops.mul(ops.iota(shape, i, { dtype: index.dtype }), strides[i] as number));
  });
  const exists = ops.and(ops.greaterEqual(whole, 0), ops.less(whole, x.shape[at] as number));
  // u32 has no number below 0, and the size is beyond every place.
  return { index: whole, places: ops.where(exists, places, index.dtype === "u32" ? x.size : -1) };
}

/**
 * Values at positions along an axis (the last by default): y[…, i, …] = x[…, index[…, i, …], …]. The index has the rank of x; outside of
 * the axis both broadcast, as in NumPy. With `argsort` and `argmax(…, true)` it gives what they found. An index outside of the axis
 * gives NaN (0 for integers and bool), and no derivative. Throws ShapeError, DtypeError.
 */
export function takeAlongAxis(x: Tensor, index: Tensor, axis = -1): Tensor {
  const { places } = along("takeAlongAxis", x, index, axis);
  return ops.gather(ops.reshape(x, [x.size]), places);
}

/** Values that are to stand in x, in its dtype and repeated to a shape. */
function valuesFor(where: string, x: Tensor, values: TensorLike, shape: Shape): Tensor {
  checkArgument(where, "values", values, tensorLikeKind);
  const [, common] = operands(where, ops.zeros([], { dtype: x.dtype }), values);
  if (common.dtype !== x.dtype) {
    throw new DtypeError(`${where}: values of ${typeof values === "number" ? String(values) : values.dtype} have no place in ${x.dtype}`, {
      hint: "cast x, or cast the values",
    });
  }
  const fits = common.rank <= shape.length && sameShape(broadcastShapes(common.shape, shape, where), shape);
  if (!fits) throw new ShapeError(`${where}: values of ${show(common.shape)} for places of ${show(shape)}`);
  return ops.broadcastTo(common, shape);
}

/**
 * For each of `size` bins 1 + the number of the last entry that names it, or 0 where none does, found from its highest bit down: whether among
 * the entries that could still be the last one there is one with that bit.
 */
function lastOf(index: Tensor, size: number): Tensor {
  const numbers = ops.add(ops.arange(index.size), 1);
  let last = ops.zeros([size], { dtype: "i32" });
  let could: Tensor | undefined;
  for (let bit = 2 ** Math.floor(Math.log2(index.size)); bit >= 1; bit /= 2) {
    const withBit = ops.notEqual(ops.and(numbers, bit), 0);
    const counted = could === undefined ? withBit : ops.and(could, withBit);
    const has = ops.greater(ops.scatterAdd(ops.cast(counted, "i32"), index, size), 0);
    last = ops.add(last, ops.mul(ops.cast(has, "i32"), bit));
    const agrees = ops.equal(withBit, ops.gather(has, index));
    could = could === undefined ? agrees : ops.and(could, agrees);
  }
  return last;
}

/** x [n, …] with row i of values [m, …] in the place index[i]; of rows for one place the last. */
function placed(x: Tensor, index: Tensor, values: Tensor): Tensor {
  if (index.size === 0) return x;
  const last = lastOf(index, x.shape[0] as number);
  const rows = ops.gather(values, ops.sub(last, 1));
  const taken = ops.reshape(ops.greater(last, 0), [x.shape[0] as number, ...x.shape.slice(1).map(() => 1)]);
  return ops.where(taken, rows, x);
}

/**
 * x with values at positions along an axis (the last by default): y[…, index[…, i, …], …] = values[…, i, …], the rest as in x. The index is
 * that of {@link takeAlongAxis}, and the values broadcast to its shape. Of several values for one place the last in row-major order stands,
 * and it alone has a derivative; an index outside of the axis places nothing. Throws ShapeError, and DtypeError for values that the dtype of x
 * does not have.
 */
export function putAlongAxis(x: Tensor, index: Tensor, values: TensorLike, axis = -1): Tensor {
  const { index: whole, places } = along("putAlongAxis", x, index, axis);
  const at = normalizeAxis(axis, x.rank, "putAlongAxis");
  if (whole.shape.some((extent, i) => i !== at && extent !== x.shape[i])) {
    throw new ShapeError(`putAlongAxis: index ${show(index.shape)} for ${show(x.shape)} along axis ${at}`, {
      hint: "repeat x first, with broadcastTo",
    });
  }
  const given = valuesFor("putAlongAxis", x, values, whole.shape);
  const result = placed(ops.reshape(x, [x.size]), ops.reshape(places, [places.size]), ops.reshape(given, [given.size]));
  return ops.reshape(result, x.shape);
}

/**
 * x with rows along an axis (default 0) replaced: the row index[i…] by values[i…], whose shape is that of `gather(x, index, axis)` or broadcasts
 * to it. Of several rows for one place the last stands, and it alone has a derivative; an index outside of 0…n − 1 places nothing.
 * Throws ShapeError, and DtypeError for values that the dtype of x does not have.
 */
export function scatter(x: Tensor, index: Tensor, values: TensorLike, axis = 0): Tensor {
  checkArgument("scatter", "x", x, tensorKind);
  requireIntegers("scatter", index);
  const at = normalizeAxis(axis, x.rank, "scatter");
  const given = valuesFor("scatter", x, values, [...x.shape.slice(0, at), ...index.shape, ...x.shape.slice(at + 1)]);
  const axes = index.shape.map((_, i) => i);
  const rows = moveaxis(
    given,
    axes.map((i) => at + i),
    axes,
  );
  const result = placed(
    moveaxis(x, at, 0),
    ops.reshape(index, [index.size]),
    ops.reshape(rows, [index.size, ...rows.shape.slice(index.rank)]),
  );
  return moveaxis(result, 0, at);
}

/** x with a value wherever the mask holds; mask and value broadcast to the shape of x, which keeps its dtype. Throws ShapeError, DtypeError. */
export function maskedFill(x: Tensor, mask: Tensor, value: TensorLike): Tensor {
  checkArgument("maskedFill", "x", x, tensorKind);
  checkArgument("maskedFill", "mask", mask, tensorKind);
  if (mask.dtype !== "bool")
    throw new DtypeError(`maskedFill: mask must hold bools, found ${mask.dtype}`, { hint: "compare: mask.notEqual(0)" });
  if (mask.rank > x.rank || !sameShape(broadcastShapes(mask.shape, x.shape, "maskedFill"), x.shape)) {
    throw new ShapeError(`maskedFill: mask ${show(mask.shape)} for ${show(x.shape)}`, { hint: "the mask broadcasts to x" });
  }
  checkArgument("maskedFill", "value", value, tensorLikeKind);
  return ops.where(mask, valuesFor("maskedFill", x, value, x.shape), x);
}
