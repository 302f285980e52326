import { callable, checkArgument, objectWith, optional } from "../arguments.js";
import type { Backend, KernelTime, MemoryReport } from "../backend/backend.js";
import { BackendUnavailableError, UsageError } from "../errors.js";
import { recordOrigins } from "../ir/origin.js";

let current: Backend | undefined;
/** Ends what the current backend wants to be noted. */
let stopNoting: (() => void) | undefined;

/** The backend that realises tensors. Throws BackendUnavailableError before `init()`. */
export function currentBackend(): Backend {
  if (current === undefined) throw new BackendUnavailableError("no backend was started", { hint: "call `await init()` first" });
  return current;
}

const backendKind = objectWith("a backend, as init() gives it", "compile", "run", "info");

/** Makes a backend the one that realises tensors from now on; returns the one before. */
export function useBackend(backend: Backend | undefined): Backend | undefined {
  checkArgument("useBackend", "backend", backend, optional(backendKind));
  const before = current;
  current = backend;
  stopNoting?.();
  stopNoting = backend?.notesOrigins ? recordOrigins() : undefined;
  return before;
}

/** Runs f with another backend; f must not await before it has realised what it makes. */
export function withBackend<R>(backend: Backend, f: () => R): R {
  checkArgument("withBackend", "backend", backend, backendKind);
  checkArgument("withBackend", "f", f, callable);
  const before = useBackend(backend);
  try {
    return f();
  } finally {
    useBackend(before);
  }
}

/** Live bytes and buffers of the current backend, by owner. */
export const memory = (): MemoryReport => currentBackend().memory();

/** Waits until the device has done everything that was asked of it; throws what went wrong meanwhile. */
export const sync = (): Promise<void> => currentBackend().sync();

/** What a profile found: kernels, the longest first, and the milliseconds of all of them. */
export interface Profile<R> {
  readonly kernels: readonly KernelTime[];
  readonly milliseconds: number;
  /** What f returned. */
  readonly result: R;
}

/**
 * Measures each kernel that runs while f does: `const { kernels } = await profile(() => step(model, …))`. On "webgpu" by the device's own
 * clock, kernels one by one, so that the sum is more than f takes when nobody looks; on "wasm" by the host's, from where the threads begin a kernel
 * until all are through; on "reference", which runs graphs as they stand, each primitive by its name. Call f once before, or compilation
 * is part of what the host does meanwhile. Throws UsageError for adapters of WebGPU without "timestamp-query", and while another profile is
 * being taken.
 */
export async function profile<R>(f: () => R | Promise<R>): Promise<Profile<R>> {
  checkArgument("profile", "f", f, callable);
  const backend = currentBackend();
  if (!backend.startProfile || !backend.endProfile) {
    throw new UsageError(`the backend "${backend.info.name}" does not measure kernels one by one`, {
      hint: "take it without `debug`, or time the whole call around `await sync()`",
    });
  }
  backend.startProfile();
  let result: R;
  let kernels: KernelTime[];
  try {
    result = await f();
  } finally {
    kernels = await backend.endProfile();
  }
  return { kernels, milliseconds: kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0), result };
}

/** Whether two backends have the same buffers. */
export const shareBuffers = (a: Backend, b: Backend): boolean => (a.underlying ?? a) === (b.underlying ?? b);

/** Throws unless two backends have the same buffers. */
export function checkSameBackend(found: Backend, wanted: Backend): void {
  if (!shareBuffers(found, wanted)) {
    throw new UsageError(`a tensor of the backend "${found.info.name}" (${found.info.adapter}) meets another backend`, {
      hint: "read it with data() and make it anew, or switch with useBackend",
    });
  }
}
