import "./autograd/methods.js";

export { at, type Index, setAt } from "./autograd/at.js";
export {
  type AttentionOptions,
  type AttentionScore,
  attention,
  attentionWithLogSumExp,
  type DroppingAttentionOptions,
  type ScoreCoordinates,
} from "./autograd/attention.js";
export { type CheckGradsOptions, checkGrads, type GradientMode } from "./autograd/check-grads.js";
export { checkpoint } from "./autograd/checkpoint.js";
export { type Compiled, type CompileSettings, compile, type Explain, explain, memoryOf } from "./autograd/compile.js";
export * from "./autograd/composites.js";
export { cond, type WhileLoopOptions, whileLoop } from "./autograd/cond.js";
export {
  type ConvolutionOptions,
  conv1d,
  conv2d,
  convTranspose1d,
  convTranspose2d,
  type TransposedConvolutionOptions,
} from "./autograd/convolution.js";
export { type ClassLossOptions, type CrossEntropyOptions, crossEntropy, linearCrossEntropy } from "./autograd/cross-entropy.js";
export * from "./autograd/cumulative.js";
export { customVjp } from "./autograd/custom-vjp.js";
export * from "./autograd/diagonals.js";
export {
  categorical,
  exponential,
  gumbel,
  laplace,
  type NormalOptions,
  normal,
  type TruncatedNormalOptions,
  truncatedNormal,
} from "./autograd/distributions.js";
export { einsum } from "./autograd/einsum.js";
export * from "./autograd/elementary.js";
export type { ExplainedGraph, ExplainedNode, ExplainedRule } from "./autograd/explain/graph.js";
export type { ExplainedKernel, Explanation, MemoryTimeline, SvgOptions } from "./autograd/explain/types.js";
export {
  type BatchNormOptions,
  type BatchStatistics,
  batchNorm,
  batchStatistics,
  embedding,
  groupNorm,
} from "./autograd/functional-layers.js";
export { grad, hvp, jvp, valueAndGrad, vjp } from "./autograd/grad.js";
export * from "./autograd/indexing.js";
export { hessian, type JacobianOptions, jacobian } from "./autograd/jacobian.js";
export * as linalg from "./autograd/linalg.js";
export * from "./autograd/losses.js";
export { findNonFinite } from "./autograd/non-finite.js";
export * from "./autograd/operations.js";
export {
  type AvgPoolOptions,
  avgPool1d,
  avgPool2d,
  type MaxPoolOptions,
  maxPool1d,
  maxPool2d,
  type PoolOptions,
} from "./autograd/pooling.js";
export * from "./autograd/products.js";
export { bernoulli, dropout, foldIn, key, randint, randn, split, uniform } from "./autograd/random.js";
export { type ChoiceOptions, choice, permutation } from "./autograd/random-order.js";
export { realize } from "./autograd/realize.js";
export * from "./autograd/rearranging.js";
export * from "./autograd/reductions.js";
export { memory, type Profile, profile, sync, useBackend, withBackend } from "./autograd/runtime.js";
export { type ScanOptions, scan } from "./autograd/scan.js";
export * from "./autograd/searching.js";
export * from "./autograd/sorting.js";
export { type NestedNumbers, Tensor, tensor } from "./autograd/tensor.js";
export { flattenTree, mapTensors, type Tree, tensorsOf, zipTensors } from "./autograd/tree.js";
export { combine, type Part, partition, treeAt } from "./autograd/tree-parts.js";
export { type BatchAxes, type VmapOptions, vmap } from "./autograd/vmap.js";
export type { Padding, PerAxis } from "./autograd/windows.js";
export type { Backend, BackendInfo, KernelTime, MemoryReport, ProgramMemory } from "./backend/backend.js";
export * from "./e2llm/index.js";
export * from "./errors.js";
export { type BackendName, type InitOptions, init } from "./init.js";
export type { DType, HostArray } from "./ir/dtype.js";
export { primitives } from "./ir/primitives.js";
export type { KernelReport, ProgramReport, ValueReport } from "./ir/program-report.js";
export type { Shape } from "./ir/shape.js";
export * from "./nn/index.js";
