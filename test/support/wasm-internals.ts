import type { Backend, CompileOptions, Executable } from "../../src/backend/backend.js";
import type { MemoryType } from "../../src/backend/wasm/assembler.js";
import { control } from "../../src/backend/wasm/control.js";
import type { Heap } from "../../src/backend/wasm/heap.js";
import type { LinearMemory } from "../../src/backend/wasm/memories.js";
import type { ProgramOptions, WasmProgram } from "../../src/backend/wasm/program.js";
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
  readonly memories: readonly LinearMemory[];
  readonly memoryType: MemoryType;
  readonly shared: boolean;
  readonly heap: Heap;
  readonly pool: { patience: number };
  load(executable: Executable): LoadedProgram;
  printing(): Omit<ProgramOptions, "kernels" | "donated">;
  executable(graph: Graph, program: WasmProgram, options: CompileOptions): Executable;
}

export const internalsOf = (backend: Backend): WasmInternals => backend as unknown as WasmInternals;

/** The first memory of a backend, which has the tables of programs. */
export const memoryOf = (backend: Backend): WebAssembly.Memory => (internalsOf(backend).memories[0] as LinearMemory).memory;

interface Piece {
  readonly address: number;
  readonly bytes: number;
}

/** The free pieces of one of a heap's memories, by address. */
export const piecesOf = (heap: Heap, memory = 0): readonly Piece[] =>
  ((heap as unknown as { spaces: readonly { readonly free: readonly Piece[] }[] }).spaces[memory] as { free: readonly Piece[] }).free;

/** How many threads took part in the last run of a program, as far as they have come. 0 where no other thread was woken. */
export function participants(backend: Backend, executable: Executable): number {
  const internals = internalsOf(backend);
  if (!internals.load(executable).parallel) return 0;
  return 1 + Atomics.load(new Int32Array(memoryOf(backend).buffer), control.helpers);
}
