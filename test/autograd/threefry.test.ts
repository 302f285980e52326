import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OptionError } from "../../src/errors.js";
import { seedKey, threefry2x32, uniformBelow } from "../../src/ir/threefry.js";

const word = fc.integer({ min: 0, max: 0xffff_ffff });

describe("Threefry-2x32", () => {
  it.each([
    [
      [0, 0, 0, 0],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0x1cb996fc, 0xbb002be7],
    ],
    [
      [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3],
      [0xc4923a9c, 0x483df7a0],
    ],
  ] as const)("encrypts the test vector %j of Random123", ([k0, k1, c0, c1], expected) => {
    expect(threefry2x32(k0, k1, c0, c1)).toEqual(expected);
  });

  it("returns unsigned words, and signed arguments count modulo 2^32", () => {
    fc.assert(
      fc.property(word, word, word, word, (k0, k1, c0, c1) => {
        const words = threefry2x32(k0, k1, c0, c1);
        for (const value of words) expect(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff).toBe(true);
        expect(threefry2x32(k0 | 0, k1 | 0, c0 | 0, c1 | 0)).toEqual(words);
      }),
    );
  });

  it("is injective in the counter", () => {
    const seen = new Set<string>();
    for (let counter = 0; counter < 4096; counter++) seen.add(threefry2x32(7, 9, counter, 0).join());
    expect(seen.size).toBe(4096);
  });
});

describe("seeds", () => {
  it("split into a high and a low word", () => {
    expect(seedKey(0)).toEqual([0, 0]);
    expect(seedKey(2 ** 32 + 5)).toEqual([1, 5]);
    expect(seedKey(Number.MAX_SAFE_INTEGER)).toEqual([0x1fffff, 0xffffffff]);
  });

  it.each([-1, 0.5, 2 ** 53, Number.NaN])("refuse %d", (seed) => {
    expect(() => seedKey(seed)).toThrow(OptionError);
  });
});

describe("uniform integers", () => {
  it("lie below their bound, and are a function of the key alone", () => {
    fc.assert(
      fc.property(word, word, fc.integer({ min: 1, max: 2 ** 31 }), (k0, k1, bound) => {
        const value = uniformBelow([k0, k1], bound);
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThan(bound);
        expect(uniformBelow([k0, k1], bound)).toBe(value);
      }),
    );
  });

  it("have no bias towards small values at a bound of three quarters of 2^32", () => {
    // A plain remainder would give the lowest third of the values twice their share: 1/2 instead of 1/3.
    const bound = 3 * 2 ** 30;
    const draws = 6000;
    let low = 0;
    for (let i = 0; i < draws; i++) if (uniformBelow([11, i], bound) < bound / 3) low++;
    expect(Math.abs(low / draws - 1 / 3)).toBeLessThan(4 * Math.sqrt((1 / 3) * (2 / 3) * (1 / draws)));
  });

  it("reach all of a bound of 2^32", () => {
    expect(uniformBelow([0, 0], 2 ** 32)).toBe(0x6b200159);
  });

  it.each([0, -1, 1.5, 2 ** 32 + 1, Number.NaN])("refuse a bound of %d", (bound) => {
    expect(() => uniformBelow([0, 0], bound)).toThrow(OptionError);
  });
});
