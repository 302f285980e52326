import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { thinned } from "../support/backends.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { productCases, productComputation } from "../support/products.js";
import { fill } from "../support/samples.js";
import { programsOf } from "./targets.js";

describe("for every target, at default limits", { timeout: 120_000 }, () => {
  let lint: KernelLint;
  beforeAll(async () => {
    lint = await openKernelLint();
  });
  afterAll(() => lint.close());

  for (const [a, b, dtype] of [
    ["f32", "f32", "f32"],
    ["f16", "f16", "f16"],
    ["f32", "f16", "f32"],
    ["f16", "f32", "f16"],
  ] as const) {
    it(`products ${a} · ${b} → ${dtype} compile in every size and however their operands lie`, async () => {
      const found: string[] = [];
      for (const product of thinned(productCases, a === b && a === "f32" ? 2 : 5)) {
        for (const program of programsOf(productComputation(product, { dtype, operands: [a, b] }).graph)) {
          for (const problem of await lint.problems(program)) found.push(`${product.title}: ${problem}`);
        }
      }
      expect(found).toEqual([]);
      expect(lint.seen).toBeGreaterThan(100);
    });
  }

  it("a product whose epilogue reads both operands again and many other tensors stays within 8 storage buffers", async () => {
    for (const others of [0, 1, 2, 3, 4, 5, 6, 7, 8]) {
      const builder = new GraphBuilder();
      const square = (seed: number): number => builder.input(fill({ shape: [16, 16], dtype: "f32", low: -1, high: 1 }, seed));
      const [a, b] = [square(1), square(2)];
      const read = [a, b, ...Array.from({ length: others }, (_, i) => square(3 + i))];
      const sum = read.reduce((total, x) => builder.operation("add", [total, x], {}), builder.operation("dot", [a, b], { dtype: "f32" }));
      for (const program of programsOf(builder.build([sum]).graph)) expect(await lint.problems(program), `${others} others`).toEqual([]);
    }
  });

  it("products of a matrix with itself, and with its transpose, compile", async () => {
    for (const n of [12, 13]) {
      const builder = new GraphBuilder();
      const x = builder.input(fill({ shape: [n, n], dtype: "f32", low: -1, high: 1 }, 1));
      const turned = builder.operation("permute", [x], { order: [1, 0] });
      const pairs = [
        [x, x],
        [x, turned],
        [turned, x],
        [turned, turned],
      ];
      const outputs = pairs.map((pair) => builder.operation("dot", pair, { dtype: "f32" }));
      for (const program of programsOf(builder.build(outputs).graph, { donated: [true] })) expect(await lint.problems(program)).toEqual([]);
    }
  });

  it("more than 65,535 workgroups are folded into two dimensions", async () => {
    const rows = 65_537;
    const builder = new GraphBuilder();
    const floats = (...shape: number[]): number =>
      builder.input(hostTensor("f32", shape, new Float32Array(shape.reduce((product, extent) => product * extent, 1))));
    const index = builder.input(hostTensor("i32", [rows], new Int32Array(rows)));
    const outputs = [
      builder.operation("exp", [floats(64 * rows)], {}),
      builder.operation("sum", [floats(rows, 3)], { axes: [1] }),
      builder.operation("argmax", [floats(rows, 65)], { axes: [1] }),
      builder.operation("dot", [floats(rows, 1, 2), floats(rows, 2, 1)], { dtype: "f32" }),
      builder.operation("dot", [floats(8 * rows, 2), floats(2, 1)], { dtype: "f32" }),
      builder.operation("dot", [floats(1, 2), floats(2, 64 * rows)], { dtype: "f32" }),
    ];
    for (const output of outputs)
      for (const program of programsOf(builder.build([output]).graph)) expect(await lint.problems(program)).toEqual([]);
    // Its definition is a masked sum over a square of rows, which no device could hold a mask of.
    const scattered = builder.build([builder.operation("scatterAdd", [floats(rows, 2), index], { size: rows })]).graph;
    for (const program of programsOf(scattered, { kernels: ["auto"] })) expect(await lint.problems(program)).toEqual([]);
  });
});
