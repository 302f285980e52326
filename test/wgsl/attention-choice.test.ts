import { afterAll, describe, expect, it } from "vitest";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { attention, compile, type Tensor, useBackend, zeros } from "../../src/index.js";
import { internalsOf } from "../support/webgpu-internals.js";

/** Which calls of attention become kernels, on Dawn's null adapter, which computes nothing. */
describe.each(["software", "gpu"] as const)("attention in the kernels of %s adapters", async (kernelClass) => {
  const backend = await createWebGpuBackend({ adapter: "null", kernelClass });
  // As lavapipe has them.
  Object.assign(backend, { target: { ...internalsOf(backend).target, subgroupSize: 8 } });
  afterAll(() => backend.close());

  interface Sizes {
    readonly T: number;
    readonly S: number;
  }
  type Score = NonNullable<Parameters<typeof attention>[3]>["score"];
  /** The kernels of attention in a program, by kind and label. */
  const kernelsOf = ({ T, S }: Sizes, score?: Score): string[] => {
    useBackend(backend);
    const f = compile((q: Tensor, k: Tensor, v: Tensor) => attention(q, k, v, { causal: true, ...(score && { score }) }));
    const description = f.explain(zeros([1, 2, T, 8]), zeros([1, 2, S, 8]), zeros([1, 2, S, 8]));
    return [...description.matchAll(/^.*? (attention|row|map) .*? (table of attention|o of chunks|attention)$/gm)].map(
      ([, kind, label]) => `${kind}: ${label}`,
    );
  };

  it("takes few queries from 512 keys on, in chunks that are merged", () => {
    expect(kernelsOf({ T: 1, S: 511 })).toEqual([]);
    expect(kernelsOf({ T: 1, S: 512 })).toEqual(["attention: attention", "row: o of chunks"]);
    expect(kernelsOf({ T: 7, S: 512 })).toEqual(["attention: attention", "row: o of chunks"]);
  });

  it("takes eight queries and more from 4096 pairs on, in one kernel", () => {
    expect(kernelsOf({ T: 63, S: 64 })).toEqual([]);
    expect(kernelsOf({ T: 8, S: 512 })).toEqual(["attention: attention"]);
    expect(kernelsOf({ T: 64, S: 64 })).toEqual(["attention: attention"]);
  });

  it("takes scores that read many tables, which are copied into one where there are more than a kernel binds", () => {
    const score =
      (tables: number): Score =>
      (s, { key }) =>
        Array.from({ length: tables }, () => zeros([64]).add(0)).reduce((sum, table) => sum.add(table.take(key)), s);
    expect(kernelsOf({ T: 64, S: 64 }, score(2))).toEqual(["attention: attention"]);
    const kernels = kernelsOf({ T: 64, S: 64 }, score(9));
    expect(kernels).toContain("map: table of attention");
    expect(kernels.at(-1)).toBe("attention: attention");
  });
});
