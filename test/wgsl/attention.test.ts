import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWebGpuBackend, type WebGpuOptions } from "../../src/backend/webgpu/index.js";
import type { Target } from "../../src/backend/webgpu/kernels/source.js";
import { assemble } from "../../src/backend/webgpu/program.js";
import { attentionKernelCases } from "../support/attention-kernel-cases.js";
import { type AttentionCase, attentionProgram, type Pass } from "../support/attention-programs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { type LoopProgram, largestError, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/webgpu-internals.js";
import { maxWorkgroupsPerDimension } from "./targets.js";

const passes: readonly Pass[] = ["attention", "attentionBackward"];
const programsOf = (cases: readonly AttentionCase[]): LoopProgram[] =>
  cases.filter(({ dtype }) => dtype !== "bf16").flatMap((each) => passes.map((pass) => attentionProgram(pass, each)));

const run = (backend: Backend, program: LoopProgram): Promise<Float64Array[]> => {
  const assembled = assemble(program.lowered, scalarTypes(program), { target: internalsOf(backend).target });
  return runSteps(backend, program, (graph) => internalsOf(backend).executable(graph, assembled, {}));
};

interface Setting {
  readonly name: string;
  readonly options: WebGpuOptions;
  /** One of so many cases is run, since drivers take a second for each kernel. */
  readonly stride: number;
}

/**
 * SwiftShader's compiler takes gigabytes and a minute for a kernel with tiles and barriers, so it runs one case in both passes. That all
 * compile is tested below, and what they compute wherever there is another driver.
 */
const probe = await createWebGpuBackend();
const isSwiftShader = /swiftshader/i.test(probe.info.adapter);
await probe.close();

const settings: readonly Setting[] = [
  { name: "software kernels", options: { kernelClass: "software", poison: true }, stride: 6 },
  {
    name: "GPU kernels at default limits",
    options: { kernelClass: "gpu", defaultLimits: true, poison: true },
    stride: isSwiftShader ? attentionKernelCases.length : 7,
  },
];

describe.each(settings)("kernels of attention against plain loops: $name", { timeout: 120_000 }, ({ options, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWebGpuBackend(options);
  });
  afterAll(() => backend.close());

  const small = attentionKernelCases.filter(({ channels }) => channels <= 40);
  it.each(programsOf(small.filter((_, i) => i % stride === 0)))("$name", async (program) => {
    if (program.inputs.some(({ dtype }) => !backend.info.dtypes.has(dtype))) return;
    const values = await run(backend, program);
    expect(largestError(values, program)).toBeLessThanOrEqual(program.tolerance);
    expect(await run(backend, program)).toEqual(values);
  });
});

describe("for every target, at default limits, kernels of attention compile", () => {
  const targets: readonly Target[] = [
    { kernelClass: "gpu", maxWorkgroupsPerDimension },
    { kernelClass: "software", maxWorkgroupsPerDimension },
    ...[4, 8, 32].map((subgroupSize) => ({ kernelClass: "software" as const, maxWorkgroupsPerDimension, subgroupSize })),
  ];
  let lint: KernelLint;
  beforeAll(async () => {
    lint = await openKernelLint();
  });
  afterAll(() => lint.close());

  it.each(passes)("%s", { timeout: 120_000 }, async (pass) => {
    const found: string[] = [];
    // More heads than a line of workgroups has places for.
    const many = { batch: 256, heads: 300, queries: 1, keys: 1, channels: 4 };
    for (const [i, each] of [many, ...attentionKernelCases.filter(({ dtype }) => dtype !== "bf16")].entries()) {
      const program = attentionProgram(pass, each);
      // The tiled kernels compile every case, and those for processors take turns in the sizes of their subgroups.
      for (const target of [targets[0] as Target, targets[1 + (i % (targets.length - 1))] as Target]) {
        const problems = await lint.problems(assemble(program.lowered, scalarTypes(program), { target }));
        for (const problem of problems) found.push(`${program.name}: ${problem}`);
      }
    }
    expect(found).toEqual([]);
    expect(lint.seen).toBeGreaterThan(100);
  });
});
