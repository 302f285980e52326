import { callable, checkArgument, checkOptions, flag, integer, type Kind, notNegative, optional } from "../arguments.js";
import { rmsNorm } from "../autograd/composites.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { add, cast, gather, matmul, ones, transpose, zeros } from "../autograd/operations.js";
import { randn, split, uniform } from "../autograd/random.js";
import { realizeNow } from "../autograd/realize.js";
import { apply, type Tensor } from "../autograd/tensor.js";
import { mapTensors, type Tree, tensorsOf } from "../autograd/tree.js";
import { ShapeError } from "../errors.js";
import { type Shape, show } from "../ir/shape.js";
import type { Initializer } from "./initializers.js";

/**
 * A module is a plain class whose fields are tensors, arrays and other modules: a tree. Nothing is registered; walking the
 * fields finds the parameters, and the path to one ("model.layers.0.mlp.up_proj.weight") is its name. Constants live in
 * fields that start with "_", which are carried along and never walked.
 */

const weightKind: Kind = {
  ...tensorKind,
  hint: () => "a layer is made from its weight: new Linear(randn(key(0), [out, in])), new Embedding(randn(key(0), [V, C]))",
};

export interface LinearOptions {
  /** Whether it has a bias. Default true. */
  readonly bias?: boolean;
  /** What makes the weight [out, in]. */
  readonly weight?: Initializer;
}

/** Uniform on ±1/√n; zeros where nothing comes in. */
export const uniformByFan = (key: Tensor, shape: Shape, fan: number): Tensor =>
  fan === 0 ? zeros(shape) : uniform(key, shape, { low: -1 / Math.sqrt(fan), high: 1 / Math.sqrt(fan) });

/** x·Wᵀ, plus a bias b where there is one. */
export class Linear {
  weight: Tensor; // [out, in], as checkpoints store it
  bias: Tensor | null; // [out]

  constructor(weight: Tensor, bias: Tensor | null = null) {
    checkArgument("Linear", "weight", weight, weightKind);
    if (bias !== null) {
      checkArgument("Linear", "bias", bias, tensorKind);
      if (bias.rank !== 1 || bias.shape[0] !== weight.shape[0])
        throw new ShapeError(`Linear: a bias ${show(bias.shape)} for a weight ${show(weight.shape)}`, { hint: "a bias is [out]" });
    }
    this.weight = weight;
    this.bias = bias;
  }

  /** Of these sizes, by default with weights and biases uniform on ±1/√in, as PyTorch's are. */
  static create(k: Tensor, inputs: number, outputs: number, options: LinearOptions = {}): Linear {
    checkArgument("Linear.create", "key", k, keyKind);
    checkArgument("Linear.create", "inputs", inputs, integer(0));
    checkArgument("Linear.create", "outputs", outputs, integer(0));
    checkOptions("Linear.create", options, { bias: optional(flag), weight: optional(callable) });
    const { bias = true, weight = (key, shape) => uniformByFan(key, shape, inputs) } = options;
    const [weightKey, biasKey] = split(k) as [Tensor, Tensor];
    return new Linear(weight(weightKey, [outputs, inputs]), bias ? uniformByFan(biasKey, [outputs], inputs) : null);
  }

  /** […, in] → […, out] */
  forward(x: Tensor): Tensor {
    const y = matmul(x, transpose(this.weight));
    return this.bias === null ? y : add(y, cast(this.bias, y.dtype));
  }
}

/** A row of the weight for each token. */
export class Embedding {
  weight: Tensor; // [V, C]

  constructor(weight: Tensor) {
    checkArgument("Embedding", "weight", weight, weightKind);
    this.weight = weight;
  }

  /** V rows of C numbers, by default standard normal, as PyTorch's are. */
  static create(k: Tensor, rows: number, channels: number, options: { readonly weight?: Initializer } = {}): Embedding {
    checkArgument("Embedding.create", "key", k, keyKind);
    checkArgument("Embedding.create", "rows", rows, integer(0));
    checkArgument("Embedding.create", "channels", channels, integer(0));
    checkOptions("Embedding.create", options, { weight: optional(callable) });
    return new Embedding((options.weight ?? randn)(k, [rows, channels]));
  }

  /** Integers […] → […, C] */
  forward(tokens: Tensor): Tensor {
    return gather(this.weight, tokens);
  }
}

/** x/√(mean(x²) + ε)·weight over the last axis (Zhang & Sennrich 2019). */
export class RMSNorm {
  weight: Tensor; // [C]
  readonly _eps: number;

  constructor(weight: Tensor, eps: number) {
    checkArgument("RMSNorm", "weight", weight, tensorKind);
    checkArgument("RMSNorm", "eps", eps, notNegative);
    this.weight = weight;
    this._eps = eps;
  }

  /** Ones, for C channels. */
  static create(channels: number, options: { readonly eps?: number } = {}): RMSNorm {
    checkArgument("RMSNorm.create", "channels", channels, integer(0));
    checkOptions("RMSNorm.create", options, { eps: optional(notNegative) });
    return new RMSNorm(ones([channels]), options.eps ?? 1e-5);
  }

  /** […, C] → […, C] */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this._eps);
  }
}

/** How many numbers the tensors of a tree hold; one tensor at several places (tied weights) counts once, as in PyTorch. */
export const parameterCount = (tree: Tree): number =>
  [...new Set(tensorsOf(tree).map(({ tensor }) => tensor))].reduce((count, { size }) => count + size, 0);

/** The same tree with memory of its own, for one that a donating function is about to take over. */
export function copyTree<T>(tree: T): T {
  const copy = mapTensors(tree, (tensor) => apply("alias", [tensor], {}));
  realizeNow(tensorsOf(copy).map(({ tensor }) => tensor));
  return copy;
}
