/** Files that go wherever a model goes: its tokenizer, and what says where texts end and how conversations are written. */
import { type ByteSource, readAll } from "./byte-source.js";
import { isGguf, readGgufHeader } from "./gguf/header.js";
import { type GgufTokenizer, ggufTokenizer } from "./gguf/keys.js";
import { type ModelFiles, openIfThere } from "./model-source.js";
import { modelFile } from "./open-model.js";
import { ggufTokenizerFiles } from "./tokenizers/gguf-to-json.js";
import { isKnownGgufTokenizer } from "./tokenizers/gguf-tokenizer.js";
import { baseName, isListedTokenizer, listedTokenizerName, llama2cDefinition } from "./tokenizers/llama2c-tokenizer.js";

/** By Hugging Face's names; `tokenizer.bin`, which is llama2.c's, is replaced by what says the same there. */
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
 * Those that there are, whole; what a GGUF file says of its tokenizer, if the kind is known here, and the list of tokens of llama2.c, as the files
 * that say it elsewhere. Throws FormatError for one that is larger than any tokenizer.
 */
export async function readCompanions(files: ModelFiles): Promise<Map<string, Uint8Array>> {
  const whole = await files.whole();
  const folder = files.beside();
  if (whole !== undefined)
    return (await insideOf(whole)) ?? (folder === undefined ? new Map() : ((await listedAmong(folder)) ?? besides(folder)));
  const found = await besides(files);
  if (hasTokenizer(found)) return found;
  const model = await modelFile(files);
  const inside = (model && (await insideOf(model))) ?? (await listedAmong(files)) ?? [];
  return new Map([...inside, ...found]);
}

/** Whether a tokenizer is among them. */
export const hasTokenizer = (companions: ReadonlyMap<string, unknown>): boolean =>
  [...companions.keys()].some((name) => /^tokenizer\.(json|model)$/.test(name));

/** The files that say the tokenizer of a GGUF file, or of a list that is the file; undefined where the file is a model that has none inside. */
async function insideOf(file: ByteSource): Promise<Map<string, Uint8Array> | undefined> {
  try {
    if (isListedTokenizer(baseName(file.name))) return await listed(file);
    if (!isGguf(await file.start())) return undefined;
    const tokenizer = ggufTokenizer(await readGgufHeader(file));
    return tokenizer && isKnownGgufTokenizer(tokenizer) ? written(tokenizer, file.name) : new Map();
  } finally {
    await file.close();
  }
}

/** What llama2.c's list of tokens says, which lies beside a model as a file of its own. */
async function listedAmong(folder: ModelFiles): Promise<Map<string, Uint8Array> | undefined> {
  const name = await listedTokenizerName(folder);
  const file = name && (await openIfThere(folder, name));
  if (!file) return undefined;
  try {
    return await listed(file);
  } finally {
    await file.close();
  }
}

const listed = async (file: ByteSource): Promise<Map<string, Uint8Array>> =>
  written(llama2cDefinition(await readAll(file, mostCompanionBytes), file.name), file.name);

const written = (tokenizer: GgufTokenizer, file: string): Map<string, Uint8Array> =>
  new Map(Object.entries(ggufTokenizerFiles(tokenizer, file)).map(([name, content]) => [name, new TextEncoder().encode(content)]));

async function besides(files: ModelFiles): Promise<Map<string, Uint8Array>> {
  const there = (await files.names()) ?? companionNames;
  const found = new Map<string, Uint8Array>();
  for (const name of companionNames.filter((one) => there.includes(one) && !isListedTokenizer(one))) {
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
