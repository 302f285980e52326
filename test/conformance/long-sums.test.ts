import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  broadcastTo,
  cast,
  clipByGlobalNorm,
  crossEntropy,
  full,
  gather,
  globalNorm,
  grad,
  iota,
  logSoftmax,
  logSumExp,
  matmul,
  mean,
  mul,
  ones,
  rmsNorm,
  scatterAdd,
  softmax,
  std,
  sum,
  type Tensor,
  tensor,
  transpose,
  useBackend,
  variance,
} from "../../src/index.js";
import { type DType, representable } from "../../src/ir/dtype.js";
import { longSums } from "../support/arbitraries.js";
import { backendVariants } from "../support/backends.js";
import { compute, GraphBuilder, type HostTensor } from "../support/graphs.js";
import { longSumBound } from "../support/tolerances.js";
import { viewOf } from "../support/views.js";

const reference = createReferenceBackend();
const float = Math.fround;

/** How far a value is from what it should be, in units of what a sum of so many terms may be off by; at most 1 is right. */
const excess = (found: number, expected: number, terms: number): number =>
  Math.abs(found - expected) / Math.abs(expected) / longSumBound(terms);

const worst = async (found: Tensor, expected: number, terms: number): Promise<number> =>
  Math.max(...Array.from(await found.data(), (x) => excess(x, expected, terms)));

/** Numbers that go through a cycle of 1009, computed where they are used: (1 + i mod 1009)·scale + shift. */
const cycle = 1009;
const cyclic = (n: number, scale: number, shift = 0): Tensor =>
  cast(iota([n], 0).mod(cycle), "f32")
    .add(1)
    .mul(scale)
    .add(shift);
/** Σ f(x) over those numbers. */
function overCycle(n: number, scale: number, shift: number, f: (x: number) => number): number {
  let total = 0;
  for (let k = 0; k < cycle; k++) {
    const times = Math.floor(n / cycle) + (k < n % cycle ? 1 : 0);
    total += times * f(float(float((k + 1) * float(scale)) + shift));
  }
  return total;
}

const chosen = ["reference", "wasm", "wasm by definition", "webgpu", "webgpu with GPU kernels"];
const variants = backendVariants().filter(({ name }) => chosen.includes(name));

