import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fuse } from "../../src/compiler/fuse.js";
import { heirsOf } from "../../src/compiler/heirs.js";
import { lower } from "../../src/compiler/lower.js";
import { prepare } from "../../src/compiler/prepare.js";
import { type Kernel, kernelsOf, type Lowered } from "../../src/compiler/program.js";
import { schedule } from "../../src/compiler/schedule.js";
import { prune, simplify } from "../../src/compiler/simplify.js";
import { type Graph, inputsOf } from "../../src/ir/graph.js";
import type { PrimitiveName } from "../../src/ir/primitives.js";
import { sizeOf } from "../../src/ir/shape.js";
import { graphRecipes } from "../support/arbitraries.js";
import { barrierPicks, withBarriers } from "../support/barriers.js";
import { fuzzSeed } from "../support/fuzz.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { randomComputation } from "../support/random-graphs.js";

const bytesOf = ({ length }: { length: number }): number => 4 * length;

function loweredOf(graph: Graph, fusing = true): Lowered {
  const ready = prepare(fusing ? simplify(graph) : graph, { minRows: 64, maxOperands: 4, expandScatter: !fusing });
  return lower(ready, fuse(ready, { fuse: fusing, maxBuffers: 7 }));
}

/** The kernels of a graph in the order in which they run. */
const kernelsIn = (graph: Graph, fusing = true): readonly Kernel[] => orderOf(loweredOf(graph, fusing));

const orderOf = (lowered: Lowered): readonly Kernel[] => kernelsOf(schedule(lowered, heirsOf(lowered, []), bytesOf).steps);

const built = (b: GraphBuilder, ...outputs: readonly number[]): Graph => b.build(outputs).graph;
const floats = (b: GraphBuilder, ...shape: number[]): number => b.input(hostTensor("f32", shape, new Float32Array(sizeOf(shape))));
const indices = (b: GraphBuilder, extent: number): number => b.input(hostTensor("i32", [extent], new Int32Array(extent)));

const count = (graph: Graph, primitive: PrimitiveName): number =>
  graph.nodes.filter((node) => node.kind === "operation" && node.primitive === primitive).length;

