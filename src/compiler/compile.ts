import type { Graph } from "../ir/graph.js";
import { isLowered } from "./call-operands.js";
import { type FuseOptions, fuse } from "./fuse.js";
import { type HasKernel, inline } from "./inline.js";
import { tidyLoops } from "./loop-bodies.js";
import { lower } from "./lower.js";
import { type PrepareOptions, prepare } from "./prepare.js";
import type { Lowered } from "./program.js";
import { pruneLoops } from "./prune-loops.js";
import { prune, simplify } from "./simplify.js";

/**
 * From a graph to the steps of a program, in the order of the passes:
 *
 *   inline → pruneLoops → simplify → tidyLoops → prepare → fuse → lower          then schedule → plan, which know the bytes of a backend
 *
 * Bodies of loops go through all of them like graphs of their own.
 */
export interface CompileGraphOptions extends FuseOptions, PrepareOptions {
  /** False leaves the graph as it is written: every primitive is a kernel. */
  readonly simplify: boolean;
  /** The calls that are kernels. Default: none. */
  readonly hasKernel?: HasKernel;
}

export function compileGraph(graph: Graph, options: CompileGraphOptions): Lowered {
  const kernels: HasKernel = (call, operands) => isLowered(call, operands) && options.hasKernel?.(call, operands) === true;
  const optimize = (body: Graph): Graph => prune(tidyLoops(options.simplify ? simplify(body) : body, optimize));
  // Inputs of bodies are not those of the graph.
  const inBodies = { ...options, donated: undefined };
  const lowerAt = (body: Graph, depth: number): Lowered => lower(body, fuse(body, depth === 0 ? options : inBodies), lowerAt, depth);
  return lowerAt(prepare(optimize(pruneLoops(inline(graph, kernels))), options), 0);
}
