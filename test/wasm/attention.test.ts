import { setFlagsFromString } from "node:v8";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { hasRelaxedSimd } from "../../src/backend/wasm/features.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { assemble } from "../../src/backend/wasm/program.js";
import { attentionKernelCases } from "../support/attention-kernel-cases.js";
import { attentionProgram } from "../support/attention-programs.js";
import { type LoopProgram, largestError, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/wasm-internals.js";

// Some engines have relaxed SIMD behind a flag only, which must be set before the first module is compiled.
if (!hasRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");

const settings: readonly (readonly [string, WasmOptions])[] = [
  ["one thread", { threads: 1, poison: true }],
  ["two threads in the smallest chunks", { threads: 2, chunks: "finest", poison: true }],
  ["three threads", { threads: 3, poison: true }],
];
const unfused: WasmOptions = { threads: 1, fusedMultiplyAdd: false };

function run(backend: Backend, program: LoopProgram, { chunks = "auto" }: WasmOptions): Promise<Float64Array[]> {
  const memory = internalsOf(backend).memoryType;
  return runSteps(backend, program, (graph) => {
    const assembled = assemble(program.lowered, scalarTypes(program), { memory, chunks });
    return internalsOf(backend).executable(graph, assembled, {});
  });
}

describe.each(["attention", "attentionBackward"] as const)("kernels of %s against plain loops", (pass) => {
  const programs = attentionKernelCases.map((each) => attentionProgram(pass, each));

  const backends: Backend[] = [];
  let plain: Backend;
  beforeAll(async () => {
    plain = await createWasmBackend(unfused);
    for (const [, options] of settings) backends.push(await createWasmBackend(options));
  });
  afterAll(() => Promise.all([plain, ...backends].map((backend) => backend.close())));

  it.each(programs)("$name", async (program) => {
    const results: Float64Array[][] = [];
    for (const [i, [, options]] of settings.entries()) results.push(await run(backends[i] as Backend, program, options));
    expect(largestError(results[0] as Float64Array[], program)).toBeLessThanOrEqual(program.tolerance);
    expect(largestError(await run(plain, program, unfused), program)).toBeLessThanOrEqual(program.tolerance);
    // The bits do not depend on the threads.
    for (const each of results.slice(1)) expect(each).toEqual(results[0]);
  });
});
