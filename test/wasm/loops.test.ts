import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { describeProgram } from "../../src/backend/wasm/describe.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { assemble } from "../../src/backend/wasm/program.js";
import { type LoopProgram, largestError, loopPrograms, loopsOfLoops, outline, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/wasm-internals.js";

const settings: readonly (readonly [string, WasmOptions])[] = [
  ["one thread", { threads: 1, poison: true }],
  ["two threads", { threads: 2, poison: true }],
  ["two threads in the smallest chunks", { threads: 2, chunks: "finest", poison: true }],
  ["three threads in the smallest chunks", { threads: 3, chunks: "finest" }],
];

function run(backend: Backend, program: LoopProgram, options: WasmOptions): Promise<Float64Array[]> {
  const memory = internalsOf(backend).memoryType;
  return runSteps(backend, program, (graph) => {
    const chunks = options.chunks ?? "auto";
    const assembled = assemble(program.lowered, scalarTypes(program), { memory, chunks });
    return internalsOf(backend).executable(graph, assembled, {});
  });
}

describe.each(settings)("loops on %s", (_, options) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend(options);
  });
  afterAll(() => backend.close());

  it.each(loopPrograms)("$name", async (program) => {
    expect(largestError(await run(backend, program, options), program)).toBeLessThanOrEqual(program.tolerance);
  });
});

it("loops have the same bits on one thread and on three, in chunks of any size", async () => {
  const results: Float64Array[][] = [];
  for (const [, options] of settings) {
    const backend = await createWasmBackend(options);
    const own: Float64Array[] = [];
    for (const program of loopPrograms) own.push(...(await run(backend, program, options)));
    results.push(own);
    await backend.close();
  }
  for (const each of results.slice(1)) expect(each).toEqual(results[0]);
});

it("loops of more turns than a counter holds are run by one thread", async () => {
  const backend = await createWasmBackend({ threads: 2, chunks: "finest" });
  const isParallel = (outer: number, inner: number): boolean => {
    const steps = loopsOfLoops(outer, inner);
    const memory = internalsOf(backend).memoryType;
    const assembled = assemble(steps.lowered, [], { memory, chunks: "finest" });
    const graph = { nodes: [], outputs: [], inputCount: 0, scalarCount: 0 };
    return internalsOf(backend).load(internalsOf(backend).executable(graph, assembled, {})).parallel;
  };
  expect(isParallel(2 ** 15, 2 ** 15)).toBe(true);
  expect(isParallel(2 ** 16, 2 ** 15)).toBe(false);
  expect(isParallel(2 ** 30, 2 ** 30)).toBe(false);
  await backend.close();
});

it("a loop's body stands once in what a program says of itself, under how often it runs", () => {
  const [program] = loopPrograms.filter(({ name }) => name.startsWith("4 × 3 iterations"));
  const assembled = assemble((program as LoopProgram).lowered, [], { memory: { shared: false, maximum: 64 } });
  expect(outline(describeProgram(assembled))).toEqual(["map", "loop × 4", "  map", "  loop × 3", "    map", "  map", "  map"]);
});
