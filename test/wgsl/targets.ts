import type { Graph } from "../../src/backend/graph.js";
import { buildProgram, type ProgramOptions, type WebGpuProgram } from "../../src/backend/webgpu/program.js";

/** WebGPU's default limit. */
export const maxWorkgroupsPerDimension = 65_535;

/** Every way to compile a graph. */
export const targets: readonly { readonly name: string; readonly options: ProgramOptions }[] = (["software", "gpu"] as const).flatMap(
  (kernelClass) =>
    (["auto", "definitions"] as const).map((kernels) => ({
      name: `${kernelClass} kernels, ${kernels}`,
      options: { kernels, target: { kernelClass, maxWorkgroupsPerDimension } },
    })),
);

/** The programs of a graph for all targets. */
export const programsOf = (graph: Graph, donated?: readonly boolean[]): WebGpuProgram[] =>
  targets.map(({ options }) => buildProgram(graph, donated === undefined ? options : { ...options, donated }));
