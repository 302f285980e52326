import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { argmax, concat, gather, grad, matmul, max, scatterAdd, softmax, type Tensor, tensor, useBackend, zeros } from "../../src/index.js";
import { backendVariants, thinned } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";

const f32 = (...shape: number[]): Tensor => floats(shape, { dtype: "f32" });

/** Matrices with no rows or no columns, and how they came about. */
const empties: Readonly<Record<string, () => Tensor>> = {
  "no rows": () => zeros([0, 5]),
  "no columns": () => zeros([5, 0]),
  nothing: () => zeros([0, 0]),
  "an empty slice of columns at the end": () =>
    f32(131, 40).slice([
      [0, 131],
      [40, 40],
    ]),
  "an empty slice of rows in the middle, transposed": () =>
    f32(40, 17)
      .slice([[20, 20]])
      .transpose(),
  "an empty slice of computed columns, transposed": () =>
    f32(8, 130)
      .mul(2)
      .tanh()
      .slice([
        [0, 8],
        [99, 99],
      ])
      .transpose(),
  "an empty reshape of an empty slice": () =>
    f32(3, 4, 6)
      .slice([[1, 1]])
      .reshape([6, 0]),
  "flipped nothing": () => f32(0, 64).flip(0).mul(3),
};

const joined = (x: Tensor, axis: number): Tensor => concat([x, f32(...x.shape.map((extent, i) => (i === axis ? 3 : extent))), x], axis);

/** What can be done with a matrix [m, n] of which m or n is 0. */
const uses: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  "its product with a matrix": (x) => matmul(x, f32(x.shape[1] as number, 4)),
  "a matrix times it": (x) => matmul(f32(7, x.shape[0] as number), x),
  "a matrix times it, and more": (x) =>
    matmul(f32(64, x.shape[0] as number), x)
      .add(1)
      .tanh()
      .sum(),
  "a batch of matrices times it": (x) => matmul(f32(2, 3, x.shape[0] as number), x),
  "its product with itself, transposed": (x) => matmul(x, x.transpose()),
  "itself, transposed, times it": (x) => matmul(x.transpose(), x).add(2),
  "sums of rows": (x) => x.sum(1),
  "sums of columns": (x) => x.mul(2).sum(0),
  "the sum": (x) => x.add(1).sum(),
  "more rows": (x) => joined(x, 0),
  "more columns": (x) => joined(x, 1),
  padding: (x) =>
    x
      .pad(
        [
          [1, 2],
          [0, 3],
        ],
        0.5,
      )
      .mul(2),
  "a softmax": (x) => (x.shape[1] === 0 ? x : softmax(x)),
  "largest elements": (x) => (x.shape[1] === 0 ? x : max(x, 1)),
  "places of the largest": (x) => (x.shape[0] === 0 ? x : argmax(x, 0)),
  "rows out of it": (x) => gather(x, tensor(Int32Array.from([0, 2]))),
  "its rows in bins": (x) => scatterAdd(x, zeros([x.shape[0] as number], { dtype: "i32" }), 3),
  "a gradient": (x) =>
    grad((at: Tensor) =>
      matmul(at, f32(at.shape[1] as number, 2))
        .add(1)
        .sum()
        .add(at.sum()),
    )(x),
};

describe.each(backendVariants())("$name computes of nothing what the reference does:", ({ create, stride }) => {
  let backend: Backend;
  const reference = createReferenceBackend();
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  for (const [name, use] of Object.entries(uses)) {
    it(name, { timeout: 60_000 }, async () => {
      for (const [kind, make] of thinned(Object.entries(empties), Math.min(stride, 4))) {
        useBackend(reference);
        const expected = use(make());
        const numbers = await numbersOf(expected);
        useBackend(backend);
        const found = use(make());
        expect(found.shape, kind).toEqual(expected.shape);
        for (const [i, value] of (await numbersOf(found)).entries()) {
          if (Number.isNaN(numbers[i])) expect(value, kind).toBeNaN();
          else expect(Math.abs(value - (numbers[i] as number)), kind).toBeLessThan(1e-4 * (1 + Math.abs(numbers[i] as number)));
        }
      }
    });
  }
});
