/**
 * RoPE scaling schedules: how each method changes the rotary frequencies θ_j = theta^(−2j/D), and what it multiplies into cos and sin.
 *
 * Everything is computed in f64. Names and optional keys follow Hugging Face's `modeling_rope_utils`, in camel case.
 */
import { checkArgument, checkFields, checkOptions, flag, number, type OptionKinds, objectWith, optional, text } from "../arguments.js";
import { OptionError } from "../errors.js";

/** A RoPE scaling method with its parameters. `factor` is the scale s ≥ 1, `originalMaxPositions` the trained window L. */
export type RopeScaling = DefaultScaling | LinearScaling | NtkScaling | DynamicScaling | YarnScaling | Llama3Scaling;

/** No scaling: θ'_j = θ_j. Source: Su et al. 2021 (RoFormer), eq. 15. */
export interface DefaultScaling {
  readonly type: "default";
}

/** Position Interpolation: θ'_j = θ_j / s. Source: Chen et al. 2023 (arXiv 2306.15595), eq. 4. E²-LLM at scale g is this with s = g. */
export interface LinearScaling {
  readonly type: "linear";
  readonly factor: number;
}

/** NTK-aware scaling: the base becomes theta·s^(D/(D−2)), so the fastest dimension is kept and the slowest divided by s. */
export interface NtkScaling {
  readonly type: "ntk";
  readonly factor: number;
}

/** NTK-aware scaling with s = f·l/L − (f − 1), l = max(seqLen, L): nothing changes within the window. */
export interface DynamicScaling {
  readonly type: "dynamic";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Current length l of the sequence. */
  readonly seqLen: number;
}

/** YaRN (Peng et al. 2023, arXiv 2309.00071): fast dimensions are kept, slow ones interpolated, a ramp lies between. */
export interface YarnScaling {
  readonly type: "yarn";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /**
   * What the ramp is linear in. `"index"` (default): the dimension index j, as in the authors' code, Hugging Face and llama.cpp.
   * `"turns"`: the number of turns L/λ_j, as in eq. 17–20 of the paper. The two differ by up to a factor of 3 in some frequencies.
   */
  readonly ramp?: "index" | "turns";
  /** Dimensions with at least this many turns within L are kept (the paper's β). Default 32; too large for windows below some 1,000. */
  readonly betaFast?: number;
  /** Dimensions with at most this many turns within L are interpolated fully (the paper's α). Default 1. */
  readonly betaSlow?: number;
  /** Replaces the computed attention factor. */
  readonly attentionFactor?: number;
  /** With `mscaleAllDim`: attention factor (0.1·mscale·ln s + 1) / (0.1·mscaleAllDim·ln s + 1). Ignored unless both are given and not 0. */
  readonly mscale?: number;
  readonly mscaleAllDim?: number;
  /** Round the ends of the index ramp outwards to whole dimensions. Default true; has no meaning for `ramp: "turns"`. */
  readonly truncate?: boolean;
}

/** Llama-3 scaling: a ramp in the number of turns between lowFreqFactor and highFreqFactor, without attention factor. */
export interface Llama3Scaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Dimensions with fewer turns than this are divided by `factor`. Default 1. */
  readonly lowFreqFactor?: number;
  /** Dimensions with more turns than this are kept. Default 4. */
  readonly highFreqFactor?: number;
}

/** The rotary shape of a head: `headDim` D (even) and the base `theta` (10,000 in most models). */
export interface RopeShape {
  readonly headDim: number;
  readonly theta: number;
}

const shapeKinds: OptionKinds<RopeShape> = { headDim: number, theta: number };

const scaledKinds = { type: text, factor: number } as const;
const windowKinds = { ...scaledKinds, originalMaxPositions: number } as const;

/** The parameters of each method. */
const scalingKinds: { readonly [T in RopeScaling["type"]]: OptionKinds<Extract<RopeScaling, { type: T }>> } = {
  default: { type: text },
  linear: scaledKinds,
  ntk: scaledKinds,
  dynamic: { ...windowKinds, seqLen: number },
  yarn: {
    ...windowKinds,
    ramp: optional(text),
    betaFast: optional(number),
    betaSlow: optional(number),
    attentionFactor: optional(number),
    mscale: optional(number),
    mscaleAllDim: optional(number),
    truncate: optional(flag),
  },
  llama3: { ...windowKinds, lowFreqFactor: optional(number), highFreqFactor: optional(number) },
};

/** Scaled frequencies of one schedule. */
export interface RopeFrequencies {
  /** θ'_j in radians per position, j = 0 … D/2 − 1. */
  readonly invFreq: Float64Array;
  /** Multiplied into cos and sin alike, so attention logits carry its square. */
  readonly attentionFactor: number;
}

