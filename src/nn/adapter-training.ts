/** What a checkpoint of a training of adapters says of the base, which it does not hold. */
import { FormatError } from "../errors.js";
import { adapterConfigText, parseAdapterConfig } from "./adapter-config.js";
import { configOfAdapters, withAdapterModules } from "./adapter-places.js";
import { baseOf, loadBase, withConfig } from "./adapters.js";
import type { LlamaConfig } from "./config.js";
import { fingerprint } from "./fingerprint.js";
import type { Llama } from "./llama.js";
import { unloadLora } from "./lora.js";
import type { SafetensorsHeader } from "./safetensors-header.js";
import type { WeightDtype } from "./stored-model.js";

/** Metadata beside the numbers: the adapters' configuration, and of the base its name, the dtype of its weights and what they are known by. */
export async function adapterNotes(where: string, model: Llama, base: string | undefined) {
  const frozen = unloadLora(model);
  return {
    adapter: adapterConfigText(configOfAdapters(where, model, base)),
    base_dtype: frozen.model.embed_tokens.weight.dtype,
    base_fingerprint: await fingerprint(frozen),
  };
}

/**
 * The model with adapters whose numbers are in a checkpoint, on the base that was given or that the checkpoint names; undefined where the
 * checkpoint is none of adapters. Throws FormatError where the base is missing, or has other weights than it had.
 */
export async function adaptedBase(
  { metadata, tensors }: SafetensorsHeader,
  given: Llama | undefined,
  config: LlamaConfig,
): Promise<Llama | undefined> {
  const text = metadata["adapter"];
  const file = [...tensors.values()][0]?.file ?? "";
  if (text === undefined) {
    if (given === undefined) return undefined;
    throw new FormatError("expected a training of adapters for the base that was given, found one of a whole model", {
      file,
      hint: "leave base out",
    });
  }
  const fail = (message: string, hint: string): FormatError => new FormatError(message, { file, hint });
  const adapter = parseAdapterConfig(text, file);
  const base = given ?? (await named(adapter, metadata["base_dtype"], file));
  const adapted = withConfig(withAdapterModules(base, adapter, fail), config, file);
  const found = await fingerprint(unloadLora(adapted));
  if (found !== metadata["base_fingerprint"]) {
    const name = adapter.base_model_name_or_path;
    throw fail(
      `expected the base that the adapters were trained on, found other weights${name === undefined ? "" : ` in ${name}`}`,
      `give that model, in ${metadata["base_dtype"] ?? "the dtype that it had"}: loadTraining(source, optimizer, { base })`,
    );
  }
  return adapted;
}

async function named(adapter: ReturnType<typeof parseAdapterConfig>, dtype: string | undefined, file: string): Promise<Llama> {
  const name = await baseOf(adapter, file, "give it: loadTraining(source, optimizer, { base })");
  const known = (["f32", "f16", "bf16"] as const).find((one): one is WeightDtype => one === dtype);
  try {
    return await loadBase("loadTraining", name, known === undefined ? {} : { dtype: known });
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`the base that the adapters were trained on cannot be read: ${error.message}`, {
      file,
      hint: "give it: loadTraining(source, optimizer, { base })",
      cause: error,
    });
  }
}
