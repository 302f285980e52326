import { dawnAdapters } from "../../src/backend/webgpu/dawn.js";
import { mostTurns } from "../../src/backend/webgpu/kernels/iterations.js";
import type { KernelSource } from "../../src/backend/webgpu/kernels/source.js";
import type { WebGpuProgram } from "../../src/backend/webgpu/program.js";
import { Turns, turnNumbers } from "../../src/backend/webgpu/turns.js";

/**
 * Checks WGSL on Dawn's null backend, which compiles and validates but computes nothing: a device with every feature at
 * WebGPU's default limits, so that what passes here is valid on every adapter.
 */
export interface KernelLint {
  /** What is wrong with a program, one line for each fault: its modules, pipelines, bindings and dispatches. */
  problems(program: WebGpuProgram): Promise<string[]>;
  /** Different kernels that were looked at. */
  readonly seen: number;
  close(): void;
}

/** Largest buffer that is made to try a dispatch. */
const triedBytes = 32 * 2 ** 20;
/** The smallest size class of the buffer pool. */
const leastBytes = 256;
const storage = 0x80;
const uniform = 0x40;

export async function openKernelLint(): Promise<KernelLint> {
  const [found] = await dawnAdapters("null");
  if (found === undefined) throw new Error("Dawn has no null backend");
  const device = await found.adapter.requestDevice({ requiredFeatures: ["shader-f16", "subgroups"] });
  const pipelines = new Map<string, Promise<{ pipeline: GPUComputePipeline; problems: string[] }>>();
  const limit = device.limits.maxComputeWorkgroupsPerDimension;

  /** Runs f and gives what validation found in it. */
  async function scoped<T>(f: () => T): Promise<[T, string | undefined]> {
    device.pushErrorScope("validation");
    const result = f();
    const error = await device.popErrorScope();
    return [result, error?.message];
  }

  const numbers = device.createBuffer({ size: turnNumbers().byteLength, usage: uniform });
  const turns = new Turns(device, numbers);

  async function build(kernel: KernelSource, scalarCount: number): Promise<{ pipeline: GPUComputePipeline; problems: string[] }> {
    const { label, wgsl } = kernel;
    const [{ module, pipeline }, fault] = await scoped(() => {
      const module = device.createShaderModule({ label, code: wgsl });
      const layout = kernel.turns ? turns.layoutFor(kernel, scalarCount) : "auto";
      return { module, pipeline: device.createComputePipeline({ label, layout, compute: { module, entryPoint: "main" } }) };
    });
    const { messages } = await module.getCompilationInfo();
    const errors = [...messages].filter(({ type }) => type === "error").map((m) => `${label}, line ${m.lineNum}: ${m.message}`);
    return { pipeline, problems: fault === undefined || errors.length > 0 ? errors : [`${label}: ${fault}`] };
  }

  async function problems({ plan, kernels, scalars: types }: WebGpuProgram): Promise<string[]> {
    const faults: string[] = [];
    const buffers = new Map<number, GPUBuffer>();
    const bufferOf = (slot: number): GPUBuffer => {
      let buffer = buffers.get(slot);
      if (buffer === undefined) {
        buffer = device.createBuffer({ size: Math.max(leastBytes, plan.slots[slot]?.bytes ?? 0), usage: storage });
        buffers.set(slot, buffer);
      }
      return buffer;
    };
    const scalars = device.createBuffer({ size: leastBytes, usage: uniform });
    for (const kernel of kernels) {
      let built = pipelines.get(kernel.wgsl);
      if (built === undefined) {
        built = build(kernel, types.length);
        pipelines.set(kernel.wgsl, built);
        faults.push(...(await built).problems);
      }
      const { pipeline, problems: own } = await built;
      const { label, workgroups, bindings } = kernel;
      if (workgroups.some((count) => count > limit || count < 1)) faults.push(`${label}: ${workgroups.join(" × ")} workgroups`);
      if (own.length > 0 || bindings.some(({ slot }) => (plan.slots[slot]?.bytes ?? 0) > triedBytes)) continue;
      const [, fault] = await scoped(() => {
        const resources = [...(kernel.scalars ? [scalars] : []), ...bindings.map(({ slot }) => bufferOf(slot))];
        const entries = resources.map((buffer, binding) => ({ binding, resource: { buffer } }));
        const group = device.createBindGroup({ label, layout: pipeline.getBindGroupLayout(0), entries });
        const encoder = device.createCommandEncoder({ label });
        const pass = encoder.beginComputePass({ label });
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        if (kernel.turns) turns.bind(pass, mostTurns - 1);
        pass.dispatchWorkgroups(...workgroups);
        pass.end();
        encoder.finish();
      });
      if (fault !== undefined) faults.push(`${label}: ${fault}`);
    }
    for (const buffer of [...buffers.values(), scalars]) buffer.destroy();
    return faults;
  }

  return {
    problems,
    get seen() {
      return pipelines.size;
    },
    close: () => device.destroy(),
  };
}
