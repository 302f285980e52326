import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { tilings } from "../../src/backend/webgpu/kernels/matmul-choice.js";
import { invocations, type Tiling, tilingBytes } from "../../src/backend/webgpu/kernels/tiling.js";
import { buildProgram } from "../../src/backend/webgpu/program.js";
import { magnitude } from "../support/cases.js";
import { difference } from "../support/compare.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { type Lie, type ProductCase, productComputation } from "../support/products.js";
import { sumBound } from "../support/tolerances.js";
import { maxWorkgroupsPerDimension } from "./targets.js";

const name = ({ rows, columns, rowsEach, columnsEach, groups, slab }: Tiling): string =>
  `${rows} × ${columns} results, ${rowsEach} × ${columnsEach} each, ${groups} groups of ${slab} steps`;

const lies: readonly (readonly [Lie, Lie])[] = [
  ["rows", "turned"],
  ["turned", "rows"],
  ["rows", "rows"],
  ["off the vectors", "turned"],
];

/** A software adapter takes seconds for one; the suites of products run those that suit their sizes. */
const runs = (i: number): boolean => i < 2 || i === 5 || i === 16;

/** More than a tile on each side, which ends within the next, and more than two rounds; with blocks of a long sum for one. */
function productFor({ rows, columns, groups, slab }: Tiling, i: number): ProductCase {
  const [a, b] = lies[i % lies.length] as readonly [Lie, Lie];
  const [M, N] = [rows + 4 + (i % 3), columns + 4 + (i % 2)];
  const K = (groups === 1 && i % 2 === 1 ? Math.ceil(300 / slab) * slab : 2 * slab) * groups + 4 + (i % 2);
  return { title: `${M} × ${K} × ${N}, A ${a}, B ${b}`, M, K, N, a, b, epilogue: false };
}

describe("every tiling of products on GPUs", () => {
  const reference = createReferenceBackend();
  let backend: Backend;
  let lint: KernelLint;
  beforeAll(async () => {
    lint = await openKernelLint();
  });
  afterAll(() => lint.close());

  it("fits a workgroup of 256 invocations, and enough of them the memory that every device has", () => {
    for (const tiling of tilings) {
      expect(invocations(tiling)).toBeLessThanOrEqual(256);
      expect(tilingBytes(tiling)).toBeLessThanOrEqual(32_768);
    }
    expect(tilings.filter((tiling) => tilingBytes(tiling) <= 16_384).length).toBeGreaterThan(tilings.length / 2);
  });

  it.each(tilings.map((tiling, i) => [name(tiling), tiling, i] as const))(
    "%s: compiles and is within the error bound",
    async (_, tiling, i) => {
      const product = productFor(tiling, i);
      const computation = productComputation(product);
      // The device that only compiles has 16 KiB for a workgroup, and says so where more is asked for.
      const target = { kernelClass: "gpu", maxWorkgroupsPerDimension, tiling } as const;
      const problems = await lint.problems(buildProgram(computation.graph, { kernels: "auto", target }));
      expect(problems.filter((problem) => tilingBytes(tiling) <= 16_384 || !/workgroup storage/i.test(problem))).toEqual([]);
      if (!runs(i)) return;
      backend = await createWebGpuBackend({ kernelClass: "gpu", tiling });
      const [expected] = (await compute(reference, computation)) as [HostTensor];
      const [magnitudes] = (await compute(reference, productComputation(product, { transform: magnitude, bare: true }))) as [HostTensor];
      const [found] = (await compute(backend, computation)) as [HostTensor];
      await backend.close();
      expect(difference(found, expected, (_, j) => sumBound(product.K, magnitudes.data[j] as number))).toBeUndefined();
    },
  );
});
