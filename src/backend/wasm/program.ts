import { compileGraph } from "../../compiler/compile.js";
import { heirsOf } from "../../compiler/heirs.js";
import type { HasKernel } from "../../compiler/inline.js";
import { patternOf } from "../../compiler/kernel-pattern.js";
import { type Plan, plan } from "../../compiler/plan.js";
import type { BufferInfo, Kernel, Loop, Lowered, Step } from "../../compiler/program.js";
import { schedule } from "../../compiler/schedule.js";
import type { DType } from "../../ir/dtype.js";
import type { Graph } from "../../ir/graph.js";
import { isRowUpdate } from "../../ir/row-update.js";
import { type MemoryType, ModuleBuilder } from "./assembler.js";
import { type FlatStep, flatten, type StepTree } from "./flat-steps.js";
import { attentionKernels, hasAttentionKernel } from "./kernels/attention.js";
import { attentionBackwardKernels } from "./kernels/attention-backward.js";
import { type Gemm, importGemm } from "./kernels/gemm.js";
import { type Context, type KernelCode, kernelSignature } from "./kernels/kernel.js";
import { mapKernel } from "./kernels/map.js";
import { matmulKernels } from "./kernels/matmul.js";
import { bytesOf } from "./kernels/operations.js";
import { rowKernel } from "./kernels/row.js";
import { binsKernel, scatterKernel } from "./kernels/scatter.js";
import { MathFunctions } from "./math/index.js";

export interface ProgramOptions {
  /** "definitions": one kernel for each primitive, none of them written by hand. */
  readonly kernels: "auto" | "definitions";
  readonly memory: MemoryType;
  /** Functions such as exp multiply and add in one instruction, which needs an engine with relaxed SIMD. Default false. */
  readonly fused?: boolean;
  readonly donated?: readonly boolean[];
  /** The most bytes of one block of scratch, where there can be several. */
  readonly blockBytes?: number;
  /** "finest" cuts the work of every kernel into the smallest chunks. */
  readonly chunks?: "auto" | "finest";
}

/** A graph as a WebAssembly module with a plan of memory: everything that can be known before a memory is there. */
export interface WasmProgram {
  readonly plan: Plan;
  readonly module: Uint8Array<ArrayBuffer>;
  readonly steps: readonly FlatStep[];
  readonly scalars: readonly DType[];
  /** How many steps each kernel of the plan became. */
  readonly kernelSteps: readonly number[];
}

/** The code of a kernel once it has a function. */
type PlacedCode = Omit<KernelCode, "body"> & { readonly function: number };

/** Buffers that one kernel may touch: enough for an optimizer's update of one parameter, and few enough for its pointers. */
const maxBuffers = 16;

export const bufferBytes = ({ dtype, length }: BufferInfo): number => Math.max(4, length * bytesOf[dtype]);

/** Compiles a graph to bytes. A pure function. */
export function buildProgram(graph: Graph, options: ProgramOptions): WasmProgram {
  const scalars: DType[] = new Array<DType>(graph.scalarCount).fill("f32");
  for (const node of graph.nodes) if (node.kind === "scalar") scalars[node.scalar] = node.dtype;
  const auto = options.kernels === "auto";
  const hasKernel: HasKernel = (call) => auto && (hasAttentionKernel(call) || isRowUpdate(call));
  const passes = { hasKernel, simplify: auto, fuse: auto, minRows: 64, maxOperands: 8, maxBuffers, expandScatter: !auto };
  return assemble(compileGraph(graph, passes), scalars, options);
}

/** Compiles steps to bytes; `scalars` are the types of the program's scalars. */
export function assemble(lowered: Lowered, scalars: readonly DType[], options: Omit<ProgramOptions, "kernels">): WasmProgram {
  const heirs = heirsOf(lowered, options.donated);
  const scheduled = schedule(lowered, heirs, bufferBytes);
  const planned = plan(scheduled, heirs, { bytesOf: bufferBytes, scratch: "block", alignment: 64, blockBytes: options.blockBytes });
  return { plan: planned, scalars, ...print(planned, options) };
}

/** The memories that a run has its things in, by their numbers. */
export interface Placement {
  /** Of each slot of the plan. */
  readonly slots: readonly number[];
  /** Of the arena of the kernels and of what belongs to threads. */
  readonly run: number;
}

