import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { buildProgram as buildWasm } from "../../src/backend/wasm/program.js";
import { buildProgram as buildWebGpu } from "../../src/backend/webgpu/program.js";
import { prepare } from "../../src/compiler/prepare.js";
import { kernelsOf } from "../../src/compiler/program.js";
import { prune, simplify } from "../../src/compiler/simplify.js";
import type { Graph } from "../../src/ir/graph.js";
import { graphRecipes } from "../support/arbitraries.js";
import { difference } from "../support/compare.js";
import { fuzzSeed } from "../support/fuzz.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { loweredPrograms } from "../support/lowered-programs.js";
import { isInBlocks, leastScratch, lowerGraph, planOf, symbolically, targets } from "../support/plans.js";
import { randomComputation } from "../support/random-graphs.js";

const seed = fuzzSeed(44);
const target = targets["software webgpu"];
const options = { minRows: 64, maxOperands: 4, expandScatter: false };
const layouts = [{ scratch: "block", alignment: 1 }, { scratch: "block", alignment: 64 }, { scratch: "pieces" }] as const;
/** As much as the largest buffers of `loweredPrograms` take, and a little more. */
const blocks = { scratch: "block", alignment: 64, blockBytes: 1088 } as const;

describe("a plan of memory", () => {
  law(
    "no two live buffers share a place",
    "A plan of memory never gives one place to two buffers that live at the same time: run with texts in the place of numbers, a planned program reads what the unplanned one reads.",
    () => {
      const holds = fc.property(
        graphRecipes,
        fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
        fc.boolean(),
        fc.constantFrom(...layouts),
        (recipe, donated, fusing, layout) => {
          const lowered = lowerGraph(randomComputation(recipe).computation.graph, target, fusing);
          expect(symbolically(lowered, planOf(lowered, layout, donated), donated)).toEqual(symbolically(lowered, undefined, donated));
        },
      );
      fc.assert(holds, { seed, numRuns: 300 });
    },
  );

  law(
    "no two live buffers share a place in loops",
    "The same holds inside of loops, nested ones too, whose buffers live from one iteration to the next.",
    () => {
      let [loops, heirs, several] = [0, 0, 0];
      const holds = fc.property(loweredPrograms, fc.constantFrom(...layouts, blocks), ({ lowered, donated }, layout) => {
        const planned = planOf(lowered, layout, donated);
        if (isInBlocks(planned) && planned.scratchBytes > planned.blockBytes) several++;
        expect(symbolically(lowered, planned, donated)).toEqual(symbolically(lowered, undefined, donated));
        loops += planned.steps.filter(({ kind }) => kind === "loop").length;
        heirs += planned.outputs.filter((slot) => planned.slots[slot]?.use.kind === "input").length;
      });
      fc.assert(holds, { seed, numRuns: 500 });
      expect(loops).toBeGreaterThan(300);
      expect(heirs).toBeGreaterThan(50);
      expect(several).toBeGreaterThan(50);
    },
  );

  law("scratch lies between its bounds", "A plan needs at most a place for each buffer and at least the bytes that live at once.", () => {
    let [reused, overwritten] = [0, 0];
    const holds = fc.property(loweredPrograms, fc.constantFrom(...layouts), ({ lowered }, layout) => {
      const planned = planOf(lowered, layout);
      const scratch = [...planned.buffers].filter(
        ([buffer]) => planned.slots[planned.slotOf.get(buffer) as number]?.use.kind === "scratch",
      );
      const alignment = "alignment" in layout ? layout.alignment : 1;
      const all = scratch.reduce((sum, [, { length }]) => sum + Math.ceil(Math.max(4, 4 * length) / alignment) * alignment, 0);
      expect(planned.scratchBytes).toBeLessThanOrEqual(all);
      expect(planned.scratchBytes).toBeGreaterThanOrEqual(Math.max(0, ...planned.liveBytes));
      const least = leastScratch({ ...lowered, steps: planned.steps });
      if (alignment === 1) expect(Math.max(0, ...planned.liveBytes)).toBeLessThanOrEqual(least);
      if (alignment === 1 && Math.max(0, ...planned.liveBytes) < least) overwritten++;
      if (planned.scratchBytes < all) reused++;
    });
    fc.assert(holds, { seed, numRuns: 200 });
    expect(reused).toBeGreaterThan(100);
    expect(overwritten).toBeGreaterThan(5);
  });

  it("that is wrong is found: all of the scratch in one place", () => {
    let found = 0;
    const holds = fc.property(loweredPrograms, ({ lowered }) => {
      const right = planOf(lowered, layouts[0]);
      const slots = right.slots.map((slot) => (slot.use.kind === "scratch" ? { ...slot, use: { ...slot.use, offset: 0 } } : slot));
      try {
        expect(symbolically(lowered, { ...right, slots })).toEqual(symbolically(lowered));
      } catch {
        found++;
      }
    });
    fc.assert(holds, { seed, numRuns: 50 });
    expect(found).toBeGreaterThan(25);
  });
});

