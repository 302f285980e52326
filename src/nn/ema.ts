import { checkArgument, checkOptions, flag, fraction, object, optional } from "../arguments.js";
import { cast, div, full, zeros } from "../autograd/operations.js";
import { apply, type Tensor } from "../autograd/tensor.js";
import type { Tree } from "../autograd/tree.js";
import { combine, type Part, partition } from "../autograd/tree-parts.js";
import { isFloat } from "../ir/dtype.js";
import { blend, mapFloats, settled, whereGradients, wide, zerosLikeFloats } from "./optimizer-parts.js";

export interface EmaOptions {
  /** β, in [0, 1): how much of the average is kept. Default 0.999. */
  readonly decay?: number;
  /** Whether the average begins with nothing and is divided by 1 − βᵗ after t steps, instead of beginning with the parameters. Default false. */
  readonly biasCorrected?: boolean;
}

export interface EmaState {
  /** The sum so far, a tree like the parameters; f32 for halves, null for tensors that are no floats. */
  readonly mean: Tree;
  /** What the parameters count in it together, a scalar: 1, or 1 − βᵗ. */
  readonly weight: Tensor;
}

export interface Ema {
  /** The average before the first step. */
  init(params: Tree): EmaState;
  /** The average with the parameters of one more step. */
  update(state: EmaState, params: Tree): EmaState;
  /** The averaged parameters, in the dtypes of `params`, from which all that is no float comes. */
  average<P>(state: EmaState, params: P): P;
}

/**
 * Exponential moving average of parameters, which often does better than the last of them (Polyak & Juditsky 1992):
 *
 *   ā ← β·ā + (1 − β)·θ             w ← β·w + (1 − β)             average = ā/w
 *
 * with ā = θ and w = 1 at first, or ā = 0 and w = 0 with `biasCorrected`: then the parameters from which training began do not count. The state is a tree
 * of tensors, so that `update` can be part of a compiled step. Throws OptionError for a decay outside of its range.
 */
export function ema(options: EmaOptions = {}): Ema {
  checkOptions("ema", options, { decay: optional(fraction), biasCorrected: optional(flag) });
  const { decay = 0.999, biasCorrected = false } = options;
  return {
    init: (params) => ({
      mean: biasCorrected ? zerosLikeFloats(params) : settled(mapFloats(params, (theta) => copyOf(wide(theta)))),
      weight: biasCorrected ? zeros([]) : full([], 1),
    }),
    update: (state, params) => {
      checkArgument("ema.update", "state", state, object);
      const mean = whereGradients(([old, theta]) => blend(decay, old, wide(theta)), floatsOf(params), state.mean, params);
      return settled({ mean, weight: biasCorrected ? blend(decay, state.weight, 1) : copyOf(state.weight) });
    },
    average: (state, params) => {
      const floats = floatsOf(params);
      const means = whereGradients(([theta, mean]) => cast(div(mean, state.weight), theta.dtype), floats, floats, state.mean);
      return settled(combine(means, partition(params, ({ dtype }) => isFloat(dtype))[1]));
    },
  };
}

/** The same numbers in memory of their own: training takes over what it is given. */
const copyOf = (x: Tensor): Tensor => apply("alias", [x], {});

const floatsOf = <P>(params: P): Part<P> => partition(params, ({ dtype }) => isFloat(dtype))[0];
