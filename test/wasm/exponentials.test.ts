import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { abs, exp, grad, maximum, mul, neg, sigmoid, silu, softmax, type Tensor, tensor, useBackend } from "../../src/index.js";
import { uniformSource } from "../support/samples.js";
import { ulps } from "../wasm-math/floats.js";
import { forms } from "../wasm-math/vectors.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const rows = 5;
/** Around one vector, the two that reductions take at once, and the four lanes of their ends. */
const lengths = [...Array.from({ length: 17 }, (_, i) => i + 1), 31, 32, 33, 40, 63, 65, 100];

/** Numbers of any size around 0 with the places where exponentials bend among them. */
const edges = [0, -0, 1, -1, 87.3, -87.3, 88.7, -88.7, 95, -95, 103.9, -103.9, 104.5, -104.5, 1e30, -1e30, inf, -inf, nan];
const numbers = (count: number, seed: number): Float32Array => {
  const uniform = uniformSource(seed);
  return Float32Array.from({ length: count }, (_, i) => (i % 3 === 0 ? (edges[(i / 3) % edges.length] as number) : 40 * uniform() - 20));
};

const logistic = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const round = Math.fround;

/** Functions of one number with an exponential in them, as they are in f64 once their f32 operands are rounded, and ulp that they may be off. */
const functions: Readonly<Record<string, readonly [f: (x: Tensor) => Tensor, exact: (x: number) => number, bound: number]>> = {
  "e^x": [exp, Math.exp, 1.01],
  "e^-x": [(x) => exp(neg(x)), (x) => Math.exp(-x), 1.01],
  "e^-(x·|x|)": [(x) => exp(neg(mul(x, abs(x)))), (x) => Math.exp(-round(x * Math.abs(x))), 1.01],
  "e^-|x|": [(x) => exp(neg(abs(x))), (x) => Math.exp(-Math.abs(x)), 1.01],
  "e^|x|": [(x) => exp(abs(x)), (x) => Math.exp(Math.abs(x)), 1.01],
  "e^-(-|x|)": [(x) => exp(neg(neg(abs(x)))), (x) => Math.exp(Math.abs(x)), 1.01],
  "e^(x·|x|)": [(x) => exp(mul(x, abs(x))), (x) => Math.exp(round(x * Math.abs(x))), 1.01],
  "e^(-x·x)": [(x) => exp(neg(mul(x, x))), (x) => Math.exp(-round(x * x)), 1.01],
  "e^(-2·-|x|)": [(x) => exp(mul(-2, neg(abs(x)))), (x) => Math.exp(round(2 * Math.abs(x))), 1.01],
  sigmoid: [sigmoid, logistic, 3],
  // Below, the digits that σ has lost are lost to the product.
  silu: [(x) => silu(maximum(x, -87)), (x) => Math.max(x, -87) * logistic(Math.max(x, -87)), 4],
};

describe.each(forms)("exponentials in kernels, $form", ({ fused }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 2, chunks: "finest", poison: true, fusedMultiplyAdd: fused });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it.each(Object.entries(functions))("%s is what it is in f64, whatever the length of its operand", async (name, [f, exact, bound]) => {
    for (const length of lengths) {
      const x = numbers(length, length);
      const found = await f(tensor(x)).data();
      x.forEach((each, i) => {
        const error = ulps(found[i] as number, exact(each));
        expect(error, `${name} of ${each}, number ${i} of ${length}: ${found[i]}`).toBeLessThanOrEqual(bound);
      });
    }
  });

  it("a softmax is what it is in f64, for rows of every length", async () => {
    for (const length of lengths) {
      const uniform = uniformSource(length);
      // Row 1 is spread so far that most weights vanish, and row 2 has places that are masked.
      const x = Float32Array.from({ length: rows * length }, (_, i) => {
        const row = Math.floor(i / length);
        return row === 2 && i % 3 === 1 ? -1e30 : (uniform() - 0.5) * (row === 1 ? 400 : 10);
      });
      const found = await softmax(tensor(x, { shape: [rows, length] })).data();
      for (let row = 0; row < rows; row++) {
        const [own, weights] = [x.subarray(row * length, (row + 1) * length), found.slice(row * length, (row + 1) * length)];
        const largest = Math.max(...own);
        const powers = Array.from(own, (each) => Math.exp(round(each - largest)));
        const sum = powers.reduce((a, b) => a + b);
        powers.forEach((power, i) => {
          const error = Math.abs((weights[i] as number) - power / sum);
          expect(error, `number ${i} of ${length} in row ${row}`).toBeLessThanOrEqual(8 * 2 ** -24 * (power / sum) + 2 ** -125);
        });
        if (row === 2 && length > 1) own.forEach((each, i) => expect(each === -1e30 && weights[i] !== 0).toBe(false));
      }
    }
  });

  it("a NaN anywhere in a row is found by its maximum, minimum and softmax, and by those of no other row", async () => {
    for (const length of lengths.filter((each) => each <= 33)) {
      for (let at = 0; at < length; at++) {
        const x = Float32Array.from({ length: rows * length }, (_, i) => (i === 2 * length + at ? nan : Math.cos(i)));
        const t = tensor(x, { shape: [rows, length] });
        const [largest, smallest, weights] = [await t.max(1).data(), await t.min(1).data(), await softmax(t).data()];
        for (let row = 0; row < rows; row++) {
          const own = [...x.subarray(row * length, (row + 1) * length)];
          expect([largest[row], smallest[row]]).toEqual(row === 2 ? [nan, nan] : [Math.max(...own), Math.min(...own)]);
          expect([...weights.slice(row * length, (row + 1) * length)].every(Number.isNaN)).toBe(row === 2);
        }
      }
    }
  });

  it("extrema of infinities are infinite", async () => {
    const x = tensor([-inf, -inf, -inf, inf, inf, inf, -inf, 1, inf], { shape: [3, 3] });
    expect([...(await x.max(1).data())]).toEqual([-inf, inf, inf]);
    expect([...(await x.min(1).data())]).toEqual([-inf, inf, -inf]);
  });

  it("three derivatives of a sigmoid at 0 are those of the smooth function", async () => {
    const derivative =
      (f: (x: Tensor) => Tensor) =>
      (x: Tensor): Tensor =>
        grad((at: Tensor) => f(at).sum())(x);
    const [first, second, third] = [derivative(sigmoid), derivative(derivative(sigmoid)), derivative(derivative(derivative(sigmoid)))];
    for (const zero of [0, -0]) {
      const x = tensor([zero, zero]);
      expect([...(await first(x).data())]).toEqual([0.25, 0.25]);
      expect(Array.from(await second(x).data(), Math.abs)).toEqual([0, 0]);
      expect([...(await third(x).data())]).toEqual([-0.125, -0.125]);
    }
  });
});
