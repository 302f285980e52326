/** Methods that keep fast dimensions, divide slow ones by s and blend between them: ntk-by-parts, yarn, llama3. */
import { flag, optional, text } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import {
  checkAttentionFactor,
  checkFactor,
  checkWindow,
  type Method,
  optionalNumber,
  powers,
  type RopeShape,
  windowKinds,
} from "./method.js";

/** Where the ramp between kept and interpolated dimensions lies. */
interface Ramp {
  readonly factor: number;
  readonly originalMaxPositions: number;
  /**
   * What the ramp is linear in. `"index"`: the dimension index j, as in the authors' code, Hugging Face and llama.cpp. `"turns"`: the
   * number of turns L/λ_j, as in eq. 17–20 of the paper. The two differ by up to a factor of 3 in some frequencies.
   */
  readonly ramp?: "index" | "turns";
  /** Dimensions with at least this many turns within L are kept (the paper's β). Default 32; too large for windows below some 1,000. */
  readonly betaFast?: number;
  /** Dimensions with at most this many turns within L are interpolated fully (the paper's α). Default 1. */
  readonly betaSlow?: number;
  /** Round the ends of the index ramp outwards to whole dimensions. Default true; has no meaning for `ramp: "turns"`. */
  readonly truncate?: boolean;
}

/**
 * NTK-by-parts: θ'_j = (1 − γ(r_j))·θ_j/s + γ(r_j)·θ_j, r_j = L·θ_j/2π, γ = 0 below α, 1 above β and linear between; no attention
 * factor. The default ramp is "turns". Source: Peng et al. 2023 (arXiv 2309.00071), eq. 17–20.
 */
export interface NtkByPartsScaling extends Ramp {
  readonly type: "ntk-by-parts";
}

/**
 * YaRN: NTK-by-parts and the attention factor 0.1·ln s + 1. The default ramp is "index", as in all code in circulation.
 * Source: Peng et al. 2023 (arXiv 2309.00071), eq. 17–22; jquesnelle/yarn.
 */
export interface YarnScaling extends Ramp {
  readonly type: "yarn";
  /** Replaces the computed attention factor. */
  readonly attentionFactor?: number;
  /** With `mscaleAllDim`: attention factor (0.1·mscale·ln s + 1) / (0.1·mscaleAllDim·ln s + 1). Ignored unless both are given and not 0. */
  readonly mscale?: number;
  readonly mscaleAllDim?: number;
}

/**
 * Llama-3 scaling: a ramp in the number of turns between lowFreqFactor and highFreqFactor, without attention factor: NTK-by-parts with
 * α = lowFreqFactor and β = highFreqFactor. Source: meta-llama/llama-models, `models/llama3/model.py`.
 */
export interface Llama3Scaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Dimensions with fewer turns than this are divided by `factor`. Default 1. */
  readonly lowFreqFactor?: number;
  /** Dimensions with more turns than this are kept. Default 4. */
  readonly highFreqFactor?: number;
}

/** Below this window the index ramp can invert: with L < 2π no dimension makes a full turn. */
const SMALLEST_RAMP_WINDOW = 8;

const rampKinds = {
  ...windowKinds,
  ramp: optional(text),
  betaFast: optionalNumber,
  betaSlow: optionalNumber,
  truncate: optional(flag),
} as const;

export const ntkByParts: Method<NtkByPartsScaling> = {
  kinds: rampKinds,
  frequencies: (scaling, shape) => ({ invFreq: rampedFrequencies(scaling, shape, "turns"), attentionFactor: 1 }),
};

export const yarn: Method<YarnScaling> = {
  kinds: { ...rampKinds, attentionFactor: optionalNumber, mscale: optionalNumber, mscaleAllDim: optionalNumber },
  frequencies: (scaling, shape) => ({
    invFreq: rampedFrequencies(scaling, shape, "index"),
    attentionFactor: yarnAttentionFactor(scaling),
  }),
};

export const llama3: Method<Llama3Scaling> = {
  kinds: { ...windowKinds, lowFreqFactor: optionalNumber, highFreqFactor: optionalNumber },
  frequencies(scaling, shape) {
    const { low, high } = checkTurnRange(scaling.lowFreqFactor ?? 1, scaling.highFreqFactor ?? 4, ["lowFreqFactor", "highFreqFactor"]);
    const weights = turnsRamp(shape, checkWindow(scaling.originalMaxPositions, 1), low, high);
    return { invFreq: blend(shape, checkFactor(scaling.factor), weights), attentionFactor: 1 };
  },
};

