import { checkArgument, checkOptions, flag, notNegative, type OptionKinds, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { isFloat, isHalf, summableDtype } from "../ir/dtype.js";
import { noElements } from "../ir/primitives.js";
import { normalizeAxes, show } from "../ir/shape.js";
import { tensorKind, tensorLikeKind } from "./kinds.js";
import { logTotal } from "./log-total.js";
import type { Axes, TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { callOf } from "./region.js";
import type { CallPullback, Tensor } from "./tensor.js";

/** Functions that are defined by other functions. A backend may know a faster way for one; its meaning is here. */

/** Large enough to vanish in a softmax, small enough for differences of two of them to stay finite. */
export const maskedScore = -1e30;

const asFloat = (x: TensorLike): Tensor => (typeof x === "number" ? ops.full([], x) : isFloat(x.dtype) ? x : ops.cast(x, "f32"));

/**
 * σ(x) = 1/(1 + e⁻ˣ): with e = e^−|x| it is 1/(1 + e) for x ≥ 0 and e/(1 + e) below, so that nothing overflows and small values keep
 * their digits. So do those of the derivative σ(x)·σ(−x), which shares e.
 */
export function sigmoid(x: TensorLike): Tensor {
  checkArgument("sigmoid", "x", x, tensorLikeKind);
  return logistic(asFloat(x), 1);
}

/** σ(±x). It is a call because what autodiff makes of |x| is smooth everywhere but at 0. */
function logistic(x: Tensor, sign: 1 | -1): Tensor {
  const value = ([t]: readonly Tensor[]): Tensor[] => {
    const e = ops.exp(ops.neg(ops.abs(t as Tensor)));
    const small = sign === 1 ? ops.less(t as Tensor, 0) : ops.less(0, t as Tensor);
    return [ops.mul(ops.where(small, e, 1), ops.recip(ops.add(e, 1)))];
  };
  const pullback: CallPullback = ({ inputs, results }, [ct]) => {
    const slope = ops.mul(results[0] as Tensor, logistic(inputs[0] as Tensor, sign === 1 ? -1 : 1));
    return [ops.mul(ct as Tensor, sign === 1 ? slope : ops.neg(slope))];
  };
  return callOf("sigmoid", {}, [x], value, pullback).results[0] as Tensor;
}
/** max(x, 0), with the derivative 0 at 0; NaN stays NaN. */
export function relu(x: TensorLike): Tensor {
  checkArgument("relu", "x", x, tensorLikeKind);
  return ops.where(ops.lessEqual(x, 0), 0, x);
}
/** x·sigmoid(x). */
export function silu(x: Tensor): Tensor {
  checkArgument("silu", "x", x, tensorKind);
  return ops.mul(x, sigmoid(x));
}
/**
 * x·Φ(x) with the normal distribution function Φ(x) = ½ + ½·erf(x/√2) (Hendrycks & Gimpel 2016). For x far below 0 the two halves of Φ
 * cancel: the error is some 10⁻⁷·|x| in f32, whatever the size of the result.
 */
export function gelu(x: Tensor): Tensor {
  checkArgument("gelu", "x", x, tensorKind);
  return ops.mul(x, ops.mul(0.5, ops.add(1, ops.erf(ops.mul(x, Math.SQRT1_2)))));
}
/** x². */
export function square(x: Tensor): Tensor {
  checkArgument("square", "x", x, tensorKind);
  return ops.mul(x, x);
}
/** 1/√x. */
export function rsqrt(x: Tensor): Tensor {
  checkArgument("rsqrt", "x", x, tensorKind);
  return ops.recip(ops.sqrt(x));
}

/** x in a dtype that sums of many elements can be taken in. */
const summable = (x: Tensor): Tensor => ops.cast(x, summableDtype(x.dtype));

/**
 * f(x) with all that lies between in f32 where x is stored in 16 bits, because the sum in the middle of f may not fit: Σ eˣ over 10⁵
 * classes is more than f16 holds, though every result is at most 1.
 */
const widened = (x: Tensor, f: (x: Tensor) => Tensor): Tensor => (isHalf(x.dtype) ? ops.cast(f(summable(x)), x.dtype) : f(x));

/** How many elements a reduction over these axes takes together. */
function countOf(where: string, x: Tensor, axes: Axes): number {
  checkArgument(where, "x", x, tensorKind);
  return normalizeAxes(axes, x.rank, where).reduce((n, axis) => n * (x.shape[axis] as number), 1);
}

/** Throws ShapeError where a reduction that has no value for nothing would reduce nothing. */
function needElements(where: string, x: Tensor, count: number): void {
  if (count === 0 && x.size === 0)
    throw new ShapeError(`${where} of an empty axis has no value (shape ${show(x.shape)})`, { hint: noElements });
}

/** Arithmetic mean over axes (all by default), that of integers in f32. Throws ShapeError for an empty axis. */
export function mean(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  const count = countOf("mean", x, axes);
  checkArgument("mean", "keepDims", keepDims, flag);
  needElements("mean", x, count);
  return widened(x, (wide) => ops.mul(ops.sum(summable(wide), axes, keepDims), 1 / count));
}

export interface SpreadOptions {
  /** Whether reduced axes stay, with extent 1. Default false. */
  readonly keepDims?: boolean;
  /** What is taken off the count: 1 for the unbiased estimate. Default 0. */
  readonly correction?: number;
}
const spreadKinds: OptionKinds<SpreadOptions> = { keepDims: optional(flag), correction: optional(notNegative) };

/**
 * Mean of (x − mean)², divided by n − correction (0 by default), as (Σ(x − m)² − (Σ(x − m))²/n)/(n − correction), which is the same for
 * every m (Chan, Golub & LeVeque 1983). With m near the mean nothing cancels, however large the mean is, nor does the rounding of m matter.
 * Throws OptionError for a correction of n or more.
 */
export function variance(x: Tensor, axes?: Axes, options: SpreadOptions = {}): Tensor {
  checkOptions("variance", options, spreadKinds);
  const count = countOf("variance", x, axes);
  needElements("variance", x, count);
  const { keepDims = false, correction = 0 } = options;
  if (count > 0 && correction >= count) {
    throw new OptionError(`variance: ${count} elements with correction ${correction} leave nothing to divide by`, {
      hint: "a correction is smaller than the number of elements",
    });
  }
  return widened(x, (wide) => {
    const numbers = summable(wide);
    const shifted = ops.sub(numbers, ops.stopGradient(meanOfQuarter(numbers, axes)));
    const excess = ops.div(square(ops.sum(shifted, axes, keepDims)), count);
    const total = ops.sub(ops.sum(square(shifted), axes, keepDims), excess);
    // Where all x are the same, rounding may leave a little less than nothing. The derivative does not see the bound.
    const bounded = ops.add(total, ops.stopGradient(ops.sub(ops.maximum(total, 0), total)));
    return ops.div(bounded, count - correction);
  });
}

/** The mean of a quarter of the elements, which is within √3 standard deviations of that of all (Cauchy–Schwarz), with axes kept. */
function meanOfQuarter(x: Tensor, axes: Axes): Tensor {
  const all = normalizeAxes(axes, x.rank, "variance");
  const longest = all.reduce((best, axis) => ((x.shape[axis] as number) > (x.shape[best] as number) ? axis : best), all[0] ?? 0);
  const ranges = x.shape.map((extent, axis): [number, number] => [0, axis === longest ? Math.ceil(extent / 4) : extent]);
  return mean(ops.slice(x, ranges), axes, true);
}

/** Square root of {@link variance}; its derivative where all elements are equal is 0. */
export function std(x: Tensor, axes?: Axes, options: SpreadOptions = {}): Tensor {
  checkOptions("std", options, spreadKinds);
  needElements("std", x, countOf("std", x, axes));
  return widened(x, (wide) => {
    const spread = variance(wide, axes, options);
    const flat = ops.equal(spread, 0);
    return ops.where(flat, 0, ops.sqrt(ops.where(flat, 1, spread)));
  });
}

/**
 * ln Σ eˣ over axes, shifted by the largest element so that nothing overflows; −∞ where all are −∞, and ∞ where any is ∞. The derivative is
 * eˣ / Σ eˣ, and where the result is infinite its limit: the elements that are as large as the largest share 1 evenly, the others have 0.
 * (PyTorch and JAX give NaN to those.)
 */
export function logSumExp(x: Tensor, axes?: Axes, keepDims = false): Tensor {
  needElements("logSumExp", x, countOf("logSumExp", x, axes));
  checkArgument("logSumExp", "keepDims", keepDims, flag);
  const list = normalizeAxes(axes, x.rank, "logSumExp");
  const result = widened(x, (wide) => logTotal(summable(wide), list));
  return keepDims ? result : ops.squeeze(result, list);
}

/** eˣ / Σ eˣ over an axis (the last by default); NaN where all are −∞ or any is ∞, as in PyTorch. */
export function softmax(x: Tensor, axis = -1): Tensor {
  checkArgument("softmax", "x", x, tensorKind);
  needElements("softmax", x, countOf("softmax", x, axis));
  return widened(x, (wide) => {
    const e = ops.exp(ops.sub(wide, ops.stopGradient(ops.max(wide, axis, true))));
    return ops.mul(e, ops.recip(ops.sum(e, axis, true)));
  });
}

/** x − ln Σ eˣ over an axis (the last by default); NaN for what is as large as an infinite largest. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  checkArgument("logSoftmax", "x", x, tensorKind);
  needElements("logSoftmax", x, countOf("logSoftmax", x, axis));
  return widened(x, (wide) => ops.sub(wide, logSumExp(wide, axis, true)));
}

/** x / √(mean(x²) + ε) · weight over the last axis (Zhang & Sennrich 2019). x: […, D], weight: [D]. */
export function rmsNorm(x: Tensor, weight: Tensor, eps = 1e-5): Tensor {
  for (const [name, value] of Object.entries({ x, weight })) checkArgument("rmsNorm", name, value, tensorKind);
  checkArgument("rmsNorm", "eps", eps, notNegative);
  if (weight.rank !== 1 || weight.shape[0] !== x.shape.at(-1))
    throw new ShapeError(`rmsNorm: weight ${show(weight.shape)} for ${show(x.shape)}`, { hint: "weight is [D], D the last extent of x" });
  const normalized = widened(x, (wide) => ops.mul(wide, rsqrt(ops.add(mean(square(wide), -1, true), eps))));
  return ops.mul(normalized, weight);
}

/** (x − mean)/√(variance + ε)·weight + bias over the last axis. x: […, D], weight and bias: [D]. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps = 1e-5): Tensor {
  for (const [name, value] of Object.entries({ x, weight, bias })) {
    checkArgument("layerNorm", name, value, tensorKind);
    if (value !== x && (value.rank !== 1 || value.shape[0] !== x.shape.at(-1))) {
      throw new ShapeError(`layerNorm: ${name} ${show(value.shape)} for ${show(x.shape)}`, {
        hint: "weight and bias are [D], D the last extent of x",
      });
    }
  }
  checkArgument("layerNorm", "eps", eps, notNegative);
  const normalized = widened(x, (wide) => {
    const centred = ops.sub(wide, mean(wide, -1, true));
    return ops.mul(centred, rsqrt(ops.add(mean(square(centred), -1, true), eps)));
  });
  return ops.add(ops.mul(normalized, weight), bias);
}

/**
 * Rotary position embedding in the split-half layout: channel j < D/2 is paired with j + D/2 and the pair is turned by the
 * angle whose cosine and sine are in the tables (Su et al. 2021; layout of Hugging Face's Llama).
 * x: […, T, D] with leading axes [B, H]; cos, sin: [B or 1, T, D/2].
 */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  for (const [name, value] of Object.entries({ x, cos, sin })) checkArgument("rope", name, value, tensorKind);
  const [T, D] = [x.shape.at(-2), x.shape.at(-1)] as [number, number];
  const half = D / 2;
  const fits =
    x.rank === 4 && cos.rank === 3 && cos.shape[1] === T && cos.shape[2] === half && (cos.shape[0] === 1 || cos.shape[0] === x.shape[0]);
  if (!fits || show(cos.shape) !== show(sin.shape)) {
    throw new ShapeError(`rope: x ${show(x.shape)} with tables ${show(cos.shape)} and ${show(sin.shape)}`, {
      hint: "x is [B, H, T, D] with even D; both tables are [B or 1, T, D/2]",
    });
  }
  const [c, s] = [ops.unsqueeze(cos, 1), ops.unsqueeze(sin, 1)]; // [B or 1, 1, T, D/2]
  const [a, b] = ops.split(x, [half, half], -1) as [Tensor, Tensor]; // [B, H, T, D/2] each
  return ops.concat([ops.sub(ops.mul(a, c), ops.mul(b, s)), ops.add(ops.mul(b, c), ops.mul(a, s))], -1);
}
