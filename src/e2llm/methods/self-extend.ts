import { checkArgument, checkOptions, integer, type OptionKinds } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { HostTables } from "../../nn/batch.js";
import type { RopeFrequencies } from "../schedules.js";
import { frequenciesKind, lengthKind, nearFarTables, nearKind, plainTables } from "./near-far.js";

export interface SelfExtendOptions {
  /** N: tokens that are read. */
  readonly length: number;
  /** w: keys nearer than that keep their distances. */
  readonly near: number;
  /** G: farther positions are divided by it and rounded down. */
  readonly group: number;
}

const kinds: OptionKinds<SelfExtendOptions> = { length: lengthKind, near: nearKind, group: integer(1) };

/**
 * Self-Extend (Jin et al. 2024, arXiv 2401.01325, algorithm 1): RoPE tables [1, N, D/2] that read N tokens without training. A query at i
 * finds a key at j
 *
 *   at distance i − j where i − j < w, and else at ⌊i/G⌋ − ⌊j/G⌋ + w − ⌊w/G⌋,
 *
 * which is w or w + 1 at i − j = w: far positions are shared by groups of G neighbours. With G = 1 this is plain RoPE, and so it is for
 * N ≤ w. No distance reaches L for N up to {@link selfExtendReach}; the authors advise a group somewhat larger than the smallest, so that
 * (½ … ⅔)·L > w + (N − w)/G. (Their code takes w/G unrounded when it reads a prompt and rounded down when it generates, which are the
 * same where G divides w. Here it is rounded down, as in the paper.)
 *
 * @throws OptionError for values that are no integers in range
 */
export function selfExtendTables(frequencies: RopeFrequencies, options: SelfExtendOptions): HostTables {
  checkArgument("selfExtendTables", "frequencies", frequencies, frequenciesKind);
  checkOptions("selfExtendTables", options, kinds);
  const { length, near, group } = options;
  if (group === 1) return plainTables(frequencies, length);
  const grouped = (place: number): number => Math.floor(place / group);
  return nearFarTables(frequencies, length, { near, query: (i) => grouped(i) + near - grouped(near), key: grouped });
}

/**
 * The most tokens that Self-Extend reads at distances below L: G·(L − w + ⌊w/G⌋), which is the paper's (L − w)·G + w where G divides w.
 *
 * @param options.window L: the trained window, at least w
 */
export function selfExtendReach(options: { readonly window: number; readonly near: number; readonly group: number }): number {
  checkOptions("selfExtendReach", options, { window: nearKind, near: nearKind, group: integer(1) });
  const { window, near, group } = options;
  if (near > window) throw new OptionError(`selfExtendReach: near ${near} is more than the window of ${window}`);
  return group * (window - near + Math.floor(near / group));
}

/**
 * The smallest group G with which Self-Extend reads N tokens at distances below L.
 *
 * @throws OptionError for w ≥ L and N > w, which no group can do
 */
export function selfExtendGroup(options: { readonly length: number; readonly window: number; readonly near: number }): number {
  checkOptions("selfExtendGroup", options, { length: lengthKind, window: nearKind, near: nearKind });
  const { length, window, near } = options;
  if (length <= Math.min(near, window)) return 1;
  if (near >= window) {
    throw new OptionError(`selfExtendGroup: near ${near} leaves no distances below the window of ${window} for ${length} tokens`, {
      hint: "choose near below the trained window; half of it is a good choice",
    });
  }
  // No group that is smaller reaches as far: G·(L − w) + G·⌊w/G⌋ ≤ G·(L − w) + w.
  let group = Math.max(1, Math.ceil((length - near) / (window - near)));
  while (selfExtendReach({ window, near, group }) < length) group++;
  return group;
}
