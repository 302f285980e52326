/** Optimizers, sorted in order of complexity. `muon` and `adafactor` have files of their own. */
import { checkOptions, flag, fraction, type OptionKinds, optional, positive } from "../arguments.js";
import { square } from "../autograd/composites.js";
import { add, div, mul, sign, sqrt, zeros } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import type { Tree } from "../autograd/tree.js";
import { OptionError } from "../errors.js";
import {
  blend,
  type DecayOptions,
  decayKinds,
  decayOf,
  givenToUpdate,
  moved,
  type Optimizer,
  settled,
  whereGradients,
  wide,
  zerosLikeFloats,
} from "./optimizer-parts.js";

export type { DecayOptions, Optimizer } from "./optimizer-parts.js";

export interface SgdOptions extends DecayOptions {
  /** μ: how much of the last step's velocity is kept. Default 0. */
  readonly momentum?: number;
  /** Nesterov's form, which looks one step of the velocity ahead; it needs a momentum. Default false. */
  readonly nesterov?: boolean;
}

export interface SgdState {
  /** A tree like the parameters, f32 for halves; null without momentum. */
  readonly velocity: Tree;
}

/**
 * Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983; in PyTorch's form, where weight decay is part of the gradient):
 *
 *   g ← g + λ·θ
 *   u ← μ·u + g
 *   θ ← θ − η·u            Nesterov: θ ← θ − η·(g + μ·u)
 *
 * Throws OptionError for values outside of their range, and for `nesterov` without momentum.
 */
export function sgd(options: SgdOptions = {}): Optimizer<SgdState> {
  checkOptions("sgd", options, { ...decayKinds, momentum: optional(fraction), nesterov: optional(flag) }, givenToUpdate);
  const { momentum = 0, nesterov = false } = options;
  if (nesterov && momentum === 0)
    throw new OptionError("sgd: nesterov without momentum", { hint: "sgd({ momentum: 0.9, nesterov: true })" });
  const decayed = decayOf(options);
  return {
    init: (params) => ({ velocity: momentum === 0 ? null : zerosLikeFloats(params) }),
    update: (params, grads, state, { lr }) => {
      const slopes = whereGradients(([p, g], path) => decayed(wide(g), p, path), grads, params, grads);
      const velocity = momentum === 0 ? slopes : whereGradients(([u, g]) => add(mul(u, momentum), g), grads, state.velocity, slopes);
      const steps = nesterov ? whereGradients(([g, u]) => add(g, mul(u, momentum)), grads, slopes, velocity) : velocity;
      const next = whereGradients(([p, u]) => moved(p, mul(u, lr)), grads, params, steps);
      return settled([next, { velocity: momentum === 0 ? null : velocity }]);
    },
  };
}

export interface LionOptions extends DecayOptions {
  /** β₁, of the step, and β₂, of the momentum. Default [0.9, 0.99]. */
  readonly betas?: readonly [number, number];
}

export interface LionState {
  /** A tree like the parameters, f32 for halves. */
  readonly m: Tree;
}

const betasKind = optional({
  wanted: "two numbers with 0 ≤ β < 1",
  fits: (betas) => Array.isArray(betas) && betas.length === 2 && betas.every(fraction.fits),
});

/**
 * Lion (Chen et al. 2023, algorithm 2): every element moves by η, so rates are a tenth of AdamW's, and decays ten times larger.
 *
 *   θ ← θ − η·(sign(β₁·m + (1 − β₁)·g) + λ·θ)
 *   m ← β₂·m + (1 − β₂)·g
 *
 * Throws OptionError for values outside of their range.
 */
export function lion(options: LionOptions = {}): Optimizer<LionState> {
  checkOptions("lion", options, { ...decayKinds, betas: betasKind }, givenToUpdate);
  const [beta1, beta2] = options.betas ?? [0.9, 0.99];
  const decayed = decayOf(options);
  return {
    init: (params) => ({ m: zerosLikeFloats(params) }),
    update: (params, grads, state, { lr }) => {
      const next = whereGradients(
        ([p, m, g], path) => moved(p, mul(decayed(sign(blend(beta1, m, wide(g))), p, path), lr)),
        grads,
        params,
        state.m,
        grads,
      );
      const m = whereGradients(([old, g]) => blend(beta2, old, wide(g)), grads, state.m, grads);
      return settled([next, { m }]);
    },
  };
}

export interface AdagradOptions extends DecayOptions {
  /** ε, added to the root of the sum. Default 1e-10. */
  readonly eps?: number;
}

export interface AdagradState {
  /** Sum of squared gradients, a tree like the parameters; f32 for halves. */
  readonly sum: Tree;
}

/**
 * Adagrad (Duchi, Hazan & Singer 2011, with a diagonal matrix), where weight decay is part of the gradient as in PyTorch:
 *
 *   g ← g + λ·θ             s ← s + g²
 *   θ ← θ − η·g/(√s + ε)
 *
 * Throws OptionError for values outside of their range.
 */
export function adagrad(options: AdagradOptions = {}): Optimizer<AdagradState> {
  checkOptions("adagrad", options, { ...decayKinds, eps: optional(positive) }, givenToUpdate);
  const { eps = 1e-10 } = options;
  const decayed = decayOf(options);
  return {
    init: (params) => ({ sum: zerosLikeFloats(params) }),
    update: (params, grads, state, { lr }) => {
      const slopes = whereGradients(([p, g], path) => decayed(wide(g), p, path), grads, params, grads);
      const sum = whereGradients(([s, g]) => add(s, square(g)), grads, state.sum, slopes);
      const next = whereGradients(([p, g, s]) => moved(p, mul(div(g, add(sqrt(s), eps)), lr)), grads, params, slopes, sum);
      return settled([next, { sum }]);
    },
  };
}

