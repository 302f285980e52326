import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { patternOf } from "../../src/compiler/kernel-pattern.js";
import { type Kernel, kernelsOf } from "../../src/compiler/program.js";
import { graphRecipes } from "../support/arbitraries.js";
import { fuzzSeed } from "../support/fuzz.js";
import { lowerGraph, targets } from "../support/plans.js";
import { randomComputation } from "../support/random-graphs.js";

/** All that a kernel says, with buffers named in the order in which the pattern lists them, and index expressions by their keys. */
function anonymous(kernel: Kernel, buffers: readonly number[]): unknown {
  return JSON.parse(
    JSON.stringify(kernel, (name, value: unknown) => {
      if (name === "buffer") return buffers.indexOf(value as number);
      if (typeof value === "number" && (Object.is(value, -0) || !Number.isFinite(value))) return `number ${1 / value} ${value}`;
      return typeof value === "object" && value !== null && "key" in value && "terms" in value ? value.key : value;
    }),
  );
}

describe("kernels of one pattern", () => {
  it("are the same in all but the numbers of their buffers", () => {
    const seen = new Map<string, unknown>();
    let shared = 0;
    const holds = fc.property(graphRecipes, fc.boolean(), (recipe, fusing) => {
      const { steps, buffers: infos } = lowerGraph(randomComputation(recipe).computation.graph, targets.wasm, fusing);
      for (const kernel of kernelsOf(steps)) {
        const { key, buffers } = patternOf(kernel, (buffer) => `${infos.get(buffer)?.dtype}[${infos.get(buffer)?.length}]`);
        const found = anonymous(kernel, buffers);
        if (seen.has(key)) {
          expect(found).toEqual(seen.get(key));
          shared++;
        }
        seen.set(key, found);
      }
    });
    fc.assert(holds, { seed: fuzzSeed(45), numRuns: 200 });
    expect(shared).toBeGreaterThan(200);
    expect(seen.size).toBeGreaterThan(200);
  });

  it("read and write buffers of one dtype and length in the same places", () => {
    const key = (info: string, kernel: Kernel): string => patternOf(kernel, () => info).key;
    const holds = fc.property(graphRecipes, (recipe) => {
      for (const kernel of kernelsOf(lowerGraph(randomComputation(recipe).computation.graph, targets.wasm).steps)) {
        if (kernel.stores.length > 0) expect(key("f32[4]", kernel)).not.toBe(key("f32[5]", kernel));
      }
    });
    fc.assert(holds, { seed: fuzzSeed(46), numRuns: 50 });
  });
});
