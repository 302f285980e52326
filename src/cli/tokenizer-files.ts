/** The files of a tokenizer, which go wherever its model goes. */
import { rm, stat } from "node:fs/promises";
import { basename } from "node:path";
import { readAll } from "../nn/byte-source.js";
import { readFileChecked, writeFileAtomic } from "../nn/files.js";
import { makeFolder } from "../nn/folders.js";
import { type FileContent, type ModelSource, modelFiles, openIfThere } from "../nn/model-source.js";

/** By Hugging Face's names, with what says where texts end and how conversations are written. */
export const tokenizerFileNames: readonly string[] = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer.bin",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "generation_config.json",
];

const maxFileBytes = 2 ** 28;

export type TokenizerFiles = ReadonlyMap<string, Uint8Array>;

/** A tokenizer that was named by its folder, or by one of its files, as a source of files. */
export async function tokenizerSource(path: string): Promise<ModelSource> {
  if (/^hf:|\.gguf$/i.test(path) || !(await stat(path).catch(() => undefined))?.isFile()) return path;
  const [kind] = /\.(model|bin)$/.exec(basename(path)) ?? [".json"];
  const name = `tokenizer${kind}`;
  return { [name]: await readFileChecked(path, { maxBytes: maxFileBytes }) } satisfies Record<string, FileContent>;
}

/** The files of the tokenizer that lies at a source, those that there are. */
export async function readTokenizerFiles(source: ModelSource): Promise<TokenizerFiles> {
  const files = modelFiles("the tokenizer", source);
  const names = (await files.names()) ?? tokenizerFileNames;
  const found = new Map<string, Uint8Array>();
  for (const name of tokenizerFileNames.filter((one) => names.includes(one))) {
    const file = await openIfThere(files, name);
    if (file === undefined) continue;
    try {
      found.set(name, await readAll(file, maxFileBytes));
    } finally {
      await file.close();
    }
  }
  return found;
}

/** Puts the files of a tokenizer into the folder of a model, in place of those of another. */
export async function placeTokenizerFiles(folder: string, files: TokenizerFiles): Promise<void> {
  await makeFolder(folder);
  for (const name of tokenizerFileNames) {
    const content = files.get(name);
    if (content === undefined) await rm(`${folder}/${name}`, { force: true });
    else await writeFileAtomic(`${folder}/${name}`, content);
  }
}
