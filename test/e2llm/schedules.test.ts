import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ntkTheta, type RopeScaling, ropeFrequencies } from "../../src/e2llm/schedules.js";
import { OptionError } from "../../src/errors.js";
import { headDims } from "../support/arbitraries.js";
import { ropeFrequencyF32, ropeFrequencyF64, type Tolerance } from "../support/tolerances.js";

const shape = { headDim: 16, theta: 10_000 };
const plain = [1, 0.316227766, 0.1, 0.0316227766, 0.01, 0.00316227766, 0.001, 0.000316227766];

const ones = [1, 1, 1, 1, 1, 1, 1, 1];
const upward = [1, 2, 3, 4, 5, 6, 7, 8];

/** Output of transformers 5.18.0 at head dimension 16, base 10⁴, trained window 64; the paper's ramp from its equations. */
const golden: { name: string; scaling: RopeScaling; invFreq: number[]; attentionFactor: number }[] = [
  { name: "default", scaling: { type: "default" }, invFreq: plain, attentionFactor: 1 },
  { name: "linear 8", scaling: { type: "linear", factor: 8 }, invFreq: plain.map((value) => value / 8), attentionFactor: 1 },
  {
    name: "dynamic 1 at length 512",
    scaling: { type: "dynamic", factor: 1, seqLen: 512, originalMaxPositions: 64 },
    invFreq: [1, 0.234956324, 0.0552044772, 0.0129706413, 0.00304753403, 0.000716037408, 0.00016823753, 3.95284733e-5],
    attentionFactor: 1,
  },
  {
    name: "dynamic 2 at length 512",
    scaling: { type: "dynamic", factor: 2, seqLen: 512, originalMaxPositions: 64 },
    invFreq: [1, 0.214776605, 0.0461289883, 0.00990742724, 0.00212788349, 0.000457019574, 9.81571211e-5, 2.10818507e-5],
    attentionFactor: 1,
  },
  {
    name: "ntk 8",
    scaling: { type: "ntk", factor: 8 },
    invFreq: [1, 0.234956324, 0.0552044772, 0.0129706413, 0.00304753403, 0.000716037408, 0.00016823753, 3.95284733e-5],
    attentionFactor: 1,
  },
  {
    name: "yarn 4",
    scaling: { type: "yarn", factor: 4, originalMaxPositions: 64 },
    invFreq: [1, 0.237170815, 0.049999997, 0.00790569466, 0.0025, 0.000790569466, 0.00025, 7.90569466e-5],
    attentionFactor: 1.138629436111989,
  },
  {
    name: "yarn 8",
    scaling: { type: "yarn", factor: 8, originalMaxPositions: 64, ramp: "index" },
    invFreq: [1, 0.223994657, 0.0416666642, 0.00395284733, 0.00125, 0.000395284733, 0.000125, 3.95284733e-5],
    attentionFactor: 1.2079441541679836,
  },
  {
    name: "yarn 8 with the ramp of the paper",
    scaling: { type: "yarn", factor: 8, originalMaxPositions: 64, ramp: "turns" },
    invFreq: [0.384279897, 0.0593532574, 0.0125524764, 0.00395284708, 0.00125, 0.000395284708, 0.000125, 3.95284708e-5],
    attentionFactor: 1.2079441541679836,
  },
  {
    name: "longrope 8 within the window",
    scaling: { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: ones, longFactor: upward, seqLen: 64 },
    invFreq: plain,
    attentionFactor: 1.224744871391589,
  },
  {
    name: "longrope 8 beyond the window",
    scaling: { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: ones, longFactor: upward, seqLen: 65 },
    invFreq: plain.map((value, j) => value / (j + 1)),
    attentionFactor: 1.224744871391589,
  },
  {
    name: "proportional .5",
    scaling: { type: "proportional", partialRotaryFactor: 0.5 },
    invFreq: [1, 0.316227764, 0.1, 0.0316227786, 0, 0, 0, 0],
    attentionFactor: 1,
  },
  {
    name: "llama3 8",
    scaling: { type: "llama3", factor: 8, originalMaxPositions: 64, lowFreqFactor: 1, highFreqFactor: 4 },
    invFreq: [1, 0.244384587, 0.0130422562, 0.00395284733, 0.00125, 0.000395284733, 0.000125, 3.95284733e-5],
    attentionFactor: 1,
  },
];

