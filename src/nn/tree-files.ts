/** Any tree as a safetensors file: its tensors by their paths, each in its own dtype. */
import { callable, checkArgument, checkOptions, flag, type Kind, type OptionKinds, optional, plainObject, text } from "../arguments.js";
import { fromChunks } from "../autograd/from-chunks.js";
import { data } from "../autograd/realize.js";
import { currentBackend } from "../autograd/runtime.js";
import { Tensor } from "../autograd/tensor.js";
import { flattenTree, mapTensors, type Tree } from "../autograd/tree.js";
import { FormatError, OptionError } from "../errors.js";
import { type DType, hostArray, integerRange, isFloat, isHalf } from "../ir/dtype.js";
import { fromHalves, type Half, toHalves } from "../ir/halves.js";
import { sameShape } from "../ir/shape.js";
import { hasNode, nodeModule } from "../platform/node.js";
import { type BlobLike, type ByteSource, blobSource, bytesSource, openUrl } from "./byte-source.js";
import { openFile, writeFileAtomic } from "./files.js";
import { showValue } from "./json.js";
import { CHUNK_BYTES, loadTensor } from "./load-weights.js";
import type { HostBlob } from "./model-source.js";
import { showNames } from "./safetensors.js";
import { ELEMENT_BYTES, readSafetensorsHeader, type SafetensorsDtype, type SafetensorsPlace, wrongLength } from "./safetensors-header.js";
import { storedTensors } from "./safetensors-model.js";
import { blobsOf } from "./saved-files.js";
import { safetensorsPieces, type TensorPieces } from "./saved-tensors.js";
import type { StoredTensor } from "./stored-model.js";

