import type { Backend } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { compile, type Tensor, tensor, useBackend } from "../../src/index.js";
import { memoryOf, participants } from "../support/wasm-internals.js";
import { lossAndGradients, type TinyRun } from "./tiny-run.js";

/** What the wasm backend did in a page or in a worker of it. */
export interface WasmRun extends TinyRun {
  readonly adapter: string;
  readonly isolated: boolean;
  readonly canShare: boolean;
  /** Whether this thread may sleep; the main thread of a page may not. */
  readonly maySleep: boolean;
  /** Sums of a vector that is counted up by each of many runs, one after another. */
  readonly sums: readonly number[];
  /** The most threads that took part in one of these runs. */
  readonly met: number;
  /** Milliseconds that a run waited for a worker that was late for the one before; 0 where there are no workers. */
  readonly waited: number;
  /** How use after the end was refused. */
  readonly refusal: string;
}

const maySleep = (): boolean => {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
};

/** Makes a worker that is, for the backend, inside of a run until 200 milliseconds from now, and measures how long a run waits for it. */
async function waitForLateWorker(backend: Backend, run: () => unknown): Promise<number> {
  const words = new Int32Array(memoryOf(backend).buffer);
  const source = `onmessage = ({ data: { words, joined } }) => {
    postMessage("ready");
    setTimeout(() => { Atomics.sub(words, joined, 1); Atomics.notify(words, joined); }, 200);
  };`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  Atomics.add(words, control.joined, 1);
  worker.postMessage({ words, joined: control.joined });
  await new Promise((resolve) => {
    worker.onmessage = resolve;
  });
  const from = performance.now();
  run();
  const waited = performance.now() - from;
  worker.terminate();
  return waited;
}

/** Computes on a backend of its own and closes it. */
export async function wasmRun(options: WasmOptions): Promise<WasmRun> {
  const backend = await createWasmBackend(options);
  useBackend(backend);
  const run = await lossAndGradients();
  const programs: Parameters<typeof backend.run>[0][] = [];
  const original = backend.compile.bind(backend);
  backend.compile = (graph, settings) => {
    const program = original(graph, settings);
    if (settings?.label === "countUp") programs.push(program);
    return program;
  };
  const countUp = compile((state: Tensor) => state.add(1), { donate: [0], name: "countUp" });
  let state = tensor(new Float32Array(65_536));
  const sums: number[] = [];
  let met = 1;
  const from = Date.now();
  for (
    let i = 1;
    i <= 20 || (met < (options.threads ?? 1) && typeof SharedArrayBuffer !== "undefined" && Date.now() - from < 10_000);
    i++
  ) {
    state = countUp(state);
    met = Math.max(met, participants(backend, programs[0] as (typeof programs)[number]));
    if (i <= 20) sums.push(await state.sum().item());
    // A page starts its workers between its tasks.
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const sharing = (backend.info.threads ?? 1) > 1;
  const waited = sharing ? await waitForLateWorker(backend, () => countUp(tensor([1]))) : 0;
  await backend.close();
  const refusal = await state.data().then(
    () => "nothing",
    (error: Error) => error.name,
  );
  useBackend(undefined);
  return {
    ...run,
    adapter: backend.info.adapter,
    isolated: globalThis.crossOriginIsolated,
    canShare: typeof SharedArrayBuffer !== "undefined",
    maySleep: maySleep(),
    sums,
    met,
    waited,
    refusal,
  };
}