/** Below this window YaRN's ramp can invert: with L < 2π no dimension makes a full turn. */
const SMALLEST_YARN_WINDOW = 8;

/**
 * The frequencies θ'_j and the attention factor of a schedule, in f64.
 *
 * @param scaling the method and its parameters
 * @param shape head dimension D and base theta
 * @returns `invFreq` of length D/2 and the attention factor
 * @throws OptionError for an odd or non-positive head dimension, theta ≤ 1, a factor below 1, windows or ramp ends that make no sense
 */
export function ropeFrequencies(scaling: RopeScaling, shape: RopeShape): RopeFrequencies {
  checkArgument(
    "ropeFrequencies",
    "scaling",
    scaling,
    objectWith('a method with its parameters, as { type: "linear", factor: 4 }', "type"),
  );
  checkFields<RopeShape>("ropeFrequencies", "shape", shape, shapeKinds);
  checkShape(shape);
  if (Object.hasOwn(scalingKinds, scaling.type))
    checkOptions<unknown>(`ropeFrequencies (${scaling.type})`, scaling, scalingKinds[scaling.type]);
  const { headDim, theta } = shape;
  switch (scaling.type) {
    case "default":
      return { invFreq: powers(theta, headDim), attentionFactor: 1 };
    case "linear":
      return interpolatedFrequencies({ invFreq: powers(theta, headDim), attentionFactor: 1 }, scaling.factor);
    case "ntk":
      return { invFreq: powers(ntkTheta(shape, scaling.factor), headDim), attentionFactor: 1 };
    case "dynamic":
      return { invFreq: powers(dynamicTheta(shape, scaling), headDim), attentionFactor: 1 };
    case "yarn":
      return yarnFrequencies(scaling, shape);
    case "llama3": {
      const { low, high } = checkTurnRange(scaling.lowFreqFactor ?? 1, scaling.highFreqFactor ?? 4, ["lowFreqFactor", "highFreqFactor"]);
      const weights = turnsRamp(shape, checkWindow(scaling.originalMaxPositions, 1), low, high);
      return { invFreq: blend(shape, checkFactor(scaling.factor), weights), attentionFactor: 1 };
    }
    default:
      throw unknownType(scaling);
  }
}

/** Position Interpolation on top of any frequencies: θ'_j/s. Throws OptionError for a factor s below 1. */
export function interpolatedFrequencies(frequencies: RopeFrequencies, factor: number): RopeFrequencies {
  checkArgument(
    "interpolatedFrequencies",
    "frequencies",
    frequencies,
    objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor"),
  );
  checkArgument("interpolatedFrequencies", "factor", factor, number);
  const { invFreq, attentionFactor } = frequencies;
  checkFactor(factor);
  return { invFreq: invFreq.map((frequency) => frequency / factor), attentionFactor };
}

/**
 * The base at which plain RoPE equals NTK-aware scaling by s: theta·s^(D/(D−2)).
 *
 * @throws OptionError if D < 4 (the exponent has a pole at D = 2), or for a factor below 1
 */
export function ntkTheta(shape: RopeShape, factor: number): number {
  checkFields<RopeShape>("ntkTheta", "shape", shape, shapeKinds);
  checkArgument("ntkTheta", "factor", factor, number);
  checkShape(shape);
  if (shape.headDim < 4) {
    throw new OptionError(`NTK-aware scaling needs a head dimension of at least 4, found ${shape.headDim}`, {
      hint: 'use { type: "linear" } for heads of two channels',
    });
  }
  return shape.theta * checkFactor(factor) ** (shape.headDim / (shape.headDim - 2));
}

function dynamicTheta(shape: RopeShape, scaling: DynamicScaling): number {
  const factor = checkFactor(scaling.factor);
  const window = checkWindow(scaling.originalMaxPositions, 1);
  if (!Number.isFinite(scaling.seqLen) || scaling.seqLen < 0) {
    throw new OptionError(`dynamic scaling needs seqLen as a length of 0 or more, found ${scaling.seqLen}`, {
      hint: "pass the number of tokens in the sequence",
    });
  }
  // Within the window the formula is 1 only up to rounding; an exact 1 keeps short sequences bit-equal to plain RoPE.
  const scale = scaling.seqLen <= window ? 1 : (factor * scaling.seqLen) / window - (factor - 1);
  return ntkTheta(shape, scale);
}

