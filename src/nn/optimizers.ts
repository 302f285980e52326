import { callable, checkOptions, fraction, notNegative, type OptionKinds, optional, positive } from "../arguments.js";
import { square } from "../autograd/composites.js";
import { add, cast, div, mul, sqrt, sub, type TensorLike, zeros } from "../autograd/operations.js";
import { realizeNow } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { isTracing } from "../autograd/tracing.js";
import { mapTensors, type Tree, tensorsOf, zipNamed } from "../autograd/tree.js";
import { combine, type Part, partition } from "../autograd/tree-parts.js";
import { ShapeError } from "../errors.js";
import { isFloat, summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";

/**
 * Optimizers as pure functions over trees, sorted in order of complexity. The state is a tree of tensors and nothing else:
 * whatever changes from step to step is data, so one compiled program serves all of them. Parameters of halves are updated in f32, from
 * moments that are f32, and rounded once.
 */
export interface Optimizer<State> {
  /** The state before the first step. Tensors that are no floats have none. */
  init(params: Tree): State;
  /**
   * New parameters and state from gradients of the tree of the parameters. `lr` is the learning rate of this step. Where there is no
   * gradient (null, as in a part of a tree), parameter and state stay as they are: nothing decays and no moment fades.
   */
  update<P>(params: P, grads: NoInfer<P> | Part<P>, state: State, step: { readonly lr: TensorLike }): [params: P, state: State];
}

/** In the dtype that an update is computed in: f32 for halves. */
const wide = (x: Tensor): Tensor => cast(x, summableDtype(x.dtype));

/** Zeros like the floats of a tree, f32 for halves; null elsewhere. */
const zerosLikeFloats = (params: Tree): Tree =>
  mapTensors(partition(params, ({ dtype }) => isFloat(dtype))[0], ({ shape, dtype }) => zeros(shape, { dtype: summableDtype(dtype) }));

/** f of the tensors at the same places where `grads` has one; elsewhere the leaf of the first tree stays. Throws where forms or shapes differ. */
function whereGradients<T>(f: (tensors: Tensor[], path: string) => Tensor, grads: Tree, first: T, ...others: Tree[]): T {
  const present = new Set(tensorsOf(grads).map(({ path }) => path));
  const moving = (tree: Tree): Tree => partition(tree, (_, path) => present.has(path))[0];
  const [moved, still] = partition(first, (_, path) => present.has(path));
  const names = ["the parameters or their state", ...others.map(() => "the state or the gradients"), "the gradients"];
  const ofOneShape = (tensors: Tensor[], path: string): Tensor => {
    const [{ shape }] = tensors as [Tensor];
    const odd = tensors.find((tensor) => !sameShape(tensor.shape, shape));
    if (odd === undefined) return f(tensors.slice(0, -1), path);
    throw new ShapeError(`update: parameters, state and gradients have one shape, found ${show(shape)} and ${show(odd.shape)}`, {
      hint: "give the gradients and the state of these parameters",
    });
  };
  return combine(zipNamed("update", names, ofOneShape, moved, ...others.map(moving), grads), still);
}

/** θ − Δ, computed in the dtype of Δ and rounded once to that of θ. */
const moved = (theta: Tensor, by: Tensor): Tensor => cast(sub(wide(theta), by), theta.dtype);

/** Ends a step: outside of a trace the new values are computed now, so that the graph of the next step starts from numbers. */
function settled<R>(result: R): R {
  if (!isTracing()) realizeNow(tensorsOf(result).map(({ tensor }) => tensor));
  return result;
}

const rate = "the learning rate belongs to each step: update(params, grads, state, { lr })";
const givenToUpdate = { lr: rate, learningRate: rate, learning_rate: rate };

export interface SgdOptions {
  /** μ: how much of the last step's velocity is kept. Default 0. */
  readonly momentum?: number;
}

export interface SgdState {
  /** A tree like the parameters, f32 for halves; null without momentum. */
  readonly velocity: Tree;
}

/**
 * Stochastic gradient descent with momentum (Polyak 1964, in PyTorch's form):
 *
 *   u ← μ·u + g
 *   θ ← θ − η·u
 */
export function sgd(options: SgdOptions = {}): Optimizer<SgdState> {
  checkOptions("sgd", options, { momentum: optional(fraction) }, givenToUpdate);
  const { momentum = 0 } = options;
  return {
    init: (params) => ({ velocity: momentum === 0 ? null : zerosLikeFloats(params) }),
    update: (params, grads, state, { lr }) => {
      const { velocity: old } = state;
      const velocity =
        momentum === 0 ? grads : whereGradients(([u, g]) => add(mul(u as Tensor, momentum), wide(g as Tensor)), grads, old, grads);
      const next = whereGradients(([p, u]) => moved(p as Tensor, mul(wide(u as Tensor), lr)), grads, params, velocity);
      return settled([next, { velocity: momentum === 0 ? null : velocity }]);
    },
  };
}

export interface AdamWOptions {
  /** Decay rates β₁ and β₂ of the two moments. Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  /** ε, added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** λ. Default 0.1. */
  readonly weightDecay?: number;
  /** Which parameters decay. Default: those of rank 2 and above, so that norms and biases do not. */
  readonly decayMask?: (path: string, tensor: Tensor) => boolean;
}

const adamwKinds: OptionKinds<AdamWOptions> = {
  betas: optional({
    wanted: "two numbers with 0 ≤ β < 1",
    fits: (betas) => Array.isArray(betas) && betas.length === 2 && betas.every(fraction.fits),
  }),
  eps: optional(positive),
  weightDecay: optional(notNegative),
  decayMask: optional(callable),
};

export interface AdamWState {
  /** Mean of gradients, a tree like the parameters; f32 for halves, as is `v`. */
  readonly m: Tree;
  /** Mean of squared gradients, a tree like the parameters. */
  readonly v: Tree;
  /** 1 − β₁ᵗ and 1 − β₂ᵗ after t steps, scalars. */
  readonly correction1: Tensor;
  readonly correction2: Tensor;
}

/**
 * AdamW: Adam (Kingma & Ba 2015, algorithm 1) with weight decay decoupled from the gradient (Loshchilov & Hutter 2019,
 * algorithm 2, where the learning rate multiplies both terms as in PyTorch):
 *
 *   m ← β₁·m + (1 − β₁)·g             v ← β₂·v + (1 − β₂)·g²
 *   m̂ = m/(1 − β₁ᵗ)                   v̂ = v/(1 − β₂ᵗ)
 *   θ ← θ − η·(m̂/(√v̂ + ε) + λ·θ)
 *
 * The corrections cₜ = 1 − βᵗ are kept in the state and follow cₜ = β·cₜ₋₁ + (1 − β), which has no cancellation: in f32,
 * 1 − 0.999ᵗ by powers would lose four digits at the first steps. Throws OptionError for values outside of their range.
 */
export function adamw(options: AdamWOptions = {}): Optimizer<AdamWState> {
  checkOptions("adamw", options, adamwKinds, givenToUpdate);
  const { betas = [0.9, 0.95], eps = 1e-8, weightDecay = 0.1, decayMask = (_, tensor) => tensor.rank >= 2 } = options;
  const [beta1, beta2] = betas;

  /** β·old + (1 − β)·fresh */
  const blend = (beta: number, old: Tensor, fresh: TensorLike): Tensor => add(mul(old, beta), mul(fresh, 1 - beta));

  return {
    init: (params) => ({
      m: zerosLikeFloats(params),
      v: zerosLikeFloats(params),
      correction1: zeros([]),
      correction2: zeros([]),
    }),
    update: (params, grads, state, { lr }) => {
      const correction1 = blend(beta1, state.correction1, 1);
      const correction2 = blend(beta2, state.correction2, 1);
      const m = whereGradients(([old, g]) => blend(beta1, old as Tensor, wide(g as Tensor)), grads, state.m, grads);
      const v = whereGradients(([old, g]) => blend(beta2, old as Tensor, square(wide(g as Tensor))), grads, state.v, grads);
      const next = whereGradients(
        ([p, first, second], path) => {
          const [theta, mean, meanSquare] = [p, first, second] as [Tensor, Tensor, Tensor];
          const step = div(div(mean, correction1), add(sqrt(div(meanSquare, correction2)), eps));
          const decayed = weightDecay > 0 && decayMask(path, theta) ? add(step, mul(wide(theta), weightDecay)) : step;
          return moved(theta, mul(decayed, lr));
        },
        grads,
        params,
        m,
        v,
      );
      return settled([next, { m, v, correction1, correction2 }]);
    },
  };
}
