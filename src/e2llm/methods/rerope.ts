import { checkArgument, checkOptions, type Kind, type OptionKinds } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { HostTables } from "../../nn/batch.js";
import type { RopeFrequencies } from "../schedules.js";
import { frequenciesKind, lengthKind, nearFarTables, nearKind, plainTables } from "./near-far.js";

export interface ReRopeOptions {
  /** N: tokens that are read. */
  readonly length: number;
  /** w: keys nearer than that keep their distances. */
  readonly near: number;
}

export interface LeakyReRopeOptions extends ReRopeOptions {
  /** k ≥ 1: beyond w distances grow by 1/k for each token. */
  readonly factor: number;
}

const kinds: OptionKinds<ReRopeOptions> = { length: lengthKind, near: nearKind };
const factorKind: Kind = { wanted: "a finite number of at least 1", fits: (value) => Number.isFinite(value) && (value as number) >= 1 };

/**
 * ReRoPE (Su 2023, kexue.fm/archives/9708): RoPE tables [1, N, D/2] with which a query at i finds a key at j at distance min(i − j, w). No
 * distance exceeds w, whatever N is: a text of any length is read without training, and far keys are told apart by what they hold
 * alone. Plain RoPE for N ≤ w. The author found w from L/4 to L/2 best, together with log-n scaling (`logNTables`).
 *
 * @throws OptionError for values that are no integers in range
 */
export function reRopeTables(frequencies: RopeFrequencies, options: ReRopeOptions): HostTables {
  checkArgument("reRopeTables", "frequencies", frequencies, frequenciesKind);
  checkOptions("reRopeTables", options, kinds);
  const { length, near } = options;
  return nearFarTables(frequencies, length, { near, query: () => near, key: () => 0 });
}

/**
 * Leaky ReRoPE (Su 2023, kexue.fm/archives/9708): as `reRopeTables`, but distances go on growing slowly beyond w:
 *
 *   i − j where i − j < w, and else w + (i − j − w)/k.
 *
 * k = 1 is plain RoPE and k → ∞ is ReRoPE. The smallest k that keeps N tokens within L is {@link leakyReRopeFactor}; the author's
 * code has a larger one, k = 16 at w = 512 and L = 4096.
 *
 * @throws OptionError for values that are out of range
 */
export function leakyReRopeTables(frequencies: RopeFrequencies, options: LeakyReRopeOptions): HostTables {
  checkArgument("leakyReRopeTables", "frequencies", frequencies, frequenciesKind);
  checkOptions("leakyReRopeTables", options, { ...kinds, factor: factorKind });
  const { length, near, factor } = options;
  if (factor === 1) return plainTables(frequencies, length);
  return nearFarTables(frequencies, length, { near, query: (i) => near + (i - near) / factor, key: (j) => j / factor });
}

/**
 * The smallest k with which leaky ReRoPE reads N tokens at distances of at most L − 1: max(1, (N − 1 − w)/(L − 1 − w)).
 *
 * @param options.window L: the trained window
 * @throws OptionError for w ≥ L − 1 and N > L, which no k can do
 */
export function leakyReRopeFactor(options: { readonly length: number; readonly window: number; readonly near: number }): number {
  checkOptions("leakyReRopeFactor", options, { ...kinds, window: nearKind });
  const { length, window, near } = options;
  if (length <= window) return 1;
  if (near >= window - 1) {
    throw new OptionError(`leakyReRopeFactor: near ${near} leaves no distances below the window of ${window} for ${length} tokens`, {
      hint: "choose near below the trained window; a quarter of it is a good choice",
    });
  }
  return Math.max(1, (length - 1 - near) / (window - 1 - near));
}
