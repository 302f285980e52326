import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { grad, matmul, type Tensor, tensor, useBackend } from "../../src/index.js";
import { thinned } from "../support/backends.js";
import { casesOf } from "../support/cases.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { halfFailure, withFloats } from "../support/half-cases.js";
import { halfValue, halves, toNearestHalf } from "../support/halves.js";
import { samples } from "../support/samples.js";

/** bf16 is packed into words everywhere, f16 where a device has no type for it, as at default limits. */
const variants = [
  { name: "software kernels", options: { kernelClass: "software" } },
  { name: "GPU kernels at default limits, in poisoned memory", options: { kernelClass: "gpu", defaultLimits: true, poison: true } },
] as const;

describe.each(variants)("halves on webgpu, $name,", { timeout: 120_000 }, ({ options }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWebGpuBackend(options);
    useBackend(backend);
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("take two bytes each, and every number comes through a buffer, through f32 and back unchanged", async () => {
    for (const half of halves) {
      const all = Float32Array.from({ length: 2 ** 16 - 1 }, (_, i) => halfValue(i, half));
      const x = tensor(all, { dtype: half });
      const back = x.cast("f32").cast(half);
      expect(await back.data()).toEqual(all);
      expect(await x.cast("f32").data()).toEqual(all);
      const before = backend.memory().liveBytes;
      const buffer = backend.alloc(half, all.length, "test");
      expect(backend.memory().liveBytes - before).toBe(2 ** 17);
      backend.free(buffer);
    }
  });

  for (const primitive of withFloats) {
    it.each(halves)(`${primitive} is the reference's result on the same numbers in %s, rounded to it`, async (half) => {
      const wrong: string[] = [];
      for (const testCase of thinned(casesOf(primitive, samples[primitive]), 40)) {
        const message = await halfFailure(backend, testCase, half);
        if (message !== undefined) wrong.push(`${testCase.title}: ${message}`);
      }
      expect(wrong).toEqual([]);
    });
  }

  it("that are neighbours in a word are written by different invocations, and what lies behind them is not touched", async () => {
    for (const half of halves) {
      for (const length of [1, 2, 3, 63, 65, 257]) {
        const builder = new GraphBuilder();
        const x = builder.input(hostTensor(half, [length], new Array<number>(length).fill(3)));
        const { graph } = builder.build([builder.operation("neg", [x], {})]);
        const program = backend.compile(graph, { donated: [true] });
        const buffer = backend.alloc(half, length, "test");
        backend.write(buffer, half, new Float32Array(length).fill(3));
        const [result] = backend.run(program, [buffer], []) as [typeof buffer];
        expect([...(await backend.read(result, half, length))]).toEqual(new Array(length).fill(-3));
        backend.free(result);
        backend.release(program);
      }
    }
  });
});

describe("halves on webgpu", { timeout: 120_000 }, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWebGpuBackend({ kernelClass: "software", defaultLimits: true });
    useBackend(backend);
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("in products with f32 give those of copies, however the halves lie, and so are their gradients", async () => {
    const values = (rows: number, columns: number): Float32Array =>
      Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(1 + 1.7 * i));
    for (const half of halves) {
      for (const [m, k, n] of [
        [5, 7, 9],
        [8, 64, 16],
        [33, 20, 12],
      ] as const) {
        const x = tensor(values(m, k), { shape: [m, k] });
        const products: ((w: Tensor) => Tensor)[] = [(w) => matmul(x, w.transpose()), (w) => matmul(w, x.transpose())];
        for (const product of products) {
          const numbers = values(n, k).map((value) => toNearestHalf(value, half));
          const [stored, copied] = [tensor(numbers, { shape: [n, k], dtype: half }), tensor(numbers, { shape: [n, k] })];
          const [found, expected] = [await product(stored).data(), await product(copied).data()];
          found.forEach((value, i) => {
            expect(Math.abs(value - (expected[i] as number))).toBeLessThan(1e-5);
          });
          const slope = (w: Tensor): Tensor => product(w).square().sum();
          const [ofStored, ofCopied] = [await grad(slope)(stored).data(), await grad(slope)(copied).data()];
          ofStored.forEach((value, i) => {
            const exact = ofCopied[i] as number;
            expect(Math.abs(value - exact)).toBeLessThan(Math.abs(exact) * 2 ** -8 + 1e-3);
          });
        }
      }
    }
  });
});
