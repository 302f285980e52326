/** Files in Node: read whole and checked, written whole or not at all. Outside of Node these functions throw UsageError; nothing else here needs it. */
import { DawngradError, FormatError, OptionError } from "../errors.js";
import { nodeModule } from "../platform/node.js";
import { type ByteSource, MissingFileError, readAll, sourceOf } from "./byte-source.js";

/** What one call to the system reads or writes; single calls end at 2 GiB. */
const CHUNK_BYTES = 64 * 2 ** 20;

const MAX_BYTES = 2 ** 32;

/**
 * A file to be read in pieces; close it afterwards. What it is asked for beyond its end is refused before anything is allocated.
 *
 * @throws FormatError naming the file when there is none, it is no regular file, or it cannot be read
 */
export async function openFile(path: string): Promise<ByteSource> {
  const { open, stat } = await nodeModule("fs/promises");
  return describingErrors(path, async () => {
    // Before opening, because opening a pipe waits for its writer.
    const found = await stat(path);
    if (!found.isFile()) {
      throw failure(path, `expected a file, found ${found.isDirectory() ? "a folder" : "something else"}`, "give the path of a file");
    }
    const handle = await open(path, "r");
    const { size } = await handle.stat();
    const read = async (begin: number, end: number): Promise<Uint8Array> => {
      const bytes = new Uint8Array(end - begin);
      for (let at = begin; at < end; ) {
        const { bytesRead } = await handle.read(bytes, at - begin, Math.min(CHUNK_BYTES, end - at), at);
        if (bytesRead === 0) {
          throw failure(path, `expected ${size} bytes, found ${at}`, "something changes the file; try again when it is done");
        }
        at += bytesRead;
      }
      return bytes;
    };
    return sourceOf({
      name: path,
      size,
      read: (begin, end) => describingErrors(path, () => read(begin, end)),
      close: () => handle.close(),
    });
  });
}

/**
 * All bytes of a file.
 *
 * @param options.maxBytes larger files are refused before anything is allocated. Default 4 GiB.
 * @throws FormatError naming the file when there is none, it is no regular file, it cannot be read, is too large or changes meanwhile
 */
export async function readFileChecked(path: string, options: { readonly maxBytes?: number } = {}): Promise<Uint8Array> {
  const source = await openFile(path);
  try {
    return await readAll(source, options.maxBytes ?? MAX_BYTES);
  } finally {
    await source.close();
  }
}

const failure = (path: string, message: string, hint: string, cause?: unknown): FormatError =>
  new FormatError(message, { file: path, hint, cause });

async function describingErrors<T>(path: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof FormatError) throw error;
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") throw new MissingFileError(path, error);
    if (code === "EACCES" || code === "EPERM") throw failure(path, "the file may not be read", "check its permissions", error);
    const reason = error instanceof Error ? error.message : String(error);
    throw failure(path, `the file cannot be read: ${reason}`, "check the path and the disk", error);
  }
}

/** What a file is to hold: bytes, text in UTF-8, or bytes that are made as they are asked for, one piece after another. */
export type FileBytes = Uint8Array | string | AsyncIterable<Uint8Array>;

/**
 * Writes a file so that its name holds either what it held before or all of the new bytes, whenever the process or the machine
 * stops: a temporary file in the same folder, fsync, rename, fsync of the folder.
 *
 * @throws OptionError when the folder is missing or may not be written to, DawngradError when the disk fails or is full, and what the making of
 *   bytes throws
 */
export const writeFileAtomic = (path: string, content: FileBytes): Promise<void> => writeFilesAtomic([[path, content]]);

/**
 * Writes files as {@link writeFileAtomic} does, all of which are there before the first of them gets its name: where one cannot be made, all names
 * hold what they held.
 */
export async function writeFilesAtomic(files: readonly (readonly [path: string, content: FileBytes])[]): Promise<void> {
  const [{ rename, rm }, { basename, dirname, join }] = await Promise.all([nodeModule("fs/promises"), nodeModule("path")]);
  const temporaries = files.map(([path]) => join(dirname(path), `.${basename(path)}.${globalThis.crypto.randomUUID()}.tmp`));
  let current = "";
  try {
    for (const [i, [path, content]] of files.entries()) {
      current = path;
      await writeSynced(temporaries[i] as string, content);
    }
    for (const [i, [path]] of files.entries()) {
      current = path;
      await rename(temporaries[i] as string, path);
    }
    for (const folder of new Set(files.map(([path]) => dirname(path)))) await syncFolder(folder);
  } catch (error) {
    for (const temporary of temporaries) await rm(temporary, { force: true }).catch(() => undefined);
    throw error instanceof DawngradError ? error : writeError(current, error);
  }
}

async function writeSynced(path: string, content: FileBytes): Promise<void> {
  const { open } = await nodeModule("fs/promises");
  const handle = await open(path, "wx");
  try {
    for await (const bytes of piecesOf(content)) {
      for (let end = 0; end < bytes.length; ) {
        end += (await handle.write(bytes, end, Math.min(CHUNK_BYTES, bytes.length - end))).bytesWritten;
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const piecesOf = (content: FileBytes): AsyncIterable<Uint8Array> | readonly Uint8Array[] => {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
};

/** Makes a rename in this folder last through a power failure. */
async function syncFolder(folder: string): Promise<void> {
  const { open } = await nodeModule("fs/promises");
  // Windows and some network file systems open no folders; there the rename alone has to do.
  const handle = await open(folder, "r").catch(() => undefined);
  try {
    await handle?.sync().catch(() => undefined);
  } finally {
    await handle?.close();
  }
}

function writeError(path: string, error: unknown): DawngradError {
  switch (systemCode(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return new OptionError(`${path} cannot be written: its folder does not exist`, { hint: "create the folder first", cause: error });
    case "EISDIR":
    case "ENOTEMPTY":
    case "EEXIST":
      return new OptionError(`${path} cannot be written: it is a folder`, { hint: "give the path of a file", cause: error });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new OptionError(`${path} cannot be written: no permission`, { hint: "choose another folder", cause: error });
    case "ENOSPC":
    case "EDQUOT":
      return new DawngradError(`${path} cannot be written: the disk is full`, {
        hint: "free some space; what was there before is kept",
        cause: error,
      });
    default:
      return new DawngradError(`${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`, {
        hint: "check the path and the disk",
        cause: error,
      });
  }
}

const systemCode = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined);
