import { useBackend } from "./autograd/runtime.js";
import type { Backend } from "./backend/backend.js";
import { BackendUnavailableError, OptionError } from "./errors.js";

export interface InitOptions {
  /** Which backend; the fastest that works here when left out. */
  readonly backend?: "webgpu" | "reference";
  /** Part of an adapter's name, or "hardware", "software", "swiftshader". Implies the backend "webgpu". */
  readonly adapter?: string;
  /** "definitions" turns every fusion and every hand-written kernel off. Default "auto". */
  readonly kernels?: "auto" | "definitions";
}

/**
 * Starts a backend and makes it the current one. Without options: a hardware WebGPU adapter, else a software one, else
 * the reference backend. Throws BackendUnavailableError when what was asked for cannot be had, and OptionError for names
 * that do not exist.
 */
export async function init(options: InitOptions = {}): Promise<Backend> {
  const wanted = options.backend ?? (options.adapter === undefined ? undefined : "webgpu");
  if (wanted !== undefined && wanted !== "webgpu" && wanted !== "reference") {
    throw new OptionError(`there is no backend "${String(wanted)}"`, { hint: 'backends are "webgpu" and "reference"' });
  }
  const backend = await open(wanted, options);
  useBackend(backend);
  return backend;
}

async function open(wanted: InitOptions["backend"], options: InitOptions): Promise<Backend> {
  if (wanted !== "reference") {
    try {
      const { createWebGpuBackend } = await import("./backend/webgpu/index.js");
      return await createWebGpuBackend(options);
    } catch (error) {
      if (wanted === "webgpu" || !(error instanceof BackendUnavailableError)) throw error;
    }
  }
  const { createReferenceBackend } = await import("./backend/reference/index.js");
  return createReferenceBackend();
}
