import { describe, expect, it } from "vitest";
import { asFloats, bitsOf, everyBits, floatOf } from "./floats.js";
import { applied, CHUNK } from "./vectors.js";

/** The number of a binary16 pattern, from its definition. */
function halfValue(pattern: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >> 10) & 31;
  const fraction = pattern & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The nearest binary16 pattern, ties to even, found by arithmetic alone; a NaN is undefined. */
function nearestHalf(x: number): number | undefined {
  if (Number.isNaN(x)) return undefined;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.max(size, 2 ** -24))));
  const scaled = size / 2 ** (exponent - 10);
  const floor = Math.floor(scaled);
  const up = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 === 1);
  // A fraction that overflows goes on in the exponent.
  return sign | (((exponent + 14) << 10) + floor + (up ? 1 : 0));
}

const isHalfNaN = (pattern: number): boolean => (pattern & 0x7fff) > 0x7c00;
const isBfloatNaN = (pattern: number): boolean => (pattern & 0x7fff) > 0x7f80;

describe("binary16", () => {
  const widen = applied("half_to_float", 1);
  const narrow = applied("float_to_half", 1);
  const patterns = Int32Array.from({ length: CHUNK }, (_, i) => i);

  it("widens every pattern exactly", () => {
    (widen.inputs[0] as Int32Array).set(patterns);
    widen.run(CHUNK);
    const results = asFloats(widen.output);
    for (let i = 0; i < CHUNK; i++) if (!Object.is(results[i], halfValue(i))) expect([i, results[i]]).toEqual([i, halfValue(i)]);
  });

  it("gives every pattern back, NaN as a NaN of the same sign", () => {
    (widen.inputs[0] as Int32Array).set(patterns);
    widen.run(CHUNK);
    (narrow.inputs[0] as Int32Array).set(widen.output);
    narrow.run(CHUNK);
    for (let i = 0; i < CHUNK; i++) {
      const back = narrow.output[i] as number;
      const same = isHalfNaN(i) ? isHalfNaN(back) && back >> 15 === i >> 15 : back === i;
      if (!same) expect([i, back]).toEqual([i, i]);
    }
  });

  const compare = (fill: (chunk: number) => number): void => {
    const input = asFloats(narrow.inputs[0] as Int32Array<ArrayBuffer>);
    for (let chunk = 0; ; chunk++) {
      const count = fill(chunk);
      if (count === 0) return;
      narrow.run(count);
      for (let i = 0; i < count; i++) {
        const expected = nearestHalf(input[i] as number);
        const found = narrow.output[i] as number;
        const right = expected === undefined ? isHalfNaN(found) && found >>> 16 === 0 : found === expected;
        if (!right) expect([input[i], found]).toEqual([input[i], expected]);
      }
    }
  };

  it("rounds a grid over all 2^32 bit patterns to nearest, ties to even", () => {
    compare(everyBits(narrow, -(2 ** 31), 2 ** 31, 2039));
  });

  it("rounds right next to ties, to the smallest numbers, to ∞ and to NaN", () => {
    const points = [
      2 ** -25,
      2 ** -24,
      3 * 2 ** -25,
      2 ** -14,
      2 ** -14 - 2 ** -25,
      1,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      2047,
      65504,
      65520,
      65536,
    ];
    for (const x of [...points, 0, Infinity]) {
      for (const center of [bitsOf(x), bitsOf(-x)]) compare(everyBits(narrow, center - 300, center + 300, 1));
    }
  });
});

describe("bfloat16", () => {
  const widen = applied("bfloat_to_float", 1);
  const narrow = applied("float_to_bfloat", 1);

  it("gives every pattern back, and widens it to the upper half of its bits", () => {
    for (let i = 0; i < CHUNK; i++) (widen.inputs[0] as Int32Array)[i] = i;
    widen.run(CHUNK);
    for (let i = 0; i < CHUNK; i++) if (widen.output[i] !== i << 16) expect([i, widen.output[i]]).toEqual([i, i << 16]);
    (narrow.inputs[0] as Int32Array).set(widen.output);
    narrow.run(CHUNK);
    for (let i = 0; i < CHUNK; i++) {
      const back = narrow.output[i] as number;
      if (isBfloatNaN(i) ? !isBfloatNaN(back) : back !== i) expect([i, back]).toEqual([i, i]);
    }
  });

  it("rounds a grid over all 2^32 bit patterns to nearest, ties to even", () => {
    const check = (fill: (chunk: number) => number): void => {
      for (let chunk = 0, count = fill(0); count > 0; count = fill(++chunk)) {
        narrow.run(count);
        for (let i = 0; i < count; i++) {
          const word = (narrow.inputs[0] as Int32Array)[i] as number;
          const found = narrow.output[i] as number;
          if (Number.isNaN(floatOf(word))) {
            if (!isBfloatNaN(found) || found >>> 16 !== 0) expect([word, found]).toEqual([word, "NaN"]);
            continue;
          }
          const size = word & 0x7fffffff;
          const rest = size % 65536;
          const floor = (size - rest) / 65536;
          const expected = (floor + (rest > 32768 || (rest === 32768 && floor % 2 === 1) ? 1 : 0)) | (word < 0 ? 0x8000 : 0);
          if (found !== expected) expect([word, found]).toEqual([word, expected]);
        }
      }
    };
    check(everyBits(narrow, -(2 ** 31), 2 ** 31, 2039));
    // Every last place is 2¹⁶, so these are ties, even and odd, and their neighbours; then ∞ and the NaNs next to it.
    for (const center of [0x3f808000, 0x3f818000, 0x00008000, 0x7f7f8000, 0x7f800000, 0x7fffffff - 300]) {
      check(everyBits(narrow, center - 300, center + 300, 1));
      check(everyBits(narrow, center - 2 ** 31 - 300 + (center === 0x7fffffff - 300 ? 300 : 0), center - 2 ** 31 + 300, 1));
    }
  });
});