/** Every schedule at scale s, on a window that is neither tiny nor huge. */
const atScale = (factor: number): RopeScaling[] => [
  { type: "linear", factor },
  { type: "ntk", factor },
  { type: "dynamic", factor: 1, originalMaxPositions: 256, seqLen: 256 * factor },
  { type: "yarn", factor, originalMaxPositions: 256 },
  { type: "yarn", factor, originalMaxPositions: 256, truncate: false },
  { type: "yarn", factor, originalMaxPositions: 256, ramp: "turns", betaSlow: 1, betaFast: 4 },
  { type: "llama3", factor, originalMaxPositions: 256 },
  { type: "ntk-by-parts", factor, originalMaxPositions: 256 },
  { type: "ntk-by-parts", factor, originalMaxPositions: 256, ramp: "index", betaFast: 4 },
  { type: "ntk-mixed", factor },
  { type: "ntk-mixed", factor, exponent: 0.75 },
  { type: "proportional", factor },
];
const scales = fc.double({ min: 1, max: 32, noNaN: true });
const ulps = 4 * Number.EPSILON;

function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, { relative, absolute }: Tolerance): void {
  expect(found.length).toBe(expected.length);
  for (let j = 0; j < expected.length; j++) {
    const value = expected[j] ?? Number.NaN;
    expect(Math.abs((found[j] ?? Number.NaN) - value), `entry ${j}: ${found[j]} against ${value}`).toBeLessThanOrEqual(
      absolute + relative * Math.abs(value),
    );
  }
}

function ratios(found: Float64Array, base: Float64Array): number[] {
  return Array.from(found, (value, j) => value / (base[j] ?? Number.NaN));
}

describe("golden frequencies", () => {
  it.each(golden)("$name has the frequencies of the reference implementation", ({ scaling, invFreq, attentionFactor }) => {
    const found = ropeFrequencies(scaling, shape);
    expectClose(found.invFreq, invFreq, ropeFrequencyF32);
    expectClose([found.attentionFactor], [attentionFactor], { relative: 1e-15, absolute: 0 });
  });

  it("the two ramps of yarn differ by more than three times at a head of 64 and a window of 64", () => {
    const wide = { headDim: 64, theta: 10_000 };
    const index = ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 64, ramp: "index" }, wide).invFreq;
    const turns = ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 64, ramp: "turns" }, wide).invFreq;
    const worst = Math.max(...ratios(index, turns));
    expect(worst).toBeCloseTo(3.26, 2);
  });

  it("the ramps differ by 3.04 times for Llama 2 at scale 16", () => {
    const llama = { headDim: 128, theta: 10_000 };
    const index = ropeFrequencies({ type: "yarn", factor: 16, originalMaxPositions: 4096 }, llama).invFreq;
    const turns = ropeFrequencies({ type: "yarn", factor: 16, originalMaxPositions: 4096, ramp: "turns" }, llama).invFreq;
    expect(Math.max(...ratios(index, turns).map((ratio) => Math.max(ratio, 1 / ratio)))).toBeCloseTo(3.04, 2);
  });
});

