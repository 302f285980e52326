import type { GpuDevice } from "./gpu-device.js";
import type { Pipeline } from "./pipelines.js";
import type { Profiler } from "./profiler.js";
import type { Turns } from "./turns.js";

/** Dispatches after which the device gets what is recorded so far: it can begin, and no piece of work keeps it for long. */
const dispatchesPerSubmit = 4096;

/** What a kernel is dispatched with, beside its buffers. */
export interface Dispatch {
  readonly label: string;
  readonly pipeline: Pipeline;
  readonly workgroups: readonly [number, number, number];
  /** Where the kernel asks for its turn. */
  readonly turns: Turns | undefined;
}

/** The commands of one run. */
export class Recorder {
  private encoder: GPUCommandEncoder;
  private pass: GPUComputePassEncoder | undefined;
  private dispatches = 0;
  /** What the pass is set to. */
  private pipeline: Pipeline | undefined;
  private group: GPUBindGroup | undefined;
  private turn: number | undefined;

  constructor(
    private readonly device: GpuDevice,
    private readonly label: string,
    /** Where each dispatch is measured by itself. */
    private readonly profiler?: Profiler,
  ) {
    this.encoder = device.gpu.createCommandEncoder({ label });
  }

  /** Adds a kernel, whose pipeline is made, with its buffers. */
  dispatch({ label, pipeline, workgroups, turns }: Dispatch, group: GPUBindGroup, turn: number): void {
    if (this.profiler) this.beginMeasured(label, this.profiler);
    this.pass ??= this.encoder.beginComputePass({ label: this.label });
    if (this.pipeline !== pipeline) this.pass.setPipeline(pipeline.gpu as GPUComputePipeline);
    if (this.group !== group) this.pass.setBindGroup(0, group);
    if (turns !== undefined && this.turn !== turn) {
      turns.bind(this.pass, turn);
      this.turn = turn;
    }
    const [x, y, z] = workgroups;
    this.pass.dispatchWorkgroups(x, y, z);
    [this.pipeline, this.group] = [pipeline, group];
    if (++this.dispatches % dispatchesPerSubmit === 0) {
      this.submit();
      this.encoder = this.device.gpu.createCommandEncoder({ label: this.label });
    }
  }

  private endPass(): void {
    this.pass?.end();
    [this.pass, this.pipeline, this.group, this.turn] = [undefined, undefined, undefined, undefined];
  }

  private beginMeasured(label: string, profiler: Profiler): void {
    this.endPass();
    this.pass = this.encoder.beginComputePass(profiler.nextPass(this.encoder, label));
  }

  /** Hands everything over that is recorded. */
  submit(): void {
    this.endPass();
    this.profiler?.resolve(this.encoder);
    this.device.submit([this.encoder.finish()], this.label);
  }
}
