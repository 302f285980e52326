/** Where the files of a model are: a folder, an address, or files that a page or a program has already. */
import { checkArgument, type Kind, plainObject } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import { hasNode, nodeModule } from "../platform/node.js";
import { type BlobLike, type ByteSource, blobSource, bytesSource, MissingFileError, openUrl } from "./byte-source.js";
import { identifyFile, identifyFolder } from "./file-kinds.js";
import { openFile } from "./files.js";
import { HubFiles, hubAddress, parseHubAddress } from "./hub.js";

/** What is used of a File. */
export interface FileLike extends BlobLike {
  readonly name: string;
}

/** Blob where the program's own types know it. */
export type HostBlob = typeof globalThis extends { Blob: { prototype: infer B } } ? B : BlobLike;

/** The content of one file. */
export type FileContent = BlobLike | Uint8Array | ArrayBuffer | string;

/**
 * A model's files (`config.json`, `model.safetensors`):
 *
 * - a string: in Node the path of a folder, or an address that begins with "http:", "https:" or "file:"; in a page the address of a
 *   folder, which may be relative. A URL does as well;
 * - `hf:owner/name`, `hf:owner/name@revision` or `hf:owner/name/file.gguf`: a model of the Hugging Face Hub. In Node its files are downloaded
 *   into the cache that Python's `huggingface_hub` shares, as they are needed, by the optional package @huggingface/hub;
 * - a FileList or other list of `File`s, as `<input type="file" multiple>` or a drop gives them; folders in front of the names are left out;
 * - contents by name, such as `modelBlobs` returns: `{ "config.json": …, "model.safetensors": … }` of Blobs, bytes or text.
 */
export type ModelSource =
  | string
  | { readonly href: string }
  | Iterable<FileLike>
  | ArrayLike<FileLike>
  | Readonly<Record<string, FileContent>>;

/** The files of a source by name. */
export interface ModelFiles {
  /** What messages call all of them. */
  readonly name: string;
  /** What messages call a file. */
  label(file: string): string;
  /** Throws MissingFileError that says what is there in its place. */
  open(file: string): Promise<ByteSource>;
  /** The names of the files that are there, or undefined where nothing tells: at addresses. */
  names(): Promise<readonly string[] | undefined>;
  /** The source itself, opened, where it is a file and no folder of files; else undefined. */
  whole(): Promise<ByteSource | undefined>;
  /** The files of the folder in which the source lies, where it is a file; undefined where nothing lies beside it. */
  beside(): ModelFiles | undefined;
}

/** The file of that name, or undefined where there is none. */
export async function openIfThere(files: ModelFiles, name: string): Promise<ByteSource | undefined> {
  try {
    return await files.open(name);
  } catch (error) {
    if (error instanceof MissingFileError) return undefined;
    throw error;
  }
}

