import { setFlagsFromString } from "node:v8";
import type { BackendInfo } from "../backend/backend.js";
import { hasRelaxedSimd, hasSimd } from "../backend/wasm/features.js";
import { init } from "../init.js";
import type { CommandIo } from "./io.js";
import { type BackendOptions, wantedBackend } from "./options.js";

/** What results say about where they were computed. */
export interface ComputedOn {
  readonly backend: string;
  /** Name of the GPU adapter, or of the way in which the processor is used; null on the reference backend. */
  readonly adapter: string | null;
}

/** Runs `body` on the backend that the options ask for (else the one that `init` chooses) and closes it afterwards. */
export async function onBackend<R>(
  options: BackendOptions,
  io: CommandIo,
  body: (computedOn: ComputedOn, info: BackendInfo) => Promise<R>,
): Promise<R> {
  const { adapter, threads } = options;
  const name = wantedBackend(options);
  if (name === undefined || name === "wasm") switchOnRelaxedSimd();
  const backend = await init({
    ...(name === undefined ? {} : { backend: name }),
    ...(adapter === undefined ? {} : { adapter }),
    ...(threads === undefined ? {} : { threads }),
  });
  const computedOn = describe(backend.info);
  io.note(io.style("dim", `computing on ${computedOn.backend}${computedOn.adapter === null ? "" : `: ${computedOn.adapter}`}`));
  try {
    return await body(computedOn, backend.info);
  } finally {
    await backend.close();
  }
}

const describe = ({ name, adapter }: BackendInfo): ComputedOn => ({ backend: name, adapter: name === "reference" ? null : adapter });

/**
 * Switches relaxed SIMD on where the engine hides it, and says whether it is there now. Node 20 has it behind a flag; products take
 * less time with it. The process is the command's own, so a flag of the engine is its to set; a library must not do that.
 */
export function switchOnRelaxedSimd(): boolean {
  if (hasRelaxedSimd()) return true;
  if (!hasSimd()) return false;
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  return hasRelaxedSimd();
}
