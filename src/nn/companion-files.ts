/** Files that go wherever a model goes: its tokenizer, and what says where texts end and how conversations are written. */
import { type ByteSource, readAll } from "./byte-source.js";
import { isGguf, readGgufHeader } from "./gguf/header.js";
import { ggufTokenizer } from "./gguf/keys.js";
import { type ModelFiles, openIfThere } from "./model-source.js";
import { modelFile } from "./open-model.js";
import { ggufTokenizerFiles } from "./tokenizers/gguf-to-json.js";
import { isKnownGgufTokenizer } from "./tokenizers/gguf-tokenizer.js";

/** By Hugging Face's names; `tokenizer.bin` is llama2.c's. */
export const companionNames: readonly string[] = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer.bin",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
];

/** The largest tokenizers have some 40 MB. */
export const mostCompanionBytes = 2 ** 28;

/**
 * Those that there are, whole; what a GGUF file says of its tokenizer, if the kind is known here, as the files that say it elsewhere. Throws
 * FormatError for one that is larger than any tokenizer.
 */
export async function readCompanions(files: ModelFiles): Promise<Map<string, Uint8Array>> {
  const whole = await files.whole();
  if (whole !== undefined) return insideOf(whole);
  const found = await besides(files);
  if (hasTokenizer(found)) return found;
  const model = await modelFile(files);
  return model === undefined ? found : new Map([...(await insideOf(model)), ...found]);
}

/** Whether a tokenizer is among them. */
export const hasTokenizer = (companions: ReadonlyMap<string, unknown>): boolean =>
  [...companions.keys()].some((name) => /^tokenizer\.(json|model|bin)$/.test(name));

async function insideOf(file: ByteSource): Promise<Map<string, Uint8Array>> {
  try {
    if (!isGguf(await file.start())) return new Map();
    const tokenizer = ggufTokenizer(await readGgufHeader(file));
    const written = tokenizer && isKnownGgufTokenizer(tokenizer) ? ggufTokenizerFiles(tokenizer, file.name) : {};
    return new Map(Object.entries(written).map(([name, content]) => [name, new TextEncoder().encode(content)]));
  } finally {
    await file.close();
  }
}

async function besides(files: ModelFiles): Promise<Map<string, Uint8Array>> {
  const there = (await files.names()) ?? companionNames;
  const found = new Map<string, Uint8Array>();
  for (const name of companionNames.filter((one) => there.includes(one))) {
    const file = await openIfThere(files, name);
    if (file === undefined) continue;
    try {
      found.set(name, await readAll(file, mostCompanionBytes));
    } finally {
      await file.close();
    }
  }
  return found;
}
