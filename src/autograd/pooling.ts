import { checkArgument, checkOptions, either, flag, type OptionKinds, oneOf, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { integerRange, isFloat, summableDtype } from "../ir/dtype.js";
import { show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";
import { forAxes, type Padding, type PerAxis, paddingKind, perAxisKind, type Window, windowsOver } from "./windows.js";

/** The largest or the mean of windows, one axis after another: what each element of the window meets is a strided view of the input. */

export interface PoolOptions {
  /** Steps between the places of the window. Default its size. */
  readonly stride?: PerAxis;
  /** What surrounds the input; at most half of the window. Default 0. */
  readonly padding?: Padding | "same" | "valid";
}
export interface MaxPoolOptions extends PoolOptions {
  /** Distance of neighbours in the window. Default 1. */
  readonly dilation?: PerAxis;
}
export interface AvgPoolOptions extends PoolOptions {
  /** Whether zeros of the padding count. Default true, as in PyTorch. */
  readonly countPadding?: boolean;
}

const poolKinds: OptionKinds<PoolOptions> = {
  stride: optional(perAxisKind(1)),
  padding: optional(either(oneOf("same", "valid"), paddingKind)),
};
const maxPoolKinds: OptionKinds<MaxPoolOptions> = { ...poolKinds, dilation: optional(perAxisKind(1)) };
const avgPoolKinds: OptionKinds<AvgPoolOptions> = { ...poolKinds, countPadding: optional(flag) };

/**
 * The largest element of each window over the last axis, NaN where any is. Of equal ones the first has the derivative, as in PyTorch. x: […, S].
 * Throws ShapeError for windows that do not fit or see padding alone.
 */
export function maxPool1d(x: Tensor, size: PerAxis, options: MaxPoolOptions = {}): Tensor {
  return maxPool("maxPool1d", 1, x, size, options);
}

/**
 * The largest element of each window over the last two axes, NaN where any is. Of equal ones the first in row-major order has the derivative, as
 * in PyTorch. x: […, H, W]. The largest of all is `max(x, [-2, -1])`. Throws ShapeError for windows that do not fit or see padding alone.
 */
export function maxPool2d(x: Tensor, size: PerAxis, options: MaxPoolOptions = {}): Tensor {
  return maxPool("maxPool2d", 2, x, size, options);
}

/** The mean of each window over the last axis, that of integers in f32. x: […, S]. Throws ShapeError for windows that do not fit. */
export function avgPool1d(x: Tensor, size: PerAxis, options: AvgPoolOptions = {}): Tensor {
  return avgPool("avgPool1d", 1, x, size, options);
}

/**
 * The mean of each window over the last two axes, that of integers in f32. x: […, H, W]. The mean of all is `mean(x, [-2, -1])`. Throws
 * ShapeError for windows that do not fit.
 */
export function avgPool2d(x: Tensor, size: PerAxis, options: AvgPoolOptions = {}): Tensor {
  return avgPool("avgPool2d", 2, x, size, options);
}

/** The windows of a pool, whose stride is their size unless told otherwise. */
function windowsOf(where: string, axes: number, x: Tensor, size: PerAxis, options: MaxPoolOptions): Window[] {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "size", size, perAxisKind(1));
  if (x.rank < axes) {
    throw new ShapeError(`${where}: ${show(x.shape)} has fewer than ${axes} axes`, { hint: "windows move along the last ones" });
  }
  const sizes = forAxes(where, "size", size, axes);
  const windows = windowsOver(where, x.shape, sizes, { stride: sizes, ...options });
  for (const { size, low, high } of windows) {
    if (2 * Math.max(low, high) <= size) continue;
    throw new OptionError(`${where}: padding of ${Math.max(low, high)} is more than half of a window of ${size}`, {
      hint: "such a window sees little but padding; pad the input instead",
    });
  }
  return windows;
}

/** What each element of a window along an axis meets, in order. */
function met(x: Tensor, axis: number, { size, stride, dilation, places }: Window): Tensor[] {
  return Array.from({ length: size }, (_, i) => {
    const start = i * dilation;
    return ops.slice(
      x,
      x.shape.map((_, k): ops.Range => (k === axis ? [start, start + (places - 1) * stride + 1, stride] : null)),
    );
  });
}

/** The last axes from the innermost out, so that what comes first within a row and then by rows is first in row-major order. */
const fromInnermost = (x: Tensor, windows: readonly Window[], pool: (x: Tensor, axis: number, window: Window) => Tensor): Tensor =>
  windows.reduceRight((t, window, i) => pool(t, x.rank - windows.length + i, window), x);

const surrounded = (x: Tensor, axis: number, { low, high }: Window, value: number): Tensor =>
  low + high === 0
    ? x
    : ops.pad(
        x,
        x.shape.map((_, k): [number, number] => (k === axis ? [low, high] : [0, 0])),
        value,
      );

function maxPool(where: string, axes: number, x: Tensor, size: PerAxis, options: MaxPoolOptions): Tensor {
  checkOptions(where, options, maxPoolKinds);
  const windows = windowsOf(where, axes, x, size, options);
  const numbers = x.dtype === "bool" ? ops.cast(x, "i32") : x;
  const least = isFloat(numbers.dtype) ? Number.NEGATIVE_INFINITY : integerRange(numbers.dtype as "i32" | "u32")[0];
  return fromInnermost(numbers, windows, (t, axis, window) =>
    met(surrounded(t, axis, window, least), axis, window).reduce((largest, next) => {
      const larger = ops.greater(next, largest);
      return ops.where(isFloat(t.dtype) ? ops.or(larger, ops.notEqual(next, next)) : larger, next, largest);
    }),
  );
}

function avgPool(where: string, axes: number, x: Tensor, size: PerAxis, options: AvgPoolOptions): Tensor {
  checkOptions(where, options, avgPoolKinds);
  const { countPadding = true, ...rest } = options;
  const windows = windowsOf(where, axes, x, size, rest);
  const dtype = isFloat(x.dtype) ? x.dtype : "f32";
  const mean = fromInnermost(ops.cast(x, summableDtype(x.dtype)), windows, (t, axis, window) => {
    const sum = met(surrounded(t, axis, window, 0), axis, window).reduce((a, b) => ops.add(a, b));
    if (countPadding || window.low + window.high === 0) return ops.mul(sum, 1 / window.size);
    // At place p the window begins at element p·stride − low, of which it sees those from 0 on and before the end.
    const start = ops.sub(ops.mul(ops.arange(window.places), window.stride), window.low);
    const end = ops.minimum(ops.add(start, window.size), t.shape[axis] as number);
    const count = ops.sub(end, ops.maximum(start, 0));
    return ops.div(sum, ops.reshape(ops.cast(count, t.dtype), [window.places, ...t.shape.slice(axis + 1).map(() => 1)]));
  });
  return ops.cast(mean, dtype);
}