describe("a barrier", () => {
  it("keeps apart two computations that are equal but for it", () => {
    const b = new GraphBuilder();
    const x = floats(b, 40);
    const [plain, again] = [b.operation("exp", [x], {}), b.operation("exp", [b.barrier(x)], {})];
    const graph = built(b, plain, again);
    expect(count(simplify(graph), "exp")).toBe(2);
    expect(count(simplify(simplify(graph)), "exp")).toBe(2);
  });

  it("is a value of its own, even if there is another one of the same inputs", () => {
    const b = new GraphBuilder();
    const x = floats(b, 40);
    const [one, other] = [b.operation("exp", [b.barrier(x)], {}), b.operation("exp", [b.barrier(x)], {})];
    expect(count(simplify(built(b, one, other)), "exp")).toBe(2);
  });

  it("does not keep apart what is computed from it", () => {
    const b = new GraphBuilder();
    const held = b.barrier(floats(b, 40));
    expect(count(simplify(built(b, b.operation("exp", [held], {}), b.operation("exp", [held], {}))), "exp")).toBe(1);
  });

  /** Two equal computations, each of which may be told to wait for the other. */
  const pairs: Record<string, (b: GraphBuilder, x: number) => number> = {
    products: (b, x) => b.operation("dot", [x, x], { dtype: "f32" }),
    reductions: (b, x) => b.operation("sum", [b.operation("exp", [x], {})], { axes: [1] }),
    "elementwise computations": (b, x) => b.operation("exp", [x], {}),
    "sums into bins": (b, x) => b.operation("scatterAdd", [x, indices(b, 40)], { size: 3 }),
    "views of products": (b, x) => b.operation("permute", [b.operation("dot", [x, x], { dtype: "f32" })], { order: [1, 0] }),
    "what is computed where it is read": (b, x) => b.operation("sum", [b.operation("neg", [x], {})], { axes: [0] }),
  };
  describe.each(Object.entries(pairs))("orders %s", (_name, make) => {
    it.each([
      ["fused", true],
      ["one by one", false],
    ] as const)("%s", (_, fusing) => {
      for (const first of [0, 1]) {
        const b = new GraphBuilder();
        // The place of the result says which is which.
        const inputs = [floats(b, 40, 40), floats(b, 40, 40)];
        const early = make(b, inputs[first] as number);
        const late = make(b, b.barrier(inputs[1 - first] as number, early));
        const lowered = loweredOf(built(b, ...(first === 0 ? [early, late] : [late, early])), fusing);
        const kernels = orderOf(lowered);
        const reads = (input: number): number[] =>
          kernels.flatMap((kernel, k) =>
            kernel.values.some((value) => value.kind === "load" && value.buffer === inputs[input]) ? [k] : [],
          );
        const [last, next] = [Math.max(...reads(first)), Math.min(...reads(1 - first))];
        expect(last).toBeLessThan(next);
        // Whoever orders them otherwise, for reasons of memory, knows of it.
        const awaited = lowered.after?.get(kernels[next] as Kernel) ?? [];
        expect(
          Math.max(...awaited.map((buffer) => kernels.findIndex(({ stores }) => stores.some((store) => store.buffer === buffer)))),
        ).toBeGreaterThanOrEqual(last);
      }
    });
  });

  /** What a barrier may stand in front of, as the kernels that there are without it. */
  const readers: Record<string, (b: GraphBuilder, x: number) => number> = {
    "an elementwise operation": (b, x) => b.operation("exp", [x], {}),
    "a reduction": (b, x) => b.operation("sum", [x], { axes: [1] }),
    "a product": (b, x) => b.operation("dot", [x, b.operation("permute", [x], { order: [1, 0] })], { dtype: "f32" }),
    "a view": (b, x) => b.operation("exp", [b.operation("permute", [x], { order: [1, 0] })], {}),
    "a pad": (b, x) => b.operation("exp", [b.operation("pad", [x], { low: [1, 0], high: [0, 1], value: 0 })], {}),
    "a gather": (b, x) => b.operation("gather", [x, indices(b, 7)], {}),
    "a sum into bins": (b, x) => b.operation("scatterAdd", [x, indices(b, 40)], { size: 3 }),
    "another barrier": (b, x) => b.operation("exp", [b.barrier(x)], {}),
    "the end of a product": (b, x) => b.operation("exp", [b.operation("dot", [x, x], { dtype: "f32" })], {}),
  };
  const sources: Record<string, (b: GraphBuilder, x: number) => number> = {
    "an input": (_, x) => x,
    "a view": (b, x) => b.operation("flip", [x], { axes: [0] }),
    "a product": (b, x) => b.operation("dot", [x, x], { dtype: "f32" }),
    "an elementwise operation": (b, x) => b.operation("neg", [x], {}),
  };
  describe.each(Object.entries(sources))("of %s", (_, source) => {
    it.each(Object.entries(readers))("copies nothing in front of %s", (_, read) => {
      const [plain, held] = [false, true].map((barrier) => {
        const b = new GraphBuilder();
        const x = source(b, floats(b, 40, 40));
        const graph = built(b, read(b, barrier ? b.barrier(x) : x));
        return kernelsIn(graph).map(({ kind, label }) => `${kind} ${label}`);
      });
      expect(held).toEqual(plain);
    });
  });

  it("holds on chains of any length", () => {
    const b = new GraphBuilder();
    let x = floats(b, 40);
    for (let i = 0; i < 20_000; i++) x = b.barrier(x, 0);
    expect(kernelsIn(built(b, b.operation("exp", [x], {})))).toHaveLength(1);
    expect(kernelsIn(built(b, b.operation("exp", [x], {})), false)).toHaveLength(1);
  });

  law("barriers order", "Whatever is computed from a barrier is computed after all that its other inputs are computed from.", () => {
    const property = fc.property(graphRecipes, barrierPicks, fc.boolean(), (recipe, picks, fusing) => {
      const graph = prune(withBarriers(randomComputation(recipe).computation.graph, picks));
      const ready = prepare(fusing ? simplify(graph) : graph, { minRows: 64, maxOperands: 4, expandScatter: !fusing });
      const { nodes } = ready;
      const kernels = orderOf(lower(ready, fuse(ready, { fuse: fusing, maxBuffers: 7 })));
      const writer = new Map(kernels.flatMap(({ stores }, k) => stores.map(({ buffer }) => [buffer, k] as const)));
      // Latest kernel that a node must come after by barriers below it, and latest that makes what it is computed from, by definition.
      const [bound, made]: [number[], number[]] = [[], []];
      nodes.forEach((node, i) => {
        const inputs = inputsOf(node);
        const values = node.kind === "barrier" ? inputs.slice(0, 1) : inputs;
        const latest = (all: readonly number[], of: readonly number[]): number => Math.max(-1, ...of.map((input) => all[input] as number));
        bound[i] = Math.max(latest(bound, values), node.kind === "barrier" ? latest(made, inputs.slice(1)) : -1);
        const own = writer.get(i);
        if (own !== undefined) expect(own).toBeGreaterThan(bound[i]);
        made[i] = Math.max(own ?? -1, latest(made, inputs));
      });
    });
    fc.assert(property, { seed: fuzzSeed(61), numRuns: 300 });
  });
});