/** A program for a run that is not all in the first memory. The plan is the same, and so are the steps but for their functions. */
export function placeProgram(program: WasmProgram, placement: Placement, options: Omit<ProgramOptions, "kernels">): WasmProgram {
  return { ...program, ...print(program.plan, options, placement) };
}

/** The code of a plan, as a module and as the steps that call it. */
function print(
  planned: Plan,
  options: Omit<ProgramOptions, "kernels" | "donated">,
  placement?: Placement,
): Pick<WasmProgram, "module" | "steps" | "kernelSteps"> {
  const memoryOf = (buffer: number): number => placement?.slots[planned.slotOf.get(buffer) as number] ?? 0;
  const count = 1 + (placement?.slots ?? []).reduce((a, b) => Math.max(a, b), placement?.run ?? 0);
  const module = new ModuleBuilder({ ...options.memory, count });
  const fused = options.fused ?? false;
  const gemm = importGemm(module, fused);
  const context: Omit<Context, "loops"> = {
    module,
    math: new MathFunctions(module, fused),
    info: (buffer) => planned.buffers.get(buffer) as BufferInfo,
    memoryOf,
    runMemory: placement?.run ?? 0,
  };
  /** Functions by their code. */
  const functions = new Map<string, number>();
  const functionOf = (body: number[]): number => {
    const key = body.join();
    const known = functions.get(key);
    if (known !== undefined) return known;
    module.place(kernelSignature, body, `k${functions.size}`);
    functions.set(key, functions.size);
    return functions.size - 1;
  };
  /** What kernels of one pattern become but for their buffers: the layers of a model share it. */
  const printed = new Map<string, { readonly codes: readonly PlacedCode[]; readonly buffers: readonly number[] }>();
  const codesOf = (kernel: Kernel, loops: readonly Loop[]): readonly PlacedCode[] => {
    const { key, buffers } = patternOf(kernel, (buffer) => {
      const { dtype, length } = context.info(buffer);
      return `${dtype}[${length}]@${memoryOf(buffer)}`;
    });
    const full = `${loops.map(({ name, extent }) => `${name}<${extent}`).join()}\n${key}`;
    const known = printed.get(full);
    if (known === undefined) {
      const codes = codeOf(kernel, { ...context, loops }, gemm).map(({ body, ...fields }) => ({ ...fields, function: functionOf(body) }));
      printed.set(full, { codes, buffers });
      return codes;
    }
    const renamed = new Map(known.buffers.map((buffer, i) => [buffer, buffers[i] as number]));
    return known.codes.map((code) => ({ ...code, buffers: code.buffers.map((buffer) => renamed.get(buffer) as number) }));
  };
  const kernelSteps: number[] = [];
  const place = (step: Step, loops: readonly Loop[]): StepTree[] => {
    if (step.kind === "loop") {
      const body = step.body.flatMap((inner) => place(inner, [...loops, step.iteration]));
      return [{ kind: "loop", count: step.iteration.extent, body }];
    }
    const turns = loops.reduce((n, { extent }) => n * extent, 1);
    const codes = codesOf(step, loops);
    kernelSteps.push(codes.length);
    return codes.map((code) => {
      const unitsPerChunk = options.chunks === "finest" ? code.unitMultiple : code.unitsPerChunk;
      return { ...code, kind: "kernel", unitsPerChunk, turns };
    });
  };
  const tree = planned.steps.flatMap((step) => place(step, []));
  const steps = flatten(tree, options.memory.shared && options.chunks !== "finest");
  return { module: module.finish(), steps, kernelSteps };
}

function codeOf(kernel: Kernel, context: Context, gemm: Gemm): KernelCode[] {
  switch (kernel.kind) {
    case "map":
      return [mapKernel(kernel, context)];
    case "row":
      return [rowKernel(kernel, context)];
    case "matmul":
      return matmulKernels(kernel, context, gemm);
    case "bins":
      return [binsKernel(kernel, context)];
    case "scatter":
      return [scatterKernel(kernel, context)];
    case "attention":
      return attentionKernels(kernel, context, gemm);
    case "attentionBackward":
      return attentionBackwardKernels(kernel, context, gemm);
  }
}