/** Opens a file, hands it over and closes it. */
export async function readingFile<R>(files: ModelFiles, name: string, body: (file: ByteSource) => Promise<R>): Promise<R> {
  const file = await files.open(name);
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

const isBlob = (value: unknown): value is BlobLike => typeof Blob !== "undefined" && value instanceof Blob;
const isNamed = (value: unknown): value is FileLike => isBlob(value) && typeof (value as Partial<FileLike>).name === "string";
const isContent = (value: unknown): value is FileContent =>
  typeof value === "string" || isBlob(value) || value instanceof Uint8Array || value instanceof ArrayBuffer;

const listOfFiles = (value: unknown): readonly FileLike[] | undefined => {
  if (typeof value !== "object" || value === null || isContent(value)) return undefined;
  if (!(Symbol.iterator in value) && typeof (value as { length?: unknown }).length !== "number") return undefined;
  const items: unknown[] = Array.from(value as ArrayLike<unknown>);
  return items.every(isNamed) ? items : undefined;
};

/** What fits as a {@link ModelSource}. */
export const sourceKind: Kind = {
  wanted: "a folder, an address, a list of files, or contents by name",
  fits: (value) =>
    (typeof value === "string" && value !== "") ||
    value instanceof URL ||
    listOfFiles(value) !== undefined ||
    (plainObject.fits(value) && !isContent(value) && Object.values(value as object).every(isContent)),
  hint: (value) =>
    isContent(value) && typeof value !== "string"
      ? 'a model has two files: give { "config.json": …, "model.safetensors": … }'
      : '"runs/base", new URL("https://…/"), input.files, or { "config.json": …, "model.safetensors": … }',
};

/** The files of a source. Throws OptionError for what is none. */
export function modelFiles(name: string, source: ModelSource): ModelFiles {
  checkArgument(name, "source", source, sourceKind);
  if (typeof source === "string" && /^hf:/i.test(source)) return filesOfHub(source);
  if (source instanceof URL || (typeof source === "string" && (!hasNode || /^(https?|file|blob|data):/i.test(source)))) {
    return filesAt(String(source));
  }
  if (typeof source === "string") return filesIn(source);
  const list = listOfFiles(source);
  return given(list === undefined ? (source as Readonly<Record<string, FileContent>>) : byName(list));
}

function filesOfHub(address: string): ModelFiles {
  const model = parseHubAddress(address);
  if (model === undefined) {
    throw new OptionError(`"${address}" names no model of the Hugging Face Hub`, {
      hint: "hf:owner/name, hf:owner/name@revision or hf:owner/name/file.gguf",
    });
  }
  if (!hasNode) return filesAt(hubAddress(model));
  return filesWithin(new HubFiles(model), model.path);
}

/** The files in a folder of the Hub's, or the one of that name. */
function filesWithin(hub: HubFiles, path: string): ModelFiles {
  const below = path === "" ? "" : `${path}/`;
  const whole = isModelFile(path);
  return {
    name: whole ? hub.label(path) : `${hub.name}${below === "" ? "" : `/${path}`}`,
    label: (file) => hub.label(below + file),
    open: (file) => hub.open(below + file),
    names: async () => (await hub.names()).filter((file) => file.startsWith(below)).map((file) => file.slice(below.length)),
    whole: async () => (whole ? hub.open(path) : undefined),
    beside: () => filesWithin(hub, path.slice(0, Math.max(0, path.lastIndexOf("/")))),
  };
}

/** The last part of each name: what a page is given may lie in a folder. */
function byName(files: readonly FileLike[]): Record<string, FileContent> {
  const contents: Record<string, FileContent> = Object.create(null);
  for (const file of files) {
    const name = file.name.slice(file.name.lastIndexOf("/") + 1);
    if (contents[name] !== undefined)
      throw new OptionError(`there are two files named ${name}`, { hint: "choose the files of one folder" });
    contents[name] = file;
  }
  return contents;
}

function given(contents: Readonly<Record<string, FileContent>>): ModelFiles {
  const names = Object.keys(contents);
  const open = async (file: string): Promise<ByteSource> => {
    const content = Object.hasOwn(contents, file) ? contents[file] : undefined;
    if (content === undefined) throw missing(file, names);
    if (isBlob(content)) return blobSource(content, file);
    if (typeof content === "string") return bytesSource(new TextEncoder().encode(content), file);
    return bytesSource(content instanceof ArrayBuffer ? new Uint8Array(content) : content, file);
  };
  const [only] = names;
  return {
    name: "the given files",
    label: (file) => file,
    open,
    names: async () => names,
    whole: async () => (names.length === 1 && only !== undefined && isModelFile(only) ? open(only) : undefined),
    beside: () => undefined,
  };
}

/** Files that are a model or a tokenizer by themselves. */
const isModelFile = (name: string): boolean => /\.(gguf|bin)$|(^|\/)tokenizer\.(json|model)$/i.test(name);

function filesIn(folder: string): ModelFiles {
  const label = (file: string): string => `${folder}/${file}`;
  return {
    name: folder,
    label,
    names: async () => {
      const { readdir } = await nodeModule("fs/promises");
      return readdir(folder).catch(() => []);
    },
    whole: async () => {
      const { stat } = await nodeModule("fs/promises");
      return (await stat(folder).catch(() => undefined))?.isFile() ? openFile(folder) : undefined;
    },
    beside: () => filesIn(/^(.*)[\\/][^\\/]*$/s.exec(folder)?.[1] ?? "."),
    open: async (file) => {
      try {
        return await openFile(label(file));
      } catch (error) {
        if (!(error instanceof MissingFileError)) throw error;
        const { readdir } = await nodeModule("fs/promises");
        const names = await readdir(folder).catch((cause: unknown) => cause);
        if (Array.isArray(names)) throw missing(label(file), names as string[]);
        await refuseFile(folder);
        throw new MissingFileError(label(file), error, `there is no folder ${folder}`);
      }
    },
  };
}

/** Throws FormatError where what should be a folder is a file, and says what kind of file. */
async function refuseFile(path: string): Promise<void> {
  const file = await openFile(path).catch(() => undefined);
  if (file === undefined) return;
  try {
    throw notAFolder(path, await file.start());
  } finally {
    await file.close();
  }
}

/** A file where the folder of a model should be, from its first bytes. */
export function notAFolder(path: string, start: Uint8Array): FormatError {
  const kind = identifyFile(start);
  const what = kind === undefined ? "a file" : `a file: ${kind.what}`;
  return new FormatError(`expected the folder of a model, found ${what}`, {
    file: path,
    hint: kind?.hint ?? "name the folder that holds config.json and model.safetensors",
  });
}

function filesAt(address: string): ModelFiles {
  // What follows the path, such as a key, is for every file.
  const [, path = "", rest = ""] = /^([^?#]*)(.*)$/s.exec(address) ?? [];
  const label = (file: string): string => `${path.replace(/\/+$/, "")}/${file}${rest}`;
  if (/^file:/i.test(address)) {
    const local = async (): Promise<ModelFiles> => {
      const { fileURLToPath } = await nodeModule("url");
      return filesIn(fileURLToPath(path).replace(/[\\/]+$/, ""));
    };
    return {
      name: address,
      label,
      open: async (file) => (await local()).open(file),
      names: async () => (await local()).names(),
      whole: async () => (await local()).whole(),
      beside: () => filesAt(address.replace(/\/[^/]*$/, "")),
    };
  }
  return {
    name: address,
    label,
    open: (file) => openUrl(label(file)),
    names: async () => undefined,
    whole: async () => (isModelFile(path) ? openUrl(address) : undefined),
    beside: () => filesAt(`${path.replace(/\/[^/]*$/, "")}${rest}`),
  };
}

/** What stands there in place of a file. */
function missing(file: string, names: readonly string[]): FormatError {
  const found = identifyFolder(names);
  const [first] = names.filter((name) => /\.(json|safetensors)$/.test(name));
  const hint = names.length === 0 ? "the folder is empty" : first === undefined ? "check the path" : `get it from where ${first} came from`;
  if (found === undefined) return new MissingFileError(file, undefined, hint);
  return new MissingFileError(file, undefined, found.hint, `; found ${found.what} (${found.file})`);
}
