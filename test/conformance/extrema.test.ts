import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { compile, div, exp, grad, iota, log, max, min, mul, softmax, sub, sum, type Tensor, useBackend, vjp } from "../../src/index.js";
import type { DType } from "../../src/ir/dtype.js";
import { backendVariants, thinned } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";

const shifted = (x: Tensor): Tensor => exp(sub(x, max(x, -1, true)));

/** Computed rows whose largest and smallest elements are asked for: each kernel that needs them may compute them once more. */
const producers: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  multiples: (x) => x.mul(0.37),
  "products and sums": (x) => x.mul(1.7).add(0.123),
  quotients: (x) => x.div(0.7),
  "a softmax": (x) => softmax(x),
  "a softmax taken apart": (x) => div(shifted(x), sum(shifted(x), -1, true)),
  "products with a reciprocal": (x) => mul(shifted(x), div(1, sum(shifted(x), -1, true))),
  "a softmax below a softmax": (x) => softmax(softmax(x).mul(3)),
  "a logarithm of a softmax": (x) => log(softmax(x)),
  "rows by their norm": (x) => x.div(x.mul(x).sum(-1, true).sqrt()),
  "products of matrices": (x) => x.matmul(x.transpose()).mul(0.37).add(1).matmul(x).mul(0.3),
  "a transposed computation": (x) => x.transpose().mul(1.1).transpose(),
};

const extrema = [
  { reduce: max, over: -1 },
  { reduce: min, over: 0 },
  { reduce: max, over: [0, 1] },
] as const;

const dtypes: readonly DType[] = ["f32", "f16"];

// So many rows that a kernel of rows takes in what comes before and after, and so many elements that all of them are reduced in steps.
const input = (dtype: DType): Tensor => floats([64, 48], { low: -1, high: 1, dtype: "f32" }).cast(dtype);

/** Both ways to the gradient of the sum of extrema: in one program, and after the extrema were realised by one of their own. */
async function gradients(extremum: (x: Tensor) => Tensor, x: Tensor): Promise<number[][]> {
  const whole = compile(grad((at: Tensor) => extremum(at).sum()))(x);
  const [value, pull] = vjp(extremum, x);
  await value.data();
  const later = pull(value.mul(0).add(1))[0];
  return [await numbersOf(whole), await numbersOf(later)];
}

describe.each(backendVariants())("$name finds the places that attain an extremum of", ({ create, stride }) => {
  let backend: Backend;
  const reference = createReferenceBackend();
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  for (const dtype of dtypes) {
    for (const [name, producer] of thinned(Object.entries(producers), Math.min(stride, 12))) {
      it(`${name} in ${dtype}`, { timeout: 60_000 }, async () => {
        if (!backend.info.dtypes.has(dtype)) return;
        for (const { reduce, over } of extrema) {
          const extremum = (x: Tensor): Tensor => reduce(producer(x), over);
          useBackend(reference);
          const [expected] = (await gradients(extremum, input("f32"))) as [number[]];
          useBackend(backend);
          const largest = Math.max(...expected.map(Math.abs));
          for (const found of await gradients(extremum, input(dtype))) {
            expect(found.every(Number.isFinite)).toBe(true);
            // Halves have ties that exact numbers have not.
            const worst = Math.max(...found.map((value, i) => Math.abs(value - (expected[i] as number))));
            if (dtype === "f32") expect(worst).toBeLessThan(1e-4 * largest);
          }
        }
      });
    }
  }

  it("rows, and uses what a pass over the rows computed before after it", { timeout: 60_000 }, async () => {
    useBackend(backend);
    const f = (x: Tensor): Tensor => {
      const e = shifted(x);
      const s = sum(e, -1, true);
      return sum(mul(sum(mul(div(e, s), iota([1, 3], -1, { dtype: "f32" })), -1, true), div(1, s)));
    };
    const found = await numbersOf(grad(f)(iota([1, 3], -1, { dtype: "f32" }).mul(0.5)));
    [-0.24916455149650574, -0.25521421432495117, 0.5043787360191345].forEach((expected, i) => {
      expect(Math.abs((found[i] as number) - expected)).toBeLessThan(1e-5);
    });
  });
});
