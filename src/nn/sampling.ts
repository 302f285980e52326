import { checkOptions, number, type OptionKinds, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import { seedKey, threefry2x32 } from "../ir/threefry.js";

export interface SamplingOptions {
  /** τ: logits are divided by it. 0 takes the likeliest token. Default 1. */
  readonly temperature?: number;
  /** Only the k likeliest tokens can be drawn; among equals the ones with smaller numbers. Default: all. */
  readonly topK?: number;
  /** Seed of the draws, an integer from 0 to 2⁵³ − 1. Default 0. */
  readonly seed?: number;
}

export const samplingKinds: OptionKinds<SamplingOptions> = {
  temperature: optional(number),
  topK: optional(number),
  seed: optional(number),
};

/** Picks the token of step n from the logits [V]. The same seed, step and logits give the same token. */
export type Sampler = (logits: ArrayLike<number>, step: number) => number;

/**
 * Draws from softmax(logits/τ) over the k largest logits. Randomness is a pure function of (seed, step) (Threefry-2x32), so a
 * text can be repeated or taken up in the middle. Throws OptionError for a temperature below 0 or a k below 1.
 */
export function createSampler(options: SamplingOptions = {}): Sampler {
  checkOptions("createSampler", options, samplingKinds);
  const { temperature = 1, topK, seed = 0 } = options;
  if (!(Number.isFinite(temperature) && temperature >= 0))
    throw new OptionError(`a temperature must be 0 or more, not ${temperature}`, { hint: "0 always takes the likeliest token" });
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1))
    throw new OptionError(`topK must be a positive integer, not ${topK}`, { hint: "leave it out to draw from all tokens" });
  const key = seedKey(seed);
  return (logits, step) => {
    if (temperature === 0) return largest(logits);
    const candidates = topK === undefined || topK >= logits.length ? Array.from(logits, (_, token) => token) : topOf(logits, topK);
    const top = logits[largest(logits)] as number;
    const weights = candidates.map((token) => Math.exp(((logits[token] as number) - top) / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let rest = unitUniform(key, step) * total;
    for (let i = 0; i < candidates.length; i++) {
      rest -= weights[i] as number;
      if (rest < 0) return candidates[i] as number;
    }
    return candidates.at(-1) as number; // rounding left a hair of the interval over
  };
}

/** Position of the first largest value. */
function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Positions of the k largest values in ascending order. */
const topOf = (values: ArrayLike<number>, k: number): number[] =>
  Array.from(values, (_, i) => i)
    .sort((a, b) => (values[b] as number) - (values[a] as number) || a - b)
    .slice(0, k)
    .sort((a, b) => a - b);

/** Uniform on [0, 1): a multiple of 2⁻⁵³. */
function unitUniform(key: readonly [number, number], counter: number): number {
  const [high, low] = threefry2x32(key[0], key[1], counter >>> 0, Math.floor(counter / 2 ** 32));
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53;
}
