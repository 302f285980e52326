import type { Backend } from "../backend/backend.js";
import { OptionError } from "../errors.js";
import { init } from "../init.js";
import type { Llama } from "../nn/llama.js";
import { byteTokenizer } from "../nn/tokenizers.js";
import type { CommandIo } from "./io.js";
import type { CommonOptions } from "./options.js";

/** What results say about where they were computed. */
export interface ComputedOn {
  readonly backend: string;
  /** Name of the GPU adapter; null where the backend has none. */
  readonly adapter: string | null;
}

/** Runs `body` on the backend that the options ask for (else the one that `init` chooses) and closes it afterwards. */
export async function onBackend<R>(
  options: Pick<CommonOptions, "backend" | "adapter">,
  io: CommandIo,
  body: (computedOn: ComputedOn) => Promise<R>,
): Promise<R> {
  const { backend: name, adapter } = options;
  const backend = await init({ ...(name === undefined ? {} : { backend: name }), ...(adapter === undefined ? {} : { adapter }) });
  const computedOn = describe(backend);
  io.note(io.style("dim", `computing on ${computedOn.backend}${computedOn.adapter === null ? "" : `: ${computedOn.adapter}`}`));
  try {
    return await body(computedOn);
  } finally {
    await backend.close();
  }
}

const describe = ({ info }: Backend): ComputedOn => ({
  backend: info.name,
  adapter: info.name === "reference" ? null : info.adapter,
});

/** Refuses models of another vocabulary: the command reads and writes bytes. */
export function needByteModel(model: Llama, folder: string): void {
  const { vocab_size: V } = model.config;
  if (V === byteTokenizer.vocabSize) return;
  throw new OptionError(`${folder}: the model has a vocabulary of ${V}, and the command reads bytes (${byteTokenizer.vocabSize})`, {
    hint: "use a model that `dawngrad train` made",
  });
}
