import type { KernelReport, ValueReport } from "../../ir/program-report.js";
import type { ExplainedGraph } from "./graph.js";

/** A kernel of a program, what it computes and what it moves. */
export interface ExplainedKernel extends KernelReport {
  readonly number: number;
  /** Floating-point operations for each byte that is moved: far below what a device does per byte it is bound by memory, far above by arithmetic. */
  readonly intensity: number;
}

/** When memory holds what. */
export interface MemoryTimeline {
  readonly values: readonly ValueReport[];
  /** Bytes of scratch that hold something at each kernel. */
  readonly liveBytes: readonly number[];
  /** The most of them, and the kernel at which that is; −1 where nothing is between inputs and results. */
  readonly peakBytes: number;
  readonly peakKernel: number;
  readonly scratchBytes: number;
}

export interface SvgOptions {
  /** Nodes up to which the graph is drawn; of larger ones the kernels are, and of more than so many those in groups. Default 300. */
  readonly maxNodes?: number;
  /** Whether the code of the kernels is part of the picture. Default false. */
  readonly listings?: boolean;
}

/** What runs for a function and its arguments, as an object, see `explain`. */
export interface Explanation {
  readonly name: string;
  readonly backend: string;
  /** How often the function was traced. */
  readonly traces: number;
  /** What `explain(f, ...args)` returns. */
  readonly text: string;
  /** The graph as it was traced, gradients in it, with the user's line and the rule of each node. */
  readonly graph: ExplainedGraph;
  /** What runs, in order. */
  readonly kernels: readonly ExplainedKernel[];
  readonly memory: MemoryTimeline;
  /** Of all kernels, loops as often as they run. */
  readonly flops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** flops / (bytesRead + bytesWritten). */
  readonly intensity: number;
  /** The code of a kernel: WGSL, or WebAssembly as text; on the reference backend, which has no code, the operation. Throws OptionError for a kernel that is not there. */
  listing(kernel: number): string;
  /** `text`. */
  toString(): string;
  /** The graph in the language of Graphviz: `dot -Tsvg`. */
  toDot(): string;
  /** Graph, kernels and memory over time as one picture that needs no other file. */
  toSvg(options?: SvgOptions): string;
}