export interface RmspropOptions extends DecayOptions {
  /** α: how much of the mean of squares is kept. Default 0.99. */
  readonly alpha?: number;
  /** ε, added to the root of the mean. Default 1e-8. */
  readonly eps?: number;
  /** μ: how much of the last step's velocity is kept. Default 0. */
  readonly momentum?: number;
}

export interface RmspropState {
  /** Mean of squared gradients, a tree like the parameters; f32 for halves, as is the velocity. */
  readonly v: Tree;
  /** null without momentum. */
  readonly velocity: Tree;
}

/**
 * RMSprop (Tieleman & Hinton 2012, lecture 6.5; in PyTorch's form, where weight decay is part of the gradient):
 *
 *   g ← g + λ·θ             v ← α·v + (1 − α)·g²
 *   u ← μ·u + g/(√v + ε)
 *   θ ← θ − η·u
 *
 * Throws OptionError for values outside of their range.
 */
export function rmsprop(options: RmspropOptions = {}): Optimizer<RmspropState> {
  const kinds = { ...decayKinds, alpha: optional(fraction), eps: optional(positive), momentum: optional(fraction) };
  checkOptions("rmsprop", options, kinds, givenToUpdate);
  const { alpha = 0.99, eps = 1e-8, momentum = 0 } = options;
  const decayed = decayOf(options);
  return {
    init: (params) => ({ v: zerosLikeFloats(params), velocity: momentum === 0 ? null : zerosLikeFloats(params) }),
    update: (params, grads, state, { lr }) => {
      const slopes = whereGradients(([p, g], path) => decayed(wide(g), p, path), grads, params, grads);
      const v = whereGradients(([old, g]) => blend(alpha, old, square(g)), grads, state.v, slopes);
      const scaled = whereGradients(([g, s]) => div(g, add(sqrt(s), eps)), grads, slopes, v);
      const velocity = momentum === 0 ? scaled : whereGradients(([u, g]) => add(mul(u, momentum), g), grads, state.velocity, scaled);
      const next = whereGradients(([p, u]) => moved(p, mul(u, lr)), grads, params, velocity);
      return settled([next, { v, velocity: momentum === 0 ? null : velocity }]);
    },
  };
}

export interface AdamOptions extends DecayOptions {
  /** Decay rates β₁ and β₂ of the two moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** ε, added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
}

export interface AdamWOptions extends DecayOptions {
  /** Decay rates β₁ and β₂ of the two moments. Default [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  /** ε, added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** λ. Default 0.1. */
  readonly weightDecay?: number;
}

const adamKinds: OptionKinds<AdamOptions> = { ...decayKinds, betas: betasKind, eps: optional(positive) };

export interface AdamState {
  /** Mean of gradients, a tree like the parameters; f32 for halves, as is `v`. */
  readonly m: Tree;
  /** Mean of squared gradients, a tree like the parameters. */
  readonly v: Tree;
  /** 1 − β₁ᵗ and 1 − β₂ᵗ after t steps, scalars. */
  readonly correction1: Tensor;
  readonly correction2: Tensor;
}

export type AdamWState = AdamState;

/**
 * Adam (Kingma & Ba 2015, algorithm 1), where weight decay is part of the gradient as in PyTorch:
 *
 *   g ← g + λ·θ
 *   m ← β₁·m + (1 − β₁)·g             v ← β₂·v + (1 − β₂)·g²
 *   m̂ = m/(1 − β₁ᵗ)                   v̂ = v/(1 − β₂ᵗ)
 *   θ ← θ − η·m̂/(√v̂ + ε)
 *
 * Corrections and errors are those of {@link adamw}, which decays better.
 */
export function adam(options: AdamOptions = {}): Optimizer<AdamState> {
  checkOptions("adam", options, adamKinds, givenToUpdate);
  const { betas = [0.9, 0.999] } = options;
  return adamOf({ ...options, betas }, "in the gradient");
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
  checkOptions("adamw", options, adamKinds, givenToUpdate);
  const { betas = [0.9, 0.95], weightDecay = 0.1 } = options;
  return adamOf({ ...options, betas, weightDecay }, "in the step");
}

function adamOf(
  options: AdamOptions & { readonly betas: readonly [number, number] },
  decays: "in the gradient" | "in the step",
): Optimizer<AdamState> {
  const {
    betas: [beta1, beta2],
    eps = 1e-8,
  } = options;
  const decayed = decayOf(options);
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
      const slope = (g: Tensor, p: Tensor, path: string): Tensor => (decays === "in the gradient" ? decayed(wide(g), p, path) : wide(g));
      const slopes = whereGradients(([p, g], path) => slope(g, p, path), grads, params, grads);
      const m = whereGradients(([old, g]) => blend(beta1, old, g), grads, state.m, slopes);
      const v = whereGradients(([old, g]) => blend(beta2, old, square(g)), grads, state.v, slopes);
      const next = whereGradients(
        ([theta, mean, meanSquare], path) => {
          const step = div(div(mean, correction1), add(sqrt(div(meanSquare, correction2)), eps));
          return moved(theta, mul(decays === "in the step" ? decayed(step, theta, path) : step, lr));
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
