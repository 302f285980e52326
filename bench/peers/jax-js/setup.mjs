// jax-js on its WebAssembly backend, with a pool of `threads` workers, or on the main thread for one; or on WebGPU through Dawn.
import { readFileSync } from "node:fs";
import { readOptions } from "../../shared/case.mjs";
import { provideWebGpu } from "./web-gpu.mjs";
import { provideWorkers } from "./web-worker.mjs";

/** `einsum` and attention in jax-js map and filter iterators, which Node does from version 22 on. */
function provideIteratorHelpers() {
  const iterator = Object.getPrototypeOf(Object.getPrototypeOf([].values()));
  iterator.map ??= function* (f) {
    for (const item of this) yield f(item);
  };
  iterator.filter ??= function* (keeps) {
    for (const item of this) if (keeps(item)) yield item;
  };
}

/** The options of a script, among them --backend wasm|webgpu, and the library as they say, ready to use. */
export async function start(extra = {}) {
  const options = readOptions({ backend: { type: "string", default: "wasm" }, ...extra });
  const { backend, threads } = options;
  provideIteratorHelpers();
  let adapter;
  if (backend === "webgpu") adapter = await provideWebGpu(threads);
  else if (threads > 1) provideWorkers(threads);
  const jax = await import("@jax-js/jax");
  const started = await jax.init(backend);
  if (!started.includes(backend)) throw new Error(`jax-js has no ${backend} here`);
  jax.defaultDevice(backend);
  return { ...options, jax, adapter };
}

const manifest = new URL("../node_modules/@jax-js/jax/package.json", import.meta.url);
export const versions = { "@jax-js/jax": JSON.parse(readFileSync(manifest, "utf8")).version };