describe("laws of every schedule", () => {
  it("S-1: scale 1 is the identity with attention factor 1", () => {
    fc.assert(
      fc.property(headDims, (headDim) => {
        const base = ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 }).invFreq;
        for (const scaling of atScale(1)) {
          const found = ropeFrequencies(scaling, { headDim, theta: 10_000 });
          expectClose(found.invFreq, base, { relative: ulps, absolute: 0 });
          expect(found.attentionFactor).toBe(1);
        }
      }),
    );
  });

  it("S-3: frequencies lie between θ/s and θ", () => {
    fc.assert(
      fc.property(headDims, scales, (headDim, scale) => {
        const base = ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 }).invFreq;
        for (const scaling of atScale(scale)) {
          for (const ratio of ratios(ropeFrequencies(scaling, { headDim, theta: 10_000 }).invFreq, base)) {
            expect(ratio).toBeLessThanOrEqual(1 + ulps);
            expect(ratio).toBeGreaterThanOrEqual((1 - 16 * ulps) / scale);
          }
        }
      }),
    );
  });

  it("S-5: frequencies and their ratios to the plain ones do not increase with the dimension", () => {
    fc.assert(
      fc.property(headDims, scales, (headDim, scale) => {
        const base = ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 }).invFreq;
        for (const scaling of atScale(scale)) {
          const { invFreq } = ropeFrequencies(scaling, { headDim, theta: 10_000 });
          for (const sequence of [Array.from(invFreq), ratios(invFreq, base)]) {
            for (let j = 1; j < sequence.length; j++) {
              expect(sequence[j]).toBeLessThanOrEqual((sequence[j - 1] ?? 0) * (1 + 16 * ulps));
            }
          }
        }
      }),
    );
  });

  it("S-6: frequencies are continuous in the scale and do not increase with it", () => {
    fc.assert(
      fc.property(fc.double({ min: 1, max: 31, noNaN: true }), (scale) => {
        const step = 1e-6;
        const before = atScale(scale);
        const after = atScale(scale + step);
        before.forEach((scaling, index) => {
          const low = ropeFrequencies(scaling, shape).invFreq;
          const high = ropeFrequencies(after[index] ?? scaling, shape).invFreq;
          low.forEach((value, j) => {
            expect(high[j]).toBeLessThanOrEqual(value * (1 + ulps));
            expect(value - (high[j] ?? 0)).toBeLessThanOrEqual(2 * step * value);
          });
        });
      }),
    );
  });
});

describe("ntk and dynamic", () => {
  it("S-2: ntk keeps the fastest dimension, divides the slowest by s, and follows s^(−2j/(D−2)) between", () => {
    fc.assert(
      fc.property(headDims, scales, (headDim, factor) => {
        fc.pre(headDim >= 4);
        const base = ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 }).invFreq;
        const { invFreq } = ropeFrequencies({ type: "ntk", factor }, { headDim, theta: 10_000 });
        expect(invFreq[0]).toBe(1);
        const expected = Array.from(base, (_, j) => factor ** ((-2 * j) / (headDim - 2)));
        expectClose(ratios(invFreq, base), expected, ropeFrequencyF64);
        expect((invFreq.at(-1) ?? 0) * factor).toBeCloseTo(base.at(-1) ?? 0, 12);
      }),
    );
  });

  it("ntk equals default at the larger base", () => {
    const theta = ntkTheta(shape, 8);
    const atLargerBase = ropeFrequencies({ type: "default" }, { ...shape, theta });
    expect(ropeFrequencies({ type: "ntk", factor: 8 }, shape)).toEqual(atLargerBase);
  });

  it("S-7: dynamic is default up to the window and ntk at f·l/L − (f − 1) beyond", () => {
    fc.assert(
      fc.property(fc.double({ min: 1, max: 8, noNaN: true }), fc.integer({ min: 0, max: 2048 }), (factor, seqLen) => {
        const found = ropeFrequencies({ type: "dynamic", factor, originalMaxPositions: 256, seqLen }, shape).invFreq;
        const expected: RopeScaling = seqLen <= 256 ? { type: "default" } : { type: "ntk", factor: (factor * seqLen) / 256 - (factor - 1) };
        expectClose(found, ropeFrequencies(expected, shape).invFreq, ropeFrequencyF64);
      }),
    );
  });
});

