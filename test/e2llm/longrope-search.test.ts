import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type LongropeCandidate,
  type LongropeProgress,
  type LongropeSearchOptions,
  searchLongropeFactors,
  untouchedStart,
} from "../../src/e2llm/longrope-search.js";
import { plainPositions } from "../../src/e2llm/positions/index.js";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import { NonFiniteError, OptionError, ShapeError } from "../../src/errors.js";

const factor = 8;
const headDim = 16;
/** Divisors that neither PI nor NTK nor YaRN has. */
const hidden = [1, 1, 1.3, 2.2, 2.2, 5.1, 6.9, 9.4];

/** How far divisors are from the hidden ones, and 0.2 for each step of n̂ away from 4. */
const distanceToHidden = ({ factors, start }: LongropeCandidate): number =>
  factors.reduce((sum, value, j) => sum + (Math.log(value) - Math.log(hidden[j] as number)) ** 2, 0) +
  0.2 * Math.abs(Math.log2(start + 1) - Math.log2(5));

const options: LongropeSearchOptions = {
  evaluate: distanceToHidden,
  headDim,
  factor,
  originalMaxPositions: 64,
  seed: 3,
  population: 24,
  generations: 30,
};

describe("the search for LongRoPE's divisors", () => {
  it("comes far nearer to hidden divisors than PI, NTK and YaRN, from which it starts, and finds the untouched start", async () => {
    const found = await searchLongropeFactors({ ...options, starts: [0, 1, 2, 4, 8, 16] });
    const shape = { headDim, theta: 10_000 };
    const plain = ropeFrequencies({ type: "default" }, shape).invFreq;
    const divisors = (invFreq: Float64Array) => Array.from(invFreq, (value, j) => (plain[j] as number) / value);
    const known = [
      ropeFrequencies({ type: "linear", factor }, shape),
      ropeFrequencies({ type: "ntk", factor }, shape),
      ropeFrequencies({ type: "yarn", factor, originalMaxPositions: 64 }, shape),
    ].map(({ invFreq }) => divisors(invFreq));
    found.initial.forEach(({ factors, loss, start }, i) => {
      factors.forEach((value, j) => expect(value).toBeCloseTo(known[i]?.[j] as number, 12));
      expect(start).toBe(0);
      expect(found.loss).toBeLessThan(loss / 10);
    });
    expect(found.initial.length).toBe(3);
    expect(found.start).toBe(4);
    expect(found.loss).toBe(distanceToHidden(found));
    expect(found.evaluations).toBeLessThanOrEqual(24 + 30 * 12);
  });

  it("asks for each candidate once, all with divisors from 1 to 1.25 s that do not decrease", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(1, 2, 3.5, 16), fc.constantFrom(0.01, 0.25), async (seed, s, step) => {
        const asked = new Set<string>();
        const evaluate = (candidate: LongropeCandidate): number => {
          expect(asked.has(JSON.stringify(candidate))).toBe(false);
          asked.add(JSON.stringify(candidate));
          expect(candidate.factors.length).toBe(headDim / 2);
          candidate.factors.forEach((value, j) => {
            expect(value).toBeGreaterThanOrEqual(candidate.factors[j - 1] ?? 1);
            expect(value).toBeLessThanOrEqual(1.25 * s);
          });
          return distanceToHidden(candidate);
        };
        const found = await searchLongropeFactors({ ...options, evaluate, factor: s, step, seed, population: 12, generations: 6 });
        expect(found.evaluations).toBe(asked.size);
        expect(found.history.length).toBe(7);
        found.history.forEach((loss, i) => expect(loss).toBeLessThanOrEqual(found.history[i - 1] ?? loss));
        expect(found.loss).toBe(found.history.at(-1));
      }),
      { numRuns: 12 },
    );
  });

  it("is a function of its seed, whether evaluate waits or not", async () => {
    const seen: LongropeProgress[] = [];
    const first = await searchLongropeFactors({ ...options, onGeneration: (progress) => seen.push(progress) });
    const again = await searchLongropeFactors({ ...options, evaluate: async (candidate) => distanceToHidden(candidate) });
    expect(again).toEqual(first);
    expect((await searchLongropeFactors({ ...options, seed: 4 })).factors).not.toEqual(first.factors);
    expect(seen.map(({ generation }) => generation)).toEqual(Array.from({ length: 31 }, (_, i) => i));
    expect(seen.map(({ best }) => best.loss)).toEqual(first.history);
    expect(seen.at(-1)).toMatchObject({ generations: 30, evaluations: first.evaluations });
  });

  it("takes losses that are no numbers for the worst, and refuses to choose where all are", async () => {
    const evaluate = (candidate: LongropeCandidate): number => (candidate.factors[0] === 1 ? distanceToHidden(candidate) : Number.NaN);
    const found = await searchLongropeFactors({ ...options, evaluate, generations: 4 });
    expect(found.factors[0]).toBe(1);
    await expect(searchLongropeFactors({ ...options, evaluate: () => Number.NaN, generations: 2 })).rejects.toThrow(NonFiniteError);
  });

  it("passes on what evaluate throws", async () => {
    const evaluate = () => Promise.reject(new Error("out of memory"));
    await expect(searchLongropeFactors({ ...options, evaluate })).rejects.toThrow("out of memory");
  });

  it.each([
    ["a factor below 1", { factor: 0.5 }],
    ["an infinite factor", { factor: Number.POSITIVE_INFINITY }],
    ["a window that YaRN refuses", { originalMaxPositions: 7 }],
    ["a head of two channels", { headDim: 2 }],
    ["an odd head", { headDim: 15 }],
    ["a population of 2", { population: 2 }],
    ["more parents than there are", { parents: 25 }],
    ["no start", { starts: [] }],
    ["a start below 0", { starts: [-1] }],
    ["a mutation rate of 0", { mutationRate: 0 }],
    ["a step of 0", { step: 0 }],
    ["a fraction of a generation", { generations: 1.5 }],
    ["a loss of text", { evaluate: (() => "low") as unknown as () => number }],
    ["a name that is not an option", { generation: 3 }],
  ])("refuses %s", async (_, changed) => {
    await expect(searchLongropeFactors({ ...options, ...changed })).rejects.toThrow(OptionError);
  });
});

