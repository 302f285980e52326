import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type RopeFrequencies, type RopeScaling, type RopeShape, ropeFrequencies } from "../../src/e2llm/schedules.js";
import { headDims } from "../support/arbitraries.js";
import { ropeFrequencyF64 } from "../support/tolerances.js";

const theta = 10_000;
const scales = fc.double({ min: 1, max: 32, noNaN: true });
const plainOf = (headDim: number): number[] => Array.from({ length: headDim / 2 }, (_, j) => theta ** ((-2 * j) / headDim));

function expectFrequencies(found: RopeFrequencies, expected: ArrayLike<number>): void {
  expect(found.invFreq.length).toBe(expected.length);
  found.invFreq.forEach((value, j) => {
    const wanted = expected[j] as number;
    expect(Math.abs(value - wanted), `entry ${j}: ${value} against ${wanted}`).toBeLessThanOrEqual(ropeFrequencyF64.relative * wanted);
  });
}

const longropeOf = (divisors: readonly number[], factor: number): RopeScaling => ({
  type: "longrope",
  factor,
  originalMaxPositions: 64,
  shortFactor: divisors,
  longFactor: divisors,
  seqLen: 64,
  attentionFactor: 1,
});

describe("longrope", () => {
  it("S-1: divisors of 1 at factor 1 are the identity with attention factor 1", () => {
    const { attentionFactor: _, ...scaling } = longropeOf(new Array<number>(8).fill(1), 1) as Extract<RopeScaling, { type: "longrope" }>;
    const found = ropeFrequencies(scaling, { headDim: 16, theta });
    expect(found).toEqual(ropeFrequencies({ type: "default" }, { headDim: 16, theta }));
  });

  it("S-12: equal divisors s are linear, divisors s^(2j/(D−2)) are ntk, and divisors θ/θ′ any schedule", () => {
    fc.assert(
      fc.property(headDims, scales, (headDim, factor) => {
        const shape: RopeShape = { headDim, theta };
        const half = headDim / 2;
        const equal = longropeOf(new Array<number>(half).fill(factor), factor);
        expectFrequencies(ropeFrequencies(equal, shape), ropeFrequencies({ type: "linear", factor }, shape).invFreq);
        const rising = Array.from({ length: half }, (_, j) => factor ** ((2 * j) / (headDim - 2)));
        expectFrequencies(ropeFrequencies(longropeOf(rising, factor), shape), ropeFrequencies({ type: "ntk", factor }, shape).invFreq);
        for (const scaling of [
          { type: "yarn", factor, originalMaxPositions: 256, ramp: "turns" },
          { type: "resonance", on: { type: "llama3", factor, originalMaxPositions: 256 } },
          { type: "power", exponent: 0.5, on: { type: "ntk-mixed", factor } },
        ] as const satisfies RopeScaling[]) {
          const { invFreq } = ropeFrequencies(scaling, shape);
          const divisors = plainOf(headDim).map((frequency, j) => frequency / (invFreq[j] as number));
          expectFrequencies(ropeFrequencies(longropeOf(divisors, factor), shape), invFreq);
        }
      }),
    );
  });

  it("takes its attention factor from the factor and the window, whichever list it takes", () => {
    for (const seqLen of [1, 64, 65, 512]) {
      const scaling = { ...longropeOf([1, 2], 8), attentionFactor: undefined, seqLen } as unknown as RopeScaling;
      expect(ropeFrequencies(scaling, { headDim: 4, theta }).attentionFactor).toBeCloseTo(Math.sqrt(1.5), 14);
    }
  });
});

describe("proportional", () => {
  it("turns the first ⌊p·D/2⌋ dimensions at their usual pace divided by s, and no others", () => {
    fc.assert(
      fc.property(headDims, fc.integer({ min: 0, max: 8 }), scales, (headDim, eighths, factor) => {
        const turning = Math.floor((eighths * headDim) / 16);
        const expected = plainOf(headDim).map((frequency, j) => (j < turning ? frequency / factor : 0));
        const found = ropeFrequencies({ type: "proportional", partialRotaryFactor: eighths / 8, factor }, { headDim, theta });
        expectFrequencies(found, expected);
        expect(found.attentionFactor).toBe(1);
      }),
    );
  });
});

