import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createE2Source,
  createPlainSource,
  e2Positions,
  e2Row,
  inferenceScale,
  largestShift,
  type PositionDraw,
  plainPositions,
} from "../../../src/e2llm/positions/index.js";
import { ropeFrequencies } from "../../../src/e2llm/schedules.js";
import { OptionError } from "../../../src/errors.js";
import { e2Draws } from "../../support/arbitraries.js";
import { chiSquare, chiSquareLimit } from "../../support/chi-square.js";
import { ropeScoreF32 } from "../../support/tolerances.js";
import { dot, norm, products, rotate, rotationAt, scoreAt } from "../rotation-oracle.js";

const request = { batch: 3, length: 24, step: 5 };
const options = { window: 32, gMax: 8 };

describe("plain positions", () => {
  it("are (offset + i)/scale in one row", () => {
    expect(plainPositions({ length: 4, offset: 10, scale: 3 })).toEqual({
      numerators: Int32Array.of(10, 11, 12, 13),
      denominators: Int32Array.of(3),
      rows: 1,
      draws: [{ g: 3, t: 0 }],
    });
    expect(createPlainSource({ scale: 2 })({ batch: 9, length: 5, step: 3 })).toEqual(plainPositions({ length: 5, scale: 2 }));
    expect(createPlainSource()(request)).toEqual(plainPositions({ length: 24 }));
  });

  it("E-9, P-6: at scale g are {0, 1/g, …, (gL − 1)/g} in a window of gL", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 20 }), (window, g) => {
        const { numerators, denominators } = plainPositions({ length: g * window, scale: g });
        expect(Array.from(numerators)).toEqual(Array.from({ length: g * window }, (_, m) => m));
        expect((numerators.at(-1) ?? 0) / (denominators[0] ?? 0)).toBeLessThan(window);
      }),
    );
  });
});

describe("the scale at inference", () => {
  it.each([
    [0, 1],
    [1, 1],
    [64, 1],
    [65, 2],
    [128, 2],
    [129, 3],
    [512, 8],
  ])("for %i tokens and a window of 64 is %i", (length, scale) => {
    expect(inferenceScale(length, 64)).toBe(scale);
  });

  it("is the smallest integer that keeps every position inside the window", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 4096 }), (length, window) => {
        const g = inferenceScale(length, window);
        expect((length - 1) / g).toBeLessThan(window);
        if (g > 1) expect(length).toBeGreaterThan((g - 1) * window);
      }),
    );
  });
});

describe("positions of one E²-LLM draw", () => {
  it("E-2: are m/g for the sinks and (m + t)/g after, the first four independent of t", () => {
    fc.assert(
      fc.property(e2Draws, fc.nat(8), ({ length, g, t }, sinks) => {
        const { numerators, denominators, draws } = e2Row({ length, g, t, sinks });
        numerators.forEach((numerator, m) => expect(numerator).toBe(m < sinks ? m : m + t));
        expect([denominators[0], draws]).toEqual([g, [{ g, t }]]);
        expect(e2Row({ length, g, t }).numerators.slice(0, 4)).toEqual(e2Row({ length, g, t: 0 }).numerators.slice(0, 4));
      }),
    );
  });

  it("E-3: start at 0 and end at (gL − 1)/g < L at most", () => {
    fc.assert(
      fc.property(e2Draws, ({ window, length, g, t }) => {
        const { numerators } = e2Row({ length, g, t });
        expect(numerators[0]).toBe(0);
        expect(Math.max(...numerators)).toBeLessThanOrEqual(g * window - 1);
      }),
    );
  });

  it("E-3, negative control: leave the window when the sequence is longer than g·L: no shift is left, and the clamp cannot help", () => {
    expect(largestShift(1, 4, 8)).toBe(0);
    const { numerators } = e2Row({ length: 8, g: 1, t: largestShift(1, 4, 8) });
    expect(Math.max(...numerators)).toBeGreaterThan(4 - 1);
  });

  it("P-7: increase by 1/g, except by (1 + t)/g between the last sink and the first later token", () => {
    fc.assert(
      fc.property(e2Draws, ({ length, g, t }) => {
        const { numerators } = e2Row({ length, g, t });
        for (let m = 1; m < length; m++) expect((numerators[m] ?? 0) - (numerators[m - 1] ?? 0)).toBe(m === 4 ? 1 + t : 1);
      }),
    );
  });

  it("E-7, P-2: are Position Interpolation for t = 0 and plain for g = 1, t = 0", () => {
    fc.assert(
      fc.property(e2Draws, ({ length, g }) => {
        expect(e2Row({ length, g, t: 0 })).toEqual(plainPositions({ length, scale: g }));
        expect(e2Row({ length, g: 1, t: 0 })).toEqual(plainPositions({ length }));
      }),
    );
  });

  it("E-8: are PoSE's with a first chunk of four and a skip of t, then interpolated", () => {
    fc.assert(
      fc.property(e2Draws, ({ length, g, t }) => {
        const firstChunk = Array.from({ length: Math.min(4, length) }, (_, i) => i);
        const secondChunk = Array.from({ length: Math.max(0, length - 4) }, (_, i) => i + 4 + t);
        const { numerators, denominators } = e2Row({ length, g, t });
        expect(Array.from(numerators, (n) => n / (denominators[0] ?? 0))).toEqual([...firstChunk, ...secondChunk].map((n) => n / g));
      }),
    );
  });
});

