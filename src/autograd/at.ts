import { checkArgument, type Kind, listOf } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { isInteger } from "../ir/dtype.js";
import { broadcastShapes, type Shape, show, sizeOf, stridesOf } from "../ir/shape.js";
import { scatter } from "./indexing.js";
import { tensorKind } from "./kinds.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { broadcastArrays, moveaxis, ravel } from "./rearranging.js";
import { Tensor } from "./tensor.js";
import { ask, WeakScalar } from "./weak-scalar.js";

/** Indexing with one entry per axis, as NumPy's brackets. */

/**
 * What stands for one axis: an integer, which takes the axis away; a [start, stop, step] range, all of it where that is []; a tensor of integers. null
 * is a new axis of extent 1, "..." all axes that nothing else names.
 */
export type Index = number | readonly [start?: number | null, stop?: number | null, step?: number | null] | null | "..." | Tensor;

const indexKind: Kind = {
  wanted: 'an integer, a [start, stop, step] range, null, "..." or a tensor of integers',
  fits: (value) =>
    Number.isInteger(value) ||
    value === null ||
    value === "..." ||
    value instanceof Tensor ||
    (Array.isArray(value) && value.length <= 3 && value.every((at) => at == null || Number.isInteger(at))),
};

/** The entries with one for every axis: "..." is written out, and axes that are left over at the end are taken whole. */
function written(where: string, x: Tensor, indices: readonly Index[]): Exclude<Index, "...">[] {
  indices.forEach((index, i) => checkArgument(where, `index ${i + 1}`, index, indexKind));
  const named = indices.filter((index) => index !== null && index !== "...").length;
  if (named > x.rank) throw new ShapeError(`${where}: ${named} indices for ${show(x.shape)}`, { hint: "one index for each axis at most" });
  const dots = indices.filter((index) => index === "...").length;
  if (dots > 1)
    throw new ShapeError(`${where}: "..." stands twice, so that neither says how many axes it is`, {
      hint: "write null for an axis that stays whole",
    });
  const rest = new Array<readonly []>(x.rank - named).fill([]);
  const place = dots === 0 ? indices.length : indices.indexOf("...");
  const others = (list: readonly Index[]): Exclude<Index, "...">[] => list.filter((index) => index !== "...");
  return [...others(indices.slice(0, place)), ...rest, ...others(indices.slice(place))];
}

/**
 * Part of a tensor, with one index for each axis from the first on, as NumPy's x[…]:
 *
 *   x.at(0)                     the first row                        x[0]
 *   x.at(-1, [1, null])         of the last row all but the first    x[-1, 1:]
 *   x.at([null, null, -1])      the rows in reverse                  x[::-1]
 *   x.at("...", 0, null)        of the last axis the first, kept     x[..., 0, None]
 *   x.at(i, j)                  the elements x[iₙ, jₙ]               x[i, j]
 *
 * Tensors of integers broadcast together, and integers beside them as well; their shape takes the place of their axes, or comes first where
 * something else stands between them. Integers and ranges must lie within the axis, or it throws ShapeError; what a tensor names outside of
 * 0…n − 1, negative numbers included, is NaN (0 of integers and bool), as with `gather`. Throws DtypeError for tensors of other than integers.
 */
export function at(x: Tensor, ...indices: readonly Index[]): Tensor {
  return found("at", x, indices);
}

function found(where: string, x: Tensor, indices: readonly Index[]): Tensor {
  checkArgument(where, "x", x, tensorKind);
  const entries = written(where, x, indices);
  let axis = 0;
  entries.forEach((entry, i) => {
    if (entry instanceof Tensor) entries[i] = integers(where, entry, x.shape[axis] as number);
    if (entry !== null) axis++;
  });
  const sliced = ops.slice(
    x,
    entries.filter((entry) => entry !== null).map((entry, axis) => rangeOf(where, entry, axis, x.shape)),
  );
  // Integers took one element each: their axes vanish, and new ones appear.
  const extents = [...sliced.shape];
  const axes = entries.map((entry) => (entry === null ? 1 : (extents.shift() as number)));
  const kept = entries.flatMap((entry, i) => (typeof entry === "number" ? [] : [i]));
  const basic = ops.reshape(
    sliced,
    kept.map((i) => axes[i] as number),
  );
  const picks = kept.flatMap((i, axis) => (entries[i] instanceof Tensor ? [{ axis, index: entries[i] }] : []));
  if (picks.length === 0) return basic;
  const advanced = entries.flatMap((entry, i) => (typeof entry === "number" || entry instanceof Tensor ? [i] : []));
  const [first, last] = [advanced[0] as number, advanced.at(-1) as number];
  const together = last - first === advanced.length - 1;
  return picked(where, basic, picks, together ? kept.filter((i) => i < first).length : 0);
}

