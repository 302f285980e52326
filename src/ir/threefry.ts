/**
 * Threefry-2x32 with 20 rounds: the counter-based generator behind every random key.
 * Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 4.1 and table 2.
 */
import { OptionError } from "../errors.js";

/** Two 32-bit words, each a non-negative integer below 2³². */
export type Words = readonly [number, number];

/** Rotation distances, used in turn, one per round. Backends print their kernels from these and `PARITY`. */
export const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** The constant of the key schedule for 32-bit words: it keeps the all-zero key from being a fixed point. */
export const PARITY = 0x1bd11bda;

const TWO_32 = 0x1_0000_0000;

/**
 * Encrypts the counter (c0, c1) under the key (k0, k1) with 20 rounds; the same four words give the same two words everywhere.
 *
 * Arguments are taken modulo 2³². The result is a pair of unsigned 32-bit words.
 */
export function threefry2x32(k0: number, k1: number, c0: number, c1: number): [number, number] {
  const schedule = [k0 | 0, k1 | 0, PARITY ^ k0 ^ k1] as const;
  let x0 = (c0 + k0) | 0;
  let x1 = (c1 + k1) | 0;
  for (let group = 0; group < 5; group++) {
    const first = (group & 1) * 4;
    for (let round = 0; round < 4; round++) {
      const distance = ROTATIONS[first + round] as number;
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << distance) | (x1 >>> (32 - distance))) ^ x0;
    }
    x0 = (x0 + (schedule[(group + 1) % 3] as number)) | 0;
    x1 = (x1 + (schedule[(group + 2) % 3] as number) + group + 1) | 0;
  }
  return [x0 >>> 0, x1 >>> 0];
}

/**
 * The key of a seed: (high word, low word).
 *
 * @throws OptionError unless 0 ≤ seed < 2⁵³ is an integer, so that two seeds never share a key.
 */
export function seedKey(seed: number): [number, number] {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new OptionError(`a seed must be an integer from 0 to 2^53 - 1, found ${seed}`, { hint: "pass a whole number, such as seed: 0" });
  }
  return [Math.floor(seed / TWO_32), seed >>> 0];
}

/**
 * One integer, exactly uniform on {0, …, bound − 1}, as a pure function of the key.
 *
 * Words that fall into the last incomplete multiple of `bound` are rejected, which removes the bias of a plain remainder;
 * the counter then moves on, so the number of tries is data of this key alone.
 *
 * @throws OptionError unless 1 ≤ bound ≤ 2³² is an integer.
 */
export function uniformBelow(key: Words, bound: number): number {
  if (!Number.isInteger(bound) || bound < 1 || bound > TWO_32) {
    throw new OptionError(`the bound of a uniform integer must be an integer from 1 to 2^32, found ${bound}`, {
      hint: "bound is the number of values: {0, …, bound - 1}",
    });
  }
  const accepted = TWO_32 - (TWO_32 % bound);
  for (let attempt = 0; ; attempt++) {
    for (const word of threefry2x32(key[0], key[1], attempt, 0)) if (word < accepted) return word % bound;
  }
}
