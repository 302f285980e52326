import { normalizeAxes, normalizeAxis, sizeOf } from "../ir/shape.js";
import type { Axes } from "./operations.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

/** What works along one axis, or over several, written for the last one. */

/** f along an axis: x with that axis last goes in, and the result's last axis takes the place of it. */
export function alongAxis(where: string, x: Tensor, axis: number, f: (x: Tensor) => Tensor): Tensor {
  const at = normalizeAxis(axis, x.rank, where);
  const others = x.shape.map((_, i) => i).filter((i) => i !== at);
  const back = x.shape.map((_, i) => (i < at ? i : i === at ? x.rank - 1 : i - 1));
  return ops.permute(f(ops.permute(x, [...others, at])), back);
}

/** The n elements over axes (all where left out) as the last one, […, n], and how a result […] gets its axes. */
export function overAxes(where: string, x: Tensor, axes: Axes, keepDims: boolean): { rows: Tensor; shaped: (result: Tensor) => Tensor } {
  const reduced = normalizeAxes(axes, x.rank, where);
  const kept = x.shape.map((_, i) => i).filter((i) => !reduced.includes(i));
  const count = sizeOf(reduced.map((axis) => x.shape[axis] as number));
  const shape = kept.map((axis) => x.shape[axis] as number);
  const whole = x.shape.map((extent, i) => (reduced.includes(i) ? 1 : extent));
  return {
    rows: ops.reshape(ops.permute(x, [...kept, ...reduced]), [...shape, count]),
    shaped: (result) => (keepDims ? ops.reshape(result, whole) : result),
  };
}

/** The elements of the last axis from start up to stop. */
export const cutLast = (x: Tensor, start: number, stop: number): Tensor =>
  ops.slice(x, [...x.shape.slice(1).map(() => null), [start, stop]]);

/** More elements of one value before and after those of the last axis. */
export const padLast = (x: Tensor, before: number, after: number, value: number): Tensor =>
  before + after === 0 ? x : ops.pad(x, [...x.shape.slice(1).map((): [number, number] => [0, 0]), [before, after]], value);
