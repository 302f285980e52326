import { programMemory } from "../../compiler/program-memory.js";
import { reportPlan } from "../../compiler/report-plan.js";
import { DtypeError, OutOfMemoryError, UsageError } from "../../errors.js";
import type { DeviceData, DType, HostArray } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
import type { ProgramReport } from "../../ir/program-report.js";
import type {
  Backend,
  BackendInfo,
  CompileOptions,
  DeviceBuffer,
  Executable,
  KernelTime,
  MemoryReport,
  ProgramMemory,
} from "../backend.js";
import { decode, encode, encodeScalars, partOffset } from "../host-data.js";
import { ProfileInTurn } from "../kernel-times.js";
import { refuseReleased, refuseSharedDonation } from "../programs.js";
import { openDevice } from "./adapter.js";
import { type GpuBuffer, sizeClass } from "./buffer-pool.js";
import type { GpuDevice } from "./gpu-device.js";
import { fitUniform, type KernelSource, type Target } from "./kernels/source.js";
import type { Tiling } from "./kernels/tiling.js";
import { type Pipeline, PipelineCache } from "./pipelines.js";
import { Profiler } from "./profiler.js";
import { bufferBytes, buildProgram, describeProgram, type Order, type WebGpuProgram } from "./program.js";
import { type Dispatch, Recorder } from "./recorder.js";
import { Turns, turnNumbers } from "./turns.js";
import { bytesOf } from "./wgsl.js";

export interface WebGpuOptions {
  /** Part of an adapter's name, "hardware", "software", "swiftshader" or "null"; the best when left out. */
  readonly adapter?: string | undefined;
  /** "definitions" turns every fusion and every hand-written kernel off. Default "auto". */
  readonly kernels?: "auto" | "definitions";
  /** Which family of kernels; by the adapter's class when left out. */
  readonly kernelClass?: "software" | "gpu";
  /** A device at WebGPU's default limits and without optional features. */
  readonly defaultLimits?: boolean;
  /** Fill fresh memory with NaN, so that whatever is used without being written shows. */
  readonly poison?: boolean;
  /** The tiling of all products with GPU kernels, for tests and measurements. Default: what suits the size of each. */
  readonly tiling?: Tiling;
}

/** Starts a backend on a WebGPU device. Throws BackendUnavailableError where no adapter fits. */
export async function createWebGpuBackend(options: WebGpuOptions = {}): Promise<Backend> {
  const { adapter, defaultLimits = false, poison = false } = options;
  return new WebGpuBackend(await openDevice({ ...(adapter === undefined ? {} : { adapter }), defaultLimits, poison }), options);
}

/** One kernel of an executable, with the bind groups that it has used, the latest first. */
interface Step extends Dispatch {
  readonly slots: readonly number[];
  readonly scalars: boolean;
  readonly bound: Bound[];
}

/** A bind group, and the memory of the buffers in it. */
interface Bound {
  readonly memory: readonly number[];
  readonly group: GPUBindGroup;
}

/** Storage buffers of a kernel, where the device allows so many: an update of AdamW has ten. */
const mostStorageBuffers = 16;

/** Bind groups that a kernel keeps; a loop in a steady state needs one or two. */
const keptBindGroups = 8;

/** What a program holds on the device beside its bind groups. */
interface Resources {
  /** The buffer of the scalars, a uniform one unless they are very many, from the first run on. */
  scalars: GpuBuffer | undefined;
  /** The kernels whose pipelines it uses, one entry for each use. */
  readonly pipelines: readonly string[];
}

class WebGpuExecutable implements Executable {
  released = false;
  /** Those of the steps, each once. */
  readonly pipelines: readonly Pipeline[];

  constructor(
    readonly graph: Graph,
    readonly label: string,
    readonly program: WebGpuProgram,
    readonly steps: readonly Step[],
    readonly donated: readonly boolean[],
    readonly resources: Resources,
  ) {
    this.pipelines = [...new Set(steps.map(({ pipeline }) => pipeline))];
  }

  describe(): string {
    return describeProgram(this.program);
  }

  report(): ProgramReport {
    const { plan, kernels } = this.program;
    return reportPlan(plan, (kernel) => (kernels[kernel] as KernelSource).wgsl);
  }
}

class WebGpuBackend implements Backend {
  readonly info: BackendInfo;
  private readonly target: Target;
  private readonly kernels: "auto" | "definitions";
  private readonly pipelines: PipelineCache;
  /** Gives back what programs held that nobody has any more. */
  private readonly forgotten = new FinalizationRegistry<Resources>((resources) => this.giveBack(resources));
  private turns: Turns | undefined;
  private readonly profile = new ProfileInTurn<Profiler>();

