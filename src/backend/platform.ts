/** True in Node (main thread or worker): there WebGPU comes from the package `webgpu`; elsewhere it is `navigator.gpu`. */
export const isNode: boolean =
  typeof process !== "undefined" && process.versions?.node !== undefined && !("Deno" in globalThis) && typeof document === "undefined";

/**
 * Imports a module that exists in Node only. The specifier is not a literal, so that bundlers for browsers neither follow
 * nor reject it.
 */
export function importInNode<Module>(specifier: string): Promise<Module> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ specifier) as Promise<Module>;
}
