/** Files that go wherever a model goes: its tokenizer, and what says where texts end and how conversations are written. */
import { readAll } from "./byte-source.js";
import { type ModelFiles, openIfThere } from "./model-source.js";

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

/** Those that there are, whole. Throws FormatError for one that is larger than any tokenizer. */
export async function readCompanions(files: ModelFiles): Promise<Map<string, Uint8Array>> {
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
