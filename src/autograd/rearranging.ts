import { checkArgument, checkOptions, either, integer, listOf, type OptionKinds, oneOf, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { broadcastShapes, normalizeAxes, normalizeAxis, type Shape, show, sizeOf } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { type Tensor, tensor } from "./tensor.js";

/** The same elements in other orders, repeated, or as parts: functions of the movements of `operations/movement.ts`. */

const oneOrSeveral = either(integer(), listOf(integer()));
const listOfOne = (given: number | readonly number[]): readonly number[] => (typeof given === "number" ? [given] : given);

/** Ranges that take all of a tensor but for one axis. */
const rangesAlong = (x: Tensor, axis: number, start: number, stop: number): ops.Range[] =>
  x.shape.map((_, i) => (i === axis ? [start, stop] : null));

/** All elements in row-major order: [size]. NumPy's ravel; the same as {@link flatten} without axes. */
export function ravel(x: Tensor): Tensor {
  checkArgument("ravel", "x", x, tensorKind);
  return ops.reshape(x, [x.size]);
}

/** The axes from `startAxis` to `endAxis`, both included, as one; a scalar becomes [1]. As PyTorch's flatten. */
export function flatten(x: Tensor, startAxis = 0, endAxis = -1): Tensor {
  checkArgument("flatten", "x", x, tensorKind);
  checkArgument("flatten", "startAxis", startAxis, integer());
  checkArgument("flatten", "endAxis", endAxis, integer());
  if (x.rank === 0) return ops.reshape(x, [1]);
  const [first, last] = [normalizeAxis(startAxis, x.rank, "flatten"), normalizeAxis(endAxis, x.rank, "flatten")];
  if (first > last) throw new ShapeError(`flatten: axis ${startAxis} of ${show(x.shape)} comes after axis ${endAxis}`);
  return ops.reshape(x, [...x.shape.slice(0, first), sizeOf(x.shape.slice(first, last + 1)), ...x.shape.slice(last + 1)]);
}

/** Axes of extent 1 at positions of the result: one, as {@link ops.unsqueeze} adds it, or several. */
export function expandDims(x: Tensor, axes: number | readonly number[]): Tensor {
  checkArgument("expandDims", "x", x, tensorKind);
  checkArgument("expandDims", "axes", axes, oneOrSeveral);
  const rank = x.rank + listOfOne(axes).length;
  const places = normalizeAxes(axes, rank, "expandDims");
  const rest = [...x.shape];
  return ops.reshape(
    x,
    Array.from({ length: rank }, (_, i) => (places.includes(i) ? 1 : (rest.shift() as number))),
  );
}

/** Moves axes to other positions; the others keep their order. Source and destination are one axis each, or as many as each other. */
export function moveaxis(x: Tensor, source: number | readonly number[], destination: number | readonly number[]): Tensor {
  checkArgument("moveaxis", "x", x, tensorKind);
  checkArgument("moveaxis", "source", source, oneOrSeveral);
  checkArgument("moveaxis", "destination", destination, oneOrSeveral);
  const [from, to] = [source, destination].map((axes) => listOfOne(axes).map((axis) => normalizeAxis(axis, x.rank, "moveaxis"))) as [
    number[],
    number[],
  ];
  if (from.length !== to.length || new Set(from).size !== from.length || new Set(to).size !== to.length) {
    throw new ShapeError(`moveaxis: source ${show(listOfOne(source))} and destination ${show(listOfOne(destination))} do not pair`, {
      hint: "each names as many axes as the other, none of them twice",
    });
  }
  const rest = x.shape.map((_, i) => i).filter((i) => !from.includes(i));
  return ops.permute(
    x,
    x.shape.map((_, i) => (to.includes(i) ? (from[to.indexOf(i)] as number) : (rest.shift() as number))),
  );
}

/** Swaps two axes. */
export function swapaxes(x: Tensor, axis1: number, axis2: number): Tensor {
  checkArgument("swapaxes", "x", x, tensorKind);
  checkArgument("swapaxes", "axis1", axis1, integer());
  checkArgument("swapaxes", "axis2", axis2, integer());
  const [a, b] = [normalizeAxis(axis1, x.rank, "swapaxes"), normalizeAxis(axis2, x.rank, "swapaxes")];
  return ops.transpose(x, a, b);
}

/**
 * Elements moved `shifts` places on along axes; those that leave at one end enter at the other: y[i] = x[(i − shift) mod n]. One shift serves
 * all axes. Without axes the tensor is rolled in row-major order.
 */
export function roll(x: Tensor, shifts: number | readonly number[], axes?: number | readonly number[]): Tensor {
  checkArgument("roll", "x", x, tensorKind);
  checkArgument("roll", "shifts", shifts, oneOrSeveral);
  checkArgument("roll", "axes", axes, optional(oneOrSeveral));
  if (axes === undefined) {
    if (typeof shifts !== "number")
      throw new OptionError("roll: several shifts need as many axes", { hint: "name the axes: roll(x, [1, 2], [0, 1])" });
    return ops.reshape(roll(ravel(x), shifts, 0), x.shape);
  }
  const along = listOfOne(axes).map((axis) => normalizeAxis(axis, x.rank, "roll"));
  if (typeof shifts !== "number" && shifts.length !== along.length)
    throw new ShapeError(`roll: ${shifts.length} shifts for ${along.length} axes`, { hint: "give one shift, or one for each axis" });
  return along.reduce((t, axis, i) => {
    const n = t.shape[axis] as number;
    const shift = typeof shifts === "number" ? shifts : (shifts[i] as number);
    const moved = n === 0 ? 0 : ((shift % n) + n) % n;
    if (moved === 0) return t;
    return ops.concat([ops.slice(t, rangesAlong(t, axis, n - moved, n)), ops.slice(t, rangesAlong(t, axis, 0, n - moved))], axis);
  }, x);
}

/**
 * The tensor laid out `counts` times along each axis; missing leading counts, or axes, are 1 (NumPy's tile, PyTorch's repeat):
 * 1 2 by 2 is 1 2 1 2.
 */
export function tile(x: Tensor, counts: number | readonly number[]): Tensor {
  checkArgument("tile", "x", x, tensorKind);
  checkArgument("tile", "counts", counts, either(integer(0), listOf(integer(0))));
  const given = listOfOne(counts);
  const rank = Math.max(x.rank, given.length);
  const shape = [...new Array<number>(rank - x.rank).fill(1), ...x.shape];
  const repeated = [...new Array<number>(rank - given.length).fill(1), ...given];
  const apart = ops.reshape(
    x,
    shape.flatMap((extent) => [1, extent]),
  );
  const laid = ops.broadcastTo(
    apart,
    shape.flatMap((extent, i) => [repeated[i] as number, extent]),
  );
  return ops.reshape(
    laid,
    shape.map((extent, i) => extent * (repeated[i] as number)),
  );
}

/**
 * Each element `counts` times along an axis: as often as one number says, or by a list of them (NumPy's repeat, PyTorch's
 * repeat_interleave): 1 2 by 2 is 1 1 2 2. Without an axis, of all elements in row-major order.
 */
export function repeat(x: Tensor, counts: number | readonly number[], axis?: number): Tensor {
  checkArgument("repeat", "x", x, tensorKind);
  checkArgument("repeat", "counts", counts, either(integer(0), listOf(integer(0))));
  if (axis === undefined) return repeat(ravel(x), counts, 0);
  const along = normalizeAxis(axis, x.rank, "repeat");
  const extent = x.shape[along] as number;
  if (typeof counts === "number") {
    const shape = [...x.shape.slice(0, along + 1), counts, ...x.shape.slice(along + 1)];
    const repeated = ops.broadcastTo(ops.unsqueeze(x, along + 1), shape);
    return ops.reshape(
      repeated,
      x.shape.map((n, i) => (i === along ? n * counts : n)),
    );
  }
  if (counts.length !== extent) {
    throw new ShapeError(`repeat: ${counts.length} counts for axis ${along} of ${show(x.shape)}`, {
      hint: "one count for each element, or one number",
    });
  }
  const places = Int32Array.from(counts.flatMap((count, i) => new Array<number>(count).fill(i)));
  return ops.gather(x, tensor(places), along);
}

/** Parts of ⌈n/count⌉ along an axis of n, the last one shorter where that does not divide it; fewer where there is no more (PyTorch's chunk). */
export function chunk(x: Tensor, count: number, axis = 0): Tensor[] {
  checkArgument("chunk", "x", x, tensorKind);
  checkArgument("chunk", "count", count, integer(1));
  const along = normalizeAxis(axis, x.rank, "chunk");
  const n = x.shape[along] as number;
  const length = Math.max(1, Math.ceil(n / count));
  const starts = Array.from({ length: Math.max(1, Math.ceil(n / length)) }, (_, i) => i * length);
  return starts.map((start) => ops.slice(x, rangesAlong(x, along, start, Math.min(n, start + length))));
}

/** The slices along an axis, which vanishes: the inverse of `stack`. PyTorch's unbind. */
export function unstack(x: Tensor, axis = 0): Tensor[] {
  checkArgument("unstack", "x", x, tensorKind);
  const along = normalizeAxis(axis, x.rank, "unstack");
  return Array.from({ length: x.shape[along] as number }, (_, i) => ops.squeeze(ops.slice(x, rangesAlong(x, along, i, i + 1)), along));
}

/** Tensors repeated to the shape that all of them broadcast to, each in its dtype. */
export function broadcastArrays(tensors: readonly Tensor[]): Tensor[] {
  checkArgument("broadcastArrays", "tensors", tensors, listOf(tensorKind));
  const shape = tensors.reduce<Shape>((common, t) => broadcastShapes(common, t.shape, "broadcastArrays"), []);
  return tensors.map((t) => ops.broadcastTo(t, shape));
}

export interface MeshgridOptions {
  /** "ij": axis i of the results belongs to tensor i. "xy": the first two are swapped, as on a page. Default "xy", as in NumPy; PyTorch's is "ij". */
  readonly indexing?: "xy" | "ij";
}
const meshgridKinds: OptionKinds<MeshgridOptions> = { indexing: optional(oneOf("xy", "ij")) };

/** The coordinates of a grid: of n vectors, n tensors with an axis for each of them. */
export function meshgrid(tensors: readonly Tensor[], options: MeshgridOptions = {}): Tensor[] {
  checkArgument("meshgrid", "tensors", tensors, listOf(tensorKind));
  checkOptions("meshgrid", options, meshgridKinds);
  for (const t of tensors) {
    if (t.rank > 1) throw new ShapeError(`meshgrid: ${show(t.shape)} is no vector`, { hint: "a grid is made of one vector for each axis" });
  }
  const swapped = options.indexing !== "ij" && tensors.length > 1;
  const axisOf = (i: number): number => (swapped && i < 2 ? 1 - i : i);
  return broadcastArrays(
    tensors.map((t, i) =>
      ops.reshape(
        t,
        tensors.map((_, k) => (k === axisOf(i) ? t.size : 1)),
      ),
    ),
  );
}
