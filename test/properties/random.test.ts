import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomBits } from "../../src/autograd/random.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  bernoulli,
  compile,
  dropout,
  foldIn,
  key,
  OptionError,
  randint,
  randn,
  split,
  type Tensor,
  tensor,
  uniform,
  useBackend,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { numbersOf } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";

const reference = createReferenceBackend();
const seeds = fc.oneof(fc.nat(1000), fc.maxSafeNat());
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

beforeAll(() => {
  useBackend(reference);
});

describe("random numbers", () => {
  law("random numbers are a function of the key", "Equal keys give equal bits, and different keys different ones.", async () => {
    const holds = fc.asyncProperty(seeds, seeds, async (a, b) => {
      const bits = (seed: number): Promise<number[]> => numbersOf(randomBits(key(seed), [4]));
      expect(await bits(a)).toEqual(await bits(a));
      if (a !== b) expect(await bits(a)).not.toEqual(await bits(b));
    });
    await fc.assert(holds, { seed: fuzzSeed(5), numRuns: 50 });
  });

  it("do not depend on the shape that they are drawn for, but for the length", async () => {
    expect(await numbersOf(uniform(key(3), [2, 3]))).toEqual(await numbersOf(uniform(key(3), [6])));
    expect((await numbersOf(uniform(key(3), [10]))).slice(0, 6)).toEqual(await numbersOf(uniform(key(3), [6])));
  });

  it("of split and folded keys differ from each other and from the parent's", async () => {
    const holds = fc.asyncProperty(seeds, async (seed) => {
      const parent = key(seed);
      const keys = [parent, ...split(parent, 4), foldIn(parent, 0), foldIn(parent, 1), foldIn(parent, 2)];
      const texts = await Promise.all(keys.map(async (k) => (await numbersOf(randomBits(k, [3]))).join()));
      expect(new Set(texts).size).toBe(keys.length);
      const step = tensor(Uint32Array.from([2]), { shape: [] });
      expect(await numbersOf(foldIn(parent, step))).toEqual(await numbersOf(foldIn(parent, 2)));
    });
    await fc.assert(holds, { seed: fuzzSeed(6), numRuns: 25 });
  });

  it("uniform ones are multiples of 2⁻²³ in [0, 1), or lie in their range", async () => {
    const holds = fc.asyncProperty(seeds, async (seed) => {
      for (const value of await numbersOf(uniform(key(seed), [50]))) {
        expect(value >= 0 && value < 1 && Number.isInteger(value * 2 ** 23)).toBe(true);
      }
      for (const value of await numbersOf(uniform(key(seed), [20], { low: -3, high: 5 }))) expect(value >= -3 && value < 5).toBe(true);
      for (const value of await numbersOf(randint(key(seed), [20], -2, 3))) expect([-2, -1, 0, 1, 2]).toContain(value);
    });
    await fc.assert(holds, { seed: fuzzSeed(7), numRuns: 20 });
  });

  it("have the moments of their distributions, within four standard errors", async () => {
    const n = 20_000;
    const within = (found: number, expected: number, deviation: number): void => {
      expect(Math.abs(found - expected)).toBeLessThan((4 * deviation) / Math.sqrt(n));
    };
    const flat = await numbersOf(uniform(key(11), [n]));
    within(mean(flat), 0.5, Math.sqrt(1 / 12));
    within(mean(flat.map((u) => (u - 0.5) ** 2)), 1 / 12, Math.sqrt(1 / 180));
    const normal = await numbersOf(randn(key(12), [n]));
    within(mean(normal), 0, 1);
    within(mean(normal.map((z) => z * z)), 1, Math.sqrt(2));
    within(mean(normal.map((z) => z ** 3)), 0, Math.sqrt(15));
    within(mean(normal.map((z) => z ** 4)), 3, Math.sqrt(96));
    within(mean(normal.slice(1).map((z, i) => z * (normal[i] as number))), 0, 1);
    within(mean(await numbersOf(bernoulli(key(13), [n], 0.3).cast("f32"))), 0.3, Math.sqrt(0.21));
    const dice = await numbersOf(randint(key(14), [n], 0, 6));
    for (let face = 0; face < 6; face++) within(mean(dice.map((d) => Number(d === face))), 1 / 6, Math.sqrt(5 / 36));
    within(mean(await numbersOf(dropout(key(15), tensor(new Array<number>(n).fill(2)), 0.25))), 2, 2 * Math.sqrt(1 / 3));
  });

  it("uniform ones stay in every range that f32 can hold, and reach both of its ends", async () => {
    const f32 = fc.float({ noNaN: true, noDefaultInfinity: true });
    const pairs = fc.oneof(
      fc.tuple(f32, f32),
      fc.tuple(f32, fc.nat(40)).map(([low, steps]) => [low, low + steps * Math.abs(low) * 2 ** -23]),
      fc.constantFrom([1e6, 1e6 + 1], [-3e38, 3e38], [1e8, 1e8 + 1], [-1, 0], [0.1, 0.7], [2 ** 24 - 1, 2 ** 24]),
    );
    const holds = fc.asyncProperty(seeds, pairs, async (seed, [low, high]) => {
      const draw = (): Tensor => uniform(key(seed), [200], { low: low as number, high: high as number });
      if ((low as number) < (high as number) && Number.isFinite(Math.fround(high as number))) {
        for (const value of await numbersOf(draw())) expect(value >= (low as number) && value < (high as number)).toBe(true);
      } else expect(draw).toThrow(OptionError);
    });
    await fc.assert(holds, { seed: fuzzSeed(8), numRuns: 150 });
    const narrow = await numbersOf(uniform(key(9), [5000], { low: 1e6, high: 1e6 + 1 }));
    expect([Math.min(...narrow), Math.max(...narrow)]).toEqual([1e6, 1e6 + 0.9375]);
  });

  it("integers are right for ranges of any width", async () => {
    const ends = fc.integer({ min: -(2 ** 31), max: 2 ** 31 });
    const holds = fc.asyncProperty(seeds, ends, ends, async (seed, a, b) => {
      fc.pre(a !== b);
      const [low, high] = [Math.min(a, b), Math.max(a, b)];
      // ⌊span·r/2⁶⁴⌋ + low in exact integers.
      const words = (await numbersOf(randomBits(key(seed), [2, 30]))).map(BigInt);
      const expected = words.slice(0, 30).map((word, i) => {
        const r = (word << 32n) | (words[30 + i] as bigint);
        return Number((BigInt(high - low) * r) >> 64n) + low;
      });
      expect(await numbersOf(randint(key(seed), [30], low, high))).toEqual(expected);
    });
    await fc.assert(holds, { seed: fuzzSeed(10), numRuns: 60 });
    // A remainder of 32 bits would draw the lower third of this range twice as often as the rest.
    const n = 6000;
    const wide = await numbersOf(randint(key(16), [n], -(2 ** 31), 2 ** 30));
    const lower = wide.filter((value) => value < -(2 ** 30)).length / n;
    expect(Math.abs(lower - 1 / 3)).toBeLessThan(4 * Math.sqrt(2 / 9 / n));
    const all = await numbersOf(randint(key(17), [n], -(2 ** 31), 2 ** 31));
    expect(Math.abs(all.filter((value) => value < 0).length / n - 1 / 2)).toBeLessThan(2 / Math.sqrt(n));
  });

  it("normal ones are finite, and certain events are certain", async () => {
    for (const value of await numbersOf(randn(key(18), [50_000]))) expect(Math.abs(value)).toBeLessThan(6);
    expect(new Set(await numbersOf(bernoulli(key(19), [500], 1)))).toEqual(new Set([1]));
    expect(new Set(await numbersOf(bernoulli(key(19), [500], 0)))).toEqual(new Set([0]));
  });

  it("refuse what is no seed, no range and no rate", () => {
    for (const seed of [-1, 1.5, 2 ** 53, Number.NaN]) expect(() => key(seed)).toThrow(OptionError);
    expect(() => randint(key(0), [2], 3, 3)).toThrow(OptionError);
    for (const [low, high] of [
      [-(2 ** 31) - 1, 0],
      [0, 2 ** 31 + 1],
      [0.5, 2],
      [0, Number.NaN],
    ] as const) {
      expect(() => randint(key(0), [2], low, high)).toThrow(OptionError);
    }
    for (const [low, high] of [
      [1, 0],
      [1, 1],
      [0, Number.NaN],
      [0, Number.POSITIVE_INFINITY],
      [0, 1e39],
      [1e8 + 1, 1e8 + 2],
    ] as const) {
      expect(() => uniform(key(0), [2], { low, high })).toThrow(OptionError);
    }
    for (const p of [-0.1, 1.1, Number.NaN]) expect(() => bernoulli(key(0), [2], p)).toThrow(OptionError);
    for (const rate of [1, -0.1, Number.NaN]) expect(() => dropout(key(0), tensor([1]), rate)).toThrow(OptionError);
  });
});

