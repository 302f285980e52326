import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PrimitiveName, primitives } from "../../src/ir/primitives.js";
import { thinned } from "../support/backends.js";
import { casesOf, computationOf } from "../support/cases.js";
import { edges } from "../support/edges.js";
import { GraphBuilder } from "../support/graphs.js";
import { halves, inHalves } from "../support/halves.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { samples } from "../support/samples.js";
import { programsOf } from "./targets.js";

/** One of so many cases; kernels differ by primitive and dtype, and little by shape. */
const stride = 3;

describe("for every target, the kernels compile at default limits of", { timeout: 120_000 }, () => {
  let lint: KernelLint;
  beforeAll(async () => {
    lint = await openKernelLint();
  });
  afterAll(() => lint.close());

  for (const primitive of Object.keys(primitives) as PrimitiveName[]) {
    it(primitive, async () => {
      const found: string[] = [];
      for (const testCase of thinned(casesOf(primitive, samples[primitive]), stride)) {
        const { graph } = computationOf(testCase);
        const inFloats = graph.nodes.some(({ dtype }) => dtype === "f32");
        const packed = inFloats ? halves.map((half) => inHalves(graph, half)) : [];
        const programs = [graph, ...packed].flatMap((each) => (each === undefined ? [] : programsOf(each)));
        for (const program of programs) {
          for (const problem of await lint.problems(program)) found.push(`${testCase.title}: ${problem}`);
        }
      }
      expect(found).toEqual([]);
    });
  }

  it("and there are many of them", () => {
    expect(lint.seen).toBeGreaterThan(1000);
  });

  it("constants at the edges of their range", async () => {
    for (const [name, cases] of Object.entries(edges)) {
      const primitive = name as PrimitiveName;
      if (primitives[primitive].tag !== "elementwise") continue;
      for (const { operands, params } of cases) {
        const builder = new GraphBuilder();
        const constants = (i: number): number[] =>
          operands.map(({ dtype, data }) => builder.operation("const", [], { value: data[i] as number, shape: [1], dtype }));
        const outputs = Array.from(operands[0]?.data ?? [], (_, i) => builder.operation(primitive, constants(i), params));
        for (const program of programsOf(builder.build(outputs).graph)) expect(await lint.problems(program), primitive).toEqual([]);
      }
    }
  });
});
