import type { AttentionBackwardKernel, AttentionKernel } from "../../../compiler/program.js";
import { isAttention, scoreInputs } from "../../../ir/attention.js";
import type { CallNode, GraphNode } from "../../../ir/graph.js";
import { gpuAttention, gpuKeyCotangent, gpuQueryCotangent } from "./attention-gpu.js";
import { softwareAttention, softwareKeyCotangent, softwareQueryCotangent } from "./attention-software.js";
import type { Context, KernelSource, Target } from "./source.js";

/** What a score may read beside the raw score, so that no kernel binds more than eight buffers. */
const mostCaptures = 2;
/** Pairs of one head from which on the kernels pay: drivers of software adapters take seconds to compile them. */
const manyPairs = 64 * 64;
/** The same where they have no subgroups, so that the kernels are those of GPUs: little is won but memory. */
const veryManyPairs = 1024 * 1024;
/** Queries that keep most invocations of a workgroup busy. */
const enoughQueries = 8;

/** Whether there is a kernel for a call of these operands, so that it need not be inlined. */
export function hasAttentionKernel(call: CallNode, operands: readonly GraphNode[], target: Target): boolean {
  if (!isAttention(call)) return false;
  const { score } = call.params;
  if (score !== null && score.inputCount > scoreInputs.captures + mostCaptures) return false;
  const [queries, keys] = [operands[0]?.shape[2] ?? 0, operands[1]?.shape[2] ?? 0];
  const isSlow = target.kernelClass === "software" && target.subgroupSize === undefined;
  return queries >= enoughQueries && queries * keys >= (isSlow ? veryManyPairs : manyPairs);
}

/** Attention, or one side of its backward pass: the cotangents of queries, or those of keys and values. */
export function attentionKernel(kernel: AttentionKernel | AttentionBackwardKernel, context: Context): KernelSource {
  const { kernelClass, subgroupSize } = context.target;
  const passesAround = kernelClass === "software" && subgroupSize !== undefined;
  if (kernel.kind === "attention") return passesAround ? softwareAttention(kernel, context) : gpuAttention(kernel, context);
  if (kernel.results.includes(0)) return passesAround ? softwareQueryCotangent(kernel, context) : gpuQueryCotangent(kernel, context);
  return passesAround ? softwareKeyCotangent(kernel, context) : gpuKeyCotangent(kernel, context);
}
