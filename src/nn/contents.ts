/** Contents of files by name: into a folder in Node, or into Blobs for pages. */
import { writeFileAtomic } from "./files.js";
import { makeFolder } from "./folders.js";
import type { HostBlob } from "./model-source.js";

export type FileBytes = Uint8Array | string;

export const blobsOf = <Name extends string>(contents: Readonly<Record<Name, FileBytes>>): Record<Name, HostBlob> =>
  Object.fromEntries(
    Object.entries<FileBytes>(contents).map(([name, content]) => [name, new Blob([content as Uint8Array<ArrayBuffer> | string])]),
  ) as Record<Name, HostBlob>;

/** Writes files into a folder, in their order, each whole or not at all. The folder is made if need be. */
export async function writeContents(folder: string, contents: Readonly<Record<string, FileBytes>>): Promise<void> {
  await makeFolder(folder);
  for (const [name, content] of Object.entries(contents)) await writeFileAtomic(`${folder}/${name}`, content);
}
