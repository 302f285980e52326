import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { softmax } from "../../src/autograd/composites.js";
import { data } from "../../src/autograd/realize.js";
import { withBackend } from "../../src/autograd/runtime.js";
import { tensor } from "../../src/autograd/tensor.js";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { backendVariants } from "../support/backends.js";
import { allow, difference } from "../support/compare.js";
import { fill } from "../support/samples.js";
import { transcendental } from "../support/tolerances.js";

const reference = createReferenceBackend();

const softmaxOn = async (backend: Backend, values: ArrayLike<number>, shape: readonly number[]) => {
  const result = withBackend(backend, () => data(softmax(tensor(Float32Array.from(values), { shape }))));
  return { shape, dtype: "f32" as const, data: await result };
};

/** Row lengths on both sides of where a row is done in vectors, in pairs of them, or in pieces. */
const shapes = [1, 3, 4, 15, 16, 17, 64, 130, 257].map((length) => [35, length] as const);

describe.each(backendVariants())("softmax on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  const compare = async (values: ArrayLike<number>, shape: readonly number[]): Promise<string | undefined> =>
    difference(await softmaxOn(backend, values, shape), await softmaxOn(reference, values, shape), allow(transcendental));

  it("agrees with its definition for rows of every length, small and large elements", { timeout: 120_000 }, async () => {
    for (const shape of shapes) {
      for (const size of [1, 30, 1e4]) {
        const { data: values } = fill({ shape, dtype: "f32", low: -size, high: size }, shape[1]);
        expect(await compare(values, shape)).toBe(undefined);
      }
    }
  });

  it("gives masked elements exactly nothing, and rows that are masked throughout equal shares", async () => {
    const [rows, length] = [40, 33];
    const values = Float32Array.from({ length: rows * length }, (_, i) => (i % length <= Math.floor(i / length) - 5 ? (i % 7) - 3 : -1e30));
    const found = await softmaxOn(backend, values, [rows, length]);
    expect(await compare(values, [rows, length])).toBe(undefined);
    found.data.forEach((share, i) => {
      if (i >= 5 * length && values[i] === Math.fround(-1e30)) expect(share).toBe(0);
    });
    for (let i = 0; i < length; i++) expect(found.data[i]).toBeCloseTo(1 / length, 6);
  });
});
