import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  adafactor,
  adagrad,
  adam,
  adamw,
  exponentialDecay,
  grad,
  inverseSquareRoot,
  lion,
  muon,
  type Optimizer,
  OptionError,
  oneCycle,
  polynomialDecay,
  rmsprop,
  type Schedule,
  sgd,
  stepDecay,
  type Tensor,
  tensor,
  useBackend,
  warmupCosine,
  warmupLinear,
  warmupStableDecay,
} from "../../src/index.js";

/** What test/golden/make_optimizers.py wrote. */
interface Golden {
  readonly x: number[];
  readonly y: number[];
  readonly rates: number[];
  readonly start: Record<Name, { readonly shape: number[]; readonly values: number[] }>;
  readonly cases: { readonly optimizer: string; readonly options: object; readonly first: Numbers; readonly last: Numbers }[];
}
type Name = "w1" | "b1" | "w2" | "b2";
type Numbers = Record<Name, number[]>;
const names: readonly Name[] = ["w1", "b1", "w2", "b2"];
const golden = JSON.parse(readFileSync(new URL("optimizers/optimizers.json", import.meta.url), "utf8")) as Golden;

const makers: Readonly<Record<string, (options: object) => Optimizer<unknown>>> = {
  sgd,
  adagrad,
  rmsprop,
  adam,
  adamw,
  lion,
  adafactor,
  muon,
};
const doubles = (values: readonly number[], shape: readonly number[]): Tensor => tensor(new Float64Array(values), { shape, dtype: "f64" });

describe("ten steps of an optimizer in double precision are those of PyTorch", () => {
  it.each(golden.cases.map((one) => [`${one.optimizer} ${JSON.stringify(one.options)}`, one] as const))("%s", async (_, one) => {
    useBackend(createReferenceBackend());
    const [x, y] = [doubles(golden.x, [5, 3]), doubles(golden.y, [5, 2])];
    const loss = ({ w1, b1, w2, b2 }: Record<Name, Tensor>): Tensor =>
      x.matmul(w1.transpose()).add(b1).tanh().matmul(w2.transpose()).add(b2).sub(y).square().mean();
    const everything = { decayMask: () => true };
    const options = one.optimizer === "muon" ? one.options : { ...one.options, ...everything };
    const optimizer = (makers[one.optimizer] as (options: object) => Optimizer<unknown>)(options);
    let params = Object.fromEntries(names.map((name) => [name, doubles(golden.start[name].values, golden.start[name].shape)])) as Record<
      Name,
      Tensor
    >;
    let state = optimizer.init(params);
    for (const [step, lr] of golden.rates.entries()) {
      [params, state] = optimizer.update(params, grad(loss)(params), state, { lr });
      const expected = step === 0 ? one.first : step === golden.rates.length - 1 ? one.last : undefined;
      for (const name of expected === undefined ? [] : names) {
        const found = await params[name].data();
        (expected as Numbers)[name].forEach((value, i) =>
          expect(Math.abs((found[i] as number) - value), `${name} ${i} of step ${step}`).toBeLessThan(1e-12),
        );
      }
    }
  });
});

/** Rates of twenty steps with the peak 0.5. */
const rates = JSON.parse(readFileSync(new URL("optimizers/schedules.json", import.meta.url), "utf8")) as Record<string, number[]>;
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
  ])("%s has the rates of PyTorch and transformers", (name, rate, options) => expectRates(rate, rates[name] as number[], options));

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
