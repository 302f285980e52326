import { wasmRun } from "./wasm-run.js";

// A dedicated worker of a page: it is sent options, and answers with what wasmRun found or how it failed.
addEventListener("message", ({ data }: MessageEvent) => {
  wasmRun(data).then(
    (run) => postMessage({ run }),
    (error: Error) => postMessage({ error: `${error.name}: ${error.message}` }),
  );
});
