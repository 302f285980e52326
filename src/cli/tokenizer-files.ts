/** The files of a tokenizer, which go wherever its model goes. */
import { rm, stat } from "node:fs/promises";
import { basename } from "node:path";
import { companionNames, hasTokenizer, mostCompanionBytes, readCompanions } from "../nn/companion-files.js";
import { readFileChecked, writeFileAtomic } from "../nn/files.js";
import { makeFolder } from "../nn/folders.js";
import { type FileContent, type ModelSource, modelFiles } from "../nn/model-source.js";
import { baseOfAdapter } from "./opened-model.js";

export type TokenizerFiles = ReadonlyMap<string, Uint8Array>;

/** A tokenizer that was named by its folder, or by one of its files, as a source of files. */
export async function tokenizerSource(path: string): Promise<ModelSource> {
  if (/^hf:|\.gguf$/i.test(path) || !(await stat(path).catch(() => undefined))?.isFile()) return path;
  const [kind] = /\.(model|bin)$/.exec(basename(path)) ?? [".json"];
  const name = `tokenizer${kind}`;
  return { [name]: await readFileChecked(path, { maxBytes: mostCompanionBytes }) } satisfies Record<string, FileContent>;
}

/** The files of the tokenizer that lies at a source, those that there are; of an adapter without one those of its base. */
export async function readTokenizerFiles(source: ModelSource): Promise<TokenizerFiles> {
  const found = await readCompanions(modelFiles("the tokenizer", source));
  if (hasTokenizer(found) || typeof source !== "string") return found;
  const base = await baseOfAdapter(source);
  return base === undefined ? found : new Map([...(await readTokenizerFiles(base)), ...found]);
}

/** Puts the files of a tokenizer into the folder of a model, in place of those of another. */
export async function placeTokenizerFiles(folder: string, files: TokenizerFiles): Promise<void> {
  await makeFolder(folder);
  for (const name of companionNames) {
    const content = files.get(name);
    if (content === undefined) await rm(`${folder}/${name}`, { force: true });
    else await writeFileAtomic(`${folder}/${name}`, content);
  }
}
