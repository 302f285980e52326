import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createE2Source,
  createE2YarnSource,
  createPlainSource,
  createPoseSource,
  createRandomIncrementsSource,
  createRandomizedSource,
  createRandomScaleSource,
  e2Row,
  type PositionDraw,
  plainPositions,
} from "../../../src/e2llm/positions/index.js";
import { type RopeShape, ropeFrequencies } from "../../../src/e2llm/schedules.js";
import { OptionError } from "../../../src/errors.js";
import { chiSquareLimit, chiSquareOf } from "../../support/chi-square.js";

const shape: RopeShape = { headDim: 16, theta: 10_000 };
const sample = { granularity: "sample" } as const;

/** The numerators of each row. */
function rowsOf({ numerators, rows }: PositionDraw): number[][] {
  const length = numerators.length / rows;
  return Array.from({ length: rows }, (_, row) => [...numerators.subarray(row * length, (row + 1) * length)]);
}

const increasing = (positions: readonly number[]): boolean => positions.every((p, i) => i === 0 || p > (positions[i - 1] as number));

/** {0, …, count − 1} or {from, …}, each expected equally often among `rows`. */
const evenly = (rows: number, values: readonly (number | string)[]): Map<number | string, number> =>
  new Map(values.map((value) => [value, rows / values.length]));
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const poseSizes = fc
  .record({ window: fc.integer({ min: 4, max: 40 }), scale: fc.integer({ min: 1, max: 9 }), chunks: fc.integer({ min: 2, max: 4 }) })
  .chain((sizes) =>
    fc.record({
      sizes: fc.constant(sizes),
      length: fc.integer({ min: sizes.chunks, max: sizes.window }),
      seed: fc.nat(1000),
      step: fc.nat(1000),
    }),
  );