/** A tensor of indices; a number of a traced function counts from the end where it is negative, as numbers do. */
function integers(where: string, index: Tensor, extent: number): Tensor {
  if (index instanceof WeakScalar && ask(index, Number.isInteger)) {
    const place = ops.cast(index, "i32");
    return ops.where(ops.less(place, 0), ops.add(place, extent), place);
  }
  if (isInteger(index.dtype)) return index;
  throw new DtypeError(`${where}: an index of ${index.dtype}`, {
    hint:
      index.dtype === "bool" ? "how many elements a mask takes is not known here: use where or maskedFill" : 'cast it: index.cast("i32")',
  });
}

/** The range that an entry takes of its axis: one element of it, some, or all. */
function rangeOf(where: string, entry: Exclude<Index, "..." | null>, axis: number, shape: Shape): ops.Range {
  if (entry instanceof Tensor) return null;
  if (typeof entry !== "number") return entry;
  const extent = shape[axis] as number;
  const place = entry < 0 ? entry + extent : entry;
  if (place < 0 || place >= extent) {
    throw new ShapeError(`${where}: index ${entry} lies outside of axis ${axis} of ${show(shape)}`, {
      hint: extent === 0 ? "the axis is empty" : `indices run from ${-extent} to ${extent - 1}`,
    });
  }
  return [place, place + 1];
}

interface Pick {
  readonly axis: number;
  readonly index: Tensor;
}

/** The elements that tensors of indices name in their axes; the axes of the indices come to stand at `place` of the result. */
function picked(where: string, x: Tensor, picks: readonly Pick[], place: number): Tensor {
  picks.reduce<Shape>((shape, { index }) => broadcastShapes(shape, index.shape, where), []);
  const indices = broadcastArrays(picks.map(({ index }) => index));
  const front = moveaxis(
    x,
    picks.map(({ axis }) => axis),
    picks.map((_, i) => i),
  );
  const extents = front.shape.slice(0, picks.length);
  const rows = ops.reshape(front, [sizeOf(extents), ...front.shape.slice(picks.length)]);
  const strides = stridesOf(extents);
  const index = picks.length === 1 ? (indices[0] as Tensor) : joined(indices, extents, strides, sizeOf(extents));
  const axes = index.shape.map((_, i) => i);
  return moveaxis(
    ops.gather(rows, index),
    axes,
    axes.map((i) => place + i),
  );
}

/** Row-major places in several axes; outside of them where one of the indices lies outside of its own. */
function joined(indices: readonly Tensor[], extents: Shape, strides: readonly number[], size: number): Tensor {
  const within = indices.map((index, i) => ops.and(ops.greaterEqual(index, 0), ops.less(index, extents[i] as number)));
  const places = indices.map((index, i) => ops.mul(index, strides[i] as number)).reduce((a, b) => ops.add(a, b));
  return ops.where(
    within.reduce((a, b) => ops.and(a, b)),
    places,
    places.dtype === "u32" ? size : -1,
  );
}

/** 1 + the row-major place of each element that indices name, and 0 for what they name outside. */
const numbered = (where: string, x: Tensor, indices: readonly Index[]): Tensor =>
  found(where, ops.reshape(ops.add(ops.arange(x.size), 1), x.shape), indices);

/**
 * x with other values where `x.at(...indices)` takes them from, and to whose shape they broadcast. Of several values for one place the last in
 * row-major order stands. JAX's x.at[…].set(values).
 */
export function setAt(x: Tensor, indices: readonly Index[], values: TensorLike): Tensor {
  checkArgument("setAt", "x", x, tensorKind);
  checkArgument("setAt", "indices", indices, listOf(indexKind));
  return ops.reshape(scatter(ravel(x), ops.sub(numbered("setAt", x, indices), 1), values), x.shape);
}
