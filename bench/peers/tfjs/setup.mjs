// TensorFlow.js on its WebAssembly backend, with SIMD and `threads` threads.
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const os = require("node:os");

/**
 * Calls `start` where the package can start threads, which it switches off in Node: it would start workers from blob: URLs,
 * which Node's `Worker` does not take, and it takes half of the processors at most, whatever `setThreadsCount` says.
 */
async function whereThreadsStart(threads, start) {
  const { createObjectURL } = URL;
  const { cpus } = os;
  URL.createObjectURL = () => fileURLToPath(new URL("worker.cjs", import.meta.url));
  os.cpus = () => Array.from({ length: 2 * threads }, () => cpus()[0]);
  try {
    return await start();
  } finally {
    URL.createObjectURL = createObjectURL;
    os.cpus = cpus;
  }
}

/** The library, ready to use. */
export async function loadTensorFlow({ threads }) {
  const tf = require("@tensorflow/tfjs"); // tfjs-core alone comes without the gradients of its operations
  const wasm = require("@tensorflow/tfjs-backend-wasm");
  wasm.setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  if (threads > 1) {
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", true);
    wasm.setThreadsCount(threads);
    await whereThreadsStart(threads, () => tf.setBackend("wasm"));
    if (wasm.getThreadsCount() !== threads) throw new Error(`TensorFlow.js runs on ${wasm.getThreadsCount()} threads`);
  } else {
    await tf.setBackend("wasm");
  }
  if (tf.getBackend() !== "wasm") throw new Error("the WebAssembly backend of TensorFlow.js did not start");
  return tf;
}

export const versions = { "@tensorflow/tfjs-backend-wasm": require("@tensorflow/tfjs-backend-wasm/package.json").version };
