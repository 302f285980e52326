import { BackendUnavailableError } from "../../errors.js";
import { nodeProcess } from "../../platform/node.js";
import { importOptional, MissingPackageError } from "../../platform/optional-packages.js";
import { prepareSwiftShader } from "./software-driver.js";

/** Where Dawn in Node takes its drivers from. */
export type DawnSource = "system" | "swiftshader" | "null";

/**
 * What `create()` returned, for as long as the process lives: a device whose instance is collected crashes the process.
 * Never on `globalThis`, where it keeps the process from leaving.
 */
const instances = new Map<string, GPU>();

/** One look for drivers at a time: each reads environment variables that the next one changes. */
let turn: Promise<unknown> = Promise.resolve();

/** Unsafe APIs: without them an adapter does not tell of its subgroup matrices. Timestamps in nanoseconds, not rounded to 0.1 ms. */
const FEATURES = ["enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia", "disable-dawn-features=timestamp_quantization"];
const NO_SUCH_ADAPTER = "no adapter has this name";

/** An adapter as Dawn lists it. */
export interface DawnAdapter {
  readonly backend: string;
  readonly name: string;
  /** A fresh adapter, good for one device. */
  readonly adapter: GPUAdapter;
  /** Features of WGSL. */
  readonly languageFeatures: ReadonlySet<string>;
}

/** The package `webgpu`. Throws MissingPackageError where it is not installed, else BackendUnavailableError where it does not load. */
export async function loadDawn(): Promise<{ create(flags: string[]): GPU }> {
  const dawn = await importOptional<{ create(flags: string[]): GPU }>("webgpu").catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new BackendUnavailableError(`the package webgpu (Dawn for Node) cannot be loaded: ${reason}`, { cause });
  });
  if (dawn === undefined) throw new MissingPackageError("webgpu", "which brings WebGPU to Node");
  return dawn;
}

/** All adapters of one source. Throws BackendUnavailableError with the reason when there are none. */
export function dawnAdapters(source: DawnSource): Promise<DawnAdapter[]> {
  const result = turn.then(() => look(source));
  turn = result.catch(() => undefined);
  return result;
}

async function look(source: DawnSource): Promise<DawnAdapter[]> {
  if (source === "null") {
    const found = await request("null", ["backend=null"]);
    return found ? [{ backend: "null", name: "null", ...found }] : [];
  }
  const backend = nodeProcess().platform === "linux" ? ["backend=vulkan"] : [];
  if (source === "system") return list(source, backend);
  await loadDawn();
  const { icd } = await prepareSwiftShader();
  return withDrivers(icd, () => list(source, backend));
}

/**
 * Asks for an adapter that does not exist, since Dawn's refusal is the only list of adapters that it gives, and then for
 * each of those by name.
 */
async function list(source: DawnSource, backend: readonly string[]): Promise<DawnAdapter[]> {
  const found: DawnAdapter[] = [];
  let refusal = "";
  try {
    await request(`${source}/*`, [...backend, `adapter=${NO_SUCH_ADAPTER}`]);
  } catch (error) {
    if (error instanceof BackendUnavailableError) throw error;
    refusal = error instanceof Error ? error.message : String(error);
  }
  const seen = new Set<string>();
  for (const [, api = "", name = ""] of refusal.matchAll(/^ *\* backend: '([^']*)', name: '(.*)'$/gm)) {
    if (seen.has(name)) continue;
    seen.add(name);
    const listed = await request(`${source}/${name}`, [...backend, `adapter=${name}`]);
    if (listed) found.push({ backend: api, name, ...listed });
  }
  if (found.length === 0) {
    throw new BackendUnavailableError(refusal === "" ? "Dawn finds no adapter: no working driver" : `Dawn finds no adapter: ${refusal}`);
  }
  return found;
}

async function request(key: string, flags: readonly string[]): Promise<Pick<DawnAdapter, "adapter" | "languageFeatures"> | undefined> {
  let instance = instances.get(key);
  if (!instance) {
    const { create } = await loadDawn();
    instance = create([...flags, ...FEATURES]);
  }
  const adapter = await instance.requestAdapter();
  // An instance that found no driver would not look again: only those that found one are worth keeping.
  if (!adapter) return undefined;
  instances.set(key, instance);
  return { adapter, languageFeatures: instance.wgslLanguageFeatures };
}

/** Points the Vulkan loader at one driver for as long as `work` lasts; child processes keep the environment they would have. */
async function withDrivers<T>(icd: string, work: () => Promise<T>): Promise<T> {
  const names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] as const;
  const { env } = nodeProcess();
  const before = names.map((name) => env[name]);
  for (const name of names) env[name] = icd;
  try {
    return await work();
  } finally {
    names.forEach((name, i) => {
      const value = before[i];
      if (value === undefined) delete env[name];
      else env[name] = value;
    });
  }
}
