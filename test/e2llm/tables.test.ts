import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createE2Source, e2Row, plainPositions } from "../../src/e2llm/positions/index.js";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import { OptionError, ShapeError } from "../../src/errors.js";
import { e2Draws, headDims } from "../support/arbitraries.js";
import { ropeTableUlp } from "../support/tolerances.js";

const scales = fc.integer({ min: 1, max: 20 });
const plain = (headDim: number) => ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 });

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? Number.NaN)));
  return largest;
}

describe("tables of cos and sin", () => {
  it("hold cos(p·θ_j) and sin(p·θ_j), rows outermost, pairs innermost, rounded once", () => {
    const draw = createE2Source({ window: 16, gMax: 5, granularity: "sample", seed: 3 })({ batch: 3, length: 12, step: 9 });
    const frequencies = plain(8);
    const { cos, sin, rows, length, half } = ropeTables(draw, frequencies);
    expect([rows, length, half, cos.length, sin.length]).toEqual([3, 12, 4, 144, 144]);
    for (let row = 0; row < rows; row++) {
      const { g, t } = draw.draws[row] ?? { g: Number.NaN, t: Number.NaN };
      for (let i = 0; i < length; i++) {
        for (let j = 0; j < half; j++) {
          const angle = ((i < 4 ? i : i + t) / g) * 10_000 ** (-j / 4);
          expect(Math.abs((cos[(row * length + i) * half + j] ?? Number.NaN) - Math.cos(angle))).toBeLessThanOrEqual(ropeTableUlp);
          expect(Math.abs((sin[(row * length + i) * half + j] ?? Number.NaN) - Math.sin(angle))).toBeLessThanOrEqual(ropeTableUlp);
        }
      }
    }
  });

  it("stay within 3e-8 of the truth at position 2^20, where f32 angles are off by 1e-2", () => {
    const frequencies = plain(64);
    const positions = plainPositions({ length: 64, offset: 2 ** 20 - 64 });
    const rounded = ropeTables(positions, frequencies);
    const exact = ropeTables(positions, frequencies, { dtype: "f64" });
    expect(largestDifference(rounded.cos, exact.cos)).toBeLessThan(3.1e-8);
    expect(largestDifference(rounded.sin, exact.sin)).toBeLessThan(3.1e-8);
    let f32Angles = 0;
    for (let i = 0; i < 64; i++) {
      frequencies.invFreq.forEach((frequency, j) => {
        const angle = Math.fround((positions.numerators[i] ?? 0) * Math.fround(frequency));
        f32Angles = Math.max(f32Angles, Math.abs(Math.cos(angle) - (exact.cos[i * 32 + j] ?? 0)));
      });
    }
    expect(f32Angles).toBeGreaterThan(1e-2);
  });

  it("carry the attention factor in cos and in sin", () => {
    const yarn = ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 64 }, { headDim: 16, theta: 10_000 });
    const positions = plainPositions({ length: 40 });
    const scaled = ropeTables(positions, yarn, { dtype: "f64" });
    const unscaled = ropeTables(positions, { ...yarn, attentionFactor: 1 }, { dtype: "f64" });
    expect(scaled.cos[0]).toBe(yarn.attentionFactor);
    expect(Array.from(scaled.cos)).toEqual(Array.from(unscaled.cos, (value) => yarn.attentionFactor * value));
    expect(Array.from(scaled.sin)).toEqual(Array.from(unscaled.sin, (value) => yarn.attentionFactor * value));
  });

  it("of no tokens are empty", () => {
    expect(ropeTables(plainPositions({ length: 0 }), plain(8))).toMatchObject({ rows: 1, length: 0, half: 4 });
  });

  it("refuse arrays that do not fit together, and scales of zero", () => {
    const frequencies = plain(8);
    const numerators = Int32Array.of(0, 1, 2);
    expect(() => ropeTables({ numerators, denominators: Int32Array.of(1, 1), rows: 2 }, frequencies)).toThrow(ShapeError);
    expect(() => ropeTables({ numerators, denominators: Int32Array.of(1, 1), rows: 1 }, frequencies)).toThrow(ShapeError);
    expect(() => ropeTables({ numerators, denominators: Int32Array.of(), rows: 0 }, frequencies)).toThrow(ShapeError);
    expect(() => ropeTables({ numerators, denominators: Int32Array.of(0), rows: 1 }, frequencies)).toThrow(OptionError);
  });
});

