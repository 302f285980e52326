// jax-js on its WebAssembly backend, with a pool of `threads` workers, or on the main thread for one.
import { readFileSync } from "node:fs";
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

/** The library, ready to use. */
export async function loadJax({ threads }) {
  provideIteratorHelpers();
  if (threads > 1) provideWorkers(threads);
  const jax = await import("@jax-js/jax");
  await jax.init("wasm");
  jax.defaultDevice("wasm");
  return jax;
}

const manifest = new URL("../node_modules/@jax-js/jax/package.json", import.meta.url);
export const versions = { "@jax-js/jax": JSON.parse(readFileSync(manifest, "utf8")).version };