export interface SaveTensorsOptions {
  /** The name in the file for a path of the tree. Default: the path, "layers.0.weight". */
  readonly rename?: (path: string) => string;
  /** Strings that the file holds beside the tensors. `format` is "pt", as Hugging Face's loaders expect, unless it is given here. */
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface LoadTensorsOptions<T> {
  /**
   * The tree whose tensors are to be replaced: what has their names in the file must be there, with their shapes and of their kind (floats, integers,
   * bools), and takes their dtypes. Without it, all tensors of the file come by name, in the dtypes of the file as far as the backend has them.
   */
  readonly like?: T;
  /** The name in the file for a path of `like`. Default: the path. */
  readonly rename?: (path: string) => string;
  /** Whether the file must hold every tensor of `like` and no others. Where it need not, what is missing stays as it is. Default true. */
  readonly strict?: boolean;
}

/** A safetensors file: a path in Node or an address, a Blob or a File of a page, or its bytes. */
export type TensorsSource = string | { readonly href: string } | BlobLike | Uint8Array | ArrayBuffer;

const stringsKind: Kind = {
  wanted: "an object of strings",
  fits: (value) => plainObject.fits(value) && Object.values(value as object).every(text.fits),
};
const saveKinds: OptionKinds<SaveTensorsOptions> = { rename: optional(callable), metadata: optional(stringsKind) };
const loadKinds: OptionKinds<LoadTensorsOptions<Tree>> = {
  like: { wanted: "a tree", fits: () => true },
  rename: optional(callable),
  strict: optional(flag),
};

const storedAs: Readonly<Record<DType, SafetensorsDtype>> = {
  f64: "F64",
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  i32: "I32",
  u32: "U32",
  bool: "BOOL",
};

/**
 * Writes the tensors of a tree into one safetensors file, whole or not at all, each in its own dtype and named by its path; one that stands at several
 * places is written once, by its first path. Values are written as they are, NaN and infinities too. Leaves that are no tensors are left out.
 * Throws OptionError for a tree without tensors, for two of one name, and where the file cannot be written.
 */
export async function saveTensors(path: string, tree: Tree, options: SaveTensorsOptions = {}): Promise<void> {
  checkArgument("saveTensors", "path", path, text);
  await writeFileAtomic(path, filePieces("saveTensors", tree, options));
}

/** The file that {@link saveTensors} writes, as a Blob, for pages. */
export async function tensorsBlob(tree: Tree, options: SaveTensorsOptions = {}): Promise<HostBlob> {
  const { file } = await blobsOf({ file: filePieces("tensorsBlob", tree, options) });
  return file as HostBlob;
}

function filePieces(where: string, tree: Tree, options: SaveTensorsOptions): AsyncIterable<Uint8Array> {
  checkOptions(where, options, saveKinds);
  const { rename, metadata = {} } = options;
  const tensors = [...namedTensors(where, tree, rename)].map(
    ([name, tensor]): TensorPieces => ({ name, dtype: storedAs[tensor.dtype], shape: tensor.shape, pieces: () => piecesOf(tensor) }),
  );
  return safetensorsPieces(tensors, { format: "pt", ...metadata });
}

/** The tensors of a tree by their names in a file, each once. */
function namedTensors(where: string, tree: Tree, rename: SaveTensorsOptions["rename"]): Map<string, Tensor> {
  const named = new Map<string, Tensor>();
  mapTensors(tree, (tensor, path) => {
    const name: unknown = rename === undefined ? path : rename(path);
    if (typeof name !== "string" || name === "") {
      const found = name === "" ? "no name" : `the name ${String(name)}`;
      throw new OptionError(`${where}: the tensor at ${path || "the root"} has ${found}`, { hint: "give a tree with fields: { weight }" });
    }
    if (named.has(name)) throw new OptionError(`${where}: two tensors have the name ${showValue(name)}`, { hint: "rename one of them" });
    named.set(name, tensor);
    return tensor;
  });
  if (named.size === 0) throw new OptionError(`${where}: the tree holds no tensor`, { hint: "give an object with tensors in its fields" });
  return named;
}

async function* piecesOf(tensor: Tensor): AsyncGenerator<Uint8Array, void, void> {
  const values = await data(tensor);
  const { dtype } = tensor;
  if (!isHalf(dtype)) yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  else {
    for (let begin = 0; begin < values.length; begin += CHUNK_BYTES / 4) {
      yield new Uint8Array(toHalves(dtype, values.subarray(begin, begin + CHUNK_BYTES / 4) as Float32Array).buffer);
    }
  }
}

/**
 * The tensors of a safetensors file on the current backend, in the places of those of a tree (`like`), or by name. The header is held against the tree
 * before anything else is read; then tensors come one after another in chunks. Floats of one width become floats of another, rounded;
 * integers become i32 or u32 where they fit.
 *
 * Throws FormatError for a file that is damaged, for tensors that are missing, not expected or of another shape or kind, and for integers and f16 that do not
 * reach a value.
 */
export async function loadTensors(source: TensorsSource, options?: { readonly like?: undefined }): Promise<Record<string, Tensor>>;
export async function loadTensors<T>(source: TensorsSource, options: LoadTensorsOptions<T> & { readonly like: T }): Promise<T>;
export async function loadTensors(source: TensorsSource, options: LoadTensorsOptions<Tree> = {}): Promise<unknown> {
  checkArgument("loadTensors", "source", source, sourceKind);
  checkOptions("loadTensors", options, loadKinds);
  const file = await openTensors(source);
  try {
    return await readTensors(file, options);
  } finally {
    await file.close();
  }
}

const isBlob = (value: unknown): value is BlobLike => typeof Blob !== "undefined" && value instanceof Blob;
const sourceKind: Kind = {
  wanted: "a path, an address, a Blob, or the bytes of a file",
  fits: (value) =>
    (typeof value === "string" && value !== "") ||
    value instanceof URL ||
    isBlob(value) ||
    value instanceof Uint8Array ||
    value instanceof ArrayBuffer,
};

async function openTensors(source: TensorsSource): Promise<ByteSource> {
  if (source instanceof Uint8Array) return bytesSource(source, "the given bytes");
  if (source instanceof ArrayBuffer) return bytesSource(new Uint8Array(source), "the given bytes");
  if (isBlob(source)) return blobSource(source, (source as { name?: string }).name ?? "the given Blob");
  const address = String(source);
  if (hasNode && /^file:/i.test(address)) {
    return openFile((await nodeModule("url")).fileURLToPath(address));
  }
  return !hasNode || /^(https?|blob|data):/i.test(address) ? openUrl(address) : openFile(address);
}

/** What is to become of a tensor of a file. */
interface Wanted {
  readonly place: SafetensorsPlace;
  readonly dtype: DType;
}

async function readTensors(source: ByteSource, { like, rename, strict = true }: LoadTensorsOptions<Tree>): Promise<unknown> {
  const header = await readSafetensorsHeader(source);
  const named = like === undefined ? undefined : namedTensors("loadTensors", like, rename);
  if (named !== undefined) checkNames(header.tensors, named, source.name, strict);
  const wanted = [...header.tensors.values()].flatMap((place): Wanted[] => {
    if (named === undefined) return [{ place, dtype: ownDtype(place) }];
    const tensor = named.get(place.name);
    return tensor === undefined ? [] : [{ place, dtype: fittingDtype(place, tensor) }];
  });
  const stored = storedTensors(header, (begin, end) => source.read(begin, end));
  const loaded = new Map<string, Tensor>();
  try {
    for (const { place, dtype } of wanted) {
      const floats = stored.get(place.name) as StoredTensor;
      loaded.set(place.name, await (isFloat(dtype) ? readFloats(floats, place, dtype, source) : readIntegers(place, dtype, source)));
    }
    const length = await source.length(header.fileBytes);
    if (length !== header.fileBytes) throw wrongLength(source.name, length, header.fileBytes);
  } catch (error) {
    for (const tensor of loaded.values()) tensor.dispose();
    throw error;
  }
  if (named === undefined) return Object.fromEntries(loaded);
  const replaced = new Map(
    [...named].flatMap(([name, tensor]) => (loaded.has(name) ? [[tensor, loaded.get(name) as Tensor] as const] : [])),
  );
  const { leaves, shape } = flattenTree(like);
  return shape.build(leaves.map((leaf) => (leaf instanceof Tensor ? (replaced.get(leaf) ?? leaf) : leaf)));
}

/** Throws FormatError where a file does not hold what a tree needs. */
function checkNames(found: ReadonlyMap<string, SafetensorsPlace>, named: ReadonlyMap<string, Tensor>, file: string, strict: boolean): void {
  for (const [name, { shape }] of named) {
    const place = found.get(name);
    if (place === undefined || sameShape(place.shape, shape)) continue;
    throw new FormatError(`expected ${showValue(name)} to have shape [${shape}], found [${place.shape}]`, {
      file,
      offset: place.offset,
      hint: "the file and the tree must be of one model, with the same sizes",
    });
  }
  if (!strict) return;
  const missing = [...named.keys()].filter((name) => !found.has(name));
  const unknown = [...found.keys()].filter((name) => !named.has(name));
  if (missing.length === 0 && unknown.length === 0) return;
  const parts = [
    ...(missing.length === 0 ? [] : [`expected ${showNames(missing)}, found none of that name`]),
    ...(unknown.length === 0 ? [] : [`found ${showNames(unknown)}, which the tree does not have`]),
  ];
  throw new FormatError(parts.join("; "), {
    file,
    hint: "`rename` translates the paths of the tree into the names of the file; { strict: false } takes what is in both",
  });
}

const isStoredFloat = (dtype: SafetensorsDtype): boolean => ["F64", "F32", "F16", "BF16"].includes(dtype);
const isStoredInteger = (dtype: SafetensorsDtype): boolean => /^[IU]\d+$/.test(dtype);

/** The dtype of a file, as far as the backend has it. */
function ownDtype(place: SafetensorsPlace): DType {
  const { dtype } = place;
  if (dtype === "BOOL") return "bool";
  if (isStoredInteger(dtype)) return dtype.startsWith("U") ? "u32" : "i32";
  if (!isStoredFloat(dtype)) throw unreadable(place);
  const own = dtype.toLowerCase() as DType;
  return currentBackend().info.dtypes.has(own) ? own : "f32";
}

/** The dtype of a tensor that one of a file is to replace. */
function fittingDtype(place: SafetensorsPlace, { dtype }: Tensor): DType {
  const fits = isFloat(dtype) ? isStoredFloat(place.dtype) : dtype === "bool" ? place.dtype === "BOOL" : isStoredInteger(place.dtype);
  if (fits) return dtype;
  const { name, file, offset } = place;
  throw new FormatError(`expected ${showValue(name)} to hold what becomes ${dtype}, found ${place.dtype}`, {
    file,
    offset,
    hint: "the file and the tree must be of one model",
  });
}

const unreadable = ({ name, dtype, file, offset }: SafetensorsPlace): FormatError =>
  new FormatError(`expected ${showValue(name)} to hold floats, integers or bools, found ${dtype}`, {
    file,
    offset,
    hint: "export the tensor as F32, F16 or BF16",
  });

function readFloats(stored: StoredTensor, place: SafetensorsPlace, dtype: DType, source: ByteSource): Promise<Tensor> {
  if (dtype !== "f64") return loadTensor(stored, dtype as "f32" | "f16" | "bf16", source.name);
  return fromChunks(place.shape, "f64", { unit: 1, atMost: CHUNK_BYTES / 8 }, async (begin, end) => {
    if (place.dtype === "F64") return new Float64Array(await bytesFrom(source, place, begin, end));
    const numbers = await stored.read(begin, end);
    return Float64Array.from(numbers instanceof Float32Array ? numbers : fromHalves(stored.dtype as Half, numbers));
  });
}

/** Elements begin … end − 1 of a tensor, in a buffer of their own. */
async function bytesFrom(source: ByteSource, place: SafetensorsPlace, begin: number, end: number): Promise<ArrayBuffer> {
  const width = ELEMENT_BYTES[place.dtype];
  const bytes = await source.read(place.offset + begin * width, place.offset + end * width);
  return new Uint8Array(bytes).buffer;
}

type StoredIntegers = "BOOL" | "U8" | "I8" | "U16" | "I16" | "U32" | "I32" | "U64" | "I64";

const integersIn: Readonly<Record<StoredIntegers, (bytes: ArrayBuffer) => ArrayLike<number | bigint>>> = {
  BOOL: (bytes) => new Uint8Array(bytes),
  U8: (bytes) => new Uint8Array(bytes),
  I8: (bytes) => new Int8Array(bytes),
  U16: (bytes) => new Uint16Array(bytes),
  I16: (bytes) => new Int16Array(bytes),
  U32: (bytes) => new Uint32Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
  U64: (bytes) => new BigUint64Array(bytes),
  I64: (bytes) => new BigInt64Array(bytes),
};

function readIntegers(place: SafetensorsPlace, dtype: DType, source: ByteSource): Promise<Tensor> {
  const [lowest, highest] = integerRange(dtype as "i32" | "u32" | "bool");
  return fromChunks(place.shape, dtype, { unit: 1, atMost: CHUNK_BYTES / 8 }, async (begin, end) => {
    const integers = integersIn[place.dtype as StoredIntegers](await bytesFrom(source, place, begin, end));
    const values = hostArray(dtype, end - begin);
    for (let i = 0; i < values.length; i++) {
      const value = integers[i] as number | bigint;
      if (value < lowest || value > highest) {
        throw new FormatError(`${showValue(place.name)} holds ${value} (element ${begin + i}), which is no ${dtype}`, {
          file: place.file,
          offset: place.offset + (begin + i) * ELEMENT_BYTES[place.dtype],
          hint: dtype === "bool" ? "bools are stored as bytes of 0 and 1" : "load it into a tree of another dtype",
        });
      }
      values[i] = Number(value);
    }
    return values;
  });
}