describe("scores under one E²-LLM draw", () => {
  const frequencies = ropeFrequencies({ type: "default" }, { headDim: 16, theta: 10_000 });
  const vector = (token: number, phase: number): number[] =>
    Array.from({ length: 16 }, (_, i) => Math.fround(Math.sin(7 * token + 3 * i + phase)));
  const score = (m: number, n: number, queries: PositionDraw, keys: PositionDraw): number => {
    const rotated = (
      [
        [vector(m, 1), queries, m],
        [vector(n, 2), keys, n],
      ] as const
    ).map(([x, draw, token]) => rotate(x, rotationAt(draw.numerators[token] ?? 0, draw.denominators[0] ?? 0, frequencies)));
    return dot(rotated[0] ?? [], rotated[1] ?? []);
  };
  const tolerance = (m: number, n: number): number => ropeScoreF32 * norm(vector(m, 1)) * norm(vector(n, 2));
  const expected = (m: number, n: number, distance: number): number =>
    scoreAt(distance, products(vector(m, 1), vector(n, 2)), frequencies.invFreq);

  it("E-4: the shift cancels between tokens past the sinks: a((m − n)/g)", () => {
    fc.assert(
      fc.property(e2Draws, fc.nat(63), fc.nat(63), ({ length, g, t }, a, b) => {
        fc.pre(length > 5);
        const [m, n] = [4 + (a % (length - 4)), 4 + (b % (length - 4))];
        const shifted = e2Row({ length, g, t });
        expect(Math.abs(score(m, n, shifted, shifted) - expected(m, n, (m - n) / g))).toBeLessThanOrEqual(tolerance(m, n));
      }),
    );
  });

  it("E-5: the shift moves later tokens away from the sinks: a((m + t − n)/g), and leaves sinks among themselves", () => {
    fc.assert(
      fc.property(e2Draws, fc.nat(63), fc.nat(3), fc.nat(3), ({ length, g, t }, a, n, sink) => {
        fc.pre(length > 5);
        const m = 4 + (a % (length - 4));
        const shifted = e2Row({ length, g, t });
        expect(Math.abs(score(m, n, shifted, shifted) - expected(m, n, (m + t - n) / g))).toBeLessThanOrEqual(tolerance(m, n));
        const still = e2Row({ length, g, t: 0 });
        expect(score(sink, n, shifted, shifted)).toBe(score(sink, n, still, still));
      }),
    );
  });

  it("M-7, negative control of E-4: a shift of the queries alone would not cancel", () => {
    const [shifted, still] = [e2Row({ length: 16, g: 3, t: 20 }), e2Row({ length: 16, g: 3, t: 0 })];
    expect(Math.abs(score(9, 6, shifted, still) - expected(9, 6, 1))).toBeGreaterThan(1000 * tolerance(9, 6));
  });
});

