import { compileGraph } from "../../compiler/compile.js";
import { describePlan } from "../../compiler/describe-plan.js";
import { heirsOf } from "../../compiler/heirs.js";
import type { HasKernel } from "../../compiler/inline.js";
import { patternOf } from "../../compiler/kernel-pattern.js";
import { kernelSize } from "../../compiler/kernel-size.js";
import { type Plan, plan } from "../../compiler/plan.js";
import type { BufferInfo, Kernel, Loop, Lowered, Step } from "../../compiler/program.js";
import { schedule } from "../../compiler/schedule.js";
import { UsageError } from "../../errors.js";
import type { DType } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
import { isRowUpdate } from "../../ir/row-update.js";
import { attentionKernel, hasAttentionKernel } from "./kernels/attention.js";
import { splitAttention } from "./kernels/attention-split.js";
import { mostTurns } from "./kernels/iterations.js";
import { mapKernel } from "./kernels/map.js";
import { matmulKernel } from "./kernels/matmul.js";
import { rowKernel } from "./kernels/row.js";
import { binsKernel, scatterKernel } from "./kernels/scatter.js";
import { type Context, fitUniform, type KernelSource, storageBuffersOf, type Target } from "./kernels/source.js";
import { bytesOf } from "./wgsl.js";

export interface ProgramOptions {
  /** "definitions": one kernel for each primitive, none of them written by hand. */
  readonly kernels: "auto" | "definitions";
  readonly target: Target;
  readonly donated?: readonly boolean[];
}

/** A graph as WGSL kernels with a plan of memory: everything that can be known before a device is there. */
export interface WebGpuProgram {
  readonly plan: Plan;
  readonly kernels: readonly KernelSource[];
  readonly order: readonly Order[];
  readonly scalars: readonly DType[];
}

/** A kernel by its number, or what is done again and again. */
export type Order = number | { readonly count: number; readonly body: readonly Order[] };

export const bufferBytes = ({ dtype, length }: BufferInfo): number => Math.max(4, Math.ceil((length * bytesOf[dtype]) / 4) * 4);

/** Compiles a graph to text. A pure function. */
export function buildProgram(graph: Graph, options: ProgramOptions): WebGpuProgram {
  const scalars: DType[] = new Array<DType>(graph.scalarCount).fill("f32");
  for (const node of graph.nodes) if (node.kind === "scalar") scalars[node.scalar] = node.dtype;
  const auto = options.kernels === "auto";
  // One binding is kept free for scalars where they need it, and one in kernels that may bind a buffer twice, as elements and as vectors.
  const maxMapBuffers = storageBuffersOf(options.target) - (fitUniform(graph.scalarCount) ? 0 : 1);
  const maxBuffers = maxMapBuffers - 1;
  // Software drivers compile the end of a product once for each register, which costs more than the trip through memory
  // that fusing it saves; and products without it share their pipelines.
  const epilogues = options.target.kernelClass === "gpu";
  const minRows = options.target.kernelClass === "gpu" ? 256 : 64;
  const hasKernel: HasKernel = (call, operands) => auto && (isRowUpdate(call) || hasAttentionKernel(call, operands, options.target));
  const { donated } = options;
  const limits = { minRows, maxOperands: 4, maxBuffers, maxMapBuffers };
  const passes = { hasKernel, simplify: auto, fuse: auto, ...limits, epilogues, expandScatter: !auto, donated };
  return assemble(compileGraph(graph, passes), scalars, options);
}

/**
 * Compiles steps to text; `scalars` are the types of the program's scalars. Throws UsageError for loops in loops whose iterations come to
 * more than can be counted.
 */
export function assemble(lowered: Lowered, scalars: readonly DType[], options: Omit<ProgramOptions, "kernels">): WebGpuProgram {
  const split = splitAttention(lowered, options.target, storageBuffersOf(options.target) - (fitUniform(scalars.length) ? 0 : 1));
  const heirs = heirsOf(split, options.donated);
  const planned = plan(schedule(split, heirs, bufferBytes), heirs, { bytesOf: bufferBytes, scratch: "pieces" });
  const context: Omit<Context, "loops"> = {
    info: (buffer) => planned.buffers.get(buffer) as BufferInfo,
    slotOf: (buffer) => planned.slotOf.get(buffer) as number,
    scalars: scalars.length,
    target: options.target,
  };
  const sourceOf = printer(context);
  const kernels: KernelSource[] = [];
  const place = (steps: readonly Step[], loops: readonly Loop[]): Order[] =>
    steps.map((step) => {
      if (step.kind !== "loop") return kernels.push(sourceOf(step, loops)) - 1;
      const inside = [...loops, step.iteration];
      needCountable(inside);
      return { count: step.iteration.extent, body: place(step.body, inside) };
    });
  const order = place(planned.steps, []);
  return { plan: planned, scalars, kernels, order };
}

function needCountable(loops: readonly Loop[]): void {
  const extents = loops.map(({ extent }) => extent);
  if (extents.reduce((n, extent) => n * extent, 1) <= mostTurns) return;
  throw new UsageError(`loops inside of each other come to ${extents.join(" × ")} iterations; the webgpu backend counts ${mostTurns}`, {
    hint: "do more in each iteration",
  });
}

/** Prints kernels, those of one pattern once: the layers of a model share theirs but for the slots. */
function printer(context: Omit<Context, "loops">): (kernel: Kernel, loops: readonly Loop[]) => KernelSource {
  const { info, slotOf } = context;
  const printed = new Map<string, { readonly source: KernelSource; readonly slots: readonly number[] }>();
  return (kernel, loops) => {
    const pattern = patternOf(kernel, (buffer, before) => {
      const { dtype, length } = info(buffer);
      return `${dtype}[${length}] in the slot of ${before.findIndex((other) => slotOf(other) === slotOf(buffer))}`;
    });
    const key = `${loops.map(({ name, extent }) => `${name}<${extent}`).join()}\n${pattern.key}`;
    const slots = pattern.buffers.map(slotOf);
    const known = printed.get(key);
    if (known !== undefined) {
      const bindings = known.source.bindings.map(({ slot, access }) => ({ slot: slots[known.slots.indexOf(slot)] as number, access }));
      return { ...known.source, bindings };
    }
    const source = print(kernel, { ...context, loops });
    printed.set(key, { source, slots });
    return source;
  };
}

function print(kernel: Kernel, context: Context): KernelSource {
  switch (kernel.kind) {
    case "map":
      return mapKernel(kernel, context);
    case "row":
      return rowKernel(kernel, context);
    case "matmul":
      return matmulKernel(kernel, context);
    case "bins":
      return binsKernel(kernel, context);
    case "scatter":
      return scatterKernel(kernel, context);
    case "attention":
    case "attentionBackward":
      return attentionKernel(kernel, context);
  }
}

/** The kernels of a program, one per line. */
export function describeProgram({ plan, kernels }: WebGpuProgram): string {
  const line = (kernel: Kernel, i: number): string => {
    const { bindings } = kernels[i] as KernelSource;
    const slots = bindings.map(({ slot, access }) => (access === "read" ? `${slot}` : `→${slot}`)).join(" ");
    return `${kernel.kind.padEnd(8)} ${kernelSize(kernel).padEnd(28)} slots ${slots.padEnd(16)} ${kernel.label}`;
  };
  return describePlan(plan, line, `${kernels.length} kernels`);
}
