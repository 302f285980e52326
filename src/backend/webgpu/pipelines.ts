import type { DawngradError } from "../../errors.js";
import { shaderError } from "./shader-errors.js";

type Layout = GPUPipelineLayout | "auto";

/** A pipeline that is made or in the making. */
export interface Pipeline {
  /** Once it is made; never, where it was refused. */
  readonly gpu: GPUComputePipeline | undefined;
  /** Why it was refused. */
  readonly error: DawngradError | undefined;
  /** Settled, and never rejected, when one of the two is known; undefined afterwards. */
  readonly making: Promise<void> | undefined;
}

/** Pipelines that are compiled at once. Dawn has two threads for them and browsers have their own number; more would only hold memory. */
const mostAtOnce = 16;

/** Compiles pipelines side by side. */
export class Compiler {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly gpu: GPUDevice,
    /** Waits for what the device promises. */
    private readonly wait: <T>(promise: Promise<T>) => Promise<T>,
  ) {}

  /** Begins to compile a kernel. */
  compile(label: string, wgsl: string, layout: Layout): Pipeline & { readonly making: Promise<void> } {
    const pipeline: { -readonly [Field in keyof Pipeline]: Pipeline[Field] } = { gpu: undefined, error: undefined, making: undefined };
    const make = async (): Promise<void> => {
      if (this.running === mostAtOnce) await new Promise<void>((resolve) => this.waiting.push(resolve));
      else this.running++;
      this.gpu.pushErrorScope("validation");
      const module = this.gpu.createShaderModule({ label, code: wgsl });
      // What is wrong with the module is told once more by the pipeline.
      const scope = this.gpu.popErrorScope();
      const made = this.gpu.createComputePipelineAsync({ label, layout, compute: { module, entryPoint: "main" } });
      try {
        [pipeline.gpu] = await this.wait(Promise.all([made, scope]));
      } catch (error) {
        pipeline.error = await shaderError(label, wgsl, module, error instanceof Error ? error.message : String(error));
      }
      pipeline.making = undefined;
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    };
    const making = make();
    return Object.assign(pipeline, { making });
  }
}

/** Pipelines by their WGSL, each for as long as a program uses it. */
export class PipelineCache {
  private readonly known = new Map<string, { readonly pipeline: Pipeline; users: number }>();

  constructor(private readonly compile: (label: string, wgsl: string, layout: Layout) => Pipeline) {}

  /** The pipeline of a text for one more user: the one that another program has, or else a fresh one with this layout. */
  take(label: string, wgsl: string, layout: () => Layout): Pipeline {
    let shared = this.known.get(wgsl);
    if (shared === undefined) {
      shared = { pipeline: this.compile(label, wgsl, layout()), users: 0 };
      this.known.set(wgsl, shared);
    }
    shared.users++;
    return shared.pipeline;
  }

  /** One user less. */
  give(wgsl: string): void {
    const shared = this.known.get(wgsl);
    if (shared !== undefined && --shared.users === 0) this.known.delete(wgsl);
  }
}