describe("yarn and llama3", () => {
  it("S-4: yarn leaves fast dimensions as they are and divides slow ones by s", () => {
    const wide = { headDim: 128, theta: 10_000 };
    const base = ropeFrequencies({ type: "default" }, wide).invFreq;
    for (const ramp of ["index", "turns"] as const) {
      const found = ratios(ropeFrequencies({ type: "yarn", factor: 16, originalMaxPositions: 4096, ramp }, wide).invFreq, base);
      expect(found.slice(0, 21)).toEqual(new Array<number>(21).fill(1));
      expect(found.slice(46)).toEqual(new Array<number>(18).fill(1 / 16));
    }
  });

  it("S-6: the attention factor is 0.1 ln s + 1 unless it is given or made from mscale", () => {
    const yarn = { type: "yarn", factor: 8, originalMaxPositions: 64 } as const;
    const factorOf = (scaling: RopeScaling): number => ropeFrequencies(scaling, shape).attentionFactor;
    expect(factorOf({ ...yarn, attentionFactor: 1.5 })).toBe(1.5);
    expect(factorOf({ ...yarn, mscale: 0.75, mscaleAllDim: 0.75 })).toBe(1);
    expect(factorOf({ ...yarn, mscale: 1, mscaleAllDim: 0.5 })).toBeCloseTo((0.1 * Math.log(8) + 1) / (0.05 * Math.log(8) + 1), 14);
    expect(factorOf({ ...yarn, mscale: 2 })).toBe(factorOf(yarn));
  });

  it("S-9: llama3 is the paper's ramp of yarn with α = lowFreqFactor and β = highFreqFactor", () => {
    fc.assert(
      fc.property(headDims, scales, fc.integer({ min: 8, max: 8192 }), (headDim, factor, originalMaxPositions) => {
        const llama = ropeFrequencies(
          { type: "llama3", factor, originalMaxPositions, lowFreqFactor: 1, highFreqFactor: 4 },
          { headDim, theta: 500 },
        );
        const expected = Float64Array.from({ length: headDim / 2 }, (_, j) => {
          const frequency = 500 ** ((-2 * j) / headDim);
          const wavelength = (2 * Math.PI) / frequency;
          if (wavelength < originalMaxPositions / 4) return frequency;
          if (wavelength > originalMaxPositions) return frequency / factor;
          const smooth = (originalMaxPositions / wavelength - 1) / 3;
          return ((1 - smooth) * frequency) / factor + smooth * frequency;
        });
        expectClose(llama.invFreq, expected, ropeFrequencyF64);
        const yarn = ropeFrequencies(
          { type: "yarn", factor, originalMaxPositions, ramp: "turns", betaSlow: 1, betaFast: 4 },
          { headDim, theta: 500 },
        );
        expectClose(yarn.invFreq, expected, ropeFrequencyF64);
      }),
    );
  });

  it("S-9: llama3 is continuous where a wavelength crosses L/highFreqFactor and L/lowFreqFactor", () => {
    const wavelength = 2 * Math.PI;
    for (const turns of [1, 4]) {
      const sides = [-1e-9, 1e-9].map((shift) => {
        // Dimension 0 has the wavelength 2π; moving the ends of the ramp moves the crossing over it.
        const at = (64 / wavelength) * (1 + shift);
        const ends = turns === 1 ? { lowFreqFactor: at, highFreqFactor: 4 * at } : { lowFreqFactor: at / 4, highFreqFactor: at };
        return ropeFrequencies({ type: "llama3", factor: 8, originalMaxPositions: 64, ...ends }, shape).invFreq[0] ?? Number.NaN;
      });
      expect(Math.abs((sides[0] ?? 0) - (sides[1] ?? 0))).toBeLessThan(1e-8);
    }
  });

  it("S-11: a ramp of no width is a step, and does not divide by zero", () => {
    const narrow = { headDim: 4, theta: 100 };
    const found = ropeFrequencies({ type: "yarn", factor: 4, originalMaxPositions: 1_000_000 }, narrow).invFreq;
    expect(Array.from(found)).toEqual([1, 0.1]);
    // Just more turns than the fastest dimension makes, so that both ends of the ramp fall on dimension 0.
    const scaling = { type: "yarn", factor: 4, originalMaxPositions: 64, betaSlow: 10.5 } as const;
    const atZero = ropeFrequencies(scaling, shape).invFreq;
    expectClose(
      atZero,
      plain.map((value, j) => (j === 0 ? value : value / 4)),
      ropeFrequencyF32,
    );
  });

  it("S-11: untruncated ramps are finite for every window of 8 or more", () => {
    fc.assert(
      fc.property(headDims, fc.integer({ min: 8, max: 4096 }), (headDim, originalMaxPositions) => {
        const { invFreq } = ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions, truncate: false }, { headDim, theta: 1e6 });
        expect(invFreq.every((value) => Number.isFinite(value) && value > 0)).toBe(true);
      }),
    );
  });
});

