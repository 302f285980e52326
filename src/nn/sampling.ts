import { checkOptions, number, type OptionKinds, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import { seedKey, threefry2x32 } from "../ir/threefry.js";
import { type Candidates, largest, minP, penalizeRepetition, topK, topP, weigh } from "./token-filters.js";

/** How a token is chosen, under the names and by the definitions of Hugging Face's `generate`; filters apply in the order given here. */
export interface SamplingOptions {
  /**
   * Scores of tokens that have been seen, in the prompt or since, are divided by this where they are above 0 and multiplied by it where
   * they are not: above 1 makes repetition less likely. Default 1.
   */
  readonly repetitionPenalty?: number;
  /** τ: logits are divided by it. 0 takes the likeliest token. Default 1. */
  readonly temperature?: number;
  /** Only the k likeliest tokens can be drawn; among equals the ones with smaller numbers. Default: all. */
  readonly topK?: number;
  /** Only the likeliest tokens can be drawn whose probabilities sum to p, 0 < p ≤ 1; the one that reaches p is the last. Default 1: all. */
  readonly topP?: number;
  /** Only tokens can be drawn that have at least this share of the probability of the likeliest, 0 … 1. Default 0: all. */
  readonly minP?: number;
  /** Seed of the draws, an integer from 0 to 2⁵³ − 1. Default 0. */
  readonly seed?: number;
}

export const samplingKinds: OptionKinds<SamplingOptions> = {
  repetitionPenalty: optional(number),
  temperature: optional(number),
  topK: optional(number),
  topP: optional(number),
  minP: optional(number),
  seed: optional(number),
};

/** The options of sampling among those of a function. */
export function samplingOptions(options: SamplingOptions): SamplingOptions {
  const own = Object.entries(options).filter(([name, value]) => Object.hasOwn(samplingKinds, name) && value !== undefined);
  return Object.fromEntries(own);
}

/**
 * Picks the token of step n from the logits [V]. The same seed, step and logits give the same token. `seen` are the tokens of the text so
 * far, in any order, for the penalty of repetition.
 */
export type Sampler = (logits: ArrayLike<number>, step: number, seen?: Iterable<number>) => number;

/**
 * Draws from softmax(logits/τ) over the tokens that the filters leave. Randomness is a pure function of (seed, step) (Threefry-2x32), so a
 * text can be repeated or taken up in the middle. Throws OptionError for options that are out of their range.
 */
export function createSampler(options: SamplingOptions = {}): Sampler {
  checkOptions("createSampler", options, samplingKinds);
  checkSampling(options);
  const { seed = 0 } = options;
  const key = seedKey(seed);
  return (logits, step, seen = []) => {
    const { tokens, weights } = candidatesOf(logits, options, seen);
    if (tokens.length === 1) return tokens[0] as number;
    let rest = 0;
    for (let i = 0; i < weights.length; i++) rest += weights[i] as number;
    rest *= unitUniform(key, step);
    for (let i = 0; i < tokens.length; i++) {
      rest -= weights[i] as number;
      if (rest < 0) return tokens[i] as number;
    }
    return tokens[largest(weights)] as number; // rounding left a hair of the interval over
  };
}

/** The tokens that can be drawn, the likeliest alone at a temperature of 0, with weights in proportion to their probabilities. */
export function candidatesOf(logits: ArrayLike<number>, options: SamplingOptions, seen: Iterable<number> = []): Candidates {
  const { temperature = 1, repetitionPenalty = 1 } = options;
  const scores = repetitionPenalty === 1 ? logits : penalizeRepetition(logits, seen, repetitionPenalty);
  if (temperature === 0) return { tokens: [largest(scores)], weights: [1] };
  let candidates = weigh(scores, temperature, topK(scores, options.topK ?? scores.length));
  if (options.topP !== undefined && options.topP < 1) candidates = topP(candidates, options.topP);
  if (options.minP !== undefined && options.minP > 0) candidates = minP(candidates, options.minP);
  return candidates;
}

/** Throws OptionError for numbers that are out of their range. */
function checkSampling({ repetitionPenalty = 1, temperature = 1, topK, topP = 1, minP = 0 }: SamplingOptions): void {
  if (!(Number.isFinite(temperature) && temperature >= 0))
    throw new OptionError(`a temperature must be 0 or more, not ${temperature}`, { hint: "0 always takes the likeliest token" });
  if (!(Number.isFinite(repetitionPenalty) && repetitionPenalty > 0))
    throw new OptionError(`repetitionPenalty must be a number above 0, not ${repetitionPenalty}`, { hint: "1 is no penalty" });
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1))
    throw new OptionError(`topK must be a positive integer, not ${topK}`, { hint: "leave it out to draw from all tokens" });
  if (!(topP > 0 && topP <= 1))
    throw new OptionError(`topP must be above 0 and at most 1, not ${topP}`, { hint: "leave it out to draw from all tokens" });
  if (!(minP >= 0 && minP <= 1)) throw new OptionError(`minP must be from 0 to 1, not ${minP}`, { hint: "0 leaves all tokens" });
}

/** Uniform on [0, 1): a multiple of 2⁻⁵³. */
function unitUniform(key: readonly [number, number], counter: number): number {
  const [high, low] = threefry2x32(key[0], key[1], counter >>> 0, Math.floor(counter / 2 ** 32));
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53;
}
