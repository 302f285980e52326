import { checkArgument, checkOptions, integer, type OptionKinds, optional } from "../../arguments.js";
import type { HostTables } from "../../nn/batch.js";
import type { RopeFrequencies } from "../schedules.js";
import { frequenciesKind, lengthKind, nearFarTables, nearKind } from "./near-far.js";

export interface StreamingOptions {
  /** N: tokens that are read. */
  readonly length: number;
  /** w: keys that a query sees beside the sinks, its own among them. */
  readonly near: number;
  /** s: first tokens that are seen for ever. Default 4, as in the paper. */
  readonly sinks?: number;
}

const kinds: OptionKinds<StreamingOptions> = { length: lengthKind, near: nearKind, sinks: optional(integer(0, 2 ** 30)) };

/**
 * StreamingLLM (Xiao et al. 2023, arXiv 2309.17453, section 3.2) as a reading of a whole text: RoPE tables [1, N, D/2] with which each query
 * sees the last w keys and the s first ones, the attention sinks, at positions within a cache of s + w keys. A query at i finds a key at j
 *
 *   at distance i − j where i − j < w, at min(i, s + w − 1) − j where j < s, and not at all elsewhere.
 *
 * So distances stay below s + w, however long the text is, and the model should have been trained on as many. It does not see farther
 * for it: nothing between the sinks and the last w tokens is used. With s = 0 this is window attention, whose losses explode where a model
 * rests its attention on its first tokens. What generates with such a cache is `StreamingCache`; the two give the same logits.
 *
 * @throws OptionError for values that are no integers in range
 */
export function streamingTables(frequencies: RopeFrequencies, options: StreamingOptions): HostTables {
  checkArgument("streamingTables", "frequencies", frequencies, frequenciesKind);
  checkOptions("streamingTables", options, kinds);
  const { length, near, sinks = 4 } = options;
  return nearFarTables(frequencies, length, { near, query: (i) => Math.min(i, sinks + near - 1), key: (j) => j, keys: sinks });
}
