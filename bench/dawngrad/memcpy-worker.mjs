// One thread of memcpy.mjs: copies its part of the first half of the memory to the second half, once per round.
import { parentPort, workerData } from "node:worker_threads";
import { BYTES, DONE, ROUND } from "./memcpy.mjs";

const { module, memory, control, index, threads, capacity } = workerData;
const { copy } = new WebAssembly.Instance(module, { env: { memory } }).exports;
const line = 64;

parentPort.postMessage("ready");
for (let round = 0; ; round++) {
  Atomics.wait(control, ROUND, round);
  const share = Math.ceil(control[BYTES] / threads / line) * line;
  const from = Math.min(index * share, control[BYTES]);
  copy(capacity + from, from, Math.min(share, control[BYTES] - from));
  Atomics.add(control, DONE, 1);
  Atomics.notify(control, DONE);
}
