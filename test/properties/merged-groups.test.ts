import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { buildProgram } from "../../src/backend/webgpu/program.js";
import { kernelsOf } from "../../src/compiler/program.js";
import { difference } from "../support/compare.js";
import { fuzzSeed } from "../support/fuzz.js";
import { type Computation, compute, GraphBuilder, type HostTensor } from "../support/graphs.js";
import { lowerGraph, targets } from "../support/plans.js";
import { fill } from "../support/samples.js";

/** Wide enough for the ten buffers of AdamW, as devices beyond WebGPU's guarantees are. */
const wide = { ...targets["webgpu on a GPU"], maxBuffers: 15 };

const numbers = (b: GraphBuilder, shape: readonly number[], seed: number): number =>
  b.input(fill({ shape, dtype: "f32", low: 0.5, high: 2 }, seed));

/** AdamW for parameters of these shapes: p, m and v become three results each. */
function adamw(shapes: readonly (readonly number[])[]): Computation {
  const b = new GraphBuilder();
  const rate = b.scalar("f32", 0.125);
  const results: number[] = [];
  shapes.forEach((shape, i) => {
    const [p, g, m, v] = [1, 2, 3, 4].map((seed) => numbers(b, shape, 10 * i + seed)) as [number, number, number, number];
    const half = b.operation("const", [], { value: 0.5, shape, dtype: "f32" });
    const mixed = (old: number, fresh: number): number =>
      b.operation("add", [b.operation("mul", [half, old], {}), b.operation("mul", [half, fresh], {})], {});
    const first = mixed(m, g);
    const second = mixed(v, b.operation("mul", [g, g], {}));
    const ratio = b.operation("div", [first, b.operation("sqrt", [second], {})], {});
    const step = b.operation(
      "mul",
      [b.operation("expand", [b.operation("reshape", [rate], { shape: shape.map(() => 1) })], { shape }), ratio],
      {},
    );
    results.push(first, second, b.operation("sub", [p, step], {}));
  });
  return b.build(results);
}

describe("groups that read one another at the element of their loop", () => {
  it("are one kernel: an update of AdamW is one for each parameter", () => {
    const { graph } = adamw([[6, 4], [24], [7]]);
    const kernels = kernelsOf(lowerGraph(graph, wide).steps);
    expect(kernels.map(({ stores }) => stores.length)).toEqual([3, 3, 3]);
    expect(kernelsOf(lowerGraph(graph, targets.wasm).steps)).toHaveLength(3);
  });

  it("stay apart where they would touch too many buffers, turn an element into another's, or have a kernel between them", () => {
    const { graph } = adamw([[6, 4]]);
    expect(kernelsOf(lowerGraph(graph, { ...wide, maxBuffers: 6 }).steps).length).toBeGreaterThan(1);

    const b = new GraphBuilder();
    const [x, y] = [numbers(b, [3, 3], 1), numbers(b, [3, 3], 2)];
    const [left, right] = [b.operation("exp", [x], {}), b.operation("exp", [y], {})];
    const turned = b.operation("permute", [left], { order: [1, 0] });
    const crossed = b.build([left, right, b.operation("add", [right, turned], {})]).graph;
    expect(kernelsOf(lowerGraph(crossed, wide).steps)).toHaveLength(2);

    const c = new GraphBuilder();
    const z = numbers(c, [40, 3], 1);
    const first = c.operation("exp", [z], {});
    const total = c.operation("sum", [c.operation("permute", [first], { order: [1, 0] })], { axes: [1] });
    const spread = c.operation("expand", [c.operation("reshape", [total], { shape: [1, 3] })], { shape: [40, 3] });
    const second = c.operation("add", [c.operation("neg", [spread], {}), z], {});
    const between = c.build([first, second, c.operation("mul", [first, second], {})]).graph;
    const kernels = kernelsOf(lowerGraph(between, wide).steps);
    expect(kernels.findIndex(({ kind }) => kind === "row")).toBeGreaterThan(0);
    expect(kernels.length).toBeGreaterThan(2);
  });
});

