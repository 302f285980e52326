import { derivative, evaluate, parse } from "mathjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import * as dawngrad from "../../src/index.js";
import { grad, type Tensor, tensor, useBackend, vmap } from "../../src/index.js";
import { backends } from "../support/backends.js";
import { trigonometric } from "../support/tolerances.js";

interface Elementary {
  /** The value in double precision. */
  readonly value: (x: number) => number;
  /** The derivative in mathjs's words, and the points at which it and those after it are asked for. */
  readonly slope: string;
  readonly at: readonly number[];
  /** Points at which values are compared on every backend, beyond those. */
  readonly further: readonly number[];
}

const tiny = [1e-30, -1e-30, 1e-7, -1e-7, 3e-4, 0, -0];
const edges = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
const anywhere = [-2.3, -0.4, 0.2, 0.6, 1.9];
const inside = [-0.9, -0.3, 0.1, 0.55, 0.97];

/** ln(1 + e^x), without overflow. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

const ofOne: Readonly<Record<string, Elementary>> = {
  expm1: { value: Math.expm1, slope: "exp(x)", at: anywhere, further: [...tiny, ...edges, 60, -60, 0.999999, -1.000001] },
  log1p: {
    value: Math.log1p,
    slope: "1 / (1 + x)",
    at: [-0.6, -0.2, 0.1, 0.25, 3],
    further: [...tiny, ...edges, -1, -1.5, 1e20, 0.24999, -0.2501],
  },
  exp2: { value: (x) => 2 ** x, slope: "2^x * log(2)", at: anywhere, further: [...tiny, ...edges, 10, -20, 0.5] },
  log2: { value: Math.log2, slope: "1 / (x * log(2))", at: [0.2, 1, 3.3], further: [...edges, 0, -1, 1e20, 1e-20] },
  log10: { value: Math.log10, slope: "1 / (x * log(10))", at: [0.2, 1, 3.3], further: [...edges, 0, -1, 1e20, 1e-20] },
  tan: { value: Math.tan, slope: "1 / cos(x)^2", at: [-1.2, -0.4, 0.3, 1.1], further: [0, 1e-7] },
  asin: { value: Math.asin, slope: "1 / sqrt(1 - x^2)", at: inside, further: [...tiny, 1, -1, 1.5, Number.NaN] },
  acos: { value: Math.acos, slope: "-1 / sqrt(1 - x^2)", at: inside, further: [0, 1, -1, 1.5, Number.NaN] },
  atan: { value: Math.atan, slope: "1 / (1 + x^2)", at: anywhere, further: [...tiny, ...edges, 1, -1, 1e20, -3e8] },
  sinh: { value: Math.sinh, slope: "cosh(x)", at: anywhere, further: [...tiny, ...edges, 1, -1, 20, -88] },
  cosh: { value: Math.cosh, slope: "sinh(x)", at: anywhere, further: [...tiny, ...edges, 20, -88] },
  asinh: { value: Math.asinh, slope: "1 / sqrt(1 + x^2)", at: anywhere, further: [...tiny, ...edges, 1e9, -1e20, 1e38] },
  acosh: {
    value: Math.acosh,
    slope: "1 / sqrt(x^2 - 1)",
    at: [1.2, 2, 5.5],
    further: [1, 1.0001, 0.5, 1e9, 1e38, Number.POSITIVE_INFINITY, Number.NaN],
  },
  atanh: { value: Math.atanh, slope: "1 / (1 - x^2)", at: inside, further: [...tiny, 1, -1, 2, Number.NaN] },
  softplus: { value: softplus, slope: "1 / (1 + exp(-x))", at: anywhere, further: [0, 100, -100, -20, ...edges] },
  logSigmoid: { value: (x) => -softplus(-x), slope: "1 / (1 + exp(x))", at: anywhere, further: [0, 100, -100, 20, ...edges] },
  mish: {
    value: (x) => x * Math.tanh(softplus(x)),
    slope: "tanh(log(1 + exp(x))) + x * (1 - tanh(log(1 + exp(x)))^2) / (1 + exp(-x))",
    at: anywhere,
    further: [0, 20],
  },
};

type OfOne = (x: Tensor) => Tensor;
type OfTwo = (a: Tensor, b: Tensor) => Tensor;
const named = <F>(name: string): F => (dawngrad as unknown as Readonly<Record<string, F>>)[name] as F;

const scalar = (x: number): Tensor => tensor(Float64Array.from([x]), { shape: [] });
const isNear = (found: number, expected: number, relative: number, absolute = 0): boolean =>
  Object.is(found, expected) || found === expected || Math.abs(found - expected) <= relative * Math.abs(expected) + absolute;

describe("in double precision", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });

  it.each(Object.entries(ofOne))(
    "%s has the value and, to the third order, the derivatives that it should",
    async (name, { value, slope, at, further }) => {
      const f = named<OfOne>(name);
      for (const x of [...at, ...further]) {
        const found = await f(scalar(x)).item();
        if (!isNear(found, value(x), 4e-15, 1e-300)) expect.fail(`${name}(${x}) = ${found}, not ${value(x)}`);
      }
      const first = parse(slope);
      const expressions = [first, derivative(first, "x"), derivative(derivative(first, "x"), "x")];
      let function_ = f;
      for (const expression of expressions) {
        function_ = grad(function_);
        for (const x of at) {
          const [found, expected] = [await function_(scalar(x)).item(), evaluate(expression.toString(), { x }) as number];
          if (!isNear(found, expected, 1e-10, 1e-12)) expect.fail(`a derivative of ${name} at ${x} is ${found}, not ${expected}`);
        }
      }
    },
  );

  it("odd functions keep the sign of 0", async () => {
    for (const name of ["asin", "atan", "sinh", "asinh", "atanh"]) expect(await named<OfOne>(name)(scalar(-0)).item()).toBe(-0);
  });

  const pairs = [
    [0, 0],
    [3, 4],
    [-3, 4],
    [3, -4],
    [-3, -4],
    [0, -2],
    [0, 2],
    [1e-200, 1e-200],
    [1e200, 1e200],
    [-2, 0],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [1, Number.POSITIVE_INFINITY],
  ] as const;
  const logAddExp = (a: number, b: number): number => (a === b ? a + Math.LN2 : Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b))));
  it.each([
    ["hypot", Math.hypot, ["x / sqrt(x^2 + y^2)", "y / sqrt(x^2 + y^2)"]],
    ["atan2", Math.atan2, ["y / (x^2 + y^2)", "-x / (x^2 + y^2)"]],
    ["logAddExp", logAddExp, ["1 / (1 + exp(y - x))", "1 / (1 + exp(x - y))"]],
  ] as const)("%s has the value and the derivatives that it should", async (name, value, slopes) => {
    const f = named<OfTwo>(name);
    for (const [a, b] of pairs) {
      const found = await f(scalar(a), scalar(b)).item();
      if (!isNear(found, value(a, b), 4e-15)) expect.fail(`${name}(${a}, ${b}) = ${found}, not ${value(a, b)}`);
    }
    for (const [x, y] of pairs.slice(1, 5)) {
      for (const [by, slope] of slopes.entries()) {
        const first = grad(f, by) as OfTwo;
        expect(await first(scalar(x), scalar(y)).item()).toBeCloseTo(evaluate(slope, { x, y }) as number, 10);
        for (const [again, letter] of ["x", "y"].entries()) {
          const second = grad(first, again) as OfTwo;
          const expected = evaluate(derivative(slope, letter).toString(), { x, y }) as number;
          expect(await second(scalar(x), scalar(y)).item()).toBeCloseTo(expected, 9);
        }
      }
    }
    for (const by of [0, 1]) expect(Number.isFinite(await (grad(f, by) as OfTwo)(scalar(0), scalar(0)).item())).toBe(true);
  });

  it("round, ceil and trunc are IEEE's, in the dtype of their operand and without a derivative", async () => {
    const values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, 8388609, 4503599627370497, -3.7, ...edges];
    const even = (x: number): number => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
    const x = tensor(Float64Array.from(values));
    expect([...(await dawngrad.round(x).data())]).toEqual(values.map((v) => even(v) + 0));
    expect([...(await x.ceil().data())].map((v) => v + 0)).toEqual(values.map((v) => Math.ceil(v) + 0));
    expect([...(await x.trunc().data())].map((v) => v + 0)).toEqual(values.map((v) => Math.trunc(v) + 0));
    for (const f of [dawngrad.round, dawngrad.ceil, dawngrad.trunc])
      expect(await grad((t: Tensor) => f(t).sum())(tensor([0.5, 1.2])).array()).toEqual([0, 0]);
    expect(dawngrad.round(tensor([1, 2], { dtype: "i32" })).dtype).toBe("i32");
  });

  it("tests and bits", async () => {
    const x = tensor([0, 1, ...edges]);
    expect(await x.isnan().array()).toEqual([false, false, false, false, true]);
    expect(await x.isfinite().array()).toEqual([true, true, false, false, false]);
    expect(await x.isinf().array()).toEqual([false, false, true, true, false]);
    expect(await tensor([5, -1], { dtype: "i32" }).xor(3).array()).toEqual([6, -4]);
    expect(() => dawngrad.xor(x, x)).toThrow(dawngrad.DtypeError);
    expect(await tensor([-2, 0, 3]).leakyRelu(0.5).array()).toEqual([-1, 0, 3]);
    expect(await grad((t: Tensor) => dawngrad.elu(t).sum())(tensor([-50, 0, 60])).array()).toEqual([Math.fround(Math.exp(-50)), 1, 1]);
    expect(await vmap(grad((t: Tensor) => t.softplus()))(tensor([0])).array()).toEqual([0.5]);
  });
});

describe.each(backends())("on $name, in f32", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.close());

  it.each(Object.entries(ofOne))("%s keeps its digits", async (name, { value, at, further }) => {
    useBackend(backend);
    // Infinities are promised by none of the definitions' parts on every GPU.
    const xs = Float32Array.from([...at, ...further].filter(Number.isFinite));
    const found = await named<OfOne>(name)(tensor(xs)).data();
    for (const [i, x] of xs.entries()) {
      const expected = Math.fround(value(x));
      // WebGPU promises sines and cosines to 2⁻¹¹ alone.
      const scale = name === "tan" ? 4 * trigonometric.absolute : name === "exp2" ? 3e-5 : 3e-6;
      if (!isNear(found[i] as number, expected, scale, name === "tan" ? scale : 1e-37))
        expect.fail(`${name}(${x}) = ${found[i]}, not ${expected}`);
    }
  });
});
