import type { control as controlWords } from "./control.js";
import type { SentMemory } from "./memories.js";
import type { KernelEntry, runSteps as run } from "./run-steps.js";

/** What a worker is given when it starts. */
export interface WorkerStart {
  /** The first has what the threads meet through. */
  readonly memories: readonly SentMemory[];
  /** What modules import these as. */
  readonly imports: Readonly<Record<string, WebAssembly.Memory>>;
  readonly gemm: WebAssembly.Module;
  /** Counts from 1; the main thread is 0. */
  readonly thread: number;
  readonly control: typeof controlWords;
}

/**
 * A worker's life: sleep until there is a run, help with it, sleep again. It never returns to its event loop while the backend
 * lives; programs reach it as bytes in the shared memory. Self-contained, because it travels as text.
 */
export function workerMain({ memories, imports, gemm, thread, control }: WorkerStart, runSteps: typeof run): void {
  /** Programs that a worker keeps ready. */
  const kept = 64;
  /** Looks at a word that may change soon before the thread goes to sleep. */
  const looks = 3000;
  const { memory } = memories[0] as SentMemory;
  const views = memories.map(({ memory, begin }) => new Int32Array(memory.buffer, begin));
  let words = views[0] as Int32Array;
  const multiplications = new WebAssembly.Instance(gemm, { env: imports }).exports;
  const programs = new Map<number, readonly KernelEntry[]>();
  // Methods, because bundlers that keep the names of functions wrap functions in variables with a helper of theirs, which is not here.
  const helper = {
    at(place: number): number {
      return Atomics.load(words, place);
    },
    wait(place: number, value: number, round: number): void {
      if (round >= looks) Atomics.wait(words, place, value, 1000);
    },
    kernelsOf(program: number): readonly KernelEntry[] {
      let kernels = programs.get(program);
      if (kernels === undefined) {
        const start = helper.at(control.moduleAddress) >>> 0;
        // The engine wants bytes that nobody else can change.
        const bytes = new Uint8Array(memory.buffer, start, helper.at(control.moduleBytes)).slice();
        const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: imports, gemm: multiplications });
        const found: KernelEntry[] = [];
        for (let i = 0; instance.exports[`k${i}`] !== undefined; i++) found.push(instance.exports[`k${i}`] as KernelEntry);
        kernels = found;
        if (programs.size >= kept) programs.delete(programs.keys().next().value as number);
      } else programs.delete(program);
      programs.set(program, kernels);
      return kernels;
    },
    help(): void {
      const scratch = (helper.at(control.scratchAddress) >>> 0) + thread * helper.at(control.scratchBytes);
      const kernels = helper.kernelsOf(helper.at(control.program));
      const [steps, counters] = [helper.at(control.stepsAddress) >>> 0, helper.at(control.countersAddress) >>> 0];
      const count = helper.at(control.stepCount);
      const scratchWords = views[helper.at(control.scratchMemory)] as Int32Array;
      runSteps(words, scratchWords, kernels, steps, count, counters, scratch, helper.wait, (error) =>
        helper.report(error, control.trapped),
      );
    },
    report(error: unknown, flag: number): void {
      const text = String(error);
      const length = Math.min(text.length, control.messageWords - 1);
      for (let i = 0; i < length; i++) words[control.message + 1 + i] = text.charCodeAt(i);
      words[control.message] = length;
      Atomics.store(words, flag, 1);
    },
  };

  let seen = 0;
  for (;;) {
    for (let round = 0; helper.at(control.epoch) === seen && helper.at(control.stop) === 0; round++) {
      if (round >= looks) Atomics.wait(words, control.epoch, seen);
    }
    if (helper.at(control.stop) !== 0) return;
    seen = helper.at(control.epoch);
    Atomics.add(words, control.joined, 1);
    // The main thread may have made memories grow; to grow by nothing is to see it.
    for (let i = 0; i < memories.length; i++) {
      const { memory, begin } = memories[i] as SentMemory;
      if (memory.buffer.byteLength < helper.at(control.pages + i) * 65_536) memory.grow(0);
      if ((views[i] as Int32Array).buffer !== memory.buffer) views[i] = new Int32Array(memory.buffer, begin);
    }
    words = views[0] as Int32Array;
    let failed = false;
    if (helper.at(control.open) === seen) {
      Atomics.add(words, control.helpers, 1);
      try {
        helper.help();
      } catch (error) {
        failed = true;
        helper.report(error, control.failed);
      }
    }
    Atomics.sub(words, control.joined, 1);
    Atomics.notify(words, control.joined);
    if (failed) return;
  }
}
