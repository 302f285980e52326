import { compileGraph } from "../../compiler/compile.js";
import { heirsOf } from "../../compiler/heirs.js";
import { inline } from "../../compiler/inline.js";
import { describeSteps, kernelSize } from "../../compiler/kernel-size.js";
import { type Plan, plan } from "../../compiler/plan.js";
import { type BufferInfo, type Kernel, kernelsOf } from "../../compiler/program.js";
import { schedule } from "../../compiler/schedule.js";
import { unroll } from "../../compiler/unroll.js";
import type { DType } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
import { contractKernel } from "./kernels/contract.js";
import { mapKernel } from "./kernels/map.js";
import { rowKernel } from "./kernels/row.js";
import { scatterKernel } from "./kernels/scatter.js";
import { fitUniform, type KernelSource, type Target } from "./kernels/source.js";
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
  readonly scalars: readonly DType[];
}

/** Storage buffers that WebGPU guarantees to a kernel. */
const guaranteedBuffers = 8;

export const bufferBytes = ({ dtype, length }: BufferInfo): number => Math.max(4, Math.ceil((length * bytesOf[dtype]) / 4) * 4);

/** Compiles a graph to text. A pure function. */
export function buildProgram(given: Graph, options: ProgramOptions): WebGpuProgram {
  const auto = options.kernels === "auto";
  const graph = unroll(inline(given));
  const scalars: DType[] = new Array<DType>(graph.scalarCount).fill("f32");
  for (const node of graph.nodes) if (node.kind === "scalar") scalars[node.scalar] = node.dtype;
  // A kernel may bind one buffer twice, as elements and as vectors, so one binding is kept free, and one for scalars where they need it.
  const maxBuffers = guaranteedBuffers - (fitUniform(scalars.length) ? 1 : 2);
  // Software drivers compile the end of a product once for each register, which costs more than the trip through memory
  // that fusing it saves; and products without it share their pipelines.
  const epilogues = options.target.kernelClass === "gpu";
  const minRows = options.target.kernelClass === "gpu" ? 256 : 64;
  const lowered = compileGraph(graph, { simplify: auto, fuse: auto, minRows, maxOperands: 4, maxBuffers, epilogues, expandScatter: !auto });
  const heirs = heirsOf(lowered, options.donated);
  const planned = plan(schedule(lowered, heirs, bufferBytes), heirs, { bytesOf: bufferBytes, scratch: "pieces" });
  const info = (buffer: number): BufferInfo => planned.buffers.get(buffer) as BufferInfo;
  const slotOf = (buffer: number): number => planned.slotOf.get(buffer) as number;
  return {
    plan: planned,
    scalars,
    kernels: kernelsOf(planned.steps).map((kernel) => print(kernel, info, slotOf, scalars.length, options.target)),
  };
}

function print(
  kernel: Kernel,
  info: (buffer: number) => BufferInfo,
  slotOf: (buffer: number) => number,
  scalars: number,
  target: Target,
): KernelSource {
  switch (kernel.kind) {
    case "map":
      return mapKernel(kernel, info, slotOf, scalars, target);
    case "row":
      return rowKernel(kernel, info, slotOf, scalars, target);
    case "contract":
      return contractKernel(kernel, info, slotOf, scalars, target);
    case "scatter":
      return scatterKernel(kernel, info, slotOf, scalars, target);
  }
}

/** The kernels of a program, one per line. */
export function describeProgram({ plan, kernels }: WebGpuProgram): string {
  const lines = describeSteps(plan.steps, (kernel, i) => {
    const { bindings } = kernels[i] as KernelSource;
    const slots = bindings.map(({ slot, access }) => (access === "read" ? `${slot}` : `→${slot}`)).join(" ");
    return `${kernel.kind.padEnd(8)} ${kernelSize(kernel).padEnd(28)} slots ${slots.padEnd(16)} ${kernel.label}`;
  });
  return [...lines, `${kernels.length} kernels, ${plan.slots.length} slots, ${plan.scratchBytes} bytes of scratch`].join("\n");
}
