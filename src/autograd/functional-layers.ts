/**
 * Layers as functions of tensors and their parameters: rows of a table, normalisation over groups of channels and over batches. `rmsNorm` and
 * `layerNorm`, over the last axis, are in `composites.ts`, `dropout` is in `random.ts`.
 */
import { checkArgument, checkFields, checkOptions, integer, notNegative, optional } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { isFloat, summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";
import { mean, rsqrt, square, variance } from "./composites.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";

/**
 * The row of a table for each integer: index […], weight [V, C] → […, C]. Gradients of rows that are asked for several times add up. As with `gather`,
 * an index outside of 0…V − 1 gives NaN. Throws ShapeError for a weight of another rank, DtypeError for an index that holds no integers.
 */
export function embedding(index: Tensor, weight: Tensor): Tensor {
  for (const [name, value] of Object.entries({ index, weight })) checkArgument("embedding", name, value, tensorKind);
  if (weight.rank !== 2)
    throw new ShapeError(`embedding: weight ${show(weight.shape)}`, { hint: "weight is [V, C], a row for each class" });
  return ops.gather(weight, index);
}

/** Throws unless x is floats [B, C, …], and each of some tensors is one number for each channel. */
function checkChannels(where: string, x: Tensor, perChannel: Readonly<Record<string, Tensor>>): number {
  for (const [name, value] of Object.entries({ x, ...perChannel })) checkArgument(where, name, value, tensorKind);
  if (!isFloat(x.dtype)) throw new DtypeError(`${where}: x must hold floats, found ${x.dtype}`, { hint: 'cast it: x.cast("f32")' });
  const channels = x.shape[1];
  if (channels === undefined) throw new ShapeError(`${where}: x ${show(x.shape)} has no channels`, { hint: "x is [B, C, …]" });
  for (const [name, value] of Object.entries(perChannel)) {
    if (sameShape(value.shape, [channels])) continue;
    throw new ShapeError(`${where}: ${name} ${show(value.shape)} for x ${show(x.shape)}`, {
      hint: `${name} is [C], C the second extent of x`,
    });
  }
  return channels;
}

/** [C] as it meets [B, C, …]. */
const alongChannels = (perChannel: Tensor, x: Tensor): Tensor =>
  ops.reshape(perChannel, [1, perChannel.size, ...x.shape.slice(2).map(() => 1)]);

const wide = (x: Tensor): Tensor => ops.cast(x, summableDtype(x.dtype));

/**
 * (x − mean)/√(variance + ε)·weight + bias with mean and variance of each example over each of G groups of neighbouring channels and all places
 * (Wu & He 2018). x: [B, C, …], weight and bias: [C], G divides C. One group is layer normalisation over channels and places, C groups are instance
 * normalisation. Halves are summed in f32. Throws ShapeError and DtypeError for what does not fit.
 */
export function groupNorm(x: Tensor, groups: number, weight: Tensor, bias: Tensor, eps = 1e-5): Tensor {
  const channels = checkChannels("groupNorm", x, { weight, bias });
  checkArgument("groupNorm", "groups", groups, integer(1));
  checkArgument("groupNorm", "eps", eps, notNegative);
  if (channels % groups !== 0)
    throw new ShapeError(`groupNorm: ${groups} groups of ${channels} channels`, { hint: "groups divide the channels" });
  if (x.size === 0) return x;
  const rows = ops.reshape(wide(x), [x.shape[0] as number, groups, -1]);
  const centred = ops.sub(rows, mean(rows, -1, true));
  const normalized = ops.reshape(ops.mul(centred, rsqrt(ops.add(mean(square(centred), -1, true), eps))), x.shape);
  return ops.add(ops.mul(ops.cast(normalized, x.dtype), alongChannels(weight, x)), alongChannels(bias, x));
}

/** Of each channel over a batch: [C] both. */
export interface BatchStatistics {
  readonly mean: Tensor;
  /** Divided by the number of values, not by one less. */
  readonly variance: Tensor;
}

/** Mean and variance of each channel over examples and places: x [B, C, …] → [C] both, in f32 for halves. Throws ShapeError where there are none. */
export function batchStatistics(x: Tensor): BatchStatistics {
  checkChannels("batchStatistics", x, {});
  const axes = x.shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  if (axes.some((axis) => x.shape[axis] === 0)) throw new ShapeError(`batchStatistics: x ${show(x.shape)} has no values`);
  return { mean: mean(wide(x), axes), variance: variance(wide(x), axes) };
}

export interface BatchNormOptions {
  /** What to normalise by, as running averages are when a model is used. Default: the statistics of x itself, as in training. */
  readonly statistics?: BatchStatistics;
  /** ε. Default 1e-5. */
  readonly eps?: number;
}

/**
 * (x − mean)/√(variance + ε)·weight + bias of each channel, by the statistics of the batch or by given ones (Ioffe & Szegedy 2015). x: [B, C, …],
 * weight and bias: [C]. Keeps nothing: whoever wants running averages takes {@link batchStatistics} and averages them. Throws ShapeError and
 * DtypeError for what does not fit.
 */
export function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, options: BatchNormOptions = {}): Tensor {
  checkChannels("batchNorm", x, { weight, bias });
  checkOptions("batchNorm", options, {
    statistics: optional({ wanted: "{ mean, variance }", fits: (value) => typeof value === "object" && value !== null }),
    eps: optional(notNegative),
  });
  const { statistics, eps = 1e-5 } = options;
  if (statistics !== undefined)
    checkFields<BatchStatistics>("batchNorm", "statistics", statistics, { mean: tensorKind, variance: tensorKind });
  if (x.size === 0) return x;
  const { mean: centre, variance: spread } = statistics ?? batchStatistics(x);
  checkChannels("batchNorm", x, { mean: centre, variance: spread });
  const scale = rsqrt(ops.add(spread, eps));
  const normalized = ops.mul(ops.sub(wide(x), alongChannels(centre, x)), alongChannels(scale, x));
  return ops.add(ops.mul(ops.cast(normalized, x.dtype), alongChannels(weight, x)), alongChannels(bias, x));
}