describe("refusals", () => {
  const yarn = { type: "yarn", factor: 8, originalMaxPositions: 64 } as const;
  const longrope = { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: ones, longFactor: ones, seqLen: 64 } as const;
  const refused: [string, RopeScaling, { headDim: number; theta: number }][] = [
    ["an odd head dimension", { type: "default" }, { headDim: 15, theta: 10_000 }],
    ["a head dimension of 0", { type: "default" }, { headDim: 0, theta: 10_000 }],
    ["a base of 1", { type: "default" }, { headDim: 16, theta: 1 }],
    ["a factor below 1", { type: "linear", factor: 0.5 }, shape],
    ["an infinite factor", { type: "ntk", factor: Number.POSITIVE_INFINITY }, shape],
    ["a factor that is no number", { type: "llama3", factor: Number.NaN, originalMaxPositions: 64 }, shape],
    ["ntk on heads of two channels", { type: "ntk", factor: 2 }, { headDim: 2, theta: 10_000 }],
    ["yarn on a window below 8 (S-11)", { ...yarn, originalMaxPositions: 7 }, shape],
    ["yarn with betaFast below betaSlow", { ...yarn, betaFast: 1, betaSlow: 2 }, shape],
    ["yarn with an attention factor of 0", { ...yarn, attentionFactor: 0 }, shape],
    ["an index ramp that would run backwards", { ...yarn, originalMaxPositions: 100_000_000 }, { headDim: 4, theta: 100 }],
    ["ntk-by-parts on a window below 8", { ...yarn, type: "ntk-by-parts", originalMaxPositions: 7 }, shape],
    ["ntk-mixed with an exponent of 0", { type: "ntk-mixed", factor: 2, exponent: 0 }, shape],
    ["another base of 1", { type: "abf", theta: 1 }, shape],
    ["longrope with a list that is too short", { ...longrope, shortFactor: [1] }, shape],
    ["longrope with a divisor of 0", { ...longrope, longFactor: [...ones.slice(1), 0] }, shape],
    ["longrope with a divisor that is no number", { ...longrope, longFactor: [...ones.slice(1), Number.NaN] }, shape],
    ["longrope with no length", { ...longrope, seqLen: Number.NaN }, shape],
    ["longrope with a factor below 1", { ...longrope, factor: 0.5 }, shape],
    ["longrope with a window of 1", { ...longrope, originalMaxPositions: 1 }, shape],
    ["longrope with a negative attention factor", { ...longrope, attentionFactor: -1 }, shape],
    ["proportional with a part above 1", { type: "proportional", partialRotaryFactor: 1.5 }, shape],
    ["proportional with a negative part", { type: "proportional", partialRotaryFactor: -0.5 }, shape],
    ["proportional with a factor of 0", { type: "proportional", factor: 0 }, shape],
    ["resonance on an impossible scaling", { type: "resonance", on: { type: "linear", factor: 0 } }, shape],
    ["resonance of wavelengths below one half", { type: "resonance", on: { ...longrope, shortFactor: ones.map(() => 0.05) } }, shape],
    ["power with an exponent of 0", { type: "power", exponent: 0 }, shape],
    ["truncated with a window of 0", { type: "truncated", originalMaxPositions: 0 }, shape],
    ["truncated with a plateau of 0", { type: "truncated", originalMaxPositions: 64, plateau: 0 }, shape],
    ["truncated that stops dimensions within the window", { type: "truncated", originalMaxPositions: 64, zeroBeyond: 0.5 }, shape],
    ["a scaling below that is no object", JSON.parse('{"type":"resonance","on":"yarn"}') as RopeScaling, shape],
    [
      "lists that are no lists",
      JSON.parse('{"type":"longrope","factor":2,"originalMaxPositions":64,"shortFactor":3}') as RopeScaling,
      shape,
    ],
    ["a parameter of another method", JSON.parse('{"type":"linear","factor":2,"betaFast":4}') as RopeScaling, shape],
    ["llama3 with equal ends", { type: "llama3", factor: 8, originalMaxPositions: 64, lowFreqFactor: 4 }, shape],
    ["dynamic with a negative length", { type: "dynamic", factor: 1, originalMaxPositions: 64, seqLen: -1 }, shape],
    ["an unknown type", JSON.parse('{"type":"xpos"}') as RopeScaling, shape],
    ["an unknown ramp", JSON.parse('{"type":"yarn","factor":2,"originalMaxPositions":64,"ramp":"up"}') as RopeScaling, shape],
  ];

  it.each(refused)("refuses %s with a hint", (_name, scaling, badShape) => {
    try {
      ropeFrequencies(scaling, badShape);
    } catch (error) {
      expect(error).toBeInstanceOf(OptionError);
      expect((error as OptionError).hint).not.toBe("");
      return;
    }
    expect.unreachable("the schedule was accepted");
  });
});
