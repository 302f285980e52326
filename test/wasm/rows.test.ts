import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  compile,
  type DType,
  grad,
  layerNorm,
  logSoftmax,
  logSumExp,
  max,
  mul,
  rmsNorm,
  slice,
  softmax,
  sum,
  type Tensor,
  tensor,
  unsqueeze,
  useBackend,
} from "../../src/index.js";
import { allow, difference } from "../support/compare.js";
import { uniformSource } from "../support/samples.js";
import { transcendental } from "../support/tolerances.js";

/** A gradient of f that differs from element to element. */
const gradient = (f: (x: Tensor) => Tensor) => (x: Tensor, weight: Tensor) => grad((at: Tensor) => sum(mul(f(at), weight)))(x);

/** Functions of rows; those of one kernel whose maximum is asked for as well, and whose maximum is not. */
const functions: Readonly<Record<string, (x: Tensor, weight: Tensor) => Tensor | readonly Tensor[]>> = {
  softmax: (x) => softmax(x),
  logSoftmax: (x) => logSoftmax(x),
  logSumExp: (x) => logSumExp(x, -1),
  "a softmax and the maximum": (x) => [softmax(x), max(x, -1)],
  "a softmax of what it is multiplied by": (x) => mul(softmax(x), x),
  rmsNorm: (x, weight) => rmsNorm(x, weight),
  layerNorm: (x, weight) => layerNorm(x, weight, weight),
  /** Rows in parts of which no vector is whole, cut out of longer ones. */
  "a softmax and sums of rows of slices": (x) => {
    const parts = mul(unsqueeze(x, 2), tensor([1, -0.5, 2, 0.25, 1, 0.5, 3, 0.5, 1]));
    const rows = slice(parts, [null, null, [1, 8]]).reshape([x.shape[0] as number, -1]);
    return [softmax(rows), sum(rows, -1)];
  },
  "the gradient of softmax": gradient((x) => softmax(x)),
  "the gradient of logSoftmax": gradient((x) => logSoftmax(x)),
  "the gradient of rmsNorm": (x, weight) => gradient((at) => rmsNorm(at, weight))(x, weight),
};

/** On both sides of where a row takes vectors, pairs and groups of four of them, sums in pieces, and more memory than it may keep. */
const lengths = [1, 5, 15, 17, 63, 64, 79, 1021, 1025, 2049, 4099];

const rowsOf = (shape: readonly [number, number], seed: number, size = 4): Float32Array => {
  const uniform = uniformSource(seed);
  return Float32Array.from({ length: shape[0] * shape[1] }, () => size * (2 * uniform() - 1));
};

/** Everything that a function gives, as numbers. */
async function resultsOn(backend: Backend, name: string, values: Float32Array, length: number, dtype: DType = "f32"): Promise<number[][]> {
  useBackend(backend);
  const f = compile(functions[name] as (x: Tensor, weight: Tensor) => Tensor | readonly Tensor[]);
  const x = tensor(values, { shape: [values.length / length, length] }).cast(dtype);
  const found = f(x, tensor(rowsOf([1, length], 9), { shape: [length] }).cast(dtype));
  const lists = await Promise.all([found].flat().map(async (t) => Array.from((await (t as Tensor).data()) as Float32Array)));
  useBackend(undefined);
  return lists;
}

const compared = (list: readonly number[]) => ({ shape: [list.length], dtype: "f32" as const, data: Float64Array.from(list) });

describe("rows on wasm", { timeout: 60_000 }, () => {
  const reference = createReferenceBackend();
  const backends: Backend[] = [];
  beforeAll(async () => {
    for (const threads of [1, 2, 3]) backends.push(await createWasmBackend({ threads, chunks: "finest", poison: true }));
  });
  afterAll(async () => {
    useBackend(undefined);
    await Promise.all(backends.map((backend) => backend.close()));
  });

  /** The same bits on any number of threads, and close to the reference. */
  const check = async (name: string, values: Float32Array, length: number): Promise<void> => {
    const expected = await resultsOn(reference, name, values, length);
    const all: number[][][] = [];
    for (const backend of backends) all.push(await resultsOn(backend, name, values, length));
    const [first, ...others] = all;
    expect(others.every((other) => isDeepStrictEqual(other, first))).toBe(true);
    const found = first as number[][];
    found.forEach((list, i) => {
      const problem = difference(compared(list), compared(expected[i] as number[]), allow(transcendental));
      expect(problem, `${name} of rows of ${length}`).toBe(undefined);
    });
  };

  it.each(Object.keys(functions))("%s agrees with its definition for rows of every length", async (name) => {
    for (const length of lengths) await check(name, rowsOf([5, length], length), length);
  });

  it.each(["softmax", "the gradient of softmax"])("%s does so where a row is too long to be kept", async (name) => {
    for (const length of [2 ** 17, 2 ** 17 + 3]) await check(name, rowsOf([1, length], 1), length);
  });

  it.each(Object.keys(functions))("%s of a row with a NaN or an infinity is what the reference says, wherever it is", async (name) => {
    const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const length of [7, 79]) {
      // Each at each place of a row of its own, then rows of nothing else, then one without.
      const values = rowsOf([3 * length + 4, length], 3);
      specials.forEach((special, k) => {
        for (let i = 0; i < length; i++) values[(k * length + i) * length + i] = special;
        values.fill(special, (3 * length + k) * length, (3 * length + k + 1) * length);
      });
      await check(name, values, length);
    }
  });
});
