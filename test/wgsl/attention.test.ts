import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWebGpuBackend, type WebGpuOptions } from "../../src/backend/webgpu/index.js";
import { assemble } from "../../src/backend/webgpu/program.js";
import { attentionKernelCases } from "../support/attention-kernel-cases.js";
import { attentionProgram } from "../support/attention-programs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { largestError, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/webgpu-internals.js";

interface Setting {
  readonly name: string;
  readonly options: WebGpuOptions;
  /** One of so many cases is run; compilers take long for each. */
  readonly stride: number;
}

const settings: readonly Setting[] = [
  { name: "software kernels", options: { kernelClass: "software", poison: true }, stride: 7 },
  { name: "software kernels without subgroups", options: { kernelClass: "software", defaultLimits: true, poison: true }, stride: 29 },
];

const programs = attentionKernelCases
  .filter(({ dtype, channels }) => dtype !== "bf16" && channels <= 64)
  .flatMap((each) => [attentionProgram("attention", each), attentionProgram("attentionBackward", each)]);

describe.each(settings)("kernels of attention against plain loops: $name", { timeout: 120_000 }, ({ options, stride }) => {
  let backend: Backend;
  let lint: KernelLint;
  beforeAll(async () => {
    backend = await createWebGpuBackend(options);
    lint = await openKernelLint();
  });
  afterAll(async () => {
    lint.close();
    await backend.close();
  });

  it.each(programs.filter((_, i) => i % stride === 0))("$name", async (program) => {
    if (program.inputs.some(({ dtype }) => !backend.info.dtypes.has(dtype))) return;
    const { target } = internalsOf(backend);
    const assembled = assemble(program.lowered, scalarTypes(program), { target });
    expect(await lint.problems(assembled)).toEqual([]);
    const values = await runSteps(backend, program, (graph) => internalsOf(backend).executable(graph, assembled, {}));
    expect(largestError(values, program)).toBeLessThanOrEqual(program.tolerance);
  });
});