describe("an untouched start", () => {
  const tables = (scaled: boolean, length = 6) =>
    ropeTables(
      plainPositions({ length }),
      ropeFrequencies(scaled ? { type: "linear", factor: 4 } : { type: "default" }, { headDim: 8, theta: 100 }),
    );

  it("has the first rows of the plain tables and the others of the scaled ones", () => {
    const [scaled, original] = [tables(true), tables(false)];
    for (const start of [0, 1, 4, 6, 9]) {
      const found = untouchedStart(scaled, original, start);
      for (const part of ["cos", "sin"] as const) {
        const cut = Math.min(start, 6) * 4;
        expect([...found[part]]).toEqual([...original[part].subarray(0, cut), ...scaled[part].subarray(cut)]);
      }
    }
    expect(scaled).toEqual(tables(true));
  });

  it("does so in every row", () => {
    const repeat = (t: ReturnType<typeof tables>) => ({
      ...t,
      rows: 2,
      cos: Float32Array.of(...t.cos, ...t.cos),
      sin: Float32Array.of(...t.sin, ...t.sin),
    });
    const found = untouchedStart(repeat(tables(true)), repeat(tables(false)), 2);
    const single = untouchedStart(tables(true), tables(false), 2);
    expect(found).toEqual(repeat(single));
  });

  it("refuses tables of different shapes and starts that are no counts", () => {
    expect(() => untouchedStart(tables(true), tables(false, 5), 2)).toThrow(ShapeError);
    expect(() => untouchedStart(tables(true), tables(false), -1)).toThrow(OptionError);
  });
});
