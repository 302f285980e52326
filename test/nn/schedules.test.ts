import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  exponentialDecay,
  inverseSquareRoot,
  OptionError,
  oneCycle,
  polynomialDecay,
  type Schedule,
  stepDecay,
  warmupCosine,
  warmupLinear,
  warmupStableDecay,
} from "../../src/index.js";

/** What test/golden/make_optimizers.py wrote: peak 0.5, twenty steps. */
const golden = JSON.parse(readFileSync(new URL("../golden/optimizers/schedules.json", import.meta.url), "utf8")) as Record<
  string,
  number[]
>;
const peak = 0.5;

const expectRates = (rate: Schedule, expected: readonly number[], { from = 0, later = 0 } = {}): void => {
  for (let step = from; step + later < expected.length; step++) {
    expect(Math.abs(rate(step) - (expected[step + later] as number)), `step ${step}`).toBeLessThan(1e-14);
  }
};

describe("schedules", () => {
  // A warm-up of n steps has its peak in step n − 1 here, and in step n in transformers, where the first step has the rate 0.
  it.each<[name: string, rate: Schedule, options?: { from?: number; later?: number }]>([
    ["stepDecay", stepDecay({ peak, factor: 0.5, every: 4 })],
    ["exponentialDecay", exponentialDecay({ peak, factor: 0.9 })],
    ["polynomialDecay", polynomialDecay({ peak, total: 20, power: 2 })],
    ["oneCycle", oneCycle({ peak, total: 20 })],
    ["oneCycleLinear", oneCycle({ peak, total: 24, warmup: 6, start: peak / 10, floor: peak / 1000, shape: "linear" })],
    ["cosine", warmupCosine({ peak, total: 24, floor: 0.05 })],
    ["linearWarmup", warmupLinear({ peak, warmup: 5, total: 20 }), { from: 5 }],
    ["wsd", warmupStableDecay({ peak, warmup: 5, total: 23, decay: 10, floor: 0.05, shape: "cosine" }), { from: 5 }],
    ["inverseSquareRoot", inverseSquareRoot({ peak, warmup: 5 }), { later: 1 }],
  ])("%s has the rates of PyTorch and transformers", (name, rate, options) => expectRates(rate, golden[name] as number[], options));

  it.each<[name: string, make: (warmup: number) => Schedule]>([
    ["warmupLinear", (warmup) => warmupLinear({ peak, warmup, total: 20 })],
    ["warmupStableDecay", (warmup) => warmupStableDecay({ peak, warmup, total: 20, decay: 4 })],
    ["inverseSquareRoot", (warmup) => inverseSquareRoot({ peak, warmup })],
    ["stepDecay", (warmup) => stepDecay({ peak, warmup, factor: 0.5, every: 3 })],
    ["exponentialDecay", (warmup) => exponentialDecay({ peak, warmup, factor: 0.5, every: 3 })],
    ["polynomialDecay", (warmup) => polynomialDecay({ peak, warmup, total: 20, power: 3 })],
  ])("%s rises by equal amounts to its peak and never again", (_, make) => {
    const rate = make(4);
    expect([0, 1, 2, 3].map(rate)).toEqual([0.125, 0.25, 0.375, 0.5]);
    for (let step = 4; step < 30; step++) expect(rate(step)).toBeLessThanOrEqual(rate(step - 1));
  });

  it("fall to their floor and stay there", () => {
    const floor = 0.125;
    const shapes = (["linear", "cosine", "sqrt"] as const).map((shape) => warmupStableDecay({ peak, total: 12, decay: 4, floor, shape }));
    for (const rate of [...shapes, warmupLinear({ peak, total: 12, floor }), polynomialDecay({ peak, total: 12, floor, power: 0.5 })]) {
      expect([12, 13, 1000].map(rate)).toEqual([floor, floor, floor]);
    }
    expect(shapes.map((rate) => rate(9))).toEqual(
      [0.40625, 0.5 - 0.375 * (0.5 - Math.SQRT1_2 / 2), 0.3125].map((x) => expect.closeTo(x, 12)),
    );
    const sudden = warmupStableDecay({ peak, total: 3, decay: 0, floor });
    expect([2, 3].map(sudden)).toEqual([peak, floor]);
    const short = oneCycle({ peak, total: 2, start: 0, floor });
    expect([0, 1, 2].map(short)).toEqual([peak, floor, floor]);
  });

  it.each<[what: string, make: () => Schedule, message: string]>([
    ["a long warm-up", () => warmupLinear({ peak, warmup: 6, total: 5 }), "warmupLinear: 6 steps of warm-up in 5"],
    [
      "a long decay",
      () => warmupStableDecay({ peak, warmup: 2, total: 5, decay: 4 }),
      "warmupStableDecay: 2 steps of warm-up and 4 of decay in 5",
    ],
    ["a floor above the peak", () => polynomialDecay({ peak, total: 5, floor: 1 }), "polynomialDecay: peak 0.5 with floor 1"],
    ["a start above the peak", () => oneCycle({ peak, total: 5, start: 1 }), "oneCycle: peak 0.5 with floor 1"],
    [
      "a factor that grows",
      () => stepDecay({ peak, every: 1, factor: 1.1 }),
      "stepDecay: factor must be a number with 0 < x ≤ 1, found 1.1",
    ],
    [
      "a fraction of a step",
      () => exponentialDecay({ peak, factor: 0.5, every: 0.5 }),
      "exponentialDecay: every must be an integer of at least 1",
    ],
  ])("%s is refused in words", (_, make, message) => {
    expect(make).toThrow(OptionError);
    expect(make).toThrow(message);
  });
});
