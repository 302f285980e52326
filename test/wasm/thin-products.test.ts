import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { compile, matmul, type Tensor, tensor, transpose, useBackend } from "../../src/index.js";

/**
 * Products of few rows are read where they lie, in two streams, in parts of up to 512 columns and in chunks of sixteen: sizes at either side
 * of each of these, and sums that end in the middle of the steps in which f32 and bf16 are read.
 */
const columns = [1, 2, 15, 16, 17, 33, 511, 512, 513, 1100];
const depths = [3, 8, 21, 600];

/** Multiples of 1/8, which bf16 holds and whose products and sums f32 holds: every order of summation gives the same number. */
const eighths = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => ((i * 37 + seed) % 31) / 8 - 2);

const settings: readonly (readonly [string, WasmOptions])[] = [
  ["one thread", { threads: 1, poison: true }],
  ["two threads in the smallest chunks", { threads: 2, chunks: "finest", poison: true }],
];

describe.each(settings)("thin products on %s", (_, options) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend(options);
    useBackend(backend);
  });
  afterAll(() => backend.close());

  it.each(["f32", "bf16"] as const)("are exact where sums are, with columns of %s", async (dtype) => {
    const cases = columns.flatMap((n, i) => depths.map((k, j) => ({ m: 1 + ((i + j) % 3), n, k })));
    const products = compile((pairs: [Tensor, Tensor][]) => pairs.map(([a, b]) => matmul(a, transpose(b))));
    const operands = cases.map(({ m, n, k }) => ({ a: eighths(m * k, 1), b: eighths(n * k, 2) }));
    const results = products(
      operands.map(({ a, b }, i): [Tensor, Tensor] => {
        const { m, n, k } = cases[i] as (typeof cases)[number];
        return [tensor(a, { shape: [m, k] }), tensor(b, { shape: [n, k], dtype })];
      }),
    );
    for (const [i, { m, n, k }] of cases.entries()) {
      const { a, b } = operands[i] as (typeof operands)[number];
      const wanted = new Float32Array(m * n);
      for (let row = 0; row < m; row++) {
        for (let column = 0; column < n; column++) {
          let sum = 0;
          for (let step = 0; step < k; step++) sum += (a[row * k + step] as number) * (b[column * k + step] as number);
          wanted[row * n + column] = sum;
        }
      }
      expect(await (results[i] as Tensor).data(), `${m} × ${k} × ${n}`).toEqual(wanted);
    }
  });
});