function yarnFrequencies(scaling: YarnScaling, shape: RopeShape): RopeFrequencies {
  const factor = checkFactor(scaling.factor);
  const window = checkWindow(scaling.originalMaxPositions, SMALLEST_YARN_WINDOW);
  const { low, high } = checkTurnRange(scaling.betaSlow ?? 1, scaling.betaFast ?? 32, ["betaSlow", "betaFast"]);
  const ramp = scaling.ramp ?? "index";
  if (ramp !== "index" && ramp !== "turns") {
    throw new OptionError(`the ramp of yarn is "index" or "turns", found ${JSON.stringify(ramp)}`, {
      hint: '"index" is what Hugging Face and llama.cpp compute, "turns" what the paper prints',
    });
  }
  const weights = ramp === "index" ? indexRamp(shape, window, low, high, scaling.truncate ?? true) : turnsRamp(shape, window, low, high);
  return { invFreq: blend(shape, factor, weights), attentionFactor: yarnAttentionFactor(scaling) };
}

/** a = 0.1·ln s + 1 (arXiv 2309.00071, eq. 22), or what the options say instead. */
function yarnAttentionFactor(scaling: YarnScaling): number {
  const { factor, attentionFactor, mscale, mscaleAllDim } = scaling;
  if (attentionFactor !== undefined) {
    if (!Number.isFinite(attentionFactor) || attentionFactor <= 0) {
      throw new OptionError(`attentionFactor must be a positive number, found ${attentionFactor}`, {
        hint: "leave it out to get 0.1 ln(factor) + 1",
      });
    }
    return attentionFactor;
  }
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

/** θ_j = base^(−2j/D), j = 0 … D/2 − 1. */
function powers(base: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, j) => base ** ((-2 * j) / headDim));
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

/** w_j linear in j between the dimensions that make `high` and `low` turns within the window, as the code in circulation has it. */
function indexRamp(shape: RopeShape, window: number, low: number, high: number, truncate: boolean): Float64Array {
  const { headDim, theta } = shape;
  const dimensionWithTurns = (turns: number): number => (headDim * Math.log(window / (2 * Math.PI * turns))) / (2 * Math.log(theta));
  const first = dimensionWithTurns(high);
  const last = dimensionWithTurns(low);
  const start = Math.max(truncate ? Math.floor(first) : first, 0);
  const end = Math.min(truncate ? Math.ceil(last) : last, headDim - 1);
  if (start > end) {
    throw new OptionError(
      `the index ramp of yarn would run backwards, from dimension ${start} to ${end}: with a window of ${window} no dimension of ` +
        `${headDim} channels makes between ${low} and ${high} turns`,
      { hint: 'choose betaSlow and betaFast to fit the window, or ramp: "turns"' },
    );
  }
  // 0.001 is the width that the code in circulation gives a ramp of no width.
  const width = start === end ? 0.001 : end - start;
  return Float64Array.from({ length: headDim / 2 }, (_, j) => Math.min(Math.max((j - start) / width, 0), 1));
}

function checkShape({ headDim, theta }: RopeShape): void {
  if (!Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new OptionError(`headDim must be an even integer of at least 2, because RoPE rotates pairs of channels, found ${headDim}`, {
      hint: "choose hidden size / heads as an even number",
    });
  }
  if (!Number.isFinite(theta) || theta <= 1) {
    throw new OptionError(`theta, the base of RoPE, must be a finite number above 1, found ${theta}`, { hint: "10000 is usual" });
  }
}

function checkFactor(factor: number): number {
  if (!Number.isFinite(factor) || factor < 1) {
    throw new OptionError(`the factor of RoPE scaling must be a finite number of at least 1, found ${factor}`, {
      hint: "factor = extended window / trained window",
    });
  }
  return factor;
}

function checkWindow(window: number, smallest: number): number {
  if (!Number.isInteger(window) || window < smallest) {
    throw new OptionError(`originalMaxPositions must be an integer of at least ${smallest}, found ${window}`, {
      hint: "it is the context window that the model was trained with",
    });
  }
  return window;
}

function checkTurnRange(low: number, high: number, names: readonly [string, string]): { low: number; high: number } {
  if (!Number.isFinite(low) || !Number.isFinite(high) || low <= 0 || high <= low) {
    throw new OptionError(`expected 0 < ${names[0]} < ${names[1]}, found ${low} and ${high}`, {
      hint: `both count turns of a dimension within the trained window; ${names[1]} belongs to the fast dimensions`,
    });
  }
  return { low, high };
}

function unknownType(scaling: never): OptionError {
  const type = (scaling as { type?: unknown }).type;
  return new OptionError(`unknown RoPE scaling type ${JSON.stringify(type)}`, {
    hint: "known types: default, linear, ntk, dynamic, yarn, llama3",
  });
}