describe.each(variants)("the error of a long sum grows like log n on $name", { timeout: 120_000 }, ({ name, create }) => {
  /**
   * Terms of long sums. The reference adds in f64, and processors are slow with the kernels of GPUs; a third as many, added one after
   * another in f32, would be off by more than ten times the bound as well.
   */
  const many = name === "reference" || name === "webgpu with GPU kernels" ? 300_007 : 1_000_003;
  /** The longest sums whose terms need no memory. */
  const longest = name === "wasm" ? 1e8 : name === "webgpu" ? 25_000_003 : many;
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("over all elements of one number, in any shape", async () => {
    const found: Record<string, number> = {};
    const first = Math.floor(many / 1000);
    const shapes = [[1000 * first], [first, 1000], [many], [7, 142 * first + 867], [16, 62 * first + 500], [first, 10, 100], [longest]];
    for (const shape of new Map(shapes.map((shape) => [String(shape), shape])).values()) {
      const n = shape.reduce((a, b) => a * b, 1);
      // Each value is a kernel of its own.
      for (const value of name.startsWith("webgpu") ? [0.1] : [0.1, 1 / 3]) {
        found[`sum [${shape}]`] = await worst(sum(full(shape, value)), n * float(value), n);
        found[`mean [${shape}]`] = await worst(mean(full(shape, value)), float(value), n);
      }
    }
    expect(Object.entries(found).filter(([, x]) => !(x <= 1))).toEqual([]);
  });

  it("and beyond 2²⁴ ones", async () => {
    const side = longest >= 25e6 ? 5000 : 1000;
    expect(await sum(ones([side, side])).item()).toBe(side * side);
  });

  it("for means, variances and norms of numbers that are not all the same", async () => {
    for (const n of longest > 1e7 ? [many, longest] : [many]) {
      const total = overCycle(n, 0.1, 0, (x) => x);
      expect(await worst(sum(cyclic(n, 0.1)), total, n)).toBeLessThanOrEqual(1);
      if (n < 1e7) expect(await worst(mean(cyclic(n, 0.1)), total / n, n)).toBeLessThanOrEqual(1);
      const squares = overCycle(n, 0.1, 0, (x) => x * x);
      expect(await worst(globalNorm({ a: cyclic(n, 0.1), b: [full([3], 0)] }), Math.sqrt(squares), n)).toBeLessThanOrEqual(1);
      for (const shift of n > 1e7 ? [1000] : [0, 1000, -30_000]) {
        const centre = overCycle(n, 0.1, shift, (x) => x) / n;
        const spread = overCycle(n, 0.1, shift, (x) => (x - centre) ** 2) / n;
        // The reference computes its operands in f64, where they are not those of the table.
        const expected = name === "reference" ? await variance(cyclic(n, 0.1)).item() : spread;
        expect(await worst(variance(cyclic(n, 0.1, shift)), expected, n), `variance around ${shift}`).toBeLessThanOrEqual(1);
        if (n < 1e7) expect(await worst(std(cyclic(n, 0.1, shift)), Math.sqrt(expected), n), `std around ${shift}`).toBeLessThanOrEqual(1);
      }
    }
  });

  it("a spread of equal numbers is never negative", async () => {
    for (const n of [1, 2, 3, 1000, 100_003]) {
      const found = await variance(full([n], 0.1)).item();
      expect(found).toBeGreaterThanOrEqual(0);
      expect(found).toBeLessThan(1e-12);
    }
  });

  it("over any axes of any view", async () => {
    const property = fc.asyncProperty(longSums, async ({ shape, axes, view, seed }) => {
      const builder = new GraphBuilder();
      // Between 1 and 2 there is one binade, so that additions of a large sum all round alike.
      const values: HostTensor = {
        shape,
        dtype: "f32",
        data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(float(1 + seed / 1000)),
      };
      const x = viewOf(builder, values, view);
      const computation = builder.build([builder.operation("sum", [x], { axes })]);
      const [expected] = (await compute(reference, computation)) as [HostTensor];
      const [found] = (await compute(backend, computation)) as [HostTensor];
      const terms = values.data.length / Math.max(1, expected.data.length);
      const off = Math.max(...Array.from(expected.data, (y, i) => excess(found.data[i] as number, y, Math.max(2, terms))));
      if (!(off <= 1)) throw new Error(`${off} times the bound for ${terms} terms`);
    });
    await fc.assert(property, { seed: 5, numRuns: name.startsWith("webgpu") ? 12 : 60 });
  });

  it("in products, whichever way the operands lie", async () => {
    const long = name === "webgpu" || name === "reference" ? 100_003 : 1_000_003;
    // Processors are slow with the tiles of GPUs, most of which lie outside of so few rows and columns, and slower to compile them.
    const sizes: readonly (readonly [m: number, n: number, depths: readonly number[]])[] =
      name === "webgpu with GPU kernels"
        ? [[8, 8, [8209]]]
        : [
            [8, 8, [long, 8193, 8192, 4099, 257, 129]],
            [1, 1, [long, 4100]],
            [1, 70, [16_384, 1023]],
            [70, 2, [16_385, 1024]],
          ];
    const value = 0.1;
    const matrix = (shape: number[]): Tensor => tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value), { shape });
    for (const [m, n, depths] of sizes) {
      for (const depth of depths) {
        const expected = depth * float(value) ** 2;
        const products = {
          NN: matmul(matrix([m, depth]), matrix([depth, n])),
          NT: matmul(matrix([m, depth]), transpose(matrix([n, depth]))),
          TN: matmul(transpose(matrix([depth, m])), matrix([depth, n])),
        };
        for (const [kind, product] of Object.entries(products))
          expect(await worst(product, expected, depth), `${kind} ${m} × ${depth} × ${n}`).toBeLessThanOrEqual(1);
      }
    }
    const depth = name === "webgpu with GPU kernels" ? 257 : 20_011;
    const batched = matmul(matrix([3, 5, depth]), matrix([3, depth, 4]));
    expect(await worst(batched, depth * float(value) ** 2, depth), "batched").toBeLessThanOrEqual(1);
  });

  it("in sums into few bins", async () => {
    for (const [entries, bins, columns] of [
      [100_003, 2, 3],
      [20_011, 5, 33],
      [5003, 1, 1],
    ] as const) {
      const index = tensor(Int32Array.from({ length: entries }, (_, i) => (i % 1000 === 0 ? -1 : 0)));
      const into = scatterAdd(full([entries, columns], 0.1), index, bins).slice([[0, 1]]);
      const terms = entries - Math.ceil(entries / 1000);
      expect(await worst(into, terms * float(0.1), terms), `${entries} into ${bins}`).toBeLessThanOrEqual(1);
    }
    const infinite = scatterAdd(
      tensor([[1], [Infinity], [2]].concat(Array.from({ length: 300 }, () => [1]))),
      full([303], 0, { dtype: "i32" }),
      1,
    );
    expect(await infinite.data()).toEqual(Float32Array.of(Infinity));
  });

  it("in gradients that are sums", async () => {
    const n = many;
    const byFactor = grad((w: Tensor) => sum(mul(cyclic(n, 0.1), w)))(tensor(2));
    expect(
      await worst(
        byFactor,
        overCycle(n, 0.1, 0, (x) => x),
        n,
      ),
    ).toBeLessThanOrEqual(1);
    const tokens = 20_011;
    const byWeight = grad((w: Tensor) => sum(matmul(full([tokens, 3], 0.1), w)))(ones([3, 4]));
    expect(await worst(byWeight, tokens * float(0.1), tokens)).toBeLessThanOrEqual(1);
    const byRow = grad((table: Tensor) => sum(mul(gather(table, full([tokens], 1, { dtype: "i32" })), 0.1)))(ones([2, 3]));
    expect(await worst(byRow.slice([[1, 2]]), tokens * float(0.1), tokens)).toBeLessThanOrEqual(1);
    const byMean = grad((x: Tensor) => mean(broadcastTo(x, [1000, 1000])))(tensor(3));
    expect(await worst(byMean, 1, 1e6)).toBeLessThanOrEqual(1);
  });

  it("integers are averaged as floats", async () => {
    expect(await worst(mean(full([1000, 3], 2_000_000_000, { dtype: "i32" })), 2e9, 3000)).toBeLessThanOrEqual(1);
    expect(await worst(mean(full([1000], 4_000_000_000, { dtype: "u32" })), 4e9, 1000)).toBeLessThanOrEqual(1);
    expect(await mean(tensor([true, false, false, true])).item()).toBe(0.5);
    expect(mean(full([1], 7, { dtype: "i32" })).dtype).toBe("f32");
    expect(await worst(variance(tensor(Int32Array.of(-2_000_000_000, 2_000_000_000))), 4e18, 2)).toBeLessThanOrEqual(1);
    expect(await variance(tensor([true, false])).item()).toBe(0.25);
  });

  // Kernels for GPUs read halves as those for software do, and take processors seconds to compile.
  if (name !== "webgpu with GPU kernels")
    it("halves lose no more than their last rounding", async () => {
      const classes = 128_256;
      for (const dtype of ["f16", "bf16"] as const) {
        if (!backend.info.dtypes.has(dtype)) continue;
        const rounded = (x: number): number => representable(dtype, x);
        const digits = dtype === "f16" ? 2 ** -11 : 2 ** -8;
        const close = (found: number, expected: number): void => {
          // Numbers of f16 below 2⁻¹⁴ have fewer digits.
          expect(Math.abs(found - expected), `${dtype} ${found} for ${expected}`).toBeLessThanOrEqual(
            2 * digits * Math.abs(expected) + 2 ** -25,
          );
        };
        const logits = full([2, classes], 0.5, { dtype });
        const targets = tensor(Int32Array.of(3, 70_000));
        expect(softmax(logits).dtype).toBe(dtype);
        close(
          await softmax(logits)
            .slice([
              [0, 1],
              [5, 6],
            ])
            .item(),
          1 / classes,
        );
        close(
          await logSumExp(logits, -1)
            .slice([[1, 2]])
            .item(),
          0.5 + Math.log(classes),
        );
        close(
          await logSoftmax(logits)
            .slice([
              [1, 2],
              [0, 1],
            ])
            .item(),
          -Math.log(classes),
        );
        close(await crossEntropy(logits, targets).item(), Math.log(classes));
        const byLogits = await grad((x: Tensor) => crossEntropy(x, targets))(logits).data();
        close(byLogits[3] as number, (1 / classes - 1) / 2);
        close(byLogits[4] as number, 1 / classes / 2);
        close(await mean(full([1_000_003], 0.1, { dtype })).item(), rounded(0.1));
        close(await variance(cast(iota([100_003], 0).mod(2), dtype).mul(200)).item(), 10_000);
        close(
          await rmsNorm(full([3, 1000], 300, { dtype }), ones([1000], { dtype }))
            .slice([
              [0, 1],
              [7, 8],
            ])
            .item(),
          1,
        );
        const norm = globalNorm([full([1000, 1000], 10, { dtype })]);
        expect(await norm.item()).toBeCloseTo(10_000, 0);
        const [clipped] = clipByGlobalNorm([full([1000, 1000], 10, { dtype })], 1);
        expect((clipped[0] as Tensor).dtype).toBe(dtype satisfies DType);
        expect(await sum(full([60_001], 1, { dtype })).item()).toBe(rounded(60_001));
        close(await grad((w: Tensor) => sum(mul(full([30_011], 1, { dtype }), w)))(full([], 1, { dtype })).item(), 30_011);
      }
    });
});
