import "./autograd/methods.js";

export { type Compiled, type CompileSettings, compile, explain } from "./autograd/compile.js";
export * from "./autograd/composites.js";
export type { DType, HostArray } from "./autograd/dtype.js";
export { grad, hvp, jvp, valueAndGrad, vjp } from "./autograd/grad.js";
export * from "./autograd/operations.js";
export { primitives } from "./autograd/primitives.js";
export { bernoulli, dropout, foldIn, key, randint, randn, split, uniform } from "./autograd/random.js";
export { realize } from "./autograd/realize.js";
export { memory, sync, useBackend, withBackend } from "./autograd/runtime.js";
export type { Shape } from "./autograd/shape.js";
export { type NestedNumbers, Tensor, tensor } from "./autograd/tensor.js";
export { flattenTree, mapTensors, type Tree, tensorsOf, zipTensors } from "./autograd/tree.js";
export type { Backend, BackendInfo, MemoryReport } from "./backend/backend.js";
export * from "./e2llm/index.js";
export * from "./errors.js";
export { type InitOptions, init } from "./init.js";
export * from "./nn/index.js";
