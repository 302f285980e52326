/** Which distances between tokens E²-LLM's training shows to the model, by exact arithmetic. */
import { callable, checkOptions, integer, number, type OptionKinds, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { PositionSource } from "./positions/index.js";

/** Distances are counted one by one, a byte for each. */
const mostDistances = 2 ** 30;

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
  return coverageOf(covered("bodyDistanceCoverage", options));
}

/**
 * Which distances k/g′ of inference occur exactly between two shifted tokens in training: at place k, from 1 to g′L − 1, 1 where it does and 0 where not; place 0 is 0.
 * See {@link bodyDistanceCoverage}, whose fractions count them.
 *
 * @throws OptionError for values that are no integers in range
 */
export function coveredBodyDistances(options: CoverageOptions): Uint8Array {
  return covered("coveredBodyDistances", options);
}

function covered(where: string, options: CoverageOptions): Uint8Array {
  checkOptions(where, options, {
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
  const span = spanOf(where, scale, window);
  if (span < 2) throw new OptionError(`a window of ${span} token has no distances`, { hint: "use a window or a scale of at least 2" });
  const longest = length - sinks - 1;
  return Uint8Array.from({ length: span }, (_, k) => {
    const common = greatestCommonDivisor(k, scale);
    return k > 0 && scale / common <= gMax && k / common <= longest ? 1 : 0;
  });
}

/** g′L. Throws OptionError where distances up to it cannot be listed one by one. */
function spanOf(where: string, scale: number, window: number): number {
  const span = scale * window;
  if (span <= mostDistances) return span;
  throw new OptionError(
    `${where}: a window of ${window} at scale ${scale} has more distances than the ${mostDistances} that can be counted`,
    {
      hint: "use a smaller window or scale",
    },
  );
}

/** The fractions of covered distances, alone and by the pairs that have them. */
function coverageOf(found: Uint8Array): Coverage {
  const span = found.length;
  let distances = 0;
  let pairs = 0;
  for (let k = 1; k < span; k++) {
    if (found[k] === 0) continue;
    distances++;
    pairs += span - k;
  }
  return { distinct: distances / (span - 1), pairs: pairs / ((span * (span - 1)) / 2) };
}

/** What to draw and what to look for; see `drawnCoverage`. */
export interface DrawnCoverageOptions {
  readonly positions: PositionSource;
  /** R: tokens of a training sample. */
  readonly length: number;
  /** Steps to draw for. */
  readonly steps: number;
  /** Samples of a step. Default 1. */
  readonly batch?: number;
  /** Trained window L. */
  readonly window: number;
  /** Scale g′ of inference. */
  readonly scale: number;
  /** Only distances among tokens from this one on count: 4 leaves out those to four sinks. Default 0. */
  readonly from?: number;
}

const drawnKinds: OptionKinds<DrawnCoverageOptions> = {
  positions: callable,
  length: integer(2),
  steps: integer(1),
  batch: optional(integer(1)),
  window: integer(2),
  scale: integer(1),
  from: optional(integer(0)),
};

/**
 * The fraction of the distances k/g′, k = 1 … g′L − 1, of inference that occur exactly in the draws of a source: for any way to place
 * the tokens of training, by exact rational arithmetic. With more steps it grows towards what the source can show at all; for E²-LLM and pairs past
 * the sinks that is {@link bodyDistanceCoverage}. Frequencies that a source draws are not looked at.
 */
export function drawnCoverage(options: DrawnCoverageOptions): Coverage {
  checkOptions("drawnCoverage", options, drawnKinds);
  const { positions, length, steps, batch = 1, window, scale, from = 0 } = options;
  const span = spanOf("drawnCoverage", scale, window);
  /** Which k of k/g′ were seen. */
  const seen = new Uint8Array(span);
  for (let step = 0; step < steps; step++) {
    const { numerators, denominators, rows } = positions({ batch, length, step });
    for (let row = 0; row < rows; row++) {
      const g = denominators[row] as number;
      const place = (i: number): number => numerators[row * length + i] as number;
      for (let m = from + 1; m < length; m++) {
        for (let n = from; n < m; n++) {
          const k = (Math.abs(place(m) - place(n)) * scale) / g;
          if (Number.isInteger(k) && k < span) seen[k] = 1;
        }
      }
    }
  }
  return coverageOf(seen);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
