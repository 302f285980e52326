/** Layers beside those of `module.ts`: normalisations, dropout, and layers one after the other. */
import { checkArgument, checkOptions, fraction, integer, type Kind, listOf, notNegative, optional, orNull, share } from "../arguments.js";
import { layerNorm } from "../autograd/composites.js";
import { batchNorm, batchStatistics, groupNorm } from "../autograd/functional-layers.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { add, cast, mul, ones, recip, stopGradient, sub, zeros } from "../autograd/operations.js";
import { dropout, foldIn } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { copyBranch } from "../autograd/tree.js";
import { ShapeError } from "../errors.js";
import { summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";

export interface ForwardOptions {
  /** A key of this step, by which layers drop; without one nothing is dropped. */
  readonly key?: Tensor;
}

/**
 * A module that maps a tensor to a tensor, or a function that does, such as `relu`. One that behaves otherwise while it is trained, or keeps something
 * from pass to pass, has `train` beside, which gives [y, the module for the next pass].
 */
export type Layer =
  | { forward(x: Tensor, options?: ForwardOptions): Tensor; train?(x: Tensor, options?: ForwardOptions): [y: Tensor, next: object] }
  | ((x: Tensor) => Tensor);

function checkScales(where: string, weight: Tensor, bias: Tensor | null, eps: number, biasKind = tensorKind): void {
  checkArgument(where, "weight", weight, tensorKind);
  checkArgument(where, "bias", bias, biasKind);
  checkArgument(where, "eps", eps, notNegative);
  if (weight.rank !== 1 || (bias !== null && !sameShape(weight.shape, bias.shape))) {
    const found = bias === null ? "" : ` and a bias ${show(bias.shape)}`;
    throw new ShapeError(`${where}: a weight ${show(weight.shape)}${found}`, { hint: "both are [C]" });
  }
}

/** (x − mean)/√(variance + ε)·weight + bias over the last axis (Ba, Kiros & Hinton 2016). */
export class LayerNorm {
  weight: Tensor; // [C]
  bias: Tensor | null; // [C]
  readonly _eps: number;

  constructor(weight: Tensor, bias: Tensor | null = null, eps = 1e-5) {
    checkScales("LayerNorm", weight, bias, eps, orNull(tensorKind));
    this.weight = weight;
    this.bias = bias;
    this._eps = eps;
  }

  /** Ones and zeros, for C channels. */
  static create(channels: number, options: { readonly eps?: number } = {}): LayerNorm {
    checkArgument("LayerNorm.create", "channels", channels, integer(0));
    checkOptions("LayerNorm.create", options, { eps: optional(notNegative) });
    return new LayerNorm(ones([channels]), zeros([channels]), options.eps);
  }

  /** […, C] → […, C] */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias ?? zeros(this.weight.shape, { dtype: this.weight.dtype }), this._eps);
  }
}

/** Normalisation over groups of channels; see {@link groupNorm}. */
export class GroupNorm {
  weight: Tensor; // [C]
  bias: Tensor; // [C]
  readonly _groups: number;
  readonly _eps: number;

  constructor(groups: number, weight: Tensor, bias: Tensor, eps = 1e-5) {
    checkArgument("GroupNorm", "groups", groups, integer(1));
    checkScales("GroupNorm", weight, bias, eps);
    if (weight.size % groups !== 0) {
      throw new ShapeError(`GroupNorm: ${groups} groups of ${weight.size} channels`, { hint: "groups divide the channels" });
    }
    this.weight = weight;
    this.bias = bias;
    this._groups = groups;
    this._eps = eps;
  }

  /** Ones and zeros, for G groups of C channels together. */
  static create(groups: number, channels: number, options: { readonly eps?: number } = {}): GroupNorm {
    checkArgument("GroupNorm.create", "channels", channels, integer(0));
    checkOptions("GroupNorm.create", options, { eps: optional(notNegative) });
    return new GroupNorm(groups, ones([channels]), zeros([channels]), options.eps);
  }

  /** [B, C, …] → [B, C, …] */
  forward(x: Tensor): Tensor {
    return groupNorm(x, this._groups, this.weight, this.bias, this._eps);
  }
}

export interface BatchNormLayerOptions {
  /** What a batch counts in the running averages; null for 1/n after n batches, the mean over all of them. Default 0.1. */
  readonly momentum?: number | null;
  /** ε. Default 1e-5. */
  readonly eps?: number;
}

/**
 * Batch normalisation (Ioffe & Szegedy 2015) with running averages, which are no parameters: they have no gradient, and `train` gives the layer
 * with the next ones instead of changing them. A loss that returns [loss, next model] hands them from one step of `createTrainStep` to the next. Files of PyTorch
 * hold a count beside them, `num_batches_tracked`, as does this layer where `momentum` is null; elsewhere `{ strict: false }` passes over it.
 */
export class BatchNorm {
  weight: Tensor; // [C]
  bias: Tensor; // [C]
  running_mean: Tensor; // [C]
  running_var: Tensor; // [C]
  num_batches_tracked: Tensor | null; // i32 []
  readonly _momentum: number | null;
  readonly _eps: number;

