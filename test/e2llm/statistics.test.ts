import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { bootstrapMean, OptionError, pairedDifferences, randomStream, ShapeError, summarizeValues } from "../../src/index.js";

describe("a summary of values", () => {
  it("is their mean, range and standard deviation", () => {
    const found = summarizeValues([2, 4, 4, 4, 5, 5, 7, 9]);
    expect(found).toMatchObject({ count: 8, mean: 5, min: 2, max: 9 });
    expect(found.deviation).toBeCloseTo(Math.sqrt(32 / 7), 12);
    expect(summarizeValues([3])).toEqual({ count: 1, mean: 3, min: 3, max: 3, deviation: 0 });
  });

  const weighted = fc.array(fc.record({ value: fc.integer({ min: -9, max: 9 }), weight: fc.integer({ min: 1, max: 4 }) }), {
    minLength: 1,
    maxLength: 9,
  });
  property.prop([weighted])("with whole weights has the mean of values that are there so often", (values) => {
    const repeated = values.flatMap(({ value, weight }) => Array.from({ length: weight }, () => value));
    expect(summarizeValues(values).mean).toBeCloseTo(summarizeValues(repeated).mean, 10);
  });

  it("needs values that have a mean", () => {
    for (const values of [[], [Number.NaN], [1, Number.POSITIVE_INFINITY], [{ value: 1, weight: -1 }], [{ value: 1, weight: 0 }]]) {
      expect(() => summarizeValues(values)).toThrow(OptionError);
    }
  });
});

describe("paired differences", () => {
  it("are taken pair by pair and keep the weights", () => {
    expect(pairedDifferences([3, { value: 1, weight: 2 }], [1, { value: 4, weight: 2 }])).toEqual([
      { value: 2, weight: 1 },
      { value: -3, weight: 2 },
    ]);
  });

  it("are refused between lists that are no pairs", () => {
    expect(() => pairedDifferences([1, 2], [1])).toThrow(ShapeError);
    expect(() => pairedDifferences([{ value: 1, weight: 1 }], [{ value: 1, weight: 2 }])).toThrow(OptionError);
  });

  it("have a narrower interval than either mean where examples vary more than the difference", () => {
    const random = randomStream(1, 2);
    const first = Array.from({ length: 60 }, () => 10 * random.unit());
    const second = first.map((value) => value - 0.5 + 0.1 * random.unit());
    const width = ({ low, high }: { low: number; high: number }): number => high - low;
    const difference = bootstrapMean(pairedDifferences(first, second));
    expect(width(difference)).toBeLessThan(width(bootstrapMean(first)) / 20);
    expect(difference.low).toBeGreaterThan(0.4);
    expect(difference.high).toBeLessThan(0.5);
  });
});

describe("a bootstrap interval", () => {
  it("of equal values is that value", () => {
    expect(bootstrapMean([2, 2, 2])).toEqual({ mean: 2, low: 2, high: 2, level: 0.95, resamples: 2000 });
  });

  it("of zeros and ones has the quantiles of the binomial distribution", () => {
    // The mean of n draws from k ones and n − k zeros is Binomial(n, k/n)/n.
    const [n, k] = [40, 12];
    const values = Array.from({ length: n }, (_, i) => Number(i < k));
    const found = bootstrapMean(values, { resamples: 20_000, level: 0.9, seed: 4 });
    const p = k / n;
    const masses = [(1 - p) ** n];
    for (let i = 1; i <= n; i++) masses.push((((masses[i - 1] as number) * (n - i + 1)) / i) * (p / (1 - p)));
    const quantile = (q: number): number => {
      let count = 0;
      for (let sum = masses[0] as number; sum < q; sum += masses[count] as number) count++;
      return count / n;
    };
    expect(found.mean).toBeCloseTo(p, 12);
    expect(found.low).toBeCloseTo(quantile(0.05), 10);
    expect(found.high).toBeCloseTo(quantile(0.95), 10);
  });

  it("covers the true mean about as often as it says", () => {
    let covered = 0;
    for (let i = 0; i < 200; i++) {
      const random = randomStream(i, 9);
      const { low, high } = bootstrapMean(
        Array.from({ length: 30 }, () => random.unit()),
        { resamples: 300, level: 0.9, seed: i },
      );
      covered += Number(low <= 0.5 && 0.5 <= high);
    }
    expect(covered / 200).toBeGreaterThan(0.82);
    expect(covered / 200).toBeLessThan(0.96);
  });

  it("over groups sees how they differ, and over values does not", () => {
    const groups = [
      [0, 0, 0],
      [1, 1, 1],
      [2, 2, 2],
    ];
    expect(bootstrapMean(groups, { over: "values" })).toMatchObject({ mean: 1, low: 1, high: 1 });
    for (const over of ["groups", "both"] as const) {
      const { low, high } = bootstrapMean(groups, { over, level: 0.99 });
      expect([low, high]).toEqual([0, 2]);
    }
    // Groups that are alike: all that is left is the spread of values, which "groups" does not see.
    const alike = [
      [0, 1],
      [0, 1],
    ];
    expect(bootstrapMean(alike, { over: "groups" })).toMatchObject({ low: 0.5, high: 0.5 });
    expect(bootstrapMean(alike, { over: "both", level: 0.99 })).toMatchObject({ low: 0, high: 1 });
  });

  it("weighs groups alike and values by their weights", () => {
    const heavy = { value: 1, weight: 3 };
    expect(bootstrapMean([[heavy, 0], [0]]).mean).toBeCloseTo(0.375, 12);
  });

  it("is decided by its seed", () => {
    const values = Array.from({ length: 20 }, (_, i) => i % 7);
    expect(bootstrapMean(values, { seed: 3 })).toEqual(bootstrapMean(values, { seed: 3 }));
    expect(bootstrapMean(values, { seed: 3 })).not.toEqual(bootstrapMean(values, { seed: 4 }));
  });

  it("needs groups with values, and a level between 0 and 1", () => {
    for (const groups of [[], [[]], [[1], []], [[{ value: 1, weight: 0 }]]]) expect(() => bootstrapMean(groups)).toThrow(OptionError);
    for (const level of [0, 1, 95]) expect(() => bootstrapMean([1, 2], { level })).toThrow(OptionError);
  });
});
