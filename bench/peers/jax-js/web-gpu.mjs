// Gives jax-js what it finds in a browser with WebGPU: `navigator.gpu`, from Dawn, the npm package `webgpu`, which dawngrad uses as well.

/** The adapters' driver, for as long as the process lives: Dawn crashes if it is collected before its devices. */
let gpu;

/** Call before jax-js is imported. Returns the name of the adapter that jax-js will ask for. */
export async function provideWebGpu(threads) {
  process.env.LP_NUM_THREADS ??= String(threads); // of lavapipe
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  gpu = create(process.platform === "linux" ? ["backend=vulkan"] : []);
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "Node.js" }, configurable: true });
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("Dawn finds no adapter: there is no working driver");
  if (isSoftware(adapter)) nap();
  return adapter.info.device || adapter.info.description;
}

const isSoftware = ({ info }) => /llvmpipe|lavapipe|swiftshader/i.test(`${info.device} ${info.description}`);

/**
 * Dawn polls from Node's event loop at full speed, which takes a processor from an adapter that computes on processors: so dawngrad
 * sleeps between two turns of the loop, and here jax-js does.
 */
function nap() {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const turn = () => {
    Atomics.wait(cell, 0, 0, 0.2);
    setImmediate(turn).unref();
  };
  setImmediate(turn).unref();
}
