import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  cast,
  DtypeError,
  explain,
  grad,
  layerNorm,
  matmul,
  ones,
  rmsNorm,
  scatterAdd,
  softmax,
  type Tensor,
  tensor,
  useBackend,
} from "../../src/index.js";
import type { DType } from "../../src/ir/dtype.js";
import { thinned } from "../support/backends.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { type Half, halves, toNearestHalf } from "../support/halves.js";
import { productCases, productComputation } from "../support/products.js";
import { uniformSource } from "../support/samples.js";

/** The halves that this machine's WebGPU device stores; wasm stores both. */
const device = await createWebGpuBackend();
const onDevice: readonly Half[] = halves.filter((half) => device.info.dtypes.has(half));
await device.close();

interface Variant {
  readonly name: string;
  readonly create: () => Promise<Backend>;
  readonly halves: readonly Half[];
  readonly stride: number;
}

const variants: readonly Variant[] = [
  { name: "wasm", create: () => createWasmBackend({ threads: 2, poison: true }), halves, stride: 6 },
  {
    name: "wasm on three threads, in the smallest chunks",
    create: () => createWasmBackend({ threads: 3, chunks: "finest", poison: true }),
    halves,
    stride: 14,
  },
  {
    name: "wasm by definition",
    create: () => createWasmBackend({ threads: 1, kernels: "definitions", poison: true }),
    halves,
    stride: 26,
  },
  { name: "webgpu with GPU kernels", create: () => createWebGpuBackend({ kernelClass: "gpu" }), halves: onDevice.slice(0, 1), stride: 176 },
  {
    name: "webgpu with software kernels",
    create: () => createWebGpuBackend({ kernelClass: "software" }),
    halves: onDevice.slice(1),
    stride: 176,
  },
];
const everywhere = variants.filter(({ halves: offered }) => offered.length > 0);

function random(shape: readonly number[], seed: number): Float32Array {
  const uniform = uniformSource(seed);
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => Math.fround(4 * uniform() - 2));
}

const sameBits = (a: HostTensor, b: HostTensor): boolean => {
  const bytes = ({ data }: HostTensor): Buffer => Buffer.from(Float32Array.from(data).buffer);
  return bytes(a).equals(bytes(b));
};

/** The kernels of a description: their kinds, and the primitives that they compute. */
function kernelsOf(description: string): readonly { readonly kind: string; readonly primitives: readonly string[] }[] {
  return description.split("\n").flatMap((line) => {
    const found = /\b(map|row|matmul|scatter)\b.* slots [\d →]+(.*)$/.exec(line);
    return found === null ? [] : [{ kind: found[1] as string, primitives: (found[2] as string).trim().split(" ") }];
  });
}

/** The kernels whose only work is to cast. */
const castsOf = (description: string): readonly unknown[] =>
  kernelsOf(description).filter(({ primitives }) => primitives.every((primitive) => primitive === "cast"));

