import { checkArgument, integer } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { isInteger } from "../ir/dtype.js";
import { normalizeAxis, show, stridesOf } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
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