describe("PoSE", () => {
  it("S-16: with u = 0 and s = 1 is plain training", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.nat(1000), fc.integer({ min: 2, max: 4 }), (window, step, chunks) => {
        fc.pre(chunks <= window);
        const { numerators, denominators, draws, frequencies } = createPoseSource({ window, scale: 1, chunks })({
          batch: 1,
          length: window,
          step,
        });
        const plain = plainPositions({ length: window });
        expect([numerators, denominators, frequencies, draws[0]?.u]).toEqual([plain.numerators, plain.denominators, undefined, 0]);
      }),
    );
  });

  it("S-16: stays below s·L, goes up by 1 inside of a chunk, and says where chunks end and how far they skip", () => {
    fc.assert(
      fc.property(poseSizes, ({ sizes, length, seed, step }) => {
        const drawn = createPoseSource({ ...sizes, seed, ...sample })({ batch: 3, length, step });
        rowsOf(drawn).forEach((positions, row) => {
          const draw = drawn.draws[row] as Readonly<Record<string, number>>;
          expect(positions[0]).toBe(0);
          expect(positions.at(-1)).toBeLessThan(sizes.scale * sizes.window);
          let [from, skip] = [0, 0];
          for (let k = 0; k < sizes.chunks; k++) {
            const end = k === sizes.chunks - 1 ? length : from + (draw[`l${k}`] as number);
            if (k > 0) {
              expect(draw[k === 1 ? "u" : `u${k}`]).toBeGreaterThanOrEqual(skip);
              skip = draw[k === 1 ? "u" : `u${k}`] as number;
            }
            for (let i = from; i < end; i++) expect(positions[i]).toBe(i + skip);
            expect(end).toBeGreaterThan(from);
            from = end;
          }
          expect(Object.keys(draw)).toHaveLength(2 * sizes.chunks - 2);
        });
      }),
    );
  });

  it("draws l0 evenly from 1 to half of the window and u evenly from 0 to s·L − R, independently, as its authors' code does", () => {
    const [window, scale, length, batch] = [6, 2, 5, 12_000];
    const { draws } = createPoseSource({ window, scale, seed: 4, ...sample })({ batch, length, step: 9 });
    const cells = range(1, 3).flatMap((l0) => range(0, 7).map((u) => `${l0} ${u}`));
    expect(
      chiSquareOf(
        draws.map(({ l0, u }) => `${l0} ${u}`),
        evenly(batch, cells),
      ),
    ).toBeLessThan(chiSquareLimit(cells.length - 1));
  });

  it("E-8: with a first chunk of four is E²-LLM at the same scale and shift, to the bit", () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 24 }), fc.integer({ min: 1, max: 8 }), fc.nat(50), (window, scale, step) => {
        const drawn = createPoseSource({ window, scale, ...sample })({ batch: 24, length: window, step });
        const four = drawn.draws.findIndex(({ l0 }) => l0 === 4);
        fc.pre(four >= 0);
        const e2 = e2Row({ length: window, g: scale, t: drawn.draws[four]?.u as number });
        expect([rowsOf(drawn)[four], drawn.denominators[four]]).toEqual([[...e2.numerators], e2.denominators[0]]);
      }),
    );
  });

  it("takes the frequencies of any schedule at its fixed scale in place of division", () => {
    const request = { batch: 2, length: 8, step: 0 };
    const divided = createPoseSource({ window: 8, scale: 3, ...sample })(request);
    for (const scaling of ["ntk", "yarn", { type: "yarn", ramp: "turns", betaFast: 1.2 }, "llama3"] as const) {
      const { numerators, denominators, frequencies } = createPoseSource({ window: 8, scale: 3, scaling, shape, ...sample })(request);
      const named = typeof scaling === "string" ? { type: scaling } : scaling;
      const whole = { ...named, factor: 3, ...(named.type === "ntk" ? {} : { originalMaxPositions: 8 }) };
      expect([numerators, denominators]).toEqual([divided.numerators, Int32Array.of(1, 1)]);
      expect(frequencies).toEqual(Array(2).fill(ropeFrequencies(whole as never, shape)));
    }
    const half = createPoseSource({ window: 8, scale: 1.5, shape })({ ...request, length: 6 });
    expect(half.frequencies).toEqual([ropeFrequencies({ type: "linear", factor: 1.5 }, shape)]);
  });

  it("refuses what it cannot cut or spread", () => {
    for (const bad of [{ scale: 0.5 }, { chunks: 1 }, { chunks: 2.5 }, { window: 0 }, { scaling: "ntk" as const }, { scale: 1.5 }]) {
      expect(() => createPoseSource({ window: 8, scale: 2, ...bad })).toThrow(OptionError);
    }
    const source = createPoseSource({ window: 8, scale: 2, chunks: 3 });
    for (const length of [2, 17]) expect(() => source({ batch: 1, length, step: 0 })).toThrow(OptionError);
    expect(source({ batch: 1, length: 16, step: 0 }).draws[0]?.u).toBe(0);
  });
});

describe("randomized positions", () => {
  it("S-17: are strictly increasing, N distinct ones below L_max, and plain for L_max = N", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.nat(200), fc.nat(1000), (length, more, step) => {
        const drawn = createRandomizedSource({ lMax: length + more, ...sample })({ batch: 3, length, step });
        rowsOf(drawn).forEach((positions, row) => {
          expect(increasing(positions)).toBe(true);
          expect([positions[0], positions.at(-1)]).toEqual([drawn.draws[row]?.first, drawn.draws[row]?.last]);
          expect(positions.at(-1)).toBeLessThan(length + more);
        });
        expect(rowsOf(createRandomizedSource({ lMax: length })({ batch: 1, length, step }))[0]).toEqual(range(0, length - 1));
      }),
    );
  });

  it("are every subset equally often", () => {
    const batch = 6000;
    const drawn = createRandomizedSource({ lMax: 6, seed: 3, ...sample })({ batch, length: 3, step: 1 });
    const subsets = range(0, 3).flatMap((a) => range(a + 1, 4).flatMap((b) => range(b + 1, 5).map((c) => `${a},${b},${c}`)));
    expect(subsets).toHaveLength(20);
    expect(chiSquareOf(rowsOf(drawn).map(String), evenly(batch, subsets))).toBeLessThan(chiSquareLimit(19));
  });

  it("are divided by L_max / L as an extension, and left whole from scratch", () => {
    const request = { batch: 1, length: 8, step: 0 };
    expect(createRandomizedSource({ lMax: 64 })(request).denominators[0]).toBe(1);
    expect(createRandomizedSource({ lMax: 64, window: 8, scaling: "linear" })(request).denominators[0]).toBe(8);
    expect(createRandomizedSource({ lMax: 64, window: 8, scaling: "linear", scale: 4 })(request).denominators[0]).toBe(4);
    expect(createRandomizedSource({ lMax: 64, window: 8, scaling: "yarn", shape })(request).frequencies).toEqual([
      ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 8 }, shape),
    ]);
    expect(() => createRandomizedSource({ lMax: 4 })(request)).toThrow(OptionError);
    expect(() => createRandomizedSource({ lMax: 4.5 })).toThrow(OptionError);
  });
});