  constructor(weight: Tensor, bias: Tensor, options: BatchNormLayerOptions = {}) {
    checkOptions("BatchNorm", options, { momentum: optional(orNull(share)), eps: optional(notNegative) });
    const { momentum = 0.1, eps = 1e-5 } = options;
    checkScales("BatchNorm", weight, bias, eps);
    this.weight = weight;
    this.bias = bias;
    const dtype = summableDtype(weight.dtype);
    this.running_mean = zeros(weight.shape, { dtype });
    this.running_var = ones(weight.shape, { dtype });
    this.num_batches_tracked = momentum === null ? zeros([], { dtype: "i32" }) : null;
    this._momentum = momentum;
    this._eps = eps;
  }

  /** Ones and zeros, for C channels. */
  static create(channels: number, options: BatchNormLayerOptions = {}): BatchNorm {
    checkArgument("BatchNorm.create", "channels", channels, integer(0));
    return new BatchNorm(ones([channels]), zeros([channels]), options);
  }

  /** By the running averages: [B, C, …] → [B, C, …] */
  forward(x: Tensor): Tensor {
    const statistics = { mean: stopGradient(this.running_mean), variance: stopGradient(this.running_var) };
    return batchNorm(x, this.weight, this.bias, { statistics, eps: this._eps });
  }

  /**
   * By the statistics of the batch, and the layer whose averages have moved towards them, the variance divided by one less than the number of values
   * as in PyTorch:
   *
   *   running ← running + momentum·(statistics − running)
   *
   * Throws ShapeError for a batch without values.
   */
  train(x: Tensor): [y: Tensor, next: BatchNorm] {
    const statistics = batchStatistics(x);
    const count = x.size / this.weight.size;
    const next = copyBranch(this) as BatchNorm;
    next.num_batches_tracked = this.num_batches_tracked === null ? null : add(this.num_batches_tracked, 1);
    const moved = (old: Tensor, fresh: Tensor, factor = 1): Tensor => {
      const value = mul(cast(stopGradient(fresh), old.dtype), factor);
      const counts = this._momentum ?? recip(cast(next.num_batches_tracked as Tensor, old.dtype));
      return add(old, mul(sub(value, old), counts));
    };
    next.running_mean = moved(this.running_mean, statistics.mean);
    next.running_var = moved(this.running_var, statistics.variance, count / Math.max(1, count - 1));
    return [batchNorm(x, this.weight, this.bias, { statistics, eps: this._eps }), next];
  }
}

/** Zeroes each element with probability `rate` and scales the others by 1/(1 − rate), where `forward` is given a key (Srivastava et al. 2014). */
export class Dropout {
  readonly _rate: number;

  constructor(rate: number) {
    checkArgument("Dropout", "rate", rate, fraction);
    this._rate = rate;
  }

  /** […] → […], and x itself without a key. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    checkForward("Dropout.forward", options);
    return options.key === undefined ? x : dropout(options.key, x, this._rate);
  }
}

export const checkForward = (where: string, options: ForwardOptions): void => checkOptions(where, options, { key: optional(keyKind) });

const layerKind: Kind = {
  wanted: "a layer: a module with forward(x), or a function of a tensor",
  fits: (value) =>
    typeof value === "function" ||
    (typeof value === "object" && value !== null && typeof (value as { forward?: unknown }).forward === "function"),
};

/** Layers one after the other, in the fields "0", "1", …, so that parameters have the names that PyTorch's `Sequential` gives them. */
export class Sequential {
  readonly [place: number]: Layer;

  constructor(layers: readonly Layer[]) {
    checkArgument("Sequential", "layers", layers, listOf(layerKind));
    Object.assign(this, layers);
  }

  /** How many layers there are. */
  get length(): number {
    return Object.keys(this).length;
  }

  /** Each layer gets what the one before it gave, and a key of its own where there is a key. */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    checkForward("Sequential.forward", options);
    return this.run(x, options, (layer, y, own) => layer.forward(y, own));
  }

  /** The same by `train` of the layers that have it, with the sequence of what these give for the next pass. */
  train(x: Tensor, options: ForwardOptions = {}): [y: Tensor, next: Sequential] {
    checkForward("Sequential.train", options);
    const next = copyBranch(this) as Record<number, Layer>;
    const y = this.run(x, options, (layer, y, own, place) => {
      const [out, after] = layer.train?.(y, own) ?? [layer.forward(y, own), layer];
      next[place] = after as Layer;
      return out;
    });
    return [y, next as unknown as Sequential];
  }

  private run(
    x: Tensor,
    { key }: ForwardOptions,
    through: (layer: Exclude<Layer, (x: Tensor) => Tensor>, y: Tensor, own: ForwardOptions, place: number) => Tensor,
  ): Tensor {
    return Object.values<Layer>(this).reduce(
      (y, layer, i) => (typeof layer === "function" ? layer(y) : through(layer, y, key === undefined ? {} : { key: foldIn(key, i) }, i)),
      x,
    );
  }
}

/** sequential(Linear.create(a, 2, 16), relu, Linear.create(b, 16, 1)) */
export const sequential = (...layers: Layer[]): Sequential => new Sequential(layers);