  constructor(
    private readonly device: GpuDevice,
    options: WebGpuOptions,
  ) {
    const { info, features, limits } = device;
    const dtypes = new Set<DType>(["f32", "f16", "bf16", "i32", "u32", "bool"]);
    this.info = {
      name: "webgpu",
      adapter: info.name,
      software: info.software,
      dtypes,
      maxTensorBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
      passedOver: [],
    };
    this.pipelines = new PipelineCache((label, wgsl, layout) => device.compile(label, wgsl, layout));
    this.kernels = options.kernels ?? "auto";
    this.target = {
      kernelClass: options.kernelClass ?? device.kernelClass,
      maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
      softwareDriver: device.software,
      subgroupSize: device.subgroupSize,
      subgroupIds: device.subgroupIds,
      storageBuffers: Math.min(limits.maxStorageBuffersPerShaderStage, mostStorageBuffers),
      nativeHalves: features.has("shader-f16"),
      workgroupBytes: limits.maxComputeWorkgroupStorageSize,
      tiling: options.tiling,
    };
  }

  private need(dtype: DType): void {
    if (!this.info.dtypes.has(dtype)) {
      throw new DtypeError(`${this.info.adapter} has no ${dtype} (it has ${[...this.info.dtypes].join(", ")})`, {
        hint: 'cast to f32, or use init({ backend: "reference" }) for f64',
      });
    }
  }

  alloc(dtype: DType, length: number, owner: string): DeviceBuffer {
    this.need(dtype);
    return this.device.acquire(Math.max(4, length * bytesOf[dtype]), owner);
  }

  free(buffer: DeviceBuffer): void {
    this.device.release(buffer as GpuBuffer);
  }

  write(buffer: DeviceBuffer, dtype: DType, data: DeviceData, begin = 0): void {
    const encoded = encode(dtype, data);
    this.device.write(this.live(buffer), encoded, partOffset(buffer, encoded, begin));
  }

  async read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray> {
    return decode(dtype, await this.device.read(this.live(buffer), length * bytesOf[dtype]), length);
  }

  private live(buffer: DeviceBuffer): GpuBuffer {
    const pooled = buffer as GpuBuffer;
    this.device.ensureUsable(pooled);
    return pooled;
  }

  compile(graph: Graph, options: CompileOptions = {}): Executable {
    for (const node of graph.nodes) {
      this.need(node.dtype);
      const bytes = node.shape.reduce((n, extent) => n * extent, 1) * bytesOf[node.dtype];
      if (node.kind === "input" && bytes > this.info.maxTensorBytes) throw this.tooLarge(bytes);
    }
    return this.executable(graph, this.build(graph, options), options);
  }

  memoryOf(graph: Graph, options: CompileOptions = {}): ProgramMemory {
    for (const node of graph.nodes) this.need(node.dtype);
    const { plan, scalars } = this.build(graph, options);
    const held = (bytes: number): number => sizeClass(bytes, Number.POSITIVE_INFINITY);
    const programBytes = scalars.length === 0 ? 0 : held(4 * scalars.length);
    return programMemory(graph, plan.slots, { bytesOf: bufferBytes, held, programBytes });
  }

  private build(graph: Graph, options: CompileOptions): WebGpuProgram {
    return buildProgram(graph, {
      kernels: this.kernels,
      target: this.target,
      ...(options.donated ? { donated: options.donated } : {}),
    });
  }

  private executable(graph: Graph, program: WebGpuProgram, options: CompileOptions): WebGpuExecutable {
    for (const { bytes } of program.plan.slots) if (bytes > this.info.maxTensorBytes) throw this.tooLarge(bytes);
    const steps = program.kernels.map((kernel): Step => {
      const { label, wgsl, bindings, scalars, workgroups } = kernel;
      const turns = kernel.turns ? this.startTurns() : undefined;
      const pipeline = this.pipelines.take(label, wgsl, () => turns?.layoutFor(kernel, program.scalars.length) ?? "auto");
      return { label, pipeline, slots: bindings.map(({ slot }) => slot), scalars, turns, workgroups, bound: [] };
    });
    const resources = { scalars: undefined, pipelines: program.kernels.map(({ wgsl }) => wgsl) };
    const executable = new WebGpuExecutable(graph, options.label ?? "program", program, steps, options.donated ?? [], resources);
    this.forgotten.register(executable, resources, executable);
    return executable;
  }

  release(executable: Executable): void {
    if (!(executable instanceof WebGpuExecutable) || executable.released) return;
    executable.released = true;
    for (const { bound } of executable.steps) bound.length = 0;
    this.forgotten.unregister(executable);
    this.giveBack(executable.resources);
  }

  private giveBack({ scalars, pipelines }: Resources): void {
    if (scalars) this.device.release(scalars);
    for (const wgsl of pipelines) this.pipelines.give(wgsl);
  }

  private startTurns(): Turns {
    if (this.turns === undefined) {
      const numbers = turnNumbers();
      const buffer = this.device.acquireUniform(numbers.byteLength, "loops");
      this.device.write(buffer, numbers);
      this.turns = new Turns(this.device.gpu, buffer.gpu);
    }
    return this.turns;
  }

