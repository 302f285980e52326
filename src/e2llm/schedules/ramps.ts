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
import type { Llama3Scaling, NtkByPartsScaling, YarnScaling } from "./scalings.js";

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
