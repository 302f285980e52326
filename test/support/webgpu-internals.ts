import type { Backend, CompileOptions, Executable } from "../../src/backend/backend.js";
import type { Target } from "../../src/backend/webgpu/kernels/source.js";
import type { WebGpuProgram } from "../../src/backend/webgpu/program.js";
import type { Graph } from "../../src/ir/graph.js";

/** The parts of the webgpu backend that tests look into. */
export interface WebGpuInternals {
  readonly target: Target;
  executable(graph: Graph, program: WebGpuProgram, options: CompileOptions): Executable;
}

export const internalsOf = (backend: Backend): WebGpuInternals => backend as unknown as WebGpuInternals;
