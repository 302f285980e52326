import { checkOptions, integer, oneOf, optional, text } from "./arguments.js";
import { useBackend } from "./autograd/runtime.js";
import type { Backend } from "./backend/backend.js";
import { CheckingBackend } from "./backend/checking.js";
import { BackendUnavailableError, OptionError } from "./errors.js";
import { nodeProcess } from "./platform/node.js";
import { MissingPackageError } from "./platform/optional-packages.js";

/** The backends by name, the preferred ones first. */
export const backendNames = ["webgpu", "wasm", "reference"] as const;
export type BackendName = (typeof backendNames)[number];

export interface InitOptions {
  /** Which backend; the fastest that works here when left out. */
  readonly backend?: BackendName;
  /** Part of an adapter's name, or "hardware", "software", "swiftshader". Implies the backend "webgpu". */
  readonly adapter?: string;
  /**
   * Threads of the wasm backend, the calling one among them. Implies the backend "wasm". Default: one for each processor, sixteen at
   * most, and one where there can be no more; `info.threads` tells.
   */
  readonly threads?: number;
  /** "definitions" turns every fusion and every hand-written kernel off. Default "auto". */
  readonly kernels?: "auto" | "definitions";
  /**
   * "non-finite" looks at every value that is computed, inside of compiled functions, gradients, loops and calls too: what reads numbers or
   * waits then throws NonFiniteError for the first NaN or infinity, with the operation, its operands and the line that made it. "nan" lets
   * infinities pass. Every operation runs by itself, many times slower. Default: off.
   */
  readonly debug?: "non-finite" | "nan";
}

/**
 * Starts a backend and makes it the current one. Without options: a hardware WebGPU adapter, else WebAssembly on the processor,
 * else the reference backend. WebGPU on a software adapter is slower than WebAssembly and only used when it is asked for.
 * Throws BackendUnavailableError when what was asked for cannot be had, and OptionError for names that do not exist or contradict each other.
 */
export async function init(options: InitOptions = {}): Promise<Backend> {
  checkOptions("init", options, {
    backend: optional(oneOf(...backendNames)),
    adapter: optional(text),
    threads: optional(integer(1)),
    kernels: optional(oneOf("auto", "definitions")),
    debug: optional(oneOf("non-finite", "nan")),
  });
  const wanted = wantedBackend(options);
  const { debug, ...rest } = options;
  const device = wanted === undefined ? await openBest(rest) : await open[wanted](rest);
  const backend = debug === undefined ? device : new CheckingBackend(device, debug);
  useBackend(backend);
  return backend;
}

/** The backend that the options name or imply. */
function wantedBackend({ backend, adapter, threads }: InitOptions): BackendName | undefined {
  for (const [name, value, only] of [
    ["adapter", adapter, "webgpu"],
    ["threads", threads, "wasm"],
  ] as const) {
    if (value === undefined || (backend ?? only) === only) continue;
    throw new OptionError(`init: ${name} is an option of the backend "${only}", and "${backend}" was asked for`, {
      hint: `leave ${name} out, or ask for "${only}"`,
    });
  }
  if (adapter !== undefined && threads !== undefined) {
    throw new OptionError('init: adapter is an option of the backend "webgpu", and threads one of "wasm"', { hint: "give one of the two" });
  }
  return backend ?? (adapter !== undefined ? "webgpu" : threads !== undefined ? "wasm" : undefined);
}

type Open = (options: Omit<InitOptions, "backend"> & { readonly passedOver?: readonly string[] }) => Promise<Backend>;

const open: { readonly [N in BackendName]: Open } = {
  webgpu: async (options) => (await import("./backend/webgpu/index.js")).createWebGpuBackend(options),
  wasm: async (options) => (await import("./backend/wasm/index.js")).createWasmBackend(options),
  reference: async (options) => (await import("./backend/reference/index.js")).createReferenceBackend(options),
};

/** The first backend that can be had, in the order in which they are preferred; it knows why the ones before it cannot. */
async function openBest(options: InitOptions): Promise<Backend> {
  const passedOver: string[] = [];
  for (const name of ["webgpu", "wasm"] as const) {
    try {
      return await open[name]({ ...options, ...(name === "webgpu" ? { adapter: "hardware" } : {}), passedOver });
    } catch (error) {
      if (!(error instanceof BackendUnavailableError)) throw error;
      passedOver.push([`${name}: ${error.message}`, error.hint].filter((part) => part !== "").join("; "));
      if (error instanceof MissingPackageError) warnOnce(error);
    }
  }
  return open.reference({ ...options, passedOver });
}

let warned = false;

/** Whoever has a GPU and lets `init()` choose would wait for a processor and never know why. Asking for a backend by name silences this. */
function warnOnce({ message, hint }: MissingPackageError): void {
  if (warned) return;
  warned = true;
  nodeProcess().emitWarning(`dawngrad uses no GPU: ${message}`, { code: "DAWNGRAD_NO_GPU", detail: hint });
}
