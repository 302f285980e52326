import { stridesOf } from "../../ir/shape.js";
import { offsetsOf } from "./movement.js";
import type { Data, Value } from "./values.js";

/**
 * Calls `reduceGroup(start, steps, i)` for each element i of the result: its group of operands sits at
 * `start + steps[0], start + steps[1], …`, in row-major order of the reduced axes.
 */
function forEachGroup(x: Value, axes: readonly number[], reduceGroup: (start: number, steps: Float64Array, i: number) => void): void {
  const strides = stridesOf(x.shape);
  const pick = (list: readonly number[], reduced: boolean): number[] => list.filter((_, axis) => axes.includes(axis) === reduced);
  const starts = offsetsOf(pick(x.shape, false), pick(strides, false));
  const steps = offsetsOf(pick(x.shape, true), pick(strides, true));
  starts.forEach((start, i) => reduceGroup(start, steps, i));
}

/** y = Σ x over axes. Integers wrap at each addition, so that no sum outgrows the 53 bits of a number. */
export function sum(y: Data, x: Value, axes: readonly number[]): void {
  const wrap = wrapping(x);
  forEachGroup(x, axes, (start, steps, i) => {
    let total = 0;
    for (const step of steps) total = wrap(total + (x.data[start + step] as number));
    y[i] = total;
  });
}

function wrapping(x: Value): (total: number) => number {
  if (x.dtype === "i32") return (total) => total | 0;
  if (x.dtype === "u32") return (total) => total >>> 0;
  return (total) => total;
}

/** y = the combination of a group's elements, from the first on: Math.max or Math.min, which both give NaN if any is NaN. */
export function fold(y: Data, x: Value, axes: readonly number[], combine: (best: number, next: number) => number): void {
  forEachGroup(x, axes, (start, steps, i) => {
    let best = x.data[start + (steps[0] as number)] as number;
    for (const step of steps) best = combine(best, x.data[start + step] as number);
    y[i] = best;
  });
}

/** y = position within the group of the first NaN, or else of the first element that no other one beats. */
export function position(y: Data, x: Value, axes: readonly number[], beats: (next: number, best: number) => boolean): void {
  forEachGroup(x, axes, (start, steps, i) => {
    let best = 0;
    steps.forEach((step, candidate) => {
      const [next, champion] = [x.data[start + step] as number, x.data[start + (steps[best] as number)] as number];
      if (!Number.isNaN(champion) && (Number.isNaN(next) || beats(next, champion))) best = candidate;
    });
    y[i] = best;
  });
}