describe("random scales", () => {
  it("spread the tokens over a grid of g·T from end to end, with the frequencies of that scale", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 8 }), fc.nat(1000), (length, gMax, step) => {
        const drawn = createRandomScaleSource({ gMax, shape, ...sample })({ batch: 3, length, step });
        rowsOf(drawn).forEach((positions, row) => {
          const { g } = drawn.draws[row] as { g: number };
          expect(g >= 1 && g <= gMax && increasing(positions)).toBe(true);
          if (length > 1) expect([positions[0], positions.at(-1)]).toEqual([0, g * length - 1]);
          expect(drawn.frequencies?.[row]).toEqual(ropeFrequencies({ type: "ntk", factor: g }, shape));
        });
      }),
    );
  });

  it("at scale 1 are plain training", () => {
    const { numerators, frequencies } = createRandomScaleSource({ gMax: 1, shape })({ batch: 1, length: 9, step: 3 });
    expect(numerators).toEqual(plainPositions({ length: 9 }).numerators);
    expect(frequencies).toEqual([ropeFrequencies({ type: "default" }, shape)]);
  });

  it("draw the scale evenly, and every place between the ends equally often", () => {
    const batch = 8000;
    const drawn = createRandomScaleSource({ gMax: 4, shape, seed: 2, ...sample })({ batch, length: 3, step: 0 });
    expect(
      chiSquareOf(
        drawn.draws.map(({ g }) => g),
        evenly(batch, range(1, 4)),
      ),
    ).toBeLessThan(chiSquareLimit(3));
    const middles = rowsOf(drawn).flatMap(([, middle], row) => (drawn.draws[row]?.g === 4 ? [middle as number] : []));
    expect(chiSquareOf(middles, evenly(middles.length, range(1, 10)))).toBeLessThan(chiSquareLimit(9));
  });
});

describe("random increments", () => {
  it("start within two places, never fall, and end at the length at most", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(1000), (length, step) => {
        const drawn = createRandomIncrementsSource(sample)({ batch: 2, length, step });
        rowsOf(drawn).forEach((numerators, row) => {
          const positions = numerators.map((n) => n / (drawn.denominators[row] as number));
          expect(positions.every((p, i) => p >= (positions[i - 1] ?? 0) && p - (positions[i - 1] ?? 0) <= 2)).toBe(true);
          expect(positions.at(-1)).toBeLessThanOrEqual(length);
          expect(drawn.draws[row]?.last).toBe(positions.at(-1));
        });
      }),
    );
  });

  it("are 1 on average where nothing is cut off", () => {
    const drawn = createRandomIncrementsSource({ seed: 1, ...sample })({ batch: 4000, length: 2, step: 0 });
    // The first of two steps, given that both are not cut: u1 + u2 ≤ 1 has a mean of 2/3 for 2·u1.
    const whole = drawn.draws.flatMap(({ last }, row) => (last < 2 ? [(drawn.numerators[2 * row] as number) / 4096] : []));
    expect(Math.abs(whole.reduce((a, b) => a + b, 0) / whole.length - 2 / 3)).toBeLessThan(0.05);
    expect(Math.abs(whole.length / 4000 - 0.5)).toBeLessThan(0.05);
  });
});

