import type { GpuDevice } from "./gpu-device.js";
import type { Profiler } from "./profiler.js";
import type { Turns } from "./turns.js";

/** Dispatches after which the device gets what is recorded so far: it can begin, and no piece of work keeps it for long. */
const dispatchesPerSubmit = 4096;

/** A kernel with everything that it is dispatched with. */
export interface Dispatch {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
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
  private last: Dispatch | undefined;
  private turn: number | undefined;

  constructor(
    private readonly device: GpuDevice,
    private readonly label: string,
    /** Where each dispatch is measured by itself. */
    private readonly profiler?: Profiler,
  ) {
    this.encoder = device.gpu.createCommandEncoder({ label });
  }

  dispatch(dispatch: Dispatch, turn: number): void {
    if (this.profiler) this.beginMeasured(dispatch.label, this.profiler);
    this.pass ??= this.encoder.beginComputePass({ label: this.label });
    const { pipeline, group, workgroups, turns } = dispatch;
    if (this.last?.pipeline !== pipeline) this.pass.setPipeline(pipeline);
    if (this.last !== dispatch) this.pass.setBindGroup(0, group);
    if (turns !== undefined && this.turn !== turn) {
      turns.bind(this.pass, turn);
      this.turn = turn;
    }
    this.pass.dispatchWorkgroups(...workgroups);
    this.last = dispatch;
    if (++this.dispatches % dispatchesPerSubmit === 0) {
      this.submit();
      this.encoder = this.device.gpu.createCommandEncoder({ label: this.label });
    }
  }

  private endPass(): void {
    this.pass?.end();
    [this.pass, this.last, this.turn] = [undefined, undefined, undefined];
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
