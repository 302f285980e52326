import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bodyDistanceCoverage, coveredBodyDistances, drawnCoverage } from "../../src/e2llm/coverage.js";
import { createE2Source, createPlainSource, e2Row, largestShift } from "../../src/e2llm/positions/index.js";
import { OptionError } from "../../src/errors.js";

/** Every distance between two tokens past the sinks that some draw shows, as an exact multiple of 1/lcm(1..G). */
function trainedDistances(window: number, length: number, gMax: number, unit: number): Set<number> {
  const distances = new Set<number>();
  for (let g = 1; g <= gMax; g++) {
    for (let t = 0; t <= largestShift(g, window, length); t++) {
      const { numerators } = e2Row({ length, g, t });
      for (let m = 5; m < length; m++) {
        for (let n = 4; n < m; n++) distances.add((((numerators[m] ?? 0) - (numerators[n] ?? 0)) * unit) / g);
      }
    }
  }
  return distances;
}

const leastCommonMultiple = (limit: number): number => {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  let multiple = 1;
  for (let i = 2; i <= limit; i++) multiple = (multiple * i) / divisor(multiple, i);
  return multiple;
};

describe("coverage of distances between tokens past the sinks", () => {
  it.each([
    [4096, 20, 2, 0.749, 0.875],
    [4096, 20, 4, 0.499, 0.656],
    [4096, 20, 5, 0.36, 0.488],
    [4096, 20, 8, 0.312, 0.445],
    [4096, 20, 16, 0.187, 0.283],
    [4096, 20, 20, 0.18, 0.28],
    [64, 8, 2, 0.701, 0.855],
    [64, 8, 4, 0.467, 0.634],
    [64, 8, 8, 0.292, 0.427],
    [64, 8, 16, 0.146, 0.213],
    [128, 8, 2, 0.725, 0.866],
    [128, 8, 4, 0.483, 0.645],
    [128, 8, 8, 0.302, 0.436],
  ])("C-6: at L = %i, G = %i and scale %i is %f of the distances and %f of the pairs", (window, gMax, scale, distinct, pairs) => {
    const found = bodyDistanceCoverage({ window, gMax, scale });
    expect(found.distinct).toBeCloseTo(distinct, 3);
    expect(found.pairs).toBeCloseTo(pairs, 3);
  });

  it("is refused where there are more distances than can be counted", () => {
    const positions = createPlainSource();
    for (const [window, scale] of [
      [2 ** 20, 2 ** 20],
      [2 ** 30, 2],
      [2 ** 31, 2 ** 22],
    ] as const) {
      expect(() => bodyDistanceCoverage({ window, gMax: 8, scale })).toThrow(OptionError);
      expect(() => coveredBodyDistances({ window, gMax: 8, scale })).toThrow(OptionError);
      expect(() => drawnCoverage({ positions, length: 4, steps: 1, window, scale })).toThrow(OptionError);
    }
  });

  it("C-1: equals what all draws together show", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 6, max: 14 }),
        fc.nat(8),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 8 }),
        (window, cut, gMax, scale) => {
          const length = Math.max(2, window - cut);
          const unit = leastCommonMultiple(8);
          const trained = trainedDistances(window, length, gMax, unit);
          let [distances, pairs, allPairs] = [0, 0, 0];
          const span = scale * window;
          for (let k = 1; k < span; k++) {
            allPairs += span - k;
            if (!trained.has((k * unit) / scale)) continue;
            distances++;
            pairs += span - k;
          }
          expect(bodyDistanceCoverage({ window, gMax, scale, length })).toEqual({
            distinct: distances / (span - 1),
            pairs: pairs / allPairs,
          });
        },
      ),
      { numRuns: 40 },
    );
  });

  it("is what enough draws of the source show, and never more", () => {
    const [window, gMax] = [16, 4];
    const positions = createE2Source({ window, gMax, granularity: "sample" });
    for (const scale of [1, 2, 3, 4, 6]) {
      const all = bodyDistanceCoverage({ window, gMax, scale });
      const drawn = (steps: number) => drawnCoverage({ positions, window, length: window, steps, batch: 8, scale, from: 4 });
      expect(drawn(60)).toEqual(all);
      expect(drawn(1).distinct).toBeLessThanOrEqual(all.distinct);
      // With the sinks every distance of every trained scale is there (E-9), the ones that few shifts show among them.
      if (scale <= gMax) expect(drawnCoverage({ positions, window, length: window, steps: 400, batch: 8, scale }).distinct).toBe(1);
    }
    const plain = { positions: createPlainSource(), window, length: window, steps: 1 };
    expect(drawnCoverage({ ...plain, scale: 1 })).toEqual({ distinct: 1, pairs: 1 });
    expect(drawnCoverage({ ...plain, scale: 2 }).distinct).toBe(15 / 31);
  });

  it("C-2: leaves every distance up to R − 5 between the shortest and the longest that are trained", () => {
    const [window, gMax] = [16, 6];
    const unit = leastCommonMultiple(gMax);
    const trained = [...trainedDistances(window, window, gMax, unit)];
    expect(Math.min(...trained)).toBe(unit / gMax);
    expect(Math.max(...trained)).toBe((window - 5) * unit);
    for (let scale = 1; scale <= gMax; scale++) expect(unit / scale).toBeGreaterThanOrEqual(Math.min(...trained));
  });

  it("C-3: puts a distance x within 1/(2g*) of a trained one, g* = min(G, ⌊(R − 5)/x⌋)", () => {
    const [window, gMax] = [24, 7];
    const unit = leastCommonMultiple(gMax);
    const trained = [...trainedDistances(window, window, gMax, unit)].map((distance) => distance / unit);
    fc.assert(
      fc.property(fc.double({ min: 1 / gMax, max: window - 5, noNaN: true }), (x) => {
        const finest = Math.min(gMax, Math.floor((window - 5) / x));
        const nearest = Math.min(...trained.map((distance) => Math.abs(distance - x)));
        expect(nearest).toBeLessThanOrEqual(1 / (2 * finest) + 1e-12);
      }),
    );
  });

  it("C-4: nests: the distances of a scale are among those of its multiples", () => {
    for (let g = 1; g <= 5; g++) {
      for (let factor = 1; factor <= 4; factor++) {
        const coarse = Array.from({ length: 8 * g }, (_, k) => k / g);
        const fine = new Set(Array.from({ length: 8 * g * factor }, (_, k) => k / (g * factor)));
        expect(coarse.every((distance) => fine.has(distance))).toBe(true);
      }
    }
  });

  it("C-7: is complete for body positions, of which the first and last are hit by one shift only", () => {
    const [window, length] = [16, 12];
    for (let g = 1; g <= 4; g++) {
      const hits = new Map<number, number>();
      for (let t = 0; t <= largestShift(g, window, length); t++) {
        for (const position of e2Row({ length, g, t }).numerators.subarray(4)) hits.set(position, (hits.get(position) ?? 0) + 1);
      }
      expect([...hits.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: g * window - 4 }, (_, i) => i + 4));
      expect([hits.get(4), hits.get(g * window - 1), Math.min(...hits.values())]).toEqual([1, 1, 1]);
    }
  });

  it("grows with the number of shifted tokens when fewer sinks are kept", () => {
    const four = bodyDistanceCoverage({ window: 32, gMax: 4, scale: 4 });
    const none = bodyDistanceCoverage({ window: 32, gMax: 4, scale: 4, sinks: 0 });
    expect(none.distinct).toBeGreaterThan(four.distinct);
  });

  it("refuses windows without distances and numbers that are no integers", () => {
    expect(() => bodyDistanceCoverage({ window: 1, gMax: 2, scale: 1 })).toThrow(OptionError);
    expect(() => bodyDistanceCoverage({ window: 8.5, gMax: 2, scale: 1 })).toThrow(OptionError);
    expect(() => bodyDistanceCoverage({ window: 8, gMax: 0, scale: 1 })).toThrow(OptionError);
  });
});
