import { checkArgument, didYouMean, either, integer, type Kind, listOf, number, oneOf } from "../../arguments.js";
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
    if (rest === 0 || x.size % rest !== 0)
      throw new ShapeError(`reshape: ${show(x.shape)} does not fill ${show(wanted)}`, {
        hint: `-1 stands for ${x.size} elements by ${rest}`,
      });
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

function expanded(where: string, x: Tensor, shape: Shape): Tensor {
  checkArgument(where, "x", x, tensorKind);
  checkShape(shape, where);
  if (sameShape(x.shape, shape)) return x;
  const added = shape.length - x.rank;
  if (added < 0 || x.shape.some((extent, i) => extent !== 1 && extent !== shape[added + i])) {
    throw new ShapeError(`${where}: ${show(x.shape)} does not expand to ${show(shape)}`, {
      hint: added < 0 ? "axes are added, never removed: reshape or sum first" : "only axes of extent 1 can be repeated",
    });
  }
  const padded = reshape(x, [...new Array<number>(added).fill(1), ...x.shape]);
  return sameShape(padded.shape, shape) ? padded : apply("expand", [padded], { shape: [...shape] });
}

/** Repeats axes of extent 1 (and adds leading ones) until the shape is reached. */
export const broadcastTo = (x: Tensor, shape: Shape): Tensor => expanded("broadcastTo", x, shape);
/** The same as {@link broadcastTo}. */
export const expand = (x: Tensor, shape: Shape): Tensor => expanded("expand", x, shape);

/**
 * One entry per axis: a [start, stop, step] range, or null for the whole axis. Each of its parts may be left out or null. Negative positions
 * count from the end; a negative step counts backwards, from the last element to the first unless start and stop say otherwise.
 */
export type Range = readonly [start?: number | null, stop?: number | null, step?: number | null] | null;

const isRange = (range: unknown): boolean =>
  range === null || (Array.isArray(range) && range.length <= 3 && range.every((at) => at == null || Number.isInteger(at)));
const rangesKind = listOf({ wanted: "[start, stop, step] in integers or null", fits: isRange });
const widthsKind = listOf({
  wanted: "[before, after] in integers",
  fits: (width) => Array.isArray(width) && width.length === 2 && width.every(Number.isInteger),
});

/** A range as the elements start, start + step, … < stop that it has, and whether they come in reverse. */
function forwards(range: Range, extent: number): { start: number; stop: number; step: number; reversed: boolean } {
  const step = range?.[2] ?? 1;
  const at = (position: number): number => (position < 0 ? position + extent : position);
  const [first, end] = [range?.[0], range?.[1]].map((position) => (position == null ? undefined : at(position)));
  if (step >= 0) return { start: first ?? 0, stop: end ?? extent, step, reversed: false };
  // From start down to what lies above stop: the last of them comes first.
  const [from, above] = [first ?? extent - 1, end ?? -1];
  const count = Math.ceil((above - from) / step);
  if (count <= 0) return { start: above + 1, stop: from + 1, step: -step, reversed: false };
  return { start: from + (count - 1) * step, stop: from + 1, step: -step, reversed: true };
}

/**
 * The elements start, start + step, … of each axis, up to stop and without it. Throws ShapeError for a range that reaches outside of its
 * axis, and for one whose stop lies before its start: nothing is cut short.
 */
export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  checkArgument("slice", "x", x, tensorKind);
  checkArgument("slice", "ranges", ranges, rangesKind);
  if (ranges.length > x.rank)
    throw new ShapeError(`slice: ${ranges.length} ranges for ${show(x.shape)}`, {
      hint: "one range for each axis; those at the end may be left out",
    });
  const found = x.shape.map((extent, i) => forwards(ranges[i] ?? null, extent));
  const [starts, stops, steps] = [found.map(({ start }) => start), found.map(({ stop }) => stop), found.map(({ step }) => step)];
  const isWhole = found.every(({ start, stop, step, reversed }, i) => start === 0 && stop === x.shape[i] && step === 1 && !reversed);
  const taken = isWhole ? x : apply("slice", [x], { starts, stops, steps });
  const reversed = found.flatMap(({ reversed }, i) => (reversed ? [i] : []));
  return reversed.length === 0 ? taken : flip(taken, reversed);
}

/** How `pad` goes on beyond the ends of an axis. */
export type PadMode = "edge" | "reflect" | "symmetric" | "wrap";

/** The element of an axis of n that stands at a place beyond it. */
const beyond: { readonly [M in PadMode]: (place: number, n: number) => number } = {
  edge: (place, n) => Math.min(Math.max(place, 0), n - 1),
  reflect: (place, n) => (n === 1 ? 0 : n - 1 - Math.abs(n - 1 - modulo(place, 2 * n - 2))),
  symmetric: (place, n) => Math.min(modulo(place, 2 * n), modulo(-1 - place, 2 * n)),
  wrap: (place, n) => modulo(place, n),
};
const modulo = (a: number, n: number): number => ((a % n) + n) % n;

