import { callable, checkArgument, objectWith, optional } from "../arguments.js";
import type { Backend, MemoryReport } from "../backend/backend.js";
import { BackendUnavailableError, UsageError } from "../errors.js";

let current: Backend | undefined;

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

/** Throws unless two backends are the same. */
export function checkSameBackend(found: Backend, wanted: Backend): void {
  if (found !== wanted) {
    throw new UsageError(`a tensor of the backend "${found.info.name}" (${found.info.adapter}) meets another backend`, {
      hint: "read it with data() and make it anew, or switch with useBackend",
    });
  }
}
