import { checkArgument, integer, listOf, number } from "../../arguments.js";
import { ShapeError } from "../../errors.js";
import { type Axes, checkShape, normalizeAxes, normalizeAxis, type Shape, sameShape, show, sizeOf } from "../../ir/shape.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";

/** The same elements at other places: shapes, orders, ranges, and tensors put together or taken apart. */

/** The same elements under another shape; one extent may be −1. */
export function reshape(x: Tensor, shape: Shape | number): Tensor {
  checkArgument("reshape", "x", x, tensorKind);
  const wanted = typeof shape === "number" ? [shape] : shape;
  const open = Array.isArray(wanted) ? wanted.indexOf(-1) : -1;
  if (open < 0) checkShape(wanted, "reshape");
  else
    checkShape(
      wanted.filter((_, i) => i !== open),
      "reshape",
    );
  let target = wanted;
  if (open >= 0) {
    const rest = sizeOf(wanted.filter((_, i) => i !== open));
    if (rest === 0 || x.size % rest !== 0) throw new ShapeError(`reshape: ${show(x.shape)} does not fill ${show(wanted)}`);
    target = wanted.map((extent, i) => (i === open ? x.size / rest : extent));
  }
  return sameShape(target, x.shape) ? x : apply("reshape", [x], { shape: [...target] });
}

/** The axes in another order: axis i of the result is axis order[i] of x. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  checkArgument("permute", "x", x, tensorKind);
  checkArgument("permute", "order", order, listOf(integer()));
  const axes = order.map((axis) => normalizeAxis(axis, x.rank, "permute"));
  return axes.every((axis, i) => axis === i) && axes.length === x.rank ? x : apply("permute", [x], { order: axes });
}

/** Swaps two axes, the last two unless said otherwise. */
export function transpose(x: Tensor, axis1 = -2, axis2 = -1): Tensor {
  checkArgument("transpose", "x", x, tensorKind);
  const a = normalizeAxis(axis1, x.rank, "transpose");
  const b = normalizeAxis(axis2, x.rank, "transpose");
  return permute(
    x,
    x.shape.map((_, i) => (i === a ? b : i === b ? a : i)),
  );
}

/** Repeats axes of extent 1 (and adds leading ones) until the shape is reached. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkArgument("expand", "x", x, tensorKind);
  checkShape(shape, "expand");
  if (sameShape(x.shape, shape)) return x;
  if (shape.length < x.rank) throw new ShapeError(`expand: ${show(x.shape)} does not expand to ${show(shape)}`);
  const padded = reshape(x, [...new Array<number>(shape.length - x.rank).fill(1), ...x.shape]);
  return sameShape(padded.shape, shape) ? padded : apply("expand", [padded], { shape: [...shape] });
}
/** The same as {@link broadcastTo}. */
export const expand = broadcastTo;

/** One entry per axis: a [start, stop, step?] range, or null for the whole axis. Negative positions count from the end. */
export type Range = readonly [start: number, stop?: number | null, step?: number] | null;

const isRange = (range: unknown): boolean =>
  range === null ||
  (Array.isArray(range) && range.length >= 1 && range.length <= 3 && range.every((at) => at == null || Number.isInteger(at)));
const rangesKind = listOf({ wanted: "[start, stop?, step?] in integers or null", fits: isRange });
const widthsKind = listOf({
  wanted: "[before, after] in integers",
  fits: (width) => Array.isArray(width) && width.length === 2 && width.every(Number.isInteger),
});

/**
 * The elements start, start + step, … < stop of each axis. Throws ShapeError for a range that reaches outside of its axis: nothing is
 * cut short.
 */
export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  checkArgument("slice", "x", x, tensorKind);
  checkArgument("slice", "ranges", ranges, rangesKind);
  if (ranges.length > x.rank) throw new ShapeError(`slice: ${ranges.length} ranges for ${show(x.shape)}`);
  const at = (position: number, extent: number): number => (position < 0 ? position + extent : position);
  const starts = x.shape.map((extent, i) => at(ranges[i]?.[0] ?? 0, extent));
  const stops = x.shape.map((extent, i) => at(ranges[i]?.[1] ?? extent, extent));
  const steps = x.shape.map((_, i) => ranges[i]?.[2] ?? 1);
  return apply("slice", [x], { starts, stops, steps });
}

/** `widths[i]` = [before, after] for each axis. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  checkArgument("pad", "x", x, tensorKind);
  checkArgument("pad", "widths", widths, widthsKind);
  checkArgument("pad", "value", value, number);
  return apply("pad", [x], { low: widths.map(([low]) => low), high: widths.map(([, high]) => high), value });
}

/** Tensors one after another along an axis; their other extents and dtypes are equal, or it throws ShapeError or DtypeError. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkArgument("concat", "tensors", tensors, listOf(tensorKind));
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("concat: no tensors");
  const along = normalizeAxis(axis, first.rank, "concat");
  return tensors.length === 1 ? first : apply("concat", tensors, { axis: along });
}

/** Tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  checkArgument("stack", "tensors", tensors, listOf(tensorKind));
  checkArgument("stack", "axis", axis, integer());
  return concat(
    tensors.map((t) => unsqueeze(t, axis)),
    axis,
  );
}

/** Consecutive parts of the given extents along an axis. */
export function split(x: Tensor, extents: readonly number[], axis = 0): Tensor[] {
  checkArgument("split", "x", x, tensorKind);
  checkArgument("split", "extents", extents, listOf(integer(0)));
  const along = normalizeAxis(axis, x.rank, "split");
  if (extents.reduce((a, b) => a + b, 0) !== x.shape[along])
    throw new ShapeError(`split: ${show(extents)} do not add up to axis ${along} of ${show(x.shape)}`);
  let start = 0;
  return extents.map((extent) => {
    const part = slice(
      x,
      x.shape.map((_, i) => (i === along ? [start, start + extent] : null)),
    );
    start += extent;
    return part;
  });
}

/** The elements in reverse order along the axes, all when left out. */
export function flip(x: Tensor, axes?: Axes): Tensor {
  checkArgument("flip", "x", x, tensorKind);
  return apply("flip", [x], { axes: normalizeAxes(axes, x.rank, "flip") });
}

/** Removes axes of extent 1: the listed ones, or all. */
export function squeeze(x: Tensor, axes?: Axes): Tensor {
  checkArgument("squeeze", "x", x, tensorKind);
  const list = axes === undefined ? x.shape.flatMap((extent, i) => (extent === 1 ? [i] : [])) : normalizeAxes(axes, x.rank, "squeeze");
  for (const axis of list) if (x.shape[axis] !== 1) throw new ShapeError(`squeeze: axis ${axis} of ${show(x.shape)} is not 1`);
  return reshape(
    x,
    x.shape.filter((_, i) => !list.includes(i)),
  );
}

/** Adds an axis of extent 1 at a position of the result. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  checkArgument("unsqueeze", "x", x, tensorKind);
  const at = normalizeAxis(axis, x.rank + 1, "unsqueeze");
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}
