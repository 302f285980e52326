import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWebGpuBackend, type WebGpuOptions } from "../../src/backend/webgpu/index.js";
import type { Target } from "../../src/backend/webgpu/kernels/source.js";
import { assemble } from "../../src/backend/webgpu/program.js";
import { attentionKernelCases, decodingCases } from "../support/attention-kernel-cases.js";
import { type AttentionCase, attentionProgram, type Pass } from "../support/attention-programs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { type LoopProgram, largestError, runSteps, scalarTypes } from "../support/loop-programs.js";
import { internalsOf } from "../support/webgpu-internals.js";
import { maxWorkgroupsPerDimension } from "./targets.js";

const passes: readonly Pass[] = ["attention", "attentionBackward"];
const programsOf = (cases: readonly AttentionCase[], of = passes): LoopProgram[] =>
  cases.filter(({ dtype }) => dtype !== "bf16").flatMap((each) => of.map((pass) => attentionProgram(pass, each)));

const run = (backend: Backend, program: LoopProgram): Promise<Float64Array[]> => {
  const assembled = assemble(program.lowered, scalarTypes(program), { target: internalsOf(backend).target });
  return runSteps(backend, program, (graph) => internalsOf(backend).executable(graph, assembled, {}));
};

interface Setting {
  readonly name: string;
  readonly options: WebGpuOptions;
  /** One of so many cases is run, since drivers take a second for each kernel. */
  readonly stride: number;
  readonly decodingStride: number;
}

/**
 * SwiftShader's compiler takes gigabytes and a minute for a kernel with tiles and barriers, so it runs one case in both passes. That all
 * compile is tested below, and what they compute wherever there is another driver.
 */
const probe = await createWebGpuBackend();
const isSwiftShader = /swiftshader/i.test(probe.info.adapter);
const hasHalves = probe.info.dtypes.has("f16");
await probe.close();
const [one, oneOfDecoding] = [attentionKernelCases.length, decodingCases.length];

const settings: readonly Setting[] = [
  { name: "software kernels", options: { kernelClass: "software", poison: true }, stride: 12, decodingStride: isSwiftShader ? 4 : 2 },
  {
    name: "GPU kernels at default limits",
    options: { kernelClass: "gpu", defaultLimits: true, poison: true },
    stride: isSwiftShader ? one : 28,
    decodingStride: isSwiftShader ? oneOfDecoding : 6,
  },
  // With larger tiles and subgroups, where the device has them.
  ...(isSwiftShader
    ? []
    : [
        {
          name: "GPU kernels with all that the device offers",
          options: { kernelClass: "gpu", poison: true } as const,
          stride: 60,
          decodingStride: 16,
        },
      ]),
];

describe.each(settings)("kernels of attention against plain loops: $name", { timeout: 120_000 }, ({ options, stride, decodingStride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWebGpuBackend(options);
  });
  afterAll(() => backend.close());

  const every = (cases: readonly AttentionCase[], n: number): AttentionCase[] => cases.filter((_, i) => i % n === 0);
  const small = attentionKernelCases.filter(({ channels }) => channels <= 40);
  const programs = [...programsOf(every(small, stride)), ...programsOf(every(decodingCases, decodingStride), ["attention"])];
  const needsHalves = ({ inputs }: LoopProgram): boolean => inputs.some(({ dtype }) => dtype === "f16");
  const halvesHere = hasHalves && options.defaultLimits !== true;
  const here = (program: LoopProgram): boolean => halvesHere || !needsHalves(program);

  it.each(programs.filter(here))("$name", async (program) => {
    const values = await run(backend, program);
    expect(largestError(values, program)).toBeLessThanOrEqual(program.tolerance);
    expect(await run(backend, program)).toEqual(values);
  });

  if (halvesHere) return;
  it("has no halves here, and what reads them compiles", async () => {
    const lint = await openKernelLint();
    const { target } = internalsOf(backend);
    const reading = programsOf([...small, ...decodingCases]).filter(needsHalves);
    const found = await Promise.all(reading.map((program) => lint.problems(assemble(program.lowered, scalarTypes(program), { target }))));
    lint.close();
    expect(found.flat()).toEqual([]);
  });
});

describe("for every target, at default limits, kernels of attention compile", () => {
  const targets: readonly Target[] = [
    { kernelClass: "gpu", maxWorkgroupsPerDimension },
    { kernelClass: "gpu", maxWorkgroupsPerDimension, subgroupSize: 32, subgroupIds: true },
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
    const cases = [...attentionKernelCases, ...(pass === "attention" ? decodingCases : [])];
    for (const [i, each] of [many, ...cases.filter(({ dtype }) => dtype !== "bf16")].entries()) {
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

  it("with tiles for 32 KiB of workgroup memory, which they keep to", { timeout: 120_000 }, async () => {
    const target: Target = { kernelClass: "gpu", maxWorkgroupsPerDimension, workgroupBytes: 2 ** 15 };
    const found: string[] = [];
    for (const program of programsOf(attentionKernelCases.filter(({ channels }) => channels === 128 || channels === 33))) {
      found.push(...(await lint.problems(assemble(program.lowered, scalarTypes(program), { target }))));
    }
    // More than devices have by default is all that is found.
    expect(found.length).toBeGreaterThan(0);
    for (const problem of found) {
      const bytes = /use of workgroup storage \((\d+) bytes\) is larger/.exec(problem)?.[1];
      expect(Number(bytes), problem).toBeLessThanOrEqual(2 ** 15);
    }
  });
});