describe("E²-YaRN", () => {
  it("has the scales and shifts of E²-LLM at whole positions, with YaRN's frequencies at that scale", () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 64 }), fc.integer({ min: 1, max: 8 }), fc.nat(1000), fc.nat(6), (window, gMax, step, sinks) => {
        const common = { window, gMax, sinks, seed: 9, ...sample };
        const request = { batch: 4, length: window, step };
        const e2 = createE2Source(common)(request);
        const drawn = createE2YarnSource({ ...common, shape, ramp: "turns", betaFast: 4 })(request);
        expect([drawn.draws, drawn.numerators]).toEqual([e2.draws, e2.numerators]);
        expect(drawn.denominators).toEqual(Int32Array.of(1, 1, 1, 1));
        expect(Math.max(...drawn.numerators)).toBeLessThan(gMax * window);
        expect(drawn.frequencies).toEqual(
          e2.draws.map(({ g }) =>
            ropeFrequencies({ type: "yarn", factor: g, originalMaxPositions: window, ramp: "turns", betaFast: 4 }, shape),
          ),
        );
      }),
    );
  });

  it("is a case of E²-LLM with another scaling", () => {
    const request = { batch: 1, length: 16, step: 4 };
    expect(createE2YarnSource({ window: 16, gMax: 4, shape, truncate: false })(request)).toEqual(
      createE2Source({ window: 16, gMax: 4, shape, scaling: { type: "yarn", truncate: false } })(request),
    );
  });

  it("refuses, when it is made, a ramp that there is not, a missing shape and windows that YaRN cannot take", () => {
    const options = { window: 16, gMax: 4, shape };
    expect(() => createE2YarnSource({ ...options, ramp: JSON.parse('"turn"') as "turns" })).toThrow(/did you mean "turns"|must be/);
    expect(() => createE2YarnSource({ window: 16, gMax: 4 })).toThrow(/shape of the model/);
    expect(() => createE2YarnSource({ ...options, betaFast: 1, betaSlow: 2 })).toThrow(OptionError);
    expect(() => createE2YarnSource({ ...options, window: 4 })).toThrow(OptionError);
  });
});