const otherNames: Readonly<Record<string, PadMode>> = { replicate: "edge", circular: "wrap" };
const paddingKind: Kind = {
  wanted: `a number, ${oneOf(...Object.keys(beyond)).wanted}`,
  fits: (value) => number.fits(value) || (typeof value === "string" && Object.hasOwn(beyond, value)),
  hint: (value) => {
    if (typeof value !== "string") return undefined;
    return otherNames[value] ? `write "${otherNames[value]}"` : didYouMean(value, Object.keys(beyond));
  },
};

/**
 * `widths[i]` = [before, after] for each axis, of a value (0 unless said otherwise) or of what the tensor has: for 1 2 3
 * "edge" repeats the outermost elements (1 1 | 1 2 3 | 3 3; PyTorch's replicate), "reflect" mirrors without them (3 2 | 1 2 3 | 2 1),
 * "symmetric" mirrors with them (2 1 | 1 2 3 | 3 2), "wrap" begins again at the other end (2 3 | 1 2 3 | 1 2; PyTorch's circular). Widths may pass
 * the extent, as in NumPy. Throws ShapeError for negative widths, and where an axis has nothing to go on from.
 */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value: number | PadMode = 0): Tensor {
  checkArgument("pad", "x", x, tensorKind);
  checkArgument("pad", "widths", widths, widthsKind);
  checkArgument("pad", "value", value, paddingKind);
  const [low, high] = [widths.map(([before]) => before), widths.map(([, after]) => after)];
  const padded = apply("pad", [x], { low, high, value: typeof value === "number" ? value : 0 });
  if (typeof value === "number") return padded;
  return widths.reduce((t, [before, after], axis) => continued(t, axis, before, after, value), x);
}

/** An axis that goes on beyond its ends, as runs of neighbours. */
function continued(x: Tensor, axis: number, before: number, after: number, mode: PadMode): Tensor {
  const n = x.shape[axis] as number;
  if (before === 0 && after === 0) return x;
  if (n === 0) throw new ShapeError(`pad: axis ${axis} of ${show(x.shape)} has nothing to go on from`, { hint: "pad it with a number" });
  const places = Array.from({ length: before + n + after }, (_, i) => beyond[mode](i - before, n));
  const along = (range: Range): Range[] => x.shape.map((_, i) => (i === axis ? range : null));
  const runs: Tensor[] = [];
  for (let i = 0; i < places.length; ) {
    const first = places[i] as number;
    const step = (places[i + 1] ?? first + 1) - first;
    let length = 1;
    while (Math.abs(step) <= 1 && i + length < places.length && places[i + length] === first + length * step) length++;
    const last = first + (length - 1) * step;
    if (step === 0 && length > 1) {
      const shape = x.shape.map((extent, k) => (k === axis ? length : extent));
      runs.push(broadcastTo(slice(x, along([first, first + 1])), shape));
    } else runs.push(last < first ? flip(slice(x, along([last, first + 1])), axis) : slice(x, along([first, last + 1])));
    i += length;
  }
  return concat(runs, axis);
}

/** Tensors one after another along an axis; their other extents and dtypes are equal, or it throws ShapeError or DtypeError. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkArgument("concat", "tensors", tensors, listOf(tensorKind));
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("concat: no tensors", { hint: "give one at least" });
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

/**
 * Consecutive parts along an axis: of the given extents, or so many of equal extent (as NumPy counts; `chunk` gives what PyTorch does where
 * they are not equal). Throws ShapeError unless they add up to the axis.
 */
export function split(x: Tensor, extents: readonly number[] | number, axis = 0): Tensor[] {
  checkArgument("split", "x", x, tensorKind);
  checkArgument("split", "extents", extents, either(listOf(integer(0)), integer(1)));
  const along = normalizeAxis(axis, x.rank, "split");
  const extent = x.shape[along] as number;
  if (typeof extents === "number" && extent % extents !== 0) {
    throw new ShapeError(`split: axis ${along} of ${show(x.shape)} has no ${extents} equal parts`, {
      hint: "chunk makes the last one shorter",
    });
  }
  const parts = typeof extents === "number" ? new Array<number>(extents).fill(extent / extents) : extents;
  if (parts.reduce((a, b) => a + b, 0) !== extent)
    throw new ShapeError(`split: ${show(parts)} do not add up to axis ${along} of ${show(x.shape)}`, {
      hint: `the extents of the parts make ${x.shape[along]} together`,
    });
  let start = 0;
  return parts.map((length) => {
    const part = slice(
      x,
      x.shape.map((_, i) => (i === along ? [start, start + length] : null)),
    );
    start += length;
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
  for (const axis of list)
    if (x.shape[axis] !== 1)
      throw new ShapeError(`squeeze: axis ${axis} of ${show(x.shape)} is not 1`, { hint: "only axes of extent 1 are removed" });
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
