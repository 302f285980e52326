/** Which distances between tokens E²-LLM's training shows to the model, by exact arithmetic. */
import { checkOptions, number, optional } from "../arguments.js";
import { OptionError } from "../errors.js";

/** What to count; see `bodyDistanceCoverage`. */
export interface CoverageOptions {
  /** Trained window L. */
  readonly window: number;
  /** Largest scale G of training. */
  readonly gMax: number;
  /** Scale g′ of inference. */
  readonly scale: number;
  /** Length R of a training sample. Default L. */
  readonly length?: number;
  /** First tokens that are never shifted. Default 4. */
  readonly sinks?: number;
}

/** Fractions in [0, 1]. */
export interface Coverage {
  /** Of the distinct distances at inference. */
  readonly distinct: number;
  /** Of the pairs of tokens at inference: each distance counted as often as it occurs in the window. */
  readonly pairs: number;
}

/**
 * The fraction of the distances k/g′, k = 1 … g′L − 1, that occur exactly between two shifted tokens in training.
 *
 * The shift t is the same for all tokens past the sinks and cancels in their differences, so training shows them the distances
 * j/g with 1 ≤ j ≤ R − sinks − 1 and 1 ≤ g ≤ G only. In lowest terms p/q, a distance is among them iff q ≤ G and p ≤ R − sinks − 1.
 * A distance k occurs g′L − k times in a window of g′L tokens.
 *
 * @throws OptionError for values that are no integers in range
 */
export function bodyDistanceCoverage(options: CoverageOptions): Coverage {
  checkOptions("bodyDistanceCoverage", options, {
    window: number,
    gMax: number,
    scale: number,
    length: optional(number),
    sinks: optional(number),
  });
  const { window, gMax, scale, length = options.window, sinks = 4 } = options;
  for (const [name, value, smallest] of [
    ["window", window, 1],
    ["gMax", gMax, 1],
    ["scale", scale, 1],
    ["length", length, 1],
    ["sinks", sinks, 0],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < smallest) {
      throw new OptionError(`${name} must be an integer of at least ${smallest}, found ${value}`, {
        hint: `give ${name} as a whole number`,
      });
    }
  }
  const span = scale * window;
  if (span < 2) throw new OptionError(`a window of ${span} token has no distances`, { hint: "use a window or a scale of at least 2" });
  const longest = length - sinks - 1;
  let distances = 0;
  let pairs = 0;
  for (let k = 1; k < span; k++) {
    const common = greatestCommonDivisor(k, scale);
    if (scale / common > gMax || k / common > longest) continue;
    distances++;
    pairs += span - k;
  }
  return { distinct: distances / (span - 1), pairs: pairs / ((span * (span - 1)) / 2) };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
