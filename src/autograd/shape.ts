import { ShapeError } from "../errors.js";

/** Extents of a tensor, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((extent, i) => extent === b[i]);
export const show = (shape: Shape): string => `[${shape.join(", ")}]`;

/** Throws unless every extent is a non-negative safe integer. */
export function checkShape(shape: Shape): void {
  for (const extent of shape) {
    if (!Number.isSafeInteger(extent) || extent < 0) {
      throw new ShapeError(`${show(shape)} is no shape: ${extent} is not a non-negative integer`);
    }
  }
  if (!Number.isSafeInteger(sizeOf(shape))) throw new ShapeError(`${show(shape)} has more elements than can be counted`);
}

/** The axis counted from the front; negative axes count from the back. */
export function normalizeAxis(axis: number, rank: number, operation: string): number {
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank) {
    throw new ShapeError(`${operation}: axis ${axis} does not exist in a tensor of rank ${rank}`, {
      hint: rank === 0 ? "a scalar has no axes" : `axes run from ${-rank} to ${rank - 1}`,
    });
  }
  return normal;
}

/** Axes counted from the front, sorted, without repetition; `undefined` means all. */
export function normalizeAxes(axes: number | readonly number[] | undefined, rank: number, operation: string): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === "number" ? [axes] : axes).map((axis) => normalizeAxis(axis, rank, operation));
  if (new Set(list).size !== list.length) throw new ShapeError(`${operation}: axes ${show(list)} name one axis twice`);
  return list.sort((a, b) => a - b);
}

/** The shape that two shapes broadcast to (NumPy's rule: align at the end, extents are equal or 1). */
export function broadcastShapes(a: Shape, b: Shape, operation: string): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError(`${operation}: shapes ${show(a)} and ${show(b)} do not broadcast: ${x} meets ${y}`, {
        hint: "extents aligned at the end must be equal or 1; reshape or expand one operand",
      });
    }
    return x === 1 ? y : x;
  });
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i] as number;
  }
  return strides;
}

/** `shape` without the listed axes. */
export const dropAxes = (shape: Shape, axes: readonly number[]): number[] => shape.filter((_, i) => !axes.includes(i));