describe("E²-LLM's sampler", () => {
  it("E-11: draws the scales and shifts of an independent implementation", () => {
    const draws = Array.from({ length: 8 }, (_, step) => e2Positions({ window: 128, gMax: 8, batch: 1, length: 128, step }).draws[0]);
    expect(draws.map((draw) => [draw?.g, draw?.t])).toEqual([
      [2, 92],
      [4, 159],
      [3, 95],
      [6, 100],
      [8, 246],
      [3, 126],
      [6, 241],
      [5, 100],
    ]);
    const perSample = e2Positions({ window: 64, gMax: 20, granularity: "sample", seed: 2 ** 40 + 7, batch: 6, length: 48, step: 1000 });
    expect(perSample.draws.map(({ g, t }) => [g, t])).toEqual([
      [10, 164],
      [3, 137],
      [6, 153],
      [10, 250],
      [9, 39],
      [20, 1141],
    ]);
  });

  it("E-1: gives integers g in {1..G} and t in {0..max(0, gL − R)}, and no shift where g·L ≤ R", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(200),
        fc.nat(1000),
        (window, gMax, size, step) => {
          const length = 1 + (size % (gMax * window));
          const draw = e2Positions({ window, gMax, batch: 4, length, step, granularity: "sample" });
          expect([draw.rows, draw.draws.length, draw.numerators.length]).toEqual([4, 4, 4 * length]);
          draw.draws.forEach(({ g, t }, row) => {
            expect(Number.isInteger(g) && g >= 1 && g <= gMax).toBe(true);
            expect(Number.isInteger(t) && t >= 0 && t <= Math.max(0, g * window - length)).toBe(true);
            expect(draw.denominators[row]).toBe(g);
            expect(draw.numerators.subarray(row * length, (row + 1) * length)).toEqual(e2Row({ length, g, t }).numerators);
          });
        },
      ),
    );
  });

  it("has one row per step, or one per sample, and the first row does not depend on which", () => {
    const perBatch = e2Positions({ ...options, ...request });
    expect([perBatch.rows, perBatch.numerators.length, perBatch.draws.length]).toEqual([1, 24, 1]);
    const perSample = e2Positions({ ...options, ...request, granularity: "sample" });
    expect([perSample.rows, perSample.numerators.length]).toEqual([3, 72]);
    expect(perSample.draws[0]).toEqual(perBatch.draws[0]);
    expect(new Set(perSample.draws.map(({ g, t }) => `${g} ${t}`)).size).toBe(3);
  });

  it("E-11: is a pure function of seed, step and row", () => {
    const source = createE2Source({ ...options, seed: 17, granularity: "sample" });
    const forwards = [0, 1, 2, 3].map((step) => source({ ...request, step }));
    const backwards = [3, 2, 1, 0].map((step) => createE2Source({ ...options, seed: 17, granularity: "sample" })({ ...request, step }));
    expect(backwards.reverse()).toEqual(forwards);
    expect(source({ ...request, batch: 5, step: 2 }).draws.slice(0, 3)).toEqual(forwards[2]?.draws);
    const other = createE2Source({ ...options, seed: 18, granularity: "sample" });
    expect([0, 1, 2, 3].map((step) => other({ ...request, step }).draws)).not.toEqual(forwards.map(({ draws }) => draws));
  });

  it("E-7: with a single scale and full sequences is plain training", () => {
    for (let step = 0; step < 50; step++) {
      expect(e2Positions({ window: 32, gMax: 1, batch: 1, length: 32, step })).toEqual(plainPositions({ length: 32 }));
    }
  });

  it.each(["steps", "samples"])("E-10: draws g uniformly and t uniformly given g, over %s", (over) => {
    const [window, gMax, length, count] = [8, 4, 4, 20_000];
    const draws =
      over === "steps"
        ? Array.from({ length: count }, (_, step) => e2Positions({ window, gMax, length, batch: 1, step, seed: 5 }).draws[0])
        : e2Positions({ window, gMax, length, batch: count, step: 3, seed: 5, granularity: "sample" }).draws;
    const cells = Array.from({ length: gMax }, (_, i) => i + 1).flatMap((g) =>
      Array.from({ length: g * window - length + 1 }, (_, t) => ({ key: `${g} ${t}`, expected: count / gMax / (g * window - length + 1) })),
    );
    const counts = new Map<string, number>();
    for (const draw of draws) counts.set(`${draw?.g} ${draw?.t}`, (counts.get(`${draw?.g} ${draw?.t}`) ?? 0) + 1);
    const found = chiSquare(
      cells.map(({ key }) => counts.get(key) ?? 0),
      cells.map(({ expected }) => expected),
    );
    expect(found).toBeLessThan(chiSquareLimit(cells.length - 1));
    expect(found).toBeGreaterThan((cells.length - 1) / 3);
  });

  it("E-10: draws g and t from streams of their own, and steps independently", () => {
    const draws = Array.from({ length: 8000 }, (_, step) => e2Positions({ window: 64, gMax: 4, length: 64, batch: 1, step }).draws[0]);
    const scales = draws.map((draw) => (draw?.g ?? 0) - 1);
    const quarters = draws.map((draw) => Math.min(3, Math.floor((4 * (draw?.t ?? 0)) / (((draw?.g ?? 1) - 1) * 64 + 1))));
    const pairs = new Array<number>(16).fill(0);
    for (let i = 1; i < scales.length; i++) {
      const cell = 4 * (scales[i - 1] ?? 0) + (scales[i] ?? 0);
      pairs[cell] = (pairs[cell] ?? 0) + 1;
    }
    expect(chiSquare(pairs, new Array<number>(16).fill((draws.length - 1) / 16))).toBeLessThan(chiSquareLimit(15));
    // The largest scale's shifts fall evenly into quarters of their range, next to whatever scale the step before had.
    const next = new Array<number>(16).fill(0);
    let rows = 0;
    for (let i = 1; i < scales.length; i++) {
      if (scales[i] !== 3) continue;
      rows++;
      const cell = 4 * (scales[i - 1] ?? 0) + (quarters[i] ?? 0);
      next[cell] = (next[cell] ?? 0) + 1;
    }
    expect(chiSquare(next, new Array<number>(16).fill(rows / 16))).toBeLessThan(chiSquareLimit(15));
  });

  it.each([1, 2, 3, 4])("E-9, C-5: covers exactly the distances {1..gL − 1}/g to the sinks at scale %i", (g) => {
    for (const [window, length] of [
      [8, 8],
      [8, 6],
      [12, 7],
    ] as const) {
      const covered = new Set<number>();
      for (let t = 0; t <= largestShift(g, window, length); t++) {
        const { numerators } = e2Row({ length, g, t });
        for (let m = 1; m < length; m++) for (let n = 0; n < Math.min(4, m); n++) covered.add((numerators[m] ?? 0) - (numerators[n] ?? 0));
      }
      expect([...covered].sort((a, b) => a - b)).toEqual(Array.from({ length: g * window - 1 }, (_, i) => i + 1));
    }
  });

  it("refuses what cannot be drawn, when the source is made", () => {
    const bad = [{ window: 0 }, { window: 1.5 }, { gMax: 0 }, { sinks: -1 }, { seed: -1 }, { seed: 0.5 }, { window: 2 ** 30, gMax: 4 }];
    for (const change of bad) expect(() => createE2Source({ ...options, ...change })).toThrow(OptionError);
    const granularity = JSON.parse('"token"') as "batch";
    expect(() => createE2Source({ ...options, granularity })).toThrow(OptionError);
    const source = createE2Source(options);
    for (const change of [{ batch: 0 }, { length: -1 }, { step: -1 }, { step: 2 ** 32 }, { length: 8 * 32 + 1 }]) {
      expect(() => source({ ...request, ...change })).toThrow(OptionError);
    }
    expect(() => plainPositions({ length: 4, scale: 1.5 })).toThrow(OptionError);
    expect(() => plainPositions({ length: 10, offset: 2 ** 31 - 5 })).toThrow(OptionError);
    expect(() => inferenceScale(10, 0)).toThrow(OptionError);
  });
});
