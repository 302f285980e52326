import { buildProgram, type ProgramOptions, type WebGpuProgram } from "../../src/backend/webgpu/program.js";
import type { Graph } from "../../src/ir/graph.js";

/** WebGPU's default limit. */
export const maxWorkgroupsPerDimension = 65_535;

/** The programs of a graph for both kernel classes, fused and by definition or what of it is asked for. */
export function programsOf(
  graph: Graph,
  options: { readonly kernels?: readonly ProgramOptions["kernels"][]; readonly donated?: readonly boolean[] } = {},
): WebGpuProgram[] {
  const { kernels = ["auto", "definitions"], donated = [] } = options;
  const classes = ["software", "gpu"] as const;
  return classes.flatMap((kernelClass) =>
    kernels.map((kind) => buildProgram(graph, { kernels: kind, donated, target: { kernelClass, maxWorkgroupsPerDimension } })),
  );
}
