import { checkOptions, flag, type Kind, type OptionKinds, optional, positive } from "../arguments.js";
import { rsqrt, square } from "../autograd/composites.js";
import { add, div, matmul, maximum, minimum, mul, pow, sqrt, sub, sum, zeros } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { mapTensors, type Tree } from "../autograd/tree.js";
import { combine, partition } from "../autograd/tree-parts.js";
import { isFloat, summableDtype } from "../ir/dtype.js";
import {
  type DecayOptions,
  decayKinds,
  decayRate,
  givenToUpdate,
  moved,
  type Optimizer,
  settled,
  whereGradients,
  wide,
  zerosLikeFloats,
  zipGradients,
} from "./optimizer-parts.js";

export interface AdafactorOptions extends DecayOptions {
  /** ĉ < 0: of step t the mean of squares keeps 1 − t^ĉ. Default −0.8. */
  readonly beta2Decay?: number;
  /** ε₁, the least root of a mean of squares. Default 2⁻²³, f32's. */
  readonly eps1?: number;
  /** ε₂, the least size that a parameter counts as. Default 1e-3. */
  readonly eps2?: number;
  /** d: the root mean square that an update is clipped to. Default 1. */
  readonly clipThreshold?: number;
  /** Whether the rate is min(η, 1/√t) at step t, and not η. Default true. */
  readonly relativeStep?: boolean;
  /** Whether the rate is multiplied by max(ε₂, RMS(θ)). Default true. */
  readonly scaleParameter?: boolean;
}

const below0: Kind = { wanted: "a number below 0", fits: (value) => typeof value === "number" && value < 0 && Number.isFinite(value) };

const adafactorKinds: OptionKinds<AdafactorOptions> = {
  ...decayKinds,
  beta2Decay: optional(below0),
  eps1: optional(positive),
  eps2: optional(positive),
  clipThreshold: optional(positive),
  relativeStep: optional(flag),
  scaleParameter: optional(flag),
};

export interface AdafactorState {
  /** For each parameter […, R, C] the means of squared gradients over columns, […, R, 1]; null elsewhere. */
  readonly rows: Tree;
  /** The same over rows, […, 1, C]. */
  readonly columns: Tree;
  /** Means of squared gradients of parameters of rank 0 and 1; null elsewhere. */
  readonly whole: Tree;
  /** t, a scalar. */
  readonly step: Tensor;
}

/**
 * Adafactor (Shazeer & Stern 2018, algorithms 4–6; in PyTorch's form): Adam without a first moment, whose second moment of a matrix is the product
 * of a column and a row, so that the state is a few vectors.
 *
 *   t ← t + 1                          β = 1 − t^ĉ
 *   r ← β·r + (1 − β)·mean_C(g²)       c ← β·c + (1 − β)·mean_R(g²)
 *   v = r·c/max(mean_R(r), ε₁)         v ← β·v + (1 − β)·g² for vectors
 *   u = g/√max(v, ε₁²)                 u ← u/max(1, RMS(u)/d)
 *   θ ← θ − max(ε₂, RMS(θ))·min(η, 1/√t)·u − η·λ·θ
 *
 * Throws OptionError for values outside of their range.
 */
export function adafactor(options: AdafactorOptions = {}): Optimizer<AdafactorState> {
  checkOptions("adafactor", options, adafactorKinds, givenToUpdate);
  const { beta2Decay = -0.8, eps1 = 2 ** -23, eps2 = 1e-3, clipThreshold = 1, relativeStep = true, scaleParameter = true } = options;
  const decay = decayRate(options);
  const along = (axis: -1 | -2) => (x: Tensor) => zeros(x.shape.with(axis, 1), { dtype: summableDtype(x.dtype) });

  return {
    init: (params) => {
      const [matrices, others] = partition(params, isMatrix);
      return {
        rows: mapTensors(matrices, along(-1)),
        columns: mapTensors(matrices, along(-2)),
        whole: zerosLikeFloats(others),
        step: zeros([]),
      };
    },
    update: (params, grads, state, { lr }) => {
      const step = add(state.step, 1);
      const fresh = pow(step, beta2Decay);
      const mixed = (old: Tensor, x: Tensor): Tensor => add(old, mul(sub(x, old), fresh));
      const [matrices, others] = partition(grads, isMatrix);
      const rows = zipGradients(([r, g]) => mixed(r, meanOver(square(wide(g)), -1)), matrices, state.rows, matrices);
      const columns = zipGradients(([r, g]) => mixed(r, meanOver(square(wide(g)), -2)), matrices, state.columns, matrices);
      const whole = whereGradients(([v, g]) => mixed(v, square(wide(g))), others, state.whole, others);
      const scaled = (g: Tensor, v: Tensor): Tensor => mul(wide(g), rsqrt(maximum(v, eps1 * eps1)));
      const productOf = (r: Tensor, c: Tensor): Tensor => div(matmul(r, c), maximum(meanOver(r, -2), eps1));
      const steps = combine(
        zipGradients(([g, r, c]) => scaled(g, productOf(r, c)), matrices, matrices, rows, columns),
        whereGradients(([g, v]) => scaled(g, v), others, others, whole),
      );
      const rate = relativeStep ? minimum(lr, rsqrt(step)) : lr;
      const next = whereGradients(
        ([p, u], path) => {
          const clipped = div(u, maximum(1, div(rms(u), clipThreshold)));
          const by = mul(clipped, scaleParameter ? mul(maximum(rms(wide(p)), eps2), rate) : rate);
          const lambda = decay(p, path);
          return moved(p, lambda === 0 ? by : add(by, mul(mul(wide(p), lambda), lr)));
        },
        grads,
        params,
        steps,
      );
      return settled([next, { rows, columns, whole, step }]);
    },
  };
}

const isMatrix = ({ dtype, rank }: Tensor): boolean => isFloat(dtype) && rank >= 2;

/** The mean over an axis that stays; 0 where it is empty. */
const meanOver = (x: Tensor, axis: number): Tensor => mul(sum(x, axis, true), 1 / Math.max(1, x.shape.at(axis) as number));

/** √mean(x²), 0 for no elements. */
const rms = (x: Tensor): Tensor => sqrt(mul(sum(square(x)), 1 / Math.max(1, x.size)));