function rampedFrequencies(scaling: NtkByPartsScaling | YarnScaling, shape: RopeShape, usual: "index" | "turns"): Float64Array {
  const factor = checkFactor(scaling.factor);
  const window = checkWindow(scaling.originalMaxPositions, SMALLEST_RAMP_WINDOW);
  const { low, high } = checkTurnRange(scaling.betaSlow ?? 1, scaling.betaFast ?? 32, ["betaSlow", "betaFast"]);
  const ramp = scaling.ramp ?? usual;
  if (ramp !== "index" && ramp !== "turns") {
    throw new OptionError(`the ramp of ${scaling.type} is "index" or "turns", found ${JSON.stringify(ramp)}`, {
      hint: '"index" is what Hugging Face and llama.cpp compute, "turns" what the paper prints',
    });
  }
  const weights =
    ramp === "turns"
      ? turnsRamp(shape, window, low, high)
      : indexRamp(scaling.type, shape, { window, low, high, truncate: scaling.truncate ?? true });
  return blend(shape, factor, weights);
}

/** a = 0.1·ln s + 1 (arXiv 2309.00071, eq. 22), or what the options say instead. */
function yarnAttentionFactor(scaling: YarnScaling): number {
  const { factor, attentionFactor, mscale, mscaleAllDim } = scaling;
  if (attentionFactor !== undefined) return checkAttentionFactor(attentionFactor, "0.1 ln(factor) + 1");
  if (mscale && mscaleAllDim) {
    const ratio = logScale(factor, mscale) / logScale(factor, mscaleAllDim);
    if (!Number.isFinite(ratio) || ratio <= 0) {
      throw new OptionError(`mscale ${mscale} and mscaleAllDim ${mscaleAllDim} give the attention factor ${ratio}, which is not positive`, {
        hint: "leave both out to get 0.1 ln(factor) + 1",
      });
    }
    return ratio;
  }
  return logScale(factor, 1);
}

function logScale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** θ'_j = θ_j/s · w_j + θ_j · (1 − w_j), with w_j = 1 where a dimension is interpolated fully. */
function blend(shape: RopeShape, factor: number, weights: Float64Array): Float64Array {
  return powers(shape.theta, shape.headDim).map((frequency, j) => {
    const weight = weights[j] as number;
    return (frequency / factor) * weight + frequency * (1 - weight);
  });
}

/** w_j = 1 − γ(r_j), r_j = L·θ_j/2π: linear in the number of turns that dimension j makes within the window (arXiv 2309.00071, eq. 17–18). */
function turnsRamp(shape: RopeShape, window: number, low: number, high: number): Float64Array {
  return powers(shape.theta, shape.headDim).map((frequency) => {
    const turns = (window * frequency) / (2 * Math.PI);
    if (turns < low) return 1;
    if (turns >= high) return 0;
    return 1 - (turns - low) / (high - low);
  });
}

interface IndexRamp {
  readonly window: number;
  readonly low: number;
  readonly high: number;
  readonly truncate: boolean;
}

/** w_j linear in j between the dimensions that make `high` and `low` turns within the window, as the code in circulation has it. */
function indexRamp(type: string, { headDim, theta }: RopeShape, { window, low, high, truncate }: IndexRamp): Float64Array {
  const dimensionWithTurns = (turns: number): number => (headDim * Math.log(window / (2 * Math.PI * turns))) / (2 * Math.log(theta));
  const first = dimensionWithTurns(high);
  const last = dimensionWithTurns(low);
  const start = Math.max(truncate ? Math.floor(first) : first, 0);
  const end = Math.min(truncate ? Math.ceil(last) : last, headDim - 1);
  if (start > end) {
    throw new OptionError(
      `the index ramp of ${type} would run backwards, from dimension ${start} to ${end}: with a window of ${window} no dimension of ` +
        `${headDim} channels makes between ${low} and ${high} turns`,
      { hint: 'choose betaSlow and betaFast to fit the window, or ramp: "turns"' },
    );
  }
  // 0.001 is the width that the code in circulation gives a ramp of no width.
  const width = start === end ? 0.001 : end - start;
  return Float64Array.from({ length: headDim / 2 }, (_, j) => Math.min(Math.max((j - start) / width, 0), 1));
}

function checkTurnRange(low: number, high: number, names: readonly [string, string]): { low: number; high: number } {
  if (!Number.isFinite(low) || !Number.isFinite(high) || low <= 0 || high <= low) {
    throw new OptionError(`expected 0 < ${names[0]} < ${names[1]}, found ${low} and ${high}`, {
      hint: `both count turns of a dimension within the trained window; ${names[1]} belongs to the fast dimensions`,
    });
  }
  return { low, high };
}
