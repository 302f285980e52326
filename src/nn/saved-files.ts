/** Files of a model before they are written: into a folder, or as Blobs of a page. */

import { OptionError } from "../errors.js";
import { nodeModule } from "../platform/node.js";
import { readCompanions } from "./companion-files.js";
import { type FileBytes, writeFilesAtomic } from "./files.js";
import { makeFolder } from "./folders.js";
import { type HostBlob, type ModelSource, modelFiles } from "./model-source.js";
import { indexFile } from "./safetensors-index.js";
import { weightsFile } from "./safetensors-model.js";
import { inShards, type SavedTensor, safetensorsPieces, sizeInFile } from "./saved-tensors.js";

/** By name, in the order in which they are made. */
export type SavedFiles = Readonly<Record<string, FileBytes>>;

/** Hugging Face's metadata of weights. */
const fromTorch = { format: "pt" } as const;

/** `model.safetensors`, or several files of at most so many bytes of data with their index. */
export function weightsFiles(tensors: readonly SavedTensor[], maxShardBytes: number | undefined): SavedFiles {
  const total = tensors.reduce((sum, tensor) => sum + sizeInFile(tensor), 0);
  if (maxShardBytes === undefined || total <= maxShardBytes) return { [weightsFile]: safetensorsPieces(tensors, fromTorch) };
  const shards = inShards(tensors, maxShardBytes);
  const five = (count: number): string => String(count).padStart(5, "0");
  const names = shards.map((_, i) => `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`);
  const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i] as string])));
  const index = { metadata: { total_size: total }, weight_map };
  const files = shards.map((shard, i) => [names[i] as string, safetensorsPieces(shard, fromTorch)] as const);
  return { ...Object.fromEntries(files), [indexFile]: `${JSON.stringify(index, null, 2)}\n` };
}

/** The files of a source that say how its model reads and writes text. Throws OptionError for a single file that has no tokenizer inside. */
export async function companionFiles(where: string, source: ModelSource): Promise<SavedFiles> {
  const files = modelFiles(where, source);
  const found = await readCompanions(files);
  const whole = found.size === 0 ? await files.whole() : undefined;
  if (whole !== undefined) {
    await whole.close();
    throw new OptionError(`${where}: copyFrom is a single file without a tokenizer, ${whole.name}`, {
      hint: "name the folder that holds tokenizer.json",
    });
  }
  return Object.fromEntries(found);
}

/** Weights that a folder had before and that are not among the new ones: readers would take them for the model. */
const isWeights = (name: string): boolean => name === weightsFile || name === indexFile || /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);

/** Writes files into a folder, which is made if need be: all or none. Other weights that lay there are removed afterwards. */
export async function writeFiles(folder: string, files: SavedFiles): Promise<void> {
  await makeFolder(folder);
  await writeFilesAtomic(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content] as const));
  const { readdir, rm } = await nodeModule("fs/promises");
  const old = (await readdir(folder)).filter((name) => isWeights(name) && !Object.hasOwn(files, name));
  for (const name of old) await rm(`${folder}/${name}`, { force: true });
}

/** The files as Blobs. */
export async function blobsOf(files: SavedFiles): Promise<Record<string, HostBlob>> {
  const blobs: Record<string, HostBlob> = {};
  for (const [name, content] of Object.entries(files)) {
    const parts: (Uint8Array<ArrayBuffer> | string)[] = [];
    if (typeof content === "string" || content instanceof Uint8Array) parts.push(content as Uint8Array<ArrayBuffer> | string);
    else for await (const bytes of content) parts.push(bytes as Uint8Array<ArrayBuffer>);
    blobs[name] = new Blob(parts);
  }
  return blobs;
}
