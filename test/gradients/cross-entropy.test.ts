import { beforeAll, describe, expect, it } from "vitest";
import { linearCrossEntropyBy } from "../../src/autograd/cross-entropy.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type CrossEntropyOptions,
  checkGrads,
  compile,
  crossEntropy,
  DtypeError,
  grad,
  linearCrossEntropy,
  matmul,
  OptionError,
  ShapeError,
  stopGradient,
  type Tensor,
  tensor,
  transpose,
  useBackend,
  valueAndGrad,
  zeros,
} from "../../src/index.js";
import { floats, numbersOf } from "../support/floats.js";
import { lowerGraph, planOf, targets as programTargets } from "../support/plans.js";
import { createRecordingBackend, type Recorded } from "../support/recording-backend.js";

const integers = (values: number[], shape = [values.length]): Tensor => tensor(Int32Array.from(values), { shape });

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("cross-entropy", () => {
  const targets = integers([0, 4, 2, 2, 1, 3], [2, 3]);
  const options: Readonly<Record<string, CrossEntropyOptions>> = {
    "the mean": {},
    "single losses": { reduction: "none" },
    "the sum of those that count": { reduction: "sum", ignoreIndex: 2 },
    "smoothed labels": { labelSmoothing: 0.2, ignoreIndex: 2 },
    "labels smoothed away": { labelSmoothing: 1, reduction: "none" },
  };

  it.each(Object.entries(options))("derivatives of order 1 and 2 of %s equal central differences", async (_, each) => {
    await checkGrads((x) => crossEntropy(x, targets, each), [floats([2, 3, 5], { low: -3, high: 3 })], { order: 2, places: 8 });
  });

  it("is −Σ q·ln p, where smoothing gives each class its share of q", async () => {
    const logits = [0.5, -1, 2, 0.25];
    const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
    for (const [target, smoothing] of [
      [1, 0],
      [2, 0.1],
      [0, 1],
    ] as const) {
      const q = logits.map((_, j) => (j === target ? 1 - smoothing : 0) + smoothing / 4);
      const expected = q.reduce((sum, each, j) => sum + each * (total - (logits[j] as number)), 0);
      const found = crossEntropy(tensor([logits], { dtype: "f64" }), integers([target]), { labelSmoothing: smoothing });
      expect(await found.item()).toBeCloseTo(expected, 12);
    }
  });
});

describe("the cross-entropy of a linear layer", () => {
  const [C, V] = [3, 5];
  const weight = floats([V, C], { seed: 2 });
  const cases: Readonly<Record<string, number[]>> = {
    "all count": [0, 1, 2, 3, 4, 0, 1, 2, 3, 4],
    "some are left out": [0, -100, 2, -100, 4, 0, 1, 2, -100, 4],
    "none counts": new Array(10).fill(-100),
    "some do not exist": [0, 5, 2, -1, 4, 0, -100, 2, 2 ** 31 - 1, 4],
  };
  const numbers = async (t: Tensor): Promise<(number | "NaN")[]> =>
    (await numbersOf(t)).map((value) => (Number.isNaN(value) ? "NaN" : Number(value.toFixed(10)) + 0));

  it.each(Object.entries(cases))("treats targets as crossEntropy does where %s", async (_, places) => {
    const targets = integers(places);
    const x = floats([10, C]);
    for (const reduction of ["mean", "sum", "none"] as const)
      for (const labelSmoothing of [0, 0.1])
        for (const rows of [8, 64]) {
          const options = { reduction, labelSmoothing };
          const both = [
            (at: readonly Tensor[]): Tensor =>
              linearCrossEntropyBy(rows, { x: at[0] as Tensor, weight: at[1] as Tensor, targets }, options),
            (at: readonly Tensor[]): Tensor => crossEntropy(matmul(at[0] as Tensor, transpose(at[1] as Tensor)), targets, options),
          ];
          const [found, expected] = await Promise.all(
            both.map(async (f) => {
              const gradients = grad((at: Tensor[]) => f(at).sum())([x, weight]);
              return Promise.all([f([x, weight]), ...gradients].map(numbers));
            }),
          );
          expect(found, JSON.stringify({ ...options, rows })).toEqual(expected);
        }
  });

  it("of no rows is 0 as a sum, NaN as a mean and nothing as single losses", async () => {
    const x = zeros([0, C], { dtype: "f64" });
    const of = (reduction: "mean" | "sum" | "none"): Tensor => linearCrossEntropy(x, weight, zeros([0], { dtype: "i32" }), { reduction });
    expect(await of("mean").item()).toBeNaN();
    expect(await of("sum").item()).toBe(0);
    expect(of("none").shape).toEqual([0]);
    const slopes = await numbersOf(
      grad((w: Tensor) => linearCrossEntropy(x, w, zeros([0], { dtype: "i32" }), { reduction: "sum" }))(weight),
    );
    expect(new Set(slopes.map(Math.abs))).toEqual(new Set([0]));
  });

  it("keeps small gradients of halves that the loss is scaled up for", async () => {
    const [N, scale] = [2048, 4096];
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    const halves = [floats([N, C], { dtype: "f32" }), floats([V, C], { seed: 2, dtype: "f32" }).mul(2 ** -8)].map((each) =>
      each.cast("f16"),
    );
    const targets = integers(Array.from({ length: N }, (_, i) => i % V));
    const plain = (at: Tensor[]): Tensor => crossEntropy(matmul(at[0] as Tensor, transpose(at[1] as Tensor)), targets).mul(scale);
    const expected = grad(plain)(halves.map((each) => each.cast("f32")));
    for (const rows of [512, N]) {
      const loss = (at: Tensor[]): Tensor => linearCrossEntropyBy(rows, { x: at[0] as Tensor, weight: at[1] as Tensor, targets }, {});
      const found = grad((at: Tensor[]) => loss(at).cast("f32").mul(scale))(halves);
      for (const [i, slope] of found.entries()) {
        expect(slope.dtype).toBe("f16");
        const [a, b] = [await numbersOf(slope), await numbersOf(expected[i] as Tensor)];
        const worst = a.reduce(
          (most, value, k) => Math.max(most, Math.abs(value - (b[k] as number)) / (Math.abs(b[k] as number) + 1e-4)),
          0,
        );
        expect(worst).toBeLessThan(2e-3);
      }
    }
    useBackend(createReferenceBackend());
    await backend.close();
  });

  it.each(["f16", "bf16", "f32", "f64"] as const)("of %s is a loss and gradients of that dtype", (dtype) => {
    const x = zeros([4, C], { dtype });
    for (const reduction of ["mean", "sum", "none"] as const) {
      const loss = (at: Tensor): Tensor => linearCrossEntropy(at, zeros([V, C], { dtype }), zeros([4], { dtype: "i32" }), { reduction });
      expect(loss(x).dtype).toBe(dtype);
      expect(grad((at: Tensor) => loss(at).sum())(x).dtype).toBe(dtype);
    }
  });

  it("refuses shapes and dtypes that do not fit, and shares that are none", () => {
    const x = zeros([4, C]);
    const t = zeros([4], { dtype: "i32" });
    const w = zeros([V, C]);
    expect(() => linearCrossEntropy(x, transpose(w), t)).toThrow(ShapeError);
    expect(() => linearCrossEntropy(x, w.reshape([V * C]), t)).toThrow(ShapeError);
    expect(() => linearCrossEntropy(x, w, zeros([5], { dtype: "i32" }))).toThrow(ShapeError);
    expect(() => linearCrossEntropy(x, w, t.cast("f32"))).toThrow(DtypeError);
    expect(() => linearCrossEntropy(x.cast("i32"), w, t)).toThrow(DtypeError);
    for (const labelSmoothing of [-0.1, 1.1, Number.NaN])
      expect(() => linearCrossEntropy(x, w, t, { labelSmoothing })).toThrow(OptionError);
  });
});

