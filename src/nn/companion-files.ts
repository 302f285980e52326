/** Files that go wherever a model goes: its tokenizer, and what says where texts end and how conversations are written. */
import { type ByteSource, readAll } from "./byte-source.js";
import { readGgufHeader } from "./gguf/header.js";
import { type GgufTokenizer, ggufTokenizer } from "./gguf/keys.js";
import { type ModelFiles, openIfThere } from "./model-source.js";
import { modelFile } from "./open-model.js";
import { isAmongFiles, tokenizerFileKind } from "./tokenizers/file-kinds.js";
import { ggufTokenizerFiles } from "./tokenizers/gguf-to-json.js";
import { isKnownGgufTokenizer } from "./tokenizers/gguf-tokenizer.js";
import { isListedTokenizer, listedTokenizerName, llama2cDefinition } from "./tokenizers/llama2c-tokenizer.js";

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
  if (whole !== undefined) return ofFile(whole, files.beside());
  const found = await besides(files);
  if (hasTokenizer(found)) return found;
  const model = await modelFile(files);
  const inside = model === undefined ? ((await listedAmong(files)) ?? []) : await ofFile(model, files);
  return new Map([...inside, ...found]);
}

/** Whether a tokenizer is among them. */
export const hasTokenizer = (companions: ReadonlyMap<string, unknown>): boolean =>
  [...companions.keys()].some((name) => /^tokenizer\.(json|model)$/.test(name));

/** The files that say the tokenizer inside of a file, or the one that it is. */
async function ofFile(file: ByteSource, folder: ModelFiles | undefined): Promise<Map<string, Uint8Array>> {
  try {
    const kind = await tokenizerFileKind(file);
    if (kind === "listed") return await listed(file);
    if (kind === "none") return folder === undefined ? new Map() : ((await listedAmong(folder)) ?? (await besides(folder)));
    if (kind === "gguf") {
      const tokenizer = ggufTokenizer(await readGgufHeader(file));
      return tokenizer && isKnownGgufTokenizer(tokenizer) ? written(tokenizer, file.name) : new Map();
    }
    const own = [kind === "json" ? "tokenizer.json" : "tokenizer.model", await readAll(file, mostCompanionBytes)] as const;
    const around = isAmongFiles(file.name) && folder !== undefined ? await besides(folder) : [];
    return new Map([...[...around].filter(([name]) => !isAmongFiles(name)), own]);
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