  private tooLarge(bytes: number): OutOfMemoryError {
    return new OutOfMemoryError(`a tensor of ${bytes} bytes is larger than ${this.info.adapter} binds (${this.info.maxTensorBytes})`, {
      requestedBytes: bytes,
      liveBytes: this.memory().byOwner,
      hint: "use a smaller batch or context, or another adapter (`dawngrad doctor`)",
    });
  }

  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    const compiled = executable as WebGpuExecutable;
    const { program, donated, label, released } = compiled;
    const { slots, inputs: read, outputs } = program.plan;
    refuseReleased(label, released);
    refuseSharedDonation(label, inputs, donated);
    this.device.check();
    const scratch: GpuBuffer[] = [];
    const buffers = slots.map(({ use, bytes }) => {
      if (use.kind === "input") return this.live(inputs[use.input] as DeviceBuffer);
      const buffer = this.device.acquire(bytes, use.kind === "scratch" ? "program" : "value");
      if (use.kind === "scratch") scratch.push(buffer);
      return buffer;
    });
    const uniform = this.uniform(compiled.resources, program.scalars, scalars);
    const profiler = this.profile.current;
    this.device.afterPipelines(compiled.pipelines, uniform ? [...buffers, uniform] : buffers, () =>
      this.record(compiled, buffers, uniform, profiler),
    );
    const heirs = new Set<number | undefined>(outputs);
    // In reverse, so that the next run gets the same buffers in the same places.
    for (const buffer of scratch.reverse()) this.device.release(buffer);
    donated.forEach((given, input) => {
      if (given && !heirs.has(read[input])) this.device.release(inputs[input] as GpuBuffer);
    });
    return outputs.map((slot) =>
      slots[slot]?.use.kind === "input" ? this.device.pool.rename(buffers[slot] as GpuBuffer, "value") : (buffers[slot] as GpuBuffer),
    );
  }

  private uniform(resources: Resources, dtypes: readonly DType[], scalars: readonly number[]): GpuBuffer | undefined {
    if (scalars.length === 0) return undefined;
    const words = encodeScalars(scalars, dtypes);
    resources.scalars ??= fitUniform(scalars.length)
      ? this.device.acquireUniform(words.byteLength, "program")
      : this.device.acquire(words.byteLength, "program");
    this.device.write(resources.scalars, words);
    return resources.scalars;
  }

  /** Hands the commands of one run over. */
  private record(
    { steps, program, label }: WebGpuExecutable,
    buffers: readonly GpuBuffer[],
    uniform: GpuBuffer | undefined,
    profiler: Profiler | undefined,
  ): void {
    const recorder = new Recorder(this.device, label, profiler);
    const add = (order: readonly Order[], turn: number): void => {
      for (const each of order) {
        if (typeof each === "number") {
          const step = steps[each] as Step;
          recorder.dispatch(step, this.bindGroup(step, buffers, uniform), turn);
        } else for (let i = 0; i < each.count; i++) add(each.body, turn * each.count + i);
      }
    };
    add(program.order, 0);
    recorder.submit();
  }

  private bindGroup(step: Step, buffers: readonly GpuBuffer[], uniform: GpuBuffer | undefined): GPUBindGroup {
    for (const known of step.bound) if (binds(known, step.slots, buffers)) return known.group;
    const used = step.slots.map((slot) => buffers[slot] as GpuBuffer);
    const resources = step.scalars && uniform ? [uniform, ...used] : used;
    const group = this.device.gpu.createBindGroup({
      label: step.label,
      layout: (step.pipeline.gpu as GPUComputePipeline).getBindGroupLayout(0),
      entries: resources.map(({ gpu }, binding) => ({ binding, resource: { buffer: gpu } })),
    });
    if (step.bound.length === keptBindGroups) step.bound.pop();
    step.bound.unshift({ memory: used.map(({ memory }) => memory), group });
    return group;
  }

  startProfile(): void {
    if (!this.device.features.has("timestamp-query")) {
      throw new UsageError(`${this.info.adapter} has no "timestamp-query", with which kernels are measured`, {
        hint: "time the whole call around `await sync()`, or use another adapter (`dawngrad doctor`)",
      });
    }
    this.profile.start(() => new Profiler(this.device.gpu));
  }

  async endProfile(): Promise<KernelTime[]> {
    const profiler = this.profile.end();
    await this.device.drain();
    return (await profiler?.times()) ?? [];
  }

  throttle(): Promise<void> {
    return this.device.throttle();
  }

  sync(): Promise<void> {
    return this.device.drain();
  }

  memory(): MemoryReport {
    return this.device.pool.stats();
  }

  close(): Promise<void> {
    return this.device.destroy();
  }
}

/** Whether a bind group is of the buffers in these slots. */
function binds({ memory }: Bound, slots: readonly number[], buffers: readonly GpuBuffer[]): boolean {
  for (let i = 0; i < slots.length; i++) if (memory[i] !== (buffers[slots[i] as number] as GpuBuffer).memory) return false;
  return true;
}