describe("an order of steps", () => {
  law(
    "scheduling never costs memory",
    "Another order of kernels needs at most the peak of the order before it, and keeps what must come after something else.",
    () => {
      let better = 0;
      const holds = fc.property(loweredPrograms, ({ lowered, donated }) => {
        const { steps } = planOf(lowered, layouts[0], donated);
        const [before, after] = [leastScratch(lowered), leastScratch({ ...lowered, steps })];
        expect(after).toBeLessThanOrEqual(before);
        if (after < before) better++;
        else if (lowered.steps.every(({ kind }) => kind !== "loop")) expect(steps).toEqual(lowered.steps);
        const kernels = kernelsOf(steps);
        for (const [kernel, buffers] of lowered.after ?? []) {
          for (const buffer of buffers) {
            const writer = kernels.findIndex(({ stores }) => stores.some((store) => store.buffer === buffer));
            expect(writer).toBeLessThan(kernels.indexOf(kernel));
          }
        }
      });
      fc.assert(holds, { seed, numRuns: 300 });
      expect(better).toBeGreaterThan(50);
    },
  );
});

describe("rewriting a graph", () => {
  const reference = createReferenceBackend();

  /** Only the order of a sum may change, by which f64 loses some digits. */
  const keepsValues = (rewrite: (graph: Graph) => Graph): Promise<void> =>
    fc.assert(
      fc.asyncProperty(graphRecipes, async (recipe) => {
        const { computation } = randomComputation(recipe);
        const graph = rewrite(computation.graph);
        const expected = await compute(reference, computation);
        const found = await compute(reference, { ...computation, graph });
        expected.forEach((wanted, i) => {
          const message = difference(found[i] as HostTensor, wanted, (value) => 1e-6 * Math.max(1, Math.abs(value)));
          if (message !== undefined) throw new Error(`output ${i}: ${message}`);
        });
      }),
      { seed, numRuns: 60 },
    );

  it("by simplification keeps its values", () => keepsValues(simplify));
  it("by preparation keeps its values", () => keepsValues((graph) => prepare(graph, options)));
  it("by preparation for a device without scatter keeps its values", () =>
    keepsValues((graph) => prepare(simplify(graph), { minRows: 1e9, maxOperands: 2, expandScatter: true })));

  law("simplification is idempotent", "Simplifying a simplified graph changes nothing: s(s(g)) = s(g).", () => {
    const holds = fc.property(graphRecipes, (recipe) => {
      const once = simplify(randomComputation(recipe).computation.graph);
      expect(simplify(once)).toEqual(once);
    });
    fc.assert(holds, { seed, numRuns: 100 });
  });
});

describe("what no output needs", () => {
  it("has no part in a program", () => {
    const memory = { shared: true, maximum: 1024 };
    const target = { kernelClass: "software", maxWorkgroupsPerDimension: 65_535 } as const;
    let dropped = 0;
    const holds = fc.property(graphRecipes, fc.constantFrom("auto", "definitions"), fc.nat({ max: 100 }), (recipe, kernels, choice) => {
      const { graph } = randomComputation(recipe).computation;
      const crowded: Graph = { ...graph, outputs: [graph.outputs[choice % graph.outputs.length] as number] };
      const pruned = prune(crowded);
      dropped += crowded.nodes.length - pruned.nodes.length;
      const wasm = (each: Graph): unknown => buildWasm(each, { kernels, memory });
      const webgpu = (each: Graph): unknown => buildWebGpu(each, { kernels, target }).kernels;
      expect(wasm(crowded)).toEqual(wasm(pruned));
      expect(webgpu(crowded)).toEqual(webgpu(pruned));
    });
    fc.assert(holds, { seed, numRuns: 60 });
    expect(dropped).toBeGreaterThan(100);
  });
});
