import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { cast, grad, matmul, type Tensor, tensor, useBackend } from "../../src/index.js";
import type { Graph } from "../../src/ir/graph.js";
import { casesOf, computationOf } from "../support/cases.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";
import { halfFailure, nearestHalves as nearest, withFloats } from "../support/half-cases.js";
import { halfValue, halves, inHalves, toNearestHalf } from "../support/halves.js";
import { samples, uniformSource } from "../support/samples.js";

const variants = [
  { name: "fused", create: () => createWasmBackend({ threads: 3, chunks: "finest", poison: true }) },
  { name: "by definition", create: () => createWasmBackend({ threads: 2, kernels: "definitions", poison: true }) },
] as const;

describe.each(variants)("halves on wasm, $name,", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("come back from a buffer as they were written, rounded to nearest, two bytes each", async () => {
    const uniform = uniformSource(5);
    const values = [0, -0, 1, 65504, 65519, 65520, 2 ** -24, 2 ** -25, 2 ** -14, 1 + 2 ** -11, 1 + 3 * 2 ** -11, Infinity, -Infinity, NaN];
    for (let i = 0; i < 1000; i++) values.push((uniform() - 0.5) * 2 ** (40 * uniform() - 24));
    const before = backend.memory().liveBytes;
    const buffer = backend.alloc("f16", values.length, "test");
    expect(backend.memory().liveBytes - before).toBe(2 * values.length);
    backend.write(buffer, "f16", Float32Array.from(values));
    const found = [...(await backend.read(buffer, "f16", values.length))];
    expect(found).toEqual(nearest(Float32Array.from(values), "f16"));
    expect([...(await backend.read(buffer, "f16", 3))]).toEqual(found.slice(0, 3));
    backend.free(buffer);
  });

  for (const primitive of withFloats) {
    it.each(halves)(`${primitive} is the reference's result on the same numbers in %s, rounded to it`, async (half) => {
      const wrong: string[] = [];
      // Every case with one of the two.
      const mine = casesOf(primitive, samples[primitive]).filter((_, i) => i === 0 || i % 2 === halves.indexOf(half));
      for (const testCase of mine) {
        const message = await halfFailure(backend, testCase, half);
        if (message !== undefined) wrong.push(`${testCase.title}: ${message}`);
      }
      expect(wrong).toEqual([]);
    });
  }

  it("casts take every half to f32 exactly, every float to the nearest half, and integers and bools likewise", async () => {
    const all = Float32Array.from({ length: 2 ** 16 }, (_, i) => halfValue(i, "f16"));
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f16", [all.length], all));
    const wide = builder.operation("cast", [x], { dtype: "f32" });
    const back = builder.operation("cast", [builder.operation("mul", [wide, constant(builder, 1.0005, all.length)], {})], { dtype: "f16" });
    const there = builder.operation("cast", [back], { dtype: "f32" });
    const i = builder.input(hostTensor("i32", [4], [-3, 0, 2049, 70_000]));
    const b = builder.input(hostTensor("bool", [2], [1, 0]));
    const [widened, narrowed, kept, ofInteger, ofBool, toInteger] = (await compute(
      backend,
      builder.build([
        wide,
        back,
        there,
        builder.operation("cast", [i], { dtype: "f16" }),
        builder.operation("cast", [b], { dtype: "f16" }),
        builder.operation("cast", [builder.input(hostTensor("f16", [3], [-1.5, 2.75, 2048]))], { dtype: "i32" }),
      ]),
    )) as [HostTensor, HostTensor, HostTensor, HostTensor, HostTensor, HostTensor];
    expect(widened.data).toEqual(all);
    const products = Float32Array.from(all, (value) => value * Math.fround(1.0005));
    expect(narrowed.data).toEqual(Float32Array.from(nearest(products, "f16")));
    expect(kept.data).toEqual(narrowed.data);
    expect([...ofInteger.data]).toEqual([-3, 0, 2048, Infinity]);
    expect([...ofBool.data]).toEqual([1, 0]);
    expect([...toInteger.data]).toEqual([-1, 2, 2048]);
  });

  it("sums and products of halves add up in f32: thousands of small terms are not lost", async () => {
    const builder = new GraphBuilder();
    const length = 6000;
    const ones = builder.input(hostTensor("f16", [1, length], new Array<number>(length).fill(0.25)));
    const column = builder.operation("permute", [ones], { order: [1, 0] });
    const sum = builder.operation("sum", [ones], { axes: [1] });
    const dot = builder.operation("dot", [ones, column], { dtype: "f16" });
    const indices = builder.input(hostTensor("i32", [length], new Array<number>(length).fill(1)));
    const scattered = builder.operation("scatterAdd", [builder.operation("reshape", [ones], { shape: [length] }), indices], { size: 3 });
    const found = await compute(backend, builder.build([sum, dot, scattered]));
    // In halves alone a sum of quarters stops growing at 512.
    expect(found.map(({ data }) => [...data])).toEqual([[1500], [375], [0, 1500, 0]]);
  });

  it("odd numbers of halves do not touch what lies behind them", async () => {
    for (const length of [1, 2, 3, 5, 7, 9, 31, 63]) {
      const builder = new GraphBuilder();
      const x = builder.input(hostTensor("f16", [length], new Array<number>(length).fill(3)));
      const { graph } = builder.build([builder.operation("neg", [x], {})]);
      const program = backend.compile(graph, { donated: [true] });
      const buffer = backend.alloc("f16", length + 2, "test");
      backend.write(
        buffer,
        "f16",
        Float32Array.from({ length: length + 2 }, (_, i) => (i < length ? 3 : 42)),
      );
      const [result] = backend.run(program, [buffer], []) as [typeof buffer];
      expect([...(await backend.read(result, "f16", length))]).toEqual(new Array(length).fill(-3));
      if (result === buffer) expect([...(await backend.read(result, "f16", length + 2))].slice(length)).toEqual([42, 42]);
      backend.free(result);
    }
  });

  it("a gradient through halves agrees with f32 to three digits", async () => {
    const values = Float32Array.from({ length: 12 * 20 }, (_, i) => toNearestHalf(Math.sin(i) / 2));
    const loss =
      (dtype: "f16" | "f32") =>
      (w: Tensor): Tensor => {
        const half = cast(w, dtype);
        return cast(matmul(half, half.transpose()).tanh(), "f32").square().mean();
      };
    useBackend(backend);
    const found = await grad(loss("f16"))(tensor(values, { shape: [12, 20] })).data();
    const expected = await grad(loss("f32"))(tensor(values, { shape: [12, 20] })).data();
    useBackend(undefined);
    const size = Math.hypot(...expected);
    expect(size).toBeGreaterThan(0);
    expect(Math.hypot(...found.map((value, i) => value - (expected[i] as number))) / size).toBeLessThan(3e-3);
  });
});

function constant(builder: GraphBuilder, value: number, length: number): number {
  return builder.operation("const", [], { value, shape: [length], dtype: "f32" });
}

describe("the tests of halves", () => {
  it("give halves to every primitive that they name", () => {
    const without = withFloats.filter((primitive) => {
      const graphs = casesOf(primitive, samples[primitive]).map((testCase): Graph | undefined => inHalves(computationOf(testCase).graph));
      return !graphs.some((graph) => graph?.nodes.some(({ dtype }) => dtype === "f16"));
    });
    expect(without).toEqual([]);
  });
});
