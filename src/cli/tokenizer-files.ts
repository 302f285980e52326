/** The files of a tokenizer, which go wherever its model goes. */
import { rm } from "node:fs/promises";
import { companionNames, hasTokenizer, readCompanions } from "../nn/companion-files.js";
import { writeFileAtomic } from "../nn/files.js";
import { makeFolder } from "../nn/folders.js";
import { type ModelSource, modelFiles } from "../nn/model-source.js";
import { baseOfAdapter } from "./opened-model.js";

export type TokenizerFiles = ReadonlyMap<string, Uint8Array>;

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
