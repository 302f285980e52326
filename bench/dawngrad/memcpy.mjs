// The yardstick of the elementwise kernels: how long `threads` threads take to copy so many bytes, all of them at once and each
// its own part, by WebAssembly's memory.copy.
import { Worker } from "node:worker_threads";

/** (module (import "env" "memory" (memory 1 65536 shared)) (func (export "copy") (param to from bytes) memory.copy)) */
const module = new WebAssembly.Module(
  Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...[0x01, 0x07, 0x01, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x00],
    ...[0x02, 0x12, 0x01, 0x03, 0x65, 0x6e, 0x76, 0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x03, 0x01, 0x80, 0x80, 0x04],
    ...[0x03, 0x02, 0x01, 0x00],
    ...[0x07, 0x08, 0x01, 0x04, 0x63, 0x6f, 0x70, 0x79, 0x00, 0x00],
    ...[0x0a, 0x0e, 0x01, 0x0c, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02, 0xfc, 0x0a, 0x00, 0x00, 0x0b],
  ),
);
const page = 65536;

/** Words of the control block: the round that workers wait for, how many are done with it, bytes to copy. */
export const [ROUND, DONE, BYTES] = [0, 1, 2];

/** `copy(bytes)` copies so many bytes, at most `capacity`, and returns when all threads are done. */
export async function startMemcpy({ threads, capacity }) {
  const memory = new WebAssembly.Memory({ initial: Math.ceil((2 * capacity) / page), maximum: page, shared: true });
  new Uint8Array(memory.buffer).fill(1); // pages that were never written are all one page of zeros
  const control = new Int32Array(new SharedArrayBuffer(12));
  const workers = Array.from({ length: threads }, (_, index) => {
    const workerData = { module, memory, control, index, threads, capacity };
    return new Worker(new URL("memcpy-worker.mjs", import.meta.url), { workerData });
  });
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
  return {
    copy(bytes) {
      control[BYTES] = bytes;
      Atomics.store(control, DONE, 0);
      Atomics.add(control, ROUND, 1);
      Atomics.notify(control, ROUND);
      for (let done = 0; done < threads; done = Atomics.load(control, DONE)) Atomics.wait(control, DONE, done);
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  };
}
