import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildProgram, type WebGpuProgram } from "../../src/backend/webgpu/program.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { maxWorkgroupsPerDimension } from "./targets.js";

describe("the check of kernels reports", () => {
  let lint: KernelLint;
  let sound: WebGpuProgram;
  beforeAll(async () => {
    lint = await openKernelLint();
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [4], [1, 2, 3, 4]));
    const { graph } = builder.build([builder.operation("exp", [x], {})]);
    sound = buildProgram(graph, { kernels: "auto", target: { kernelClass: "gpu", maxWorkgroupsPerDimension } });
  });
  afterAll(() => lint.close());

  const edited = (change: (wgsl: string) => string): WebGpuProgram => ({
    ...sound,
    kernels: sound.kernels.map((kernel) => ({ ...kernel, wgsl: change(kernel.wgsl) })),
  });
  const inMain = (text: string) => (wgsl: string) => wgsl.replace(/(fn main\([^{]*\{)/, `$1\n${text}`);

  it("nothing for a sound program", async () => {
    expect(await lint.problems(sound)).toEqual([]);
  });

  it("a kernel that does not compile, with the line", async () => {
    expect(await lint.problems(edited(inMain("  let broken: u32 = 1.5;")))).toEqual([expect.stringMatching(/^exp, line \d+: .*u32/)]);
  });

  it("a ninth storage buffer", async () => {
    const extra = Array.from({ length: 7 }, (_, i) => `@group(0) @binding(${i + 2}) var<storage, read> extra${i}: array<f32>;`);
    const uses = extra.map((_, i) => `  _ = extra${i}[0];`).join("\n");
    expect(await lint.problems(edited((wgsl) => inMain(uses)(`${extra.join("\n")}\n${wgsl}`)))).toEqual([
      expect.stringMatching(/storage buffers/),
    ]);
  });

  it("more than 256 invocations", async () => {
    const wide = edited((wgsl) => wgsl.replace(/@workgroup_size\(\d+\)/, "@workgroup_size(16, 17)"));
    expect(await lint.problems(wide)).toEqual([expect.stringMatching(/invocations/)]);
  });

  it("more than 16 KiB of workgroup memory", async () => {
    const large = "var<workgroup> large: array<f32, 4097>;\n";
    expect(await lint.problems(edited((wgsl) => inMain("  large[lane] = 0.0;")(large + wgsl)))).toEqual([
      expect.stringMatching(/workgroup/),
    ]);
  });

  it("more workgroups than a dimension has", async () => {
    const kernels = sound.kernels.map((kernel) => ({ ...kernel, workgroups: [65_536, 1, 1] as const }));
    expect((await lint.problems({ ...sound, kernels })).join()).toMatch(/65536 × 1 × 1 workgroups/);
  });

  it("a binding that the kernel does not use", async () => {
    const kernels = sound.kernels.map((kernel) => ({ ...kernel, bindings: [...kernel.bindings, ...kernel.bindings.slice(0, 1)] }));
    expect(await lint.problems({ ...sound, kernels })).toHaveLength(1);
  });

  it("one buffer that is written and read under two names", async () => {
    const kernels = sound.kernels.map((kernel) => ({
      ...kernel,
      bindings: kernel.bindings.map((binding) => ({ ...binding, slot: kernel.bindings[0]?.slot ?? 0 })),
    }));
    expect(await lint.problems({ ...sound, kernels })).toHaveLength(1);
  });
});