describe("results that are written over what they replace", () => {
  const kernelsFor = ({ graph, inputs }: Computation, storageBuffers: number, isGiven: (input: number) => boolean) =>
    buildProgram(graph, {
      kernels: "auto",
      target: { kernelClass: "gpu", maxWorkgroupsPerDimension: 65_535, storageBuffers },
      donated: inputs.map((_, i) => isGiven(i)),
    }).kernels;

  it("take no binding beside it, so that an update of AdamW is one kernel on devices of few bindings too", () => {
    const moments = (input: number): boolean => input % 4 > 1;
    expect(kernelsFor(adamw([[6, 4], [24]]), 6, () => false).length).toBeGreaterThan(2);
    const kernels = kernelsFor(adamw([[6, 4], [24]]), 6, moments);
    expect(kernels.map(({ bindings }) => bindings.length)).toEqual([5, 5]);
  });

  it("are never counted on where others read it, or elsewhere", () => {
    const choice = fc.record({ a: fc.nat(), b: fc.nat(), turned: fc.boolean() });
    const property = fc.property(fc.array(choice, { minLength: 6, maxLength: 30 }), fc.nat(), fc.nat(), (choices, given, kept) => {
      const b = new GraphBuilder();
      const made = Array.from({ length: 10 }, (_, input) => numbers(b, [5, 5], input));
      for (const { a, b: other, turned } of choices) {
        const [x, y] = [made[a % made.length] as number, made[other % made.length] as number];
        made.push(b.operation("add", [x, turned ? b.operation("permute", [y], { order: [1, 0] }) : b.operation("tanh", [y], {})], {}));
      }
      const computation = b.build(made.slice(10).filter((_, i) => (kept >> (i % 30)) % 2 === 0 || i === 0));
      for (const storageBuffers of [4, 8]) {
        for (const { bindings } of kernelsFor(computation, storageBuffers, (input) => (given >> input) % 2 === 0)) {
          expect(bindings.length).toBeLessThanOrEqual(storageBuffers);
        }
      }
    });
    fc.assert(property, { seed: fuzzSeed(73), numRuns: 100 });
  });
});

describe("merged kernels", () => {
  const reference = createReferenceBackend();
  const others: Backend[] = [];
  beforeAll(async () => {
    others.push(await createWasmBackend({ threads: 2, chunks: "finest", poison: true }), await createWebGpuBackend({ kernelClass: "gpu" }));
  });
  afterAll(async () => {
    for (const backend of [reference, ...others]) await backend.close();
  });

  async function agrees(backend: Backend, computation: Computation, donated: readonly boolean[] = []): Promise<void> {
    const expected = await compute(reference, computation);
    const found = await compute(backend, computation, { donated });
    for (const [i, wanted] of expected.entries()) {
      expect(difference(found[i] as HostTensor, wanted, (value) => 1e-5 * (1 + Math.abs(value)))).toBeUndefined();
    }
  }

  it("compute an update of AdamW as its definition does, also in the memory of what it replaces", async () => {
    const computation = adamw([[6, 4], [24], [7], [1]]);
    const donated = computation.inputs.map((_, i) => i % 4 !== 1);
    for (const backend of others) {
      await agrees(backend, computation);
      await agrees(backend, computation, donated);
    }
  });

  it("compute what the groups did, whichever results read whichever others", async () => {
    const choice = fc.record({ a: fc.nat(), b: fc.nat(), operation: fc.constantFrom("add", "mul", "sub"), turned: fc.boolean() });
    const property = fc.asyncProperty(fc.array(choice, { minLength: 3, maxLength: 12 }), fc.nat(), async (choices, seed) => {
      const b = new GraphBuilder();
      const made = [1, 2, 3].map((input) => numbers(b, [5, 5], seed + input));
      for (const { a, b: other, operation, turned } of choices) {
        const [x, y] = [made[a % made.length] as number, made[other % made.length] as number];
        const result = b.operation(operation as "add", [x, turned ? b.operation("permute", [y], { order: [1, 0] }) : y], {});
        made.push(b.operation("tanh", [result], {}));
      }
      await agrees(others[0] as Backend, b.build(made.slice(3)));
    });
    await fc.assert(property, { seed: fuzzSeed(71), numRuns: 30 });
  });
});
