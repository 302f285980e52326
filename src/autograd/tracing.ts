/** How many functions are being traced or differentiated right now; compiled functions become part of them. */
let depth = 0;

/** True inside of `compile`, `grad`, `vjp`: nothing may be realised there. */
export const isTracing = (): boolean => depth > 0;

/** Runs f; compiled functions that it calls are inlined instead of run, and nothing is realised. */
export function whileTracing<R>(f: () => R): R {
  depth++;
  try {
    const result = f();
    // Callers refuse a promise by name; that it fails as well must not end the process.
    if (result instanceof Promise) result.catch(() => undefined);
    return result;
  } finally {
    depth--;
  }
}
