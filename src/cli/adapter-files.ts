/** Adapters (LoRA) in the folders of PEFT, for those who ask what they are. */
import { FormatError } from "../errors.js";
import { readAll } from "../nn/byte-source.js";
import { isObject, parseJson } from "../nn/json.js";
import { modelFiles, openIfThere, readingFile } from "../nn/model-source.js";
import { readSafetensorsHeader, type SafetensorsPlace } from "../nn/safetensors-header.js";

const configFile = "adapter_config.json";
const weightsFile = "adapter_model.safetensors";
const maxConfigBytes = 2 ** 24;

export interface AdapterFiles {
  /** The content of adapter_config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly SafetensorsPlace[];
  readonly fileBytes: number;
  readonly parameters: number;
}

/** The adapter that a source is; undefined for a whole model. Throws FormatError for files that are damaged. */
export async function adapterIn(source: string): Promise<AdapterFiles | undefined> {
  const files = modelFiles("inspect", source);
  const names = await files.names();
  if (names !== undefined && (!names.includes(configFile) || names.includes("config.json"))) return undefined;
  const file = await openIfThere(files, configFile);
  if (file === undefined) return undefined;
  let config: unknown;
  try {
    config = parseJson(new TextDecoder().decode(await readAll(file, maxConfigBytes)), { file: file.name });
  } finally {
    await file.close();
  }
  if (!isObject(config)) throw new FormatError("expected a JSON object", { file: files.label(configFile), hint: "save the adapter again" });
  const { tensors, fileBytes } = await readingFile(files, weightsFile, readSafetensorsHeader);
  const places = [...tensors.values()];
  const parameters = places.reduce((sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1), 0);
  return { config, tensors: places, fileBytes, parameters };
}
