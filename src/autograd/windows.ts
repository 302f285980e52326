import { either, integer, type Kind, listOf } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { type Shape, show } from "../ir/shape.js";

/** Windows that move over the last axes of a tensor: what convolutions and pooling share. */

/** A number for every axis, or one for each. */
export type PerAxis = number | readonly number[];
/** Zeros before and after: one number for all, one for both ends of each axis, or a pair for each axis. */
export type Padding = number | readonly (number | readonly [before: number, after: number])[];

/** A window along one axis: `size` elements, `dilation` apart, `stride` further each time, over `low` + extent + `high` elements. */
export interface Window {
  readonly size: number;
  readonly stride: number;
  readonly dilation: number;
  readonly low: number;
  readonly high: number;
  /** How many places it comes to. */
  readonly places: number;
}

export const perAxisKind = (least: number): Kind => either(integer(least), listOf(integer(least)));
const pairKind: Kind = {
  wanted: "[before, after]",
  fits: (value) => Array.isArray(value) && value.length === 2 && value.every((n) => Number.isSafeInteger(n) && n >= 0),
};
export const paddingKind: Kind = either(integer(0), listOf(either(integer(0), pairKind)));

export interface WindowOptions {
  readonly stride?: PerAxis;
  readonly dilation?: PerAxis;
  readonly padding?: Padding | "same" | "valid";
}

/** One entry for each of `count` axes. Throws OptionError for a list of another length. */
export function forAxes<T>(where: string, name: string, given: T | readonly T[], count: number): readonly T[] {
  if (!Array.isArray(given)) return new Array<T>(count).fill(given as T);
  if (given.length !== count) {
    throw new OptionError(`${where}: ${name} has ${given.length} entries for ${count} ${count === 1 ? "axis" : "axes"}`, {
      hint: "give one number, or one entry for each axis that the window moves along",
    });
  }
  return given as readonly T[];
}

/** The windows of these sizes over the last axes of a shape. Throws ShapeError where one does not fit into its axis, naming `whose` it is. */
export function windowsOver(where: string, shape: Shape, sizes: readonly number[], options: WindowOptions, whose = ""): Window[] {
  const count = sizes.length;
  const extents = shape.slice(shape.length - count);
  const strides = forAxes(where, "stride", options.stride ?? 1, count);
  const dilations = forAxes(where, "dilation", options.dilation ?? 1, count);
  const padding = options.padding ?? 0;
  const given = typeof padding === "string" ? padding : forAxes<number | readonly [number, number]>(where, "padding", padding, count);
  return sizes.map((size, axis) => {
    const [extent, stride, dilation] = [extents[axis], strides[axis], dilations[axis]] as [number, number, number];
    const reach = size === 0 ? 0 : dilation * (size - 1) + 1;
    let [low, high] = [0, 0];
    if (given === "same") {
      // As many places as strides fit into the axis; of an odd number of zeros the last one comes after.
      const missing = Math.max(0, (Math.ceil(extent / stride) - 1) * stride + reach - extent);
      low = Math.floor(missing / 2);
      high = missing - low;
    } else if (given !== "valid") {
      const own = given[axis] as number | readonly [number, number];
      [low, high] = typeof own === "number" ? [own, own] : own;
    }
    const places = Math.floor((low + extent + high - reach) / stride) + 1;
    if (places < 1 || size === 0) {
      const all = low + high === 0 ? "" : ` and ${low + high} of padding`;
      throw new ShapeError(
        `${where}: a window of ${size}${whose}${dilation > 1 ? `, ${dilation} apart,` : ""} does not fit into ${extent}${all}, in ${show(shape)}`,
        { hint: size === 0 ? "give windows of at least one" : 'give a smaller window, or padding ("same" keeps the length)' },
      );
    }
    return { size, stride, dilation, low, high, places };
  });
}
