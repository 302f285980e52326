import { createRequire, syncBuiltinESMExports } from "node:module";
import { Worker, type WorkerOptions } from "node:worker_threads";
import type { Backend, DeviceBuffer, Executable } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { memoryOf, participants } from "./wasm-internals.js";

/** Runs a program until `wanted` threads took part in one run; throws after some seconds. Gives the results back. */
export async function meet(backend: Backend, executable: Executable, inputs: readonly DeviceBuffer[], wanted: number): Promise<void> {
  const started = Date.now();
  while (Date.now() - started < 20_000) {
    for (const buffer of backend.run(executable, inputs, [])) backend.free(buffer);
    if (participants(backend, executable) >= wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`${wanted} threads did not meet within 20 seconds`);
}

/** Collects the workers that this process starts from now on, until `stop`. */
export function recordWorkers(): { readonly workers: readonly Worker[]; stop(): void } {
  const threads = createRequire(import.meta.url)("node:worker_threads") as { Worker: typeof Worker };
  const original = threads.Worker;
  const workers: Worker[] = [];
  threads.Worker = class extends original {
    constructor(file: string | URL, options?: WorkerOptions) {
      super(file, options);
      workers.push(this);
    }
  };
  syncBuiltinESMExports();
  return {
    workers,
    stop: () => {
      threads.Worker = original;
      syncBuiltinESMExports();
    },
  };
}

/** A worker that has ended; one that runs has a positive number. */
export const ended = ({ threadId }: Worker): boolean => threadId === -1;

/** What a promise comes to, or an error after some seconds: nothing that a test waits for may wait forever. */
export async function within<T>(seconds: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing happened within ${seconds} seconds`)), 1000 * seconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Makes the backend believe that one more worker is inside of a run, which leaves it `milliseconds` from now, on a thread of its own.
 * `seen` gives the word of the memory at `watched` as it was at that moment.
 */
export async function lateWorker(backend: Backend, milliseconds: number, watched = 0): Promise<{ seen(): Promise<number> }> {
  const words = new Int32Array(memoryOf(backend).buffer);
  const signal = new Int32Array(new SharedArrayBuffer(8));
  const source = `const { parentPort, workerData: { words, signal, joined, watched, milliseconds } } = require("node:worker_threads");
    parentPort.postMessage("ready");
    Atomics.wait(signal, 0, 0);
    Atomics.wait(signal, 0, 1, milliseconds);
    signal[1] = Atomics.load(words, watched);
    Atomics.sub(words, joined, 1);
    Atomics.notify(words, joined);`;
  const workerData = { words, signal, joined: control.joined, watched, milliseconds };
  const worker = new Worker(source, { eval: true, workerData });
  const exit = new Promise((resolve) => worker.once("exit", resolve));
  await new Promise((resolve) => worker.once("message", resolve));
  Atomics.add(words, control.joined, 1);
  Atomics.store(signal, 0, 1);
  Atomics.notify(signal, 0);
  return { seen: () => exit.then(() => signal[1] as number) };
}
