import type { Backend, CompileOptions, Executable } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import type { Heap } from "../../src/backend/wasm/heap.js";
import type { WasmProgram } from "../../src/backend/wasm/program.js";
import type { Graph } from "../../src/ir/graph.js";

/** A program of the wasm backend as it lies in memory. */
export interface LoadedProgram {
  readonly stepsAddress: number;
  readonly countersAddress: number;
  readonly moduleAddress: number;
  readonly moduleBytes: number;
  readonly parallel: boolean;
}

/** The parts of the wasm backend that tests look into, where nothing public would show what threads and memory do. */
export interface WasmInternals {
  readonly mem: WebAssembly.Memory;
  readonly maximum: number;
  readonly shared: boolean;
  readonly heap: Heap;
  readonly pool: { patience: number };
  load(executable: Executable): LoadedProgram;
  executable(graph: Graph, program: WasmProgram, options: CompileOptions): Executable;
}

export const internalsOf = (backend: Backend): WasmInternals => backend as unknown as WasmInternals;

/** The free pieces of a heap, by address. */
export const piecesOf = (heap: Heap): readonly { readonly address: number; readonly bytes: number }[] =>
  (heap as unknown as { free: readonly { readonly address: number; readonly bytes: number }[] }).free;

/** How many threads took part in the last run of a program, as far as they have come. 0 where no other thread was woken. */
export function participants(backend: Backend, executable: Executable): number {
  const internals = internalsOf(backend);
  if (!internals.load(executable).parallel) return 0;
  return 1 + Atomics.load(new Int32Array(internals.mem.buffer), control.helpers);
}