describe("the freedoms of E²-LLM", () => {
  const request = { batch: 6000, length: 6, step: 2 };
  const options = { window: 8, ...sample };

  it("g may be fixed, or switched off, without gMax", () => {
    for (const g of [1, 2, 4, 8]) {
      const { draws } = createE2Source({ ...options, g })(request);
      expect(new Set(draws.map((draw) => draw.g))).toEqual(new Set([g]));
      expect(chiSquareOf(draws.map(({ t }) => t), evenly(6000, range(0, 8 * g - 6)))).toBeLessThan(chiSquareLimit(8 * g - 6)); // biome-ignore format: one line
    }
  });

  it("g may be of some values, evenly or by weights", () => {
    const even = createE2Source({ ...options, g: { values: [2, 4, 8] } })(request).draws.map(({ g }) => g);
    expect(chiSquareOf(even, evenly(6000, [2, 4, 8]))).toBeLessThan(chiSquareLimit(2));
    const weighed = createE2Source({ ...options, gMax: 4, g: { weights: [1, 0, 0.5, 2.5] } })(request).draws.map(({ g }) => g);
    const expected = new Map([
      [1, 1500],
      [3, 750],
      [4, 3750],
    ]);
    expect(chiSquareOf(weighed, expected)).toBeLessThan(chiSquareLimit(2));
    const both = createE2Source({ ...options, g: { values: [8, 2], weights: [1, 3] } })(request).draws.map(({ g }) => g);
    expect(chiSquareOf(both, new Map([[8, 1500], [2, 4500]]))).toBeLessThan(chiSquareLimit(1)); // biome-ignore format: one line
  });

  it("a change of one distribution leaves the draws of the other", () => {
    const g = createE2Source({ ...options, gMax: 8 })(request).draws.map((draw) => draw.g);
    for (const t of [0, "largest", { power: 0.5 }] as const) {
      expect(createE2Source({ ...options, gMax: 8, t })(request).draws.map((draw) => draw.g)).toEqual(g);
    }
  });

  it("t may be switched off, fixed as far as there is room, the largest, or distributed by a power", () => {
    const drawn = (t: NonNullable<Parameters<typeof createE2Source>[0]["t"]>) => createE2Source({ ...options, gMax: 4, t })(request).draws;
    expect(drawn(0).every(({ t }) => t === 0)).toBe(true);
    expect(drawn(5).every(({ g, t }) => t === Math.min(5, 8 * g - 6))).toBe(true);
    expect(drawn("largest").every(({ g, t }) => t === 8 * g - 6)).toBe(true);
    // P(⌊n·u²⌋ ≤ t) = √((t + 1)/n) with n = t_max + 1.
    const n = 8 * 4 - 6 + 1;
    const ofFour = drawn({ power: 2 }).flatMap(({ g, t }) => (g === 4 ? [t] : []));
    const expected = new Map(range(0, n - 1).map((t) => [t, ofFour.length * (Math.sqrt((t + 1) / n) - Math.sqrt(t / n))]));
    expect(chiSquareOf(ofFour, expected)).toBeLessThan(chiSquareLimit(n - 1));
    expect(chiSquareOf(ofFour, evenly(ofFour.length, range(0, n - 1)))).toBeGreaterThan(chiSquareLimit(n - 1));
  });

  it("E-3: a sequence or a shift without room is clamped, or refused in every step alike", () => {
    const long = { batch: 64, length: 12, step: 0 };
    const clamped = createE2Source({ ...options, gMax: 4 })(long);
    expect(clamped.draws.filter(({ g }) => g === 1).every(({ t }) => t === 0)).toBe(true);
    expect(clamped.draws.some(({ g }) => g === 1)).toBe(true);
    for (const step of [0, 1, 2, 3]) {
      expect(() => createE2Source({ ...options, gMax: 4, overflow: "refuse" })({ ...long, step })).toThrow(/scale 1/);
      expect(() => createE2Source({ ...options, g: 4, t: 21, overflow: "refuse" })({ ...long, step })).toThrow(/shifted by 21/);
    }
    createE2Source({ ...options, g: { values: [2, 4] }, overflow: "refuse" })(long);
    createE2Source({ ...options, g: 4, t: 20, overflow: "refuse" })(long);
    createE2Source({ ...options, g: { values: [1, 4], weights: [0, 1] }, overflow: "refuse" })(long);
  });

  it("refuses distributions that say nothing", () => {
    const bad: readonly object[] = [
      {},
      { gMax: 4, g: 8 },
      { gMax: 4, g: 0 },
      { gMax: 4, g: 1.5 },
      { gMax: 4, g: {} },
      { gMax: 4, g: { values: [] } },
      { gMax: 4, g: { values: [2, 16] } },
      { gMax: 4, g: { weights: [1, 1] } },
      { gMax: 2, g: { weights: [0, 0] } },
      { gMax: 2, g: { weights: [1, -1] } },
      { gMax: 2, g: { weigths: [1, 1] } },
      { gMax: 4, g: "normal" },
      { gMax: 4, t: -1 },
      { gMax: 4, t: 0.5 },
      { gMax: 4, t: "smallest" },
      { gMax: 4, t: { power: 0 } },
      { gMax: 4, overflow: "wrap" },
      { gMax: 4, scaling: "linaer" },
      { gMax: 4, scaling: { type: "linear", ramp: "turns" } },
      { gMax: 4, scaling: "dynamic" },
    ];
    for (const change of bad) expect(() => createE2Source({ window: 8, ...change } as never), JSON.stringify(change)).toThrow(OptionError);
    expect(() => createE2Source({ window: 8, gMax: 2, scaling: "linaer" as never })).toThrow(
      expect.objectContaining({ hint: 'did you mean "linear"?' }) as Error,
    );
  });
});

describe("plain sources", () => {
  it("are full-length training at a fixed scale by any schedule", () => {
    const request = { batch: 1, length: 64, step: 0 };
    expect(createPlainSource({ scale: 8 })(request)).toEqual(plainPositions({ length: 64, scale: 8 }));
    const { frequencies, numerators } = createPlainSource({ scale: 8, scaling: "yarn", window: 8, shape })(request);
    expect(numerators).toEqual(plainPositions({ length: 64 }).numerators);
    expect(frequencies).toEqual([ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 8 }, shape)]);
    expect(() => createPlainSource({ scale: 1.5 })).toThrow(/shape of the model/);
    expect(() => createPlainSource({ scale: 0 })).toThrow(OptionError);
  });
});
