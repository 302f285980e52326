import type { Backend, Executable } from "../../src/backend/backend.js";
import { counterWords, stepWords } from "../../src/backend/wasm/control.js";
import type { Heap } from "../../src/backend/wasm/heap.js";

/** A program of the wasm backend as it lies in memory. */
export interface LoadedProgram {
  readonly stepsAddress: number;
  readonly countersAddress: number;
  readonly moduleAddress: number;
  readonly moduleBytes: number;
}

/** The parts of the wasm backend that tests look into, where nothing public would show what threads and memory do. */
export interface WasmInternals {
  readonly mem: WebAssembly.Memory;
  readonly heap: Heap;
  readonly pool: { patience: number };
  load(executable: Executable): LoadedProgram;
}

export const internalsOf = (backend: Backend): WasmInternals => backend as unknown as WasmInternals;

/** The free pieces of a heap, by address. */
export const piecesOf = (heap: Heap): readonly { readonly address: number; readonly bytes: number }[] =>
  (heap as unknown as { free: readonly { readonly address: number; readonly bytes: number }[] }).free;

/**
 * How many threads took part in the last step of the last run of a program, as far as they have come: each of them asks for one
 * chunk more than there is, whereby it learns that the step is over. 0 where no other thread was woken.
 */
export function participants(backend: Backend, executable: Executable): number {
  const { mem } = internalsOf(backend);
  const { stepsAddress, countersAddress } = internalsOf(backend).load(executable);
  const last = (executable as unknown as { program: { steps: readonly unknown[] } }).program.steps.length - 1;
  const words = new Int32Array(mem.buffer);
  const step = stepsAddress / 4 + stepWords * last;
  const taken = Atomics.load(words, countersAddress / 4 + counterWords * last);
  return Math.max(0, taken - Math.ceil((words[step + 2] as number) / (words[step + 3] as number)));
}