describe.each(Object.entries(programTargets))("the program of a linear cross-entropy for %s", (_, target) => {
  const [N, rows] = [512, 128];
  const kernelsOf = (what: (x: Tensor, w: Tensor) => unknown, [C, V]: readonly [number, number] = [16, 4096]) => {
    const { backend, recorded } = createRecordingBackend();
    useBackend(backend);
    compile(what).explain(zeros([N, C]), zeros([V, C]));
    return lowerGraph((recorded.at(-1) as Recorded).graph, target);
  };
  const loss = (x: Tensor, w: Tensor, reduction: "mean" | "none"): Tensor =>
    linearCrossEntropyBy(rows, { x, weight: w, targets: zeros([N], { dtype: "i32" }) }, { reduction }).sum();
  const products = (lowered: { readonly steps: readonly unknown[] }): number =>
    JSON.stringify(lowered.steps).split('"kind":"matmul"').length - 1;

  it("multiplies once for the loss, and once more for each gradient that is wanted", () => {
    for (const [reduction, again] of [
      ["mean", 0],
      ["none", 1],
    ] as const) {
      const of = (f: (x: Tensor, w: Tensor) => unknown): number => products(kernelsOf(f));
      expect(of((x, w) => loss(x, w, reduction))).toBe(1);
      expect(of((x, w) => valueAndGrad((at: Tensor) => loss(at, w, reduction))(x))).toBe(2 + again);
      expect(of((x, w) => valueAndGrad((at: Tensor) => loss(x, at, reduction))(w))).toBe(2 + again);
      expect(of((x, w) => valueAndGrad((at: Tensor[]) => loss(at[0] as Tensor, at[1] as Tensor, reduction))([x, w]))).toBe(3 + again);
      expect(of((x, w) => valueAndGrad((at: Tensor[]) => loss(at[0] as Tensor, stopGradient(at[1] as Tensor), reduction))([x, w]))).toBe(
        2 + again,
      );
    }
  });

  it("takes the memory of one block of logits", () => {
    const [C, V] = [256, 16_384] as const;
    for (const reduction of ["mean", "none"] as const) {
      const gradients = (x: Tensor, w: Tensor): unknown =>
        valueAndGrad((at: Tensor[]) => loss(at[0] as Tensor, at[1] as Tensor, reduction))([x, w]);
      expect(planOf(kernelsOf(gradients, [C, V]), target).scratchBytes / (4 * rows * V)).toBeLessThan(1.2);
    }
  });
});
