import type { Backend, CompileOptions, DeviceBuffer } from "../../src/backend/backend.js";
import { hostArray } from "../../src/ir/dtype.js";
import type { Graph } from "../../src/ir/graph.js";

/** A graph that was compiled, and how. */
export interface Recorded {
  readonly graph: Graph;
  readonly options: CompileOptions;
}

/** A backend that computes nothing: it writes down the graphs that it is given, and every value reads as zeros. */
export function createRecordingBackend(): { readonly backend: Backend; readonly recorded: readonly Recorded[] } {
  const recorded: Recorded[] = [];
  let id = 0;
  const fresh = (): DeviceBuffer => ({ id: id++, bytes: 0 });
  const backend: Backend = {
    info: {
      name: "webgpu",
      adapter: "none",
      software: true,
      dtypes: new Set(["f32", "f16", "i32", "u32", "bool"]),
      maxTensorBytes: 2 ** 27,
      passedOver: [],
    },
    alloc: fresh,
    free: () => undefined,
    write: () => undefined,
    read: async (_, dtype, length) => hostArray(dtype, length),
    compile(graph, options = {}) {
      recorded.push({ graph, options });
      return { graph, describe: () => "" };
    },
    memoryOf: () => ({ inputBytes: 0, resultBytes: 0, scratchBytes: 0, programBytes: 0, peakBytes: 0, largestTensorBytes: 0 }),
    run: ({ graph }) => graph.outputs.map(fresh),
    release: () => undefined,
    sync: async () => undefined,
    memory: () => ({ liveBytes: 0, liveBuffers: 0, peakBytes: 0, byOwner: {}, idleBytes: 0 }),
    close: async () => undefined,
  };
  return { backend, recorded };
}
