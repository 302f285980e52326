import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import {
  extrapolationBound,
  interpolationBound,
  interpolationCounterexample,
  resolutionAt,
  scoreAtDistance,
  scoreProducts,
  worstInterpolation,
} from "../../src/e2llm/score-bounds.js";
import { OptionError, ShapeError } from "../../src/errors.js";
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
  it("P-8: stay within ½(s−s1)(s2−s)·max|h|·Σθ² of the line between its neighbours", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(1000), scales, fc.nat(19), ({ headDim, q, k }, n, g, rest) => {
        const sizes = magnitudes(products(q, k));
        const bound = 0.5 * gap(rest % g, g) * Math.max(...sizes) * sumOfSquares(headDim);
        expect(deviation(q, k, n, rest % g, g)).toBeLessThanOrEqual(bound + ropeScoreF64 * total(sizes));
      }),
    );
  });

  it("P-9: stay within ½(s−s1)(s2−s)·Σ|h_j|θ_j², the sharper bound of one query and key", () => {
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
    "P-8: can exceed the bound that Position Interpolation prints, at a head dimension of %i, and keep to the corrected one",
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

  it("P-12: change by at most |s − s′|·Σ|h_j|θ_j", () => {
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

describe("the bounds as functions", () => {
  it("are those that the properties above state, and hold for scores of random queries and keys", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(1000), scales, fc.nat(19), ({ headDim, q, k }, n, g, rest) => {
        const { invFreq } = frequenciesOf(headDim);
        const h = products(q, k);
        const sizes = magnitudes(h);
        const own = scoreProducts(q, k);
        expect([...own.re]).toEqual(h.map(({ re }) => re));
        expect([...own.im]).toEqual(h.map(({ im }) => im));
        const slack = ropeScoreF64 * total(sizes);
        const i = rest % g;
        const distance = { s: n + i / g, s1: n, s2: n + 1 };
        expect(Math.abs(scoreAtDistance(own, invFreq, distance.s) - score(q, k, g * n + i, g))).toBeLessThanOrEqual(100 * slack + 1e-12);
        const sharp = interpolationBound(own, invFreq, distance);
        const weighted = total(sizes.map((size, j) => size * theta ** ((-4 * j) / headDim)));
        expect(Math.abs(sharp - 0.5 * gap(i, g) * weighted)).toBeLessThanOrEqual(1e-9 * (1 + total(sizes)));
        expect(deviation(q, k, n, i, g)).toBeLessThanOrEqual(sharp + slack + 1e-9 * total(sizes));
        const worst = worstInterpolation({ headDim, theta }, distance);
        expect(sharp).toBeLessThanOrEqual(worst.bound * Math.max(...sizes) + slack);
        expect(Math.abs(worst.bound - 0.5 * gap(i, g) * sumOfSquares(headDim))).toBeLessThanOrEqual(1e-9);
        expect(Math.abs(score(q, k, n, 1))).toBeLessThanOrEqual(extrapolationBound(own, invFreq, n) + 100 * slack);
        const { angle, change } = resolutionAt(own, invFreq, g);
        expect(angle).toBe(1 / g);
        expect(Math.abs(score(q, k, g * n + i, g) - score(q, k, g * n + i + 1, g))).toBeLessThanOrEqual(change + slack);
      }),
    );
  });

  it.each([8, 16, 32, 64, 128])("show that the printed bound is false at a head dimension of %i", (headDim) => {
    const { q, k, deviation: found, printed, bound } = interpolationCounterexample({ headDim, theta });
    expect(found).toBeGreaterThan(printed);
    expect(found).toBeLessThanOrEqual(bound);
    expect(found).toBeCloseTo(deviation(q, k, 0, 1, 2), 12);
    expect(Math.max(...magnitudes(products(q, k)))).toBeCloseTo(1, 12);
  });

  it("refuse what does not fit", () => {
    const own = scoreProducts([1, 2], [3, 4]);
    expect(() => scoreProducts([1, 2], [1])).toThrow(ShapeError);
    expect(() => scoreProducts([1, 2, 3], [1, 2, 3])).toThrow(ShapeError);
    expect(() => interpolationBound(own, [1], { s: 3, s1: 0, s2: 1 })).toThrow(OptionError);
    expect(() => extrapolationBound(own, [1, 2], 3)).toThrow(ShapeError);
    expect(() => resolutionAt(own, [1], 0)).toThrow(OptionError);
  });
});

describe("scores at any distance", () => {
  it("P-10: stay within the bound of extrapolation and within Σ|h_j|", () => {
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

  it("P-11: have the same |h_j| from rotated and from raw vectors", () => {
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
