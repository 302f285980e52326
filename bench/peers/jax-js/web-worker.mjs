// jax-js starts its pool of workers where there is a global `Worker` as in browsers, with as many workers as
// `navigator.hardwareConcurrency` says. Node has neither in version 20, and without them everything runs on one thread.
// This makes both, as far as jax-js uses them, from node:worker_threads.
import { resolveObjectURL } from "node:buffer";
import { Worker as NodeWorker } from "node:worker_threads";

/** What code inside of a browser's worker finds in its scope. */
const scope = `
const { parentPort } = require("node:worker_threads");
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on("message", (data) => self.onmessage({ data }));
`;

class WebWorker {
  onmessage = () => {};
  onerror = (error) => {
    throw error;
  };
  #worker;
  #waiting = [];

  /** Source from a blob: URL, which a worker of Node cannot be started from. */
  constructor(url) {
    resolveObjectURL(url)
      .text()
      .then((source) => {
        this.#worker = new NodeWorker(scope + source, { eval: true });
        this.#worker.on("message", (data) => this.onmessage({ data }));
        this.#worker.on("error", (error) => this.onerror(error));
        for (const message of this.#waiting) this.#worker.postMessage(message);
      })
      .catch((error) => this.onerror(error));
  }

  postMessage(message) {
    if (this.#worker) this.#worker.postMessage(message);
    else this.#waiting.push(message);
  }
}

/** Call before jax-js is imported: it looks for workers when it is loaded. */
export function provideWorkers(threads) {
  globalThis.Worker = WebWorker;
  Object.defineProperty(globalThis, "navigator", { value: { hardwareConcurrency: threads }, configurable: true });
}