describe("resonance", () => {
  it("S-13: repeats itself exactly after its whole wavelength, on top of any scaling", () => {
    fc.assert(
      fc.property(headDims, scales, fc.integer({ min: 0, max: 4096 }), (headDim, factor, m) => {
        for (const on of [undefined, { type: "linear", factor }, { type: "yarn", factor, originalMaxPositions: 64 }] as const) {
          const scaling: RopeScaling = on === undefined ? { type: "resonance" } : { type: "resonance", on };
          const found = ropeFrequencies(scaling, { headDim, theta });
          const below = ropeFrequencies(on ?? { type: "default" }, { headDim, theta });
          expect(found.attentionFactor).toBe(below.attentionFactor);
          found.invFreq.forEach((frequency, j) => {
            const wavelength = Math.round((2 * Math.PI) / (below.invFreq[j] as number));
            expect(Math.abs((2 * Math.PI) / frequency - wavelength)).toBeLessThanOrEqual(1e-12 * wavelength);
            expect(Math.abs(Math.cos(frequency * (m + wavelength)) - Math.cos(frequency * m))).toBeLessThan(1e-9);
          });
        }
      }),
      { numRuns: 40 },
    );
  });

  it("meets no new angle beyond the window where a wavelength fits into it (theorem 1 of the paper)", () => {
    const window = 64;
    const { invFreq } = ropeFrequencies({ type: "resonance" }, { headDim: 16, theta });
    invFreq.forEach((frequency) => {
      const wavelength = Math.round((2 * Math.PI) / frequency);
      if (wavelength > window) return;
      for (let position = window; position < 8 * window; position++) {
        expect(Math.abs(Math.sin(frequency * position) - Math.sin(frequency * (position % wavelength)))).toBeLessThan(1e-9);
      }
    });
    expect(Array.from(invFreq, (frequency) => Math.round((2 * Math.PI) / frequency)).slice(0, 4)).toEqual([6, 20, 63, 199]);
  });

  it("leaves a dimension that does not turn as it is", () => {
    const on = { type: "proportional", partialRotaryFactor: 0.5 } as const;
    expect(Array.from(ropeFrequencies({ type: "resonance", on }, { headDim: 8, theta }).invFreq).slice(2)).toEqual([0, 0]);
  });
});

describe("ntk-mixed, power, truncated and another base", () => {
  it("ntk-mixed divides the slowest dimension by s and lies above ntk's fastest", () => {
    fc.assert(
      fc.property(headDims, scales, (headDim, factor) => {
        const half = headDim / 2;
        // The divisors of the post: λ_1 λ_2 ⋯ λ_m = exp(a·m^β).
        const expected = plainOf(headDim).map((frequency, j) => frequency / factor ** (((j + 1) / half) ** 0.625));
        expectFrequencies(ropeFrequencies({ type: "ntk-mixed", factor }, { headDim, theta }), expected);
      }),
    );
  });

  it("power multiplies θ_j by (1 − 2j/D)^p, after the scaling below it", () => {
    const found = ropeFrequencies({ type: "power", exponent: 2, on: { type: "linear", factor: 4 } }, { headDim: 8, theta });
    expectFrequencies(
      found,
      plainOf(8).map((frequency, j) => (frequency / 4) * ((4 - j) / 4) ** 2),
    );
  });

  it("truncated has a plateau past the window and stops beyond eight windows, as in its authors' code", () => {
    // Wavelengths 6.3, 19.9, 62.8, 198.7, 628.3, 1986.9, … against a window of 64: kept, kept, kept, plateau, stopped, …
    const found = ropeFrequencies({ type: "truncated", originalMaxPositions: 64 }, { headDim: 16, theta });
    const plateau = (2 * Math.PI) / (64 * 16);
    expectFrequencies(found, [...plainOf(16).slice(0, 3), plateau, 0, 0, 0, 0]);
    const wider = ropeFrequencies({ type: "truncated", originalMaxPositions: 64, plateau: 2, zeroBeyond: 10 }, { headDim: 16, theta });
    expectFrequencies(wider, [...plainOf(16).slice(0, 3), 8 * plateau, 8 * plateau, 0, 0, 0]);
  });

  it("abf is plain RoPE at its own base", () => {
    const own = ropeFrequencies({ type: "abf", theta: 5e5 }, { headDim: 32, theta });
    expect(own).toEqual(ropeFrequencies({ type: "default" }, { headDim: 32, theta: 5e5 }));
  });
});
