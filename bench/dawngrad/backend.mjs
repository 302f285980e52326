// Starts dawngrad as the options of a script say: --backend wasm|webgpu|reference, --threads N (of the WebAssembly backend, and of
// lavapipe where WebGPU runs on that).
import { createRequire } from "node:module";
import { init } from "dawngrad";
import { readOptions } from "../shared/case.mjs";

export async function start(extra = {}) {
  const options = readOptions({ backend: { type: "string", default: "wasm" }, ...extra });
  const { backend: name, threads } = options;
  process.env.LP_NUM_THREADS ??= String(threads);
  const backend = await init(name === "wasm" ? { backend: name, threads } : { backend: name });
  return { ...options, backend };
}

const { version } = createRequire(import.meta.url)("dawngrad/package.json");
export const versions = { dawngrad: version, "Node.js": process.versions.node };
