import type { AttentionBackwardKernel, AttentionKernel } from "../../../compiler/program.js";
import { type AttentionNode, attentionCall, attentionInputs, inputsOfKernel, isAttention } from "../../../ir/attention.js";
import type { CallNode, GraphNode } from "../../../ir/graph.js";
import { sizeOf } from "../../../ir/shape.js";
import { attentionChunks } from "./attention-chunks.js";
import { gpuAttention, gpuKeyCotangent, gpuQueryCotangent } from "./attention-gpu.js";
import { softwareAttention, softwareKeyCotangent, softwareQueryCotangent } from "./attention-software.js";
import { manyQueries } from "./attention-split.js";
import type { Context, KernelSource, Target } from "./source.js";

/** Pairs of one head from which on the kernels pay: drivers of software adapters take seconds to compile them. */
const manyPairs = 64 * 64;
/** The same where software adapters have no subgroups, so that the kernels are those of GPUs: little is won but memory. */
const veryManyPairs = 1024 * 1024;
/** Keys from which on they pay for few queries. */
const manyKeys = 512;
/** Tables that scores read may take so much memory a second time, in one buffer (attention-pack.ts): what WebGPU guarantees to bind. */
const mostPackedBytes = 2 ** 27;

/** Whether there is a kernel for a call of these operands, so that it need not be inlined. */
export function hasAttentionKernel(call: CallNode, operands: readonly GraphNode[], target: Target): boolean {
  if (!isAttention(call) || packedBytes(call, operands) > mostPackedBytes) return false;
  const [queries, keys] = [operands[0]?.shape[2] ?? 0, operands[1]?.shape[2] ?? 0];
  const isSlow = target.kernelClass === "software" && target.subgroupSize === undefined;
  if (queries < manyQueries) return call.name === attentionCall && keys >= manyKeys && !isSlow;
  return queries * keys >= (isSlow ? veryManyPairs : manyPairs);
}

/** Bytes of all tables but the largest. */
function packedBytes(call: AttentionNode, operands: readonly GraphNode[]): number {
  const sizes = operands.slice(attentionInputs[call.name], inputsOfKernel(call).length).map(({ shape }) => sizeOf(shape));
  return 4 * (sizes.reduce((sum, size) => sum + size, 0) - Math.max(0, ...sizes));
}

/** Attention, or one side of its backward pass: the cotangents of queries, or those of keys and values. */
export function attentionKernel(kernel: AttentionKernel | AttentionBackwardKernel, context: Context): KernelSource {
  const { kernelClass, subgroupSize } = context.target;
  if (kernel.kind === "attention" && kernel.chunk !== undefined) return attentionChunks({ ...kernel, chunk: kernel.chunk }, context);
  const passesAround = kernelClass === "software" && subgroupSize !== undefined;
  if (kernel.kind === "attention") return passesAround ? softwareAttention(kernel, context) : gpuAttention(kernel, context);
  if (kernel.results.includes(0)) return passesAround ? softwareQueryCotangent(kernel, context) : gpuQueryCotangent(kernel, context);
  return passesAround ? softwareKeyCotangent(kernel, context) : gpuKeyCotangent(kernel, context);
}