describe("interpolated tables", () => {
  it("P-1: positions m/g, frequencies θ/g and exact quotients agree to one ulp", () => {
    fc.assert(
      fc.property(headDims, scales, fc.integer({ min: 0, max: 4096 }), (headDim, g, offset) => {
        const byPosition = ropeTables(plainPositions({ length: 8, offset, scale: g }), plain(headDim));
        const linear = ropeFrequencies({ type: "linear", factor: g }, { headDim, theta: 10_000 });
        const byFrequency = ropeTables(plainPositions({ length: 8, offset }), linear);
        expect(largestDifference(byPosition.cos, byFrequency.cos)).toBeLessThanOrEqual(ropeTableUlp);
        expect(largestDifference(byPosition.sin, byFrequency.sin)).toBeLessThanOrEqual(ropeTableUlp);
        if (Number.isInteger(Math.log2(g))) expect(byPosition).toEqual(byFrequency);
      }),
    );
  });

  it("P-2: at scale 1 without shift are the plain tables, bit for bit", () => {
    const frequencies = plain(32);
    const plainTables = ropeTables(plainPositions({ length: 50 }), frequencies);
    expect(ropeTables(e2Row({ length: 50, g: 1, t: 0 }), frequencies)).toEqual(plainTables);
    expect(
      ropeTables(plainPositions({ length: 50 }), ropeFrequencies({ type: "linear", factor: 1 }, { headDim: 32, theta: 10_000 })),
    ).toEqual(plainTables);
  });

  it("P-3: hold position k of scale 1 at position g·k of scale g, bit for bit", () => {
    fc.assert(
      fc.property(
        headDims,
        fc.integer({ min: 1, max: 128 }),
        fc.integer({ min: 0, max: 100_000 }),
        fc.constantFrom("f32" as const, "f64" as const),
        (headDim, g, k, dtype) => {
          const at = (numerator: number, scale: number) => {
            const positions = { numerators: Int32Array.of(numerator), denominators: Int32Array.of(scale), rows: 1 };
            return dtype === "f32" ? ropeTables(positions, plain(headDim)) : ropeTables(positions, plain(headDim), { dtype });
          };
          expect(at(g * k, g)).toEqual(at(k, 1));
        },
      ),
      // 49 · (1/49) is not 1 in f64, so this sample tells a division from a product with the reciprocal.
      { examples: [[16, 49, 1, "f64"]] },
    );
  });

  it("P-3, negative control: made from θ/g instead would not hold the same bits", () => {
    const linear = ropeFrequencies({ type: "linear", factor: 3 }, { headDim: 32, theta: 10_000 });
    const at = (k: number) => ({ numerators: Int32Array.of(k), denominators: Int32Array.of(1), rows: 1 });
    const differing = Array.from({ length: 100 }, (_, k) => k).filter((k) => {
      const subsampled = ropeTables(at(3 * k), linear, { dtype: "f64" });
      return largestDifference(subsampled.cos, ropeTables(at(k), plain(32), { dtype: "f64" }).cos) > 0;
    });
    expect(differing.length).toBeGreaterThan(0);
  });

  it("P-4: by g1 and then g2 are those by g1·g2 to one ulp", () => {
    fc.assert(
      fc.property(headDims, scales, scales, (headDim, g1, g2) => {
        const linear = ropeFrequencies({ type: "linear", factor: g2 }, { headDim, theta: 10_000 });
        const twice = ropeTables(plainPositions({ length: 32, offset: 1000, scale: g1 }), linear);
        const once = ropeTables(plainPositions({ length: 32, offset: 1000, scale: g1 * g2 }), plain(headDim));
        expect(largestDifference(twice.cos, once.cos)).toBeLessThanOrEqual(ropeTableUlp);
        expect(largestDifference(twice.sin, once.sin)).toBeLessThanOrEqual(ropeTableUlp);
      }),
    );
  });

  it("of positions that two draws share are equal bit for bit, whatever the scale", () => {
    fc.assert(
      fc.property(e2Draws, ({ g, t, length }) => {
        const doubled = e2Row({ length, g, t });
        const coarse = ropeTables(doubled, plain(16));
        const fine = ropeTables(
          { ...doubled, numerators: doubled.numerators.map((n) => 2 * n), denominators: Int32Array.of(2 * g) },
          plain(16),
        );
        expect(fine).toEqual(coarse);
      }),
    );
  });
});
