import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import { queriesAndKeys } from "../support/arbitraries.js";
import { ropeScoreF64, unitRoundoff } from "../support/tolerances.js";
import { dot, inverse, products, rotate, rotationAt } from "./rotation-oracle.js";

const theta = 10_000;
const scales = fc.integer({ min: 2, max: 20 });
const frequenciesOf = (headDim: number) => ropeFrequencies({ type: "default" }, { headDim, theta });
const magnitudes = (h: { re: number; im: number }[]): number[] => h.map(({ re, im }) => Math.hypot(re, im));
const total = (values: number[]): number => values.reduce((sum, value) => sum + value, 0);

/** a(numerator/denominator): the f64 score of q at that position with k at position 0. */
function score(q: ArrayLike<number>, k: ArrayLike<number>, numerator: number, denominator: number): number {
  const rotation = rotationAt(numerator, denominator, frequenciesOf(q.length), "f64");
  return dot(rotate(q, rotation, { dtype: "f64" }), k);
}

/** |a(s) − a_lin(s)| at s = n + i/g, a_lin through the whole positions n and n + 1. */
function deviation(q: ArrayLike<number>, k: ArrayLike<number>, n: number, i: number, g: number): number {
  const line = (1 - i / g) * score(q, k, n, 1) + (i / g) * score(q, k, n + 1, 1);
  return Math.abs(score(q, k, g * n + i, g) - line);
}

/** (s − s1)(s2 − s) for s = n + i/g between n and n + 1. */
const gap = (i: number, g: number): number => (i / g) * (1 - i / g);
const sumOfSquares = (headDim: number): number => (1 - theta ** -2) / (1 - theta ** (-4 / headDim));

describe("scores between whole positions", () => {
  it("stay within ½(s−s1)(s2−s)·max|h|·Σθ² of the line between its neighbours", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(1000), scales, fc.nat(19), ({ headDim, q, k }, n, g, rest) => {
        const sizes = magnitudes(products(q, k));
        const bound = 0.5 * gap(rest % g, g) * Math.max(...sizes) * sumOfSquares(headDim);
        expect(deviation(q, k, n, rest % g, g)).toBeLessThanOrEqual(bound + ropeScoreF64 * total(sizes));
      }),
    );
  });

  it("stay within ½(s−s1)(s2−s)·Σ|h_j|θ_j², the sharper bound of one query and key", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(1000), scales, fc.nat(19), ({ headDim, q, k }, n, g, rest) => {
        const sizes = magnitudes(products(q, k));
        const weighted = total(sizes.map((size, j) => size * theta ** ((-4 * j) / headDim)));
        const bound = 0.5 * gap(rest % g, g) * weighted;
        expect(deviation(q, k, n, rest % g, g)).toBeLessThanOrEqual(bound + ropeScoreF64 * total(sizes));
      }),
    );
  });

  it.each([
    [8, 0.1237, 4.65, 0.1263],
    [16, 0.1363, 2.56, 0.1389],
    [32, 0.1799, 1.68, 0.1828],
    [64, 0.2818, 1.32, 0.2856],
    [128, 0.4939, 1.15, 0.4998],
  ])(
    "can exceed the bound that Position Interpolation prints, at a head dimension of %i, and keep to the corrected one",
    (headDim, worst, tooSmallBy, corrected) => {
      const printed = headDim / (32 * Math.log(theta));
      // h_j = e^{−iθ_j/2} makes every dimension deviate by its most at s = ½.
      const half = headDim / 2;
      const k = Float64Array.from({ length: headDim }, (_, i) => (i < half ? 1 : 0));
      const q = Float64Array.from({ length: headDim }, (_, i) =>
        i < half ? Math.cos(theta ** ((-2 * i) / headDim) / 2) : -Math.sin(theta ** ((-2 * (i - half)) / headDim) / 2),
      );
      const found = deviation(q, k, 0, 1, 2);
      expect(sumOfSquares(headDim) / 8 / printed).toBeCloseTo(tooSmallBy, 2);
      expect(sumOfSquares(headDim) / 8).toBeCloseTo(corrected, 4);
      expect(found).toBeCloseTo(worst, 4);
      expect(found).toBeGreaterThan(printed);
      expect(found).toBeLessThanOrEqual(sumOfSquares(headDim) / 8);
      // The closed form d/(8 ln b) + ½ in place of d/(8 ln b) is valid too, for (s−s1)(s2−s) = ¼.
      expect(found).toBeLessThanOrEqual((headDim / (8 * Math.log(theta)) + 0.5) / 4);
    },
  );

  it("change by at most |s − s′|·Σ|h_j|θ_j", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(4000), fc.nat(4000), scales, ({ headDim, q, k }, m, n, g) => {
        const sizes = magnitudes(products(q, k));
        const slope = total(sizes.map((size, j) => size * theta ** ((-2 * j) / headDim)));
        const change = Math.abs(score(q, k, m, g) - score(q, k, n, g));
        expect(change).toBeLessThanOrEqual((Math.abs(m - n) / g) * slope + ropeScoreF64 * total(sizes));
      }),
    );
  });
});

describe("scores at any distance", () => {
  it("stay within the bound of extrapolation and within Σ|h_j|", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(100_000), ({ headDim, q, k }, s) => {
        const h = products(q, k);
        const sizes = magnitudes(h);
        let [partial, sums, step] = [{ re: 0, im: 0 }, 0, 0];
        h.forEach(({ re, im }, j) => {
          const angle = s * theta ** ((-2 * j) / headDim);
          partial = { re: partial.re + Math.cos(angle), im: partial.im + Math.sin(angle) };
          sums += Math.hypot(partial.re, partial.im);
          const next = h[j + 1] ?? { re: 0, im: 0 };
          step = Math.max(step, Math.hypot(re - next.re, im - next.im));
        });
        const found = Math.abs(score(q, k, s, 1));
        const slack = 100 * ropeScoreF64 * total(sizes);
        expect(found).toBeLessThanOrEqual(step * sums + slack);
        expect(step).toBeLessThanOrEqual(2 * Math.max(...sizes) + slack);
        expect(found).toBeLessThanOrEqual(total(sizes) + slack);
      }),
    );
  });

  it("have the same |h_j| from rotated and from raw vectors", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(10_000), fc.nat(10_000), ({ headDim, q, k }, m, n) => {
        const raw = magnitudes(products(q, k));
        const turn = (x: number[], p: number) => rotate(x, rotationAt(p, 1, frequenciesOf(headDim), "f64"), { dtype: "f64" });
        const rotated = magnitudes(products(turn(q, m), turn(k, n)));
        rotated.forEach((size, j) => expect(Math.abs(size - (raw[j] ?? 0))).toBeLessThanOrEqual(4 * unitRoundoff * (raw[j] ?? 0)));
        const back = rotate(turn(q, m), inverse(rotationAt(m, 1, frequenciesOf(headDim), "f64")), { dtype: "f64" });
        back.forEach((value, i) => expect(value).toBeCloseTo(q[i] ?? Number.NaN, 12));
      }),
    );
  });
});
