import { isNode } from "../../platform/node.js";

/** Milliseconds of waiting after which the loop begins to nap, and after which its naps grow long. */
const NAP_AFTER = 0.2;
const LONG_NAP_AFTER = 20;
const SHORT_NAP = 0.2;
const LONG_NAP = 1;

let napping = 0;
let looping = false;
let started = 0;
let cell: Int32Array<SharedArrayBuffer> | undefined;

/**
 * Dawn in Node polls from the event loop, at full speed, while any of its promises is pending. A software adapter needs
 * that processor core itself, so the loop sleeps between two turns. One loop serves all waits: naps of several would add up.
 */
function turn(): void {
  if (napping === 0) {
    looping = false;
    return;
  }
  const waited = performance.now() - started;
  if (waited > NAP_AFTER) {
    cell ??= new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(cell, 0, 0, waited > LONG_NAP_AFTER ? LONG_NAP : SHORT_NAP);
  }
  setImmediate(turn);
}

/**
 * Waits for a promise of the GPU. With `nap` (software adapters in Node) the event loop sleeps 0.2 ms per turn once 0.2 ms
 * have gone by, and 1 ms once 20 ms have; otherwise, and always in browsers, the promise is returned as it is.
 */
export async function gpuWait<T>(promise: Promise<T>, options: { readonly nap?: boolean } = {}): Promise<T> {
  if (!isNode || options.nap !== true) return promise;
  napping++;
  started = performance.now();
  if (!looping) {
    looping = true;
    setImmediate(turn);
  }
  try {
    return await promise;
  } finally {
    napping--;
  }
}
