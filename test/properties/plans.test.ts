import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { fuse } from "../../src/compiler/fuse.js";
import { lower } from "../../src/compiler/lower.js";
import { type Plan, plan } from "../../src/compiler/plan.js";
import { prepare } from "../../src/compiler/prepare.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type Value } from "../../src/compiler/program.js";
import { simplify } from "../../src/compiler/simplify.js";
import type { Graph } from "../../src/ir/graph.js";
import { graphRecipes } from "../support/arbitraries.js";
import { difference } from "../support/compare.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { randomComputation } from "../support/random-graphs.js";

const seed = 44;
const bytesOf = ({ length }: BufferInfo): number => Math.max(4, 4 * length);
const options = { minRows: 64, maxOperands: 4, expandScatter: false };

function loweredOf(graph: Graph, fusing: boolean): Lowered {
  const ready = prepare(fusing ? simplify(graph) : graph, { ...options, expandScatter: !fusing });
  return lower(ready, fuse(ready, { fuse: fusing, maxBuffers: 7 }));
}

/** Everything that a kernel may load, whether or not a store needs it. */
const loadsOf = (kernel: Kernel): (Value & { kind: "load" })[] =>
  [...kernel.values, ...(kernel.kind === "contract" ? [kernel.a, kernel.b] : [])].filter((value) => value.kind === "load");

/**
 * Runs a plan with the names of buffers in the place of numbers, and returns the first thing that goes wrong: a kernel
 * that reads a slot which holds another buffer by now, that writes what it reads elsewhere, or a result that is lost.
 */
function firstConflict({ steps, slots, slotOf, outputs }: Plan, lowered: Lowered, donated: readonly boolean[]): string | undefined {
  const content = new Map<number, number>();
  const slot = (buffer: number): number => slotOf.get(buffer) as number;
  const elements = (buffer: number): number => (lowered.buffers.get(buffer) as BufferInfo).length;
  for (const buffer of lowered.inputs) if (buffer !== undefined) content.set(slot(buffer), buffer);
  for (const [buffer, info] of lowered.buffers) {
    if ((slots[slot(buffer)]?.bytes ?? 0) < bytesOf(info)) return `buffer ${buffer} is larger than its slot`;
  }
  for (const [k, kernel] of kernelsOf(steps).entries()) {
    // What nobody needs is computed by nobody: a kernel without stores may read what it likes.
    const loads = kernel.stores.length > 0 ? loadsOf(kernel) : [];
    for (const { buffer } of loads) {
      if (elements(buffer) > 0 && content.get(slot(buffer)) !== buffer)
        return `kernel ${k} reads ${buffer}, whose slot holds ${content.get(slot(buffer))}`;
    }
    const written = kernel.stores.map(({ buffer }) => slot(buffer));
    if (new Set(written).size !== new Set(kernel.stores.map(({ buffer }) => buffer)).size)
      return `kernel ${k} writes two buffers to one slot`;
    for (const { buffer, index } of kernel.stores) {
      const clash = loads.find((load) => slot(load.buffer) === slot(buffer) && (kernel.kind !== "map" || load.index.key !== index.key));
      if (clash !== undefined) return `kernel ${k} writes ${buffer} over ${clash.buffer} while it reads it`;
    }
    for (const { buffer } of kernel.stores) content.set(slot(buffer), buffer);
  }
  for (const [i, buffer] of lowered.outputs.entries()) {
    if (outputs[i] !== slot(buffer)) return `output ${i} is said to be elsewhere`;
    if (elements(buffer) > 0 && content.get(slot(buffer)) !== buffer) return `output ${i} was overwritten`;
  }
  if (new Set(outputs).size !== outputs.length) return "two outputs share a slot";
  for (const [i, buffer] of lowered.inputs.entries()) {
    if (buffer !== undefined && !donated[i] && content.get(slot(buffer)) !== buffer) return `input ${i} was overwritten`;
  }
  return undefined;
}

describe("a plan of memory", () => {
  it("never gives one slot to two buffers that live at the same time", () => {
    const holds = fc.property(
      graphRecipes,
      fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
      fc.boolean(),
      (recipe, donated, fusing) => {
        const lowered = loweredOf(randomComputation(recipe).computation.graph, fusing);
        expect(firstConflict(plan(lowered, bytesOf, donated), lowered, donated)).toBeUndefined();
      },
    );
    fc.assert(holds, { seed, numRuns: 300 });
  });

  it("needs less scratch than a slot for each buffer, and reuses it", () => {
    let reused = 0;
    const holds = fc.property(graphRecipes, (recipe) => {
      const lowered = loweredOf(randomComputation(recipe).computation.graph, false);
      const planned = plan(lowered, bytesOf);
      const own = new Set([...lowered.inputs, ...lowered.outputs]);
      const between = [...lowered.buffers].filter(([buffer]) => !own.has(buffer));
      const scratch = planned.slots.filter(({ use }) => use.kind === "scratch");
      const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
      expect(scratch.length).toBeLessThanOrEqual(between.length);
      expect(total(scratch.map(({ bytes }) => bytes))).toBeLessThanOrEqual(total(between.map(([, info]) => bytesOf(info))));
      if (scratch.length < between.length) reused++;
    });
    fc.assert(holds, { seed, numRuns: 100 });
    expect(reused).toBeGreaterThan(20);
  });

  it("that is wrong is found: every slot of scratch taken for one", () => {
    let found = 0;
    const holds = fc.property(graphRecipes, (recipe) => {
      const lowered = loweredOf(randomComputation(recipe).computation.graph, false);
      const right = plan(lowered, bytesOf);
      const scratch = right.slots.findIndex(({ use }) => use.kind === "scratch");
      const slotOf = new Map(
        [...right.slotOf].map(([buffer, slot]) => [buffer, right.slots[slot]?.use.kind === "scratch" ? scratch : slot]),
      );
      const slots = right.slots.map((slot) => ({ ...slot, bytes: 1e9 }));
      if (firstConflict({ ...right, slotOf, slots }, lowered, []) !== undefined) found++;
    });
    fc.assert(holds, { seed, numRuns: 50 });
    expect(found).toBeGreaterThan(10);
  });
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

  it("by simplification twice changes nothing more", () => {
    const holds = fc.property(graphRecipes, (recipe) => {
      const once = simplify(randomComputation(recipe).computation.graph);
      expect(simplify(once)).toEqual(once);
    });
    fc.assert(holds, { seed, numRuns: 100 });
  });
});
