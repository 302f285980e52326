import { describe } from "../arguments.js";
import { ShapeError } from "../errors.js";

/** Extents of a tensor, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((extent, i) => extent === b[i]);
export const show = (shape: Shape): string => `[${shape.join(", ")}]`;

/**
 * Throws ShapeError unless `shape` is a list of non-negative safe integers whose product is one too. `where` is the function that
 * was given it.
 */
export function checkShape(shape: Shape, where: string): void {
  if (!Array.isArray(shape)) {
    throw new ShapeError(`${where}: shape must be a list of extents, found ${describe(shape)}`, {
      hint: typeof shape === "number" ? `write [${String(shape)}]` : "write it as a list: [2, 3]",
    });
  }
  for (const extent of shape as readonly unknown[]) {
    if (!Number.isSafeInteger(extent) || (extent as number) < 0) {
      throw new ShapeError(`${where}: shape [${shape.map(describe).join(", ")}] has the extent ${describe(extent)}`, {
        hint: "extents are non-negative integers",
      });
    }
  }
  if (!Number.isSafeInteger(sizeOf(shape))) throw new ShapeError(`${where}: shape ${show(shape)} has more elements than can be counted`);
}

/** A shape as callers write it: a list of extents, or one extent for a vector. */
export function readShape(shape: Shape | number, where: string): Shape {
  const extents = typeof shape === "number" ? [shape] : shape;
  checkShape(extents, where);
  return extents;
}

/** The axis counted from the front; negative axes count from the back. */
export function normalizeAxis(axis: number, rank: number, operation: string): number {
  if (typeof axis !== "number") {
    throw new ShapeError(`${operation}: axis must be an integer, found ${describe(axis)}`, {
      hint: "axes are given by position, as in x.softmax(0)",
    });
  }
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank) {
    throw new ShapeError(`${operation}: axis ${axis} does not exist in a tensor of rank ${rank}`, {
      hint: rank === 0 ? "a scalar has no axes" : `axes run from ${-rank} to ${rank - 1}`,
    });
  }
  return normal;
}

/** Axes to reduce over: all when left out. */
export type Axes = number | readonly number[] | undefined;

/** Axes counted from the front, sorted, without repetition; `undefined` means all. */
export function normalizeAxes(axes: Axes, rank: number, operation: string): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  if (typeof axes !== "number" && !Array.isArray(axes)) {
    throw new ShapeError(`${operation}: axes must be an axis or a list of axes, found ${describe(axes)}`, {
      hint: `axes come by position: x.${operation}(0) or x.${operation}([0, 1], true)`,
    });
  }
  const list = (typeof axes === "number" ? [axes] : (axes as readonly number[])).map((axis) => normalizeAxis(axis, rank, operation));
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