describe.each(everywhere)("products of different dtypes on $name", ({ create, halves: offered, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  const pairs: readonly (readonly [DType, DType])[] = offered.flatMap((half): readonly (readonly [DType, DType])[] => [
    ["f32", half],
    [half, "f32"],
    [half, half],
  ]);

  it("have the bits of the product of copies in f32, in every size and however the operands lie", { timeout: 120_000 }, async () => {
    for (const product of thinned(productCases, stride)) {
      for (const operands of pairs) {
        const [found] = (await compute(backend, productComputation(product, { operands }))) as [HostTensor];
        const [expected] = (await compute(backend, productComputation(product, { operands, widened: true }))) as [HostTensor];
        if (!sameBits(found, expected)) expect(found.data, `${product.title}: ${operands.join(" · ")}`).toEqual(expected.data);
      }
    }
  });
});

// Both classes of WebGPU's kernels multiply halves above; what becomes of casts is the same for either, and compiled once.
describe.each(everywhere.filter(({ name }) => name !== "webgpu with GPU kernels"))(
  "halves beside f32 on $name",
  ({ name, create, halves: offered }) => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await create();
      useBackend(backend);
    }, 120_000);
    afterAll(async () => {
      useBackend(undefined);
      await backend.close();
    });
    const fused = !name.includes("definition");

    describe.each(offered as readonly Half[])("%s,", (half) => {
      it("a product rounds its result to the dtype that it is asked for, once, also where the next operation is in f32", async () => {
        const [a, b] = [random([9, 33], 1), random([33, 14], 2)];
        const [x, w] = [tensor(a, { shape: [9, 33] }), tensor(b, { shape: [33, 14], dtype: half })];
        const wide = await matmul(x, w).data();
        const rounded = Float32Array.from(wide, (value) => toNearestHalf(value, half));
        expect(matmul(x, w).dtype).toBe("f32");
        expect(matmul(x, w, { dtype: half }).dtype).toBe(half);
        expect(await matmul(x, w, { dtype: half }).data()).toEqual(rounded);
        expect(await x.matmul(w, { dtype: half }).cast("f32").data()).toEqual(rounded);
        expect(() => matmul(x, w, { dtype: "i32" })).toThrow(DtypeError);
      });

      it("a cast there and back in one kernel rounds", async () => {
        const edges = [0, -0, 1e-9, 2 ** -25, 2 ** -24, 1.5 * 2 ** -24, 6.1e-5, 2049, 2051, -65504, 65519, 65520, 1e9, Infinity, -Infinity];
        const values = Float32Array.from([...edges, ...random([200], 8), ...random([200], 9).map((value) => value * 1e-5)]);
        const expected = values.map((value) => toNearestHalf(value, half));
        expect(await tensor(values).cast(half).cast("f32").data()).toEqual(expected);
        expect(await tensor(values).cast(half).data()).toEqual(expected);
      });

      it("casts that narrow an operand round it", async () => {
        const [a, b] = [random([5, 40], 3), random([40, 24], 4)];
        const rounded = b.map((value) => toNearestHalf(value, half));
        const x = tensor(a, { shape: [5, 40] });
        const expected = await matmul(x, tensor(rounded, { shape: [40, 24] })).data();
        const w = tensor(b, { shape: [40, 24] });
        expect(await matmul(x, cast(w, half)).data()).toEqual(expected);
        expect(await matmul(x, cast(cast(w, half), "f32")).data()).toEqual(expected);
      });

      it("gradients have the dtypes of their operands and the bits of the gradients of copies, rounded once", async () => {
        const [a, b] = [random([7, 20], 5), random([20, 11], 6).map((value) => toNearestHalf(value, half))];
        const x = tensor(a, { shape: [7, 20] });
        const gradients = (w: Tensor): [Tensor, Tensor] => {
          const [dx, dw] = grad(([p, q]: [Tensor, Tensor]) => matmul(p, q).square().sum())([x, w]) as [Tensor, Tensor];
          return [dx, dw];
        };
        const [dx, dw] = gradients(tensor(b, { shape: [20, 11], dtype: half }));
        const [wideX, wideW] = gradients(tensor(b, { shape: [20, 11] }));
        expect([dx.dtype, dw.dtype]).toEqual(["f32", half]);
        expect(await dx.data()).toEqual(await wideX.data());
        expect(await dw.data()).toEqual(Float32Array.from(await wideW.data(), (value) => toNearestHalf(value, half)));
      });

      it("sums into bins are taken in f32, beside those of f32", async () => {
        const [n, columns, bins] = [700, 6, 3];
        const index = tensor(Int32Array.from({ length: n }, (_, i) => (7 * i) % bins));
        const values = random([n, columns], 7).map((value) => toNearestHalf(value, half));
        const sums = new Float64Array(bins * columns);
        values.forEach((value, i) => {
          const place = ((7 * Math.floor(i / columns)) % bins) * columns + (i % columns);
          sums[place] = (sums[place] as number) + value;
        });
        const x = tensor(values, { shape: [n, columns], dtype: half });
        const y = tensor(values, { shape: [n, columns] });
        const both = (p: Tensor, q: Tensor): [Tensor, Tensor] => [scatterAdd(p, index, bins), scatterAdd(q, index, bins)];
        const [narrow, wide] = both(x, y);
        expect([narrow.dtype, wide.dtype]).toEqual([half, "f32"]);
        const found = await wide.data();
        found.forEach((value, i) => void expect(Math.abs(value - (sums[i] as number))).toBeLessThan(1e-3));
        expect(await narrow.data()).toEqual(Float32Array.from(found as Float32Array, (value) => toNearestHalf(value, half)));
        if (!fused) return;
        const kernels = kernelsOf(explain(both, x, y)).map(({ kind }) => kind);
        expect(kernels.sort()).toEqual(["map", "scatter", "scatter"]);
      });

      if (!fused) return;
      it("no kernel only casts what another reads: weights of products, forward and backward, softmax and norms", () => {
        const [x, w] = [ones([12, 32]), ones([24, 32], { dtype: half })];
        const h = ones([24, 32], { dtype: half });
        const row = ones([32], { dtype: half });
        const wide = (t: Tensor): Tensor => cast(t, "f32");
        const gradOf = (f: (t: Tensor) => Tensor) => grad((t: Tensor) => cast(f(t), "f32").square().sum());
        const computations: Readonly<Record<string, string>> = {
          product: explain((p: Tensor, q: Tensor) => matmul(p, q.transpose()), x, w),
          "view of a cast": explain((p: Tensor, q: Tensor) => matmul(p, wide(q).transpose()), x, w),
          "cast of a view": explain((p: Tensor, q: Tensor) => matmul(p, wide(q.transpose())), x, w),
          gradients: explain((p: Tensor, q: Tensor) => grad(([s, t]: [Tensor, Tensor]) => matmul(s, t.transpose()).sum())([p, q]), x, w),
          softmax: explain((t: Tensor) => softmax(t), h),
          "gradient of softmax": explain(gradOf(softmax), h),
          rmsNorm: explain((t: Tensor, r: Tensor) => rmsNorm(t, r), h, row),
          layerNorm: explain((t: Tensor, r: Tensor) => layerNorm(t, r, r), h, row),
          "gradient of layerNorm": explain((t: Tensor, r: Tensor) => gradOf((each) => layerNorm(each, r, r))(t), h, row),
        };
        for (const [what, description] of Object.entries(computations)) {
          expect(kernelsOf(description).length, what).toBeGreaterThan(0);
          expect(castsOf(description), what).toEqual([]);
        }
        // The matcher finds such a kernel where there is one.
        expect(castsOf(explain((t: Tensor) => cast(t, "f32"), h))).toHaveLength(1);
      });
    });
  },
);
