/** `model.safetensors.index.json`: which file of a checkpoint in several files holds which tensor. */
import { FormatError } from "../errors.js";
import { type ByteSource, readAll } from "./byte-source.js";
import { isObject, parseJson, showValue } from "./json.js";

export const indexFile = "model.safetensors.index.json";

/** An index of a hundred thousand tensors takes some 12 MB. */
const MAX_INDEX_BYTES = 2 ** 24;
/** The largest checkpoints have some two hundred files. */
const MAX_FILES = 1024;
const MAX_TENSORS = 2 ** 18;

export interface SafetensorsIndex {
  /** The file of each tensor, by the tensor's name. */
  readonly files: ReadonlyMap<string, string>;
  /** What it says besides: `total_size`, as a rule. */
  readonly metadata: Readonly<Record<string, string | number | boolean>>;
}

/**
 * Reads and checks an index. File names are those of the folder alone: what leads elsewhere is refused.
 *
 * @throws FormatError for what is no index
 */
export async function readSafetensorsIndex(source: ByteSource): Promise<SafetensorsIndex> {
  const file = source.name;
  const fail = (message: string, hint = "download or export the checkpoint again"): FormatError => new FormatError(message, { file, hint });
  const text = new TextDecoder().decode(await readAll(source, MAX_INDEX_BYTES));
  const parsed = parseJson(text, { file, maxEntries: MAX_TENSORS });
  const map = isObject(parsed) ? parsed["weight_map"] : undefined;
  if (!isObject(parsed) || !isObject(map)) {
    throw fail(`expected an index { "weight_map": { tensor: file } }, found ${showValue(isObject(parsed) ? map : parsed)}`);
  }
  const files = new Map<string, string>();
  for (const [tensor, name] of Object.entries(map)) {
    if (typeof name !== "string" || !/^[^./\\:][^/\\:]*\.safetensors$/.test(name)) {
      throw fail(`expected the file of ${showValue(tensor)} to be a name that ends with .safetensors, found ${showValue(name)}`);
    }
    files.set(tensor, name);
  }
  const count = new Set(files.values()).size;
  if (count === 0) throw fail("expected an index of at least one tensor, found none");
  if (count > MAX_FILES) throw fail(`expected at most ${MAX_FILES} files, found ${count}`, "export the checkpoint into fewer files");
  return { files, metadata: plainValues(parsed["metadata"]) };
}

function plainValues(value: unknown): Record<string, string | number | boolean> {
  const found: Record<string, string | number | boolean> = Object.create(null);
  if (!isObject(value)) return found;
  for (const [key, one] of Object.entries(value)) {
    if (typeof one === "string" || typeof one === "number" || typeof one === "boolean") found[key] = one;
  }
  return found;
}
