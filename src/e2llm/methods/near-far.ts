import { integer, objectWith } from "../../arguments.js";
import type { HostRotations, HostTables } from "../../nn/batch.js";
import { writeRotation } from "../rotation.js";
import type { RopeFrequencies } from "../schedules.js";

/**
 * Methods that read beyond the trained window L without training, by finding near keys at their distances and far keys at others:
 *
 *                    near: i − j < w     far: i − j ≥ w
 *   Self-Extend      i − j               ⌊i/G⌋ − ⌊j/G⌋ + w − ⌊w/G⌋
 *   ReRoPE           i − j               w
 *   leaky ReRoPE     i − j               w + (i − j − w)/k
 *   StreamingLLM     i − j               min(i, s + w − 1) − j for the s sinks; others are not seen
 *
 * Each far distance is a position of the query less one of the key, so that a method is two pairs of tables and w.
 */

export const frequenciesKind = objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor");

/** Tokens, and w: beyond that differences of places may not fit into 32 bits. */
export const lengthKind = integer(0, 2 ** 30);
export const nearKind = integer(1, 2 ** 30);

/** Where far pairs are. */
export interface FarPositions {
  /** w */
  readonly near: number;
  readonly query: (place: number) => number;
  readonly key: (place: number) => number;
  /** How many keys are found from afar. Default: all. */
  readonly keys?: number;
}

/** Tables of places 0 … length − 1 for near pairs, and of other positions for far ones. Within w there are none, and the tables are plain. */
export function nearFarTables(frequencies: RopeFrequencies, length: number, { near, query, key, keys }: FarPositions): HostTables {
  const plain = plainTables(frequencies, length);
  if (length <= near) return plain;
  const tables = (position: (place: number) => number): HostRotations => rotations(frequencies, length, position);
  return { ...plain, far: { query: tables(query), key: tables(key), near, ...(keys === undefined ? {} : { keys }) } };
}

/** Tables of places 0 … length − 1. */
export const plainTables = (frequencies: RopeFrequencies, length: number): HostTables => ({
  ...rotations(frequencies, length, (place) => place),
  rows: 1,
  length,
  half: frequencies.invFreq.length,
});

function rotations(frequencies: RopeFrequencies, length: number, position: (place: number) => number): HostRotations {
  const half = frequencies.invFreq.length;
  const found = { cos: new Float32Array(length * half), sin: new Float32Array(length * half) };
  for (let i = 0; i < length; i++) writeRotation(found, i * half, position(i), frequencies);
  return found;
}