describe.each(backends())("random numbers on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => backend.close());

  law(
    "random numbers are the same on every backend",
    "A key gives the same bits, uniform numbers, integers, choices and keys on every backend.",
    { timeout: 60_000 },
    async () => {
      const draws = compile((parent: Tensor): Tensor[] => {
        const [a, b, c, d] = split(foldIn(parent, 7), 4) as [Tensor, Tensor, Tensor, Tensor];
        return [
          randomBits(a, [257]),
          uniform(b, [3, 43]),
          randint(c, [65], -7, 1000),
          randint(c, [65], -2_000_000_000, 2_000_000_000),
          bernoulli(d, [31], 0.25),
        ];
      });
      const on = (place: Backend, seed: number): Promise<number[][]> => {
        useBackend(place);
        return Promise.all(draws(key(seed)).map(numbersOf));
      };
      const holds = fc.asyncProperty(seeds, async (seed) => {
        expect(await on(backend, seed)).toEqual(await on(reference, seed));
      });
      await fc.assert(holds, { seed: fuzzSeed(19), numRuns: 8, examples: [[0], [2 ** 32 + 17], [Number.MAX_SAFE_INTEGER]] });
      useBackend(backend);
    },
  );

  it("stay in their range where rounding would leave it", { timeout: 60_000 }, async () => {
    for (const [low, high] of [
      [1e6, 1e6 + 1],
      [-3e38, 3e38],
      [2 ** 24 - 1, 2 ** 24],
      [0.1, 0.7],
      [-5, -4.9999],
    ] as const) {
      for (const value of await numbersOf(uniform(key(20), [3000], { low, high }))) expect(value >= low && value < high).toBe(true);
    }
    for (const value of await numbersOf(randn(key(21), [20_000]))) expect(Math.abs(value)).toBeLessThan(6);
    const found = await numbersOf(randint(key(22), [5], -2_000_000_000, 2_000_000_000));
    useBackend(reference);
    expect(found).toEqual(await numbersOf(randint(key(22), [5], -2_000_000_000, 2_000_000_000)));
  });
});
