/**
 * All that the library takes from Node, in one place: bundlers for browsers must find no `node:` module to follow elsewhere, and what
 * is not there fails with one text. Nothing here runs before it is asked for.
 */
import { UsageError } from "../errors.js";

/** True in Node (main thread or worker): there WebGPU comes from the package `webgpu`; elsewhere it is `navigator.gpu`. */
export const isNode: boolean =
  typeof process !== "undefined" && process.versions?.node !== undefined && !("Deno" in globalThis) && typeof document === "undefined";

/** The modules of Node that the library uses, by their names without "node:". */
interface NodeModules {
  readonly crypto: typeof import("node:crypto");
  readonly fs: typeof import("node:fs");
  readonly "fs/promises": typeof import("node:fs/promises");
  readonly module: typeof import("node:module");
  readonly os: typeof import("node:os");
  readonly path: typeof import("node:path");
  readonly url: typeof import("node:url");
  readonly worker_threads: typeof import("node:worker_threads");
  readonly zlib: typeof import("node:zlib");
}

/** Whether there is a file system: in Node and in what imitates it. */
export const hasNode: boolean = typeof process !== "undefined" && process.versions?.node !== undefined;

/** The process of Node. Throws UsageError where there is none. */
export function nodeProcess(): NodeJS.Process {
  if (typeof process === "undefined" || process.versions?.node === undefined) throw notNode();
  return process;
}

/** A module of Node's own. Throws UsageError outside of Node and of what imitates it. */
export async function nodeModule<Name extends keyof NodeModules>(name: Name): Promise<NodeModules[Name]> {
  const { getBuiltinModule } = nodeProcess();
  // Releases before 20.16 have no such function.
  const found: unknown = getBuiltinModule?.(`node:${name}`) ?? (await importHidden(`node:${name}`));
  return found as NodeModules[Name];
}

/** A package that only Node has a use for. Rejects as `import` does where it is not installed. */
export async function nodePackage<Module>(name: string): Promise<Module> {
  nodeProcess();
  return importHidden(name) as Promise<Module>;
}

/** The file that an installed package is entered by. Throws what `require.resolve` throws where it is not installed. */
export async function nodePackageEntry(name: string): Promise<string> {
  const { createRequire } = await nodeModule("module");
  return createRequire(import.meta.url).resolve(name);
}

/** What runs a text as a script in a thread of its own, with `data` for what it is given. The process does not wait for the thread. */
export async function nodeThreads(): Promise<(text: string, data: unknown) => import("node:worker_threads").Worker> {
  const { Worker } = await nodeModule("worker_threads");
  return (text, data) => {
    const source = `const data = require("node:worker_threads").workerData;\n${text}`;
    const worker = new Worker(source, { eval: true, workerData: data, execArgv: [], env: {} });
    worker.unref();
    return worker;
  };
}

/** The specifier is no literal, so that bundlers neither follow nor reject it. */
const importHidden = (specifier: string): Promise<unknown> => import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);

const notNode = (): UsageError =>
  new UsageError("files and packages of the system exist in Node alone", { hint: "in browsers give bytes, a Blob or a URL" });
