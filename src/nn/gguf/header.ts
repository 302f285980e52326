/**
 * The header of a GGUF file (ggml's `docs/gguf.md`), read and checked before anything of the tensors is.
 *
 *     "GGUF" · version u32 · number of tensors u64 · number of keys u64
 *     keys       name, type u32, value; a string is its length u64 and UTF-8, an array its items' type u32, their number u64 and they
 *     tensors    name, rank u32, extents u64 (the fastest first), element type u32, offset u64
 *     padding to `general.alignment` (32 where there is no such key), and the data, each tensor padded to it
 *
 * Everything is little-endian. Lengths, numbers and offsets are held against the bytes that the file has before anything is taken for them.
 * Long lists (a tokenizer's tokens) stay bytes until someone asks for them.
 */
import { FormatError } from "../../errors.js";
import type { ByteSource } from "../byte-source.js";
import { identifyFile } from "../file-kinds.js";
import { showValue } from "../json.js";
import { type ElementType, elementType } from "./element-types.js";
import { AGAIN, HeaderBytes } from "./header-bytes.js";
import {
  type GgufList,
  type GgufScalar,
  type GgufScalarType,
  type GgufValue,
  type GgufValueType,
  leastBytes,
  VALUE_TYPES,
} from "./values.js";

/** Where a tensor of a file lies. */
export interface GgufTensor {
  readonly name: string;
  readonly type: ElementType;
  /** Row-major: the last extent is the fastest, which the file states first. */
  readonly shape: readonly number[];
  /** Where the data begin in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufHeader {
  readonly file: string;
  readonly version: number;
  /** In the order of the file. */
  readonly keys: ReadonlyMap<string, GgufValue>;
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Data begin at multiples of it. */
  readonly alignment: number;
  /** Where the data of the tensors begin. */
  readonly dataStart: number;
  /** Where the last of them ends; padding may follow. */
  readonly dataEnd: number;
  /** The file, of which no byte is lost though the header was read from it in larger pieces. */
  readonly source: ByteSource;
}

const VERSIONS: readonly number[] = [2, 3];
const DEFAULT_ALIGNMENT = 32;
const MAX_RANK = 4;
/** ggml's bound for the names of tensors is 64 bytes. */
const MAX_NAME_BYTES = 2 ** 16;
const MAX_ENTRIES = 2 ** 18;
/** Bytes of a tensor without a name and of a key without one, at least. */
const LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8;
const LEAST_KEY_BYTES = 8 + 4 + 1;

/**
 * Reads the header of a GGUF file (versions 2 and 3), and nothing behind it but what came with its last piece.
 *
 * Checked are: numbers of entries and lengths against the file's size, every type, UTF-8, keys and names that come twice, ranks and extents,
 * rows that are whole blocks, and that the data of the tensors follow one another, each at the next multiple of the alignment, up to the file's end.
 *
 * @throws FormatError with the file, the byte offset, what was expected and what was found
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const version = readVersion(await source.start(), source.name);
  const bytes = new HeaderBytes(source);
  await bytes.need(24, "the beginning of a header");
  bytes.skip(8);
  const tensorCount = bytes.count(LEAST_TENSOR_BYTES, MAX_ENTRIES, "tensors");
  const keyCount = bytes.count(LEAST_KEY_BYTES, MAX_ENTRIES, "keys");

  const keys = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const at = bytes.at;
    const name = await readName(bytes, "a key");
    if (keys.has(name)) throw bytes.fail(`expected every key once, found ${showValue(name)} twice`, at);
    keys.set(name, await readValue(bytes, `the value of ${showValue(name)}`));
  }
  const described: Described[] = [];
  for (let i = 0; i < tensorCount; i++) described.push(await readTensor(bytes));
  const alignment = alignmentOf(keys, source.name);
  const dataStart = Math.ceil(bytes.at / alignment) * alignment;
  const tensors = placeTensors(described, dataStart, alignment, source);
  const dataEnd = [...tensors.values()].reduce((end, { offset, bytes: count }) => Math.max(end, offset + count), dataStart);
  checkEnd(source, tensors.size === 0 ? bytes.at : dataEnd, Math.ceil(dataEnd / alignment) * alignment);
  return { file: source.name, version, keys, tensors, alignment, dataStart, dataEnd, source: bytes.rewound() };
}

/** Whether a file begins as GGUF files do. */
export const isGguf = (start: Uint8Array): boolean =>
  start.length >= 4 && new DataView(start.buffer, start.byteOffset, 4).getUint32(0) === 0x47475546;

/** The version, from the first bytes. */
function readVersion(start: Uint8Array, file: string): number {
  const fail = (message: string, offset: number, hint: string): FormatError => new FormatError(message, { file, offset, hint });
  const view = new DataView(start.buffer, start.byteOffset, start.length);
  if (!isGguf(start)) {
    const kind = identifyFile(start);
    throw fail(`expected a GGUF file, found ${kind?.what ?? "something else"}`, 0, kind?.hint ?? AGAIN);
  }
  if (start.length < 8) throw fail(`expected the version of a GGUF file, found its end`, start.length, AGAIN);
  const version = view.getUint32(4, true);
  if (VERSIONS.includes(version)) return version;
  if (VERSIONS.includes(view.getUint32(4))) {
    throw fail(
      "expected a little-endian GGUF file, found a big-endian one",
      4,
      "convert it with `gguf-convert-endian FILE little` (Python's gguf)",
    );
  }
  const hint =
    version === 1
      ? "version 1 was used for some weeks of 2023; convert the model again"
      : "convert it with a llama.cpp that writes version 3";
  throw fail(`expected GGUF of version ${VERSIONS.join(" or ")}, found version ${version}`, 4, hint);
}

async function readName(bytes: HeaderBytes, what: string): Promise<string> {
  await bytes.need(8, `the length of the name of ${what}`);
  const at = bytes.at;
  const length = bytes.u64();
  if (length > MAX_NAME_BYTES)
    throw bytes.fail(`expected the name of ${what} to have at most ${MAX_NAME_BYTES} bytes, found ${length}`, at);
  await bytes.need(Number(length), `the name of ${what}`);
  return bytes.text(Number(length));
}

async function readValue(bytes: HeaderBytes, what: string): Promise<GgufValue> {
  await bytes.need(4, `the type of ${what}`);
  const type = readValueType(bytes, what);
  if (type === "array") return { type, value: await readList(bytes, what) };
  return { type, value: await readScalar(bytes, type, what) };
}

function readValueType(bytes: HeaderBytes, what: string): GgufValueType {
  const at = bytes.at;
  const number = bytes.u32();
  const type = VALUE_TYPES[number];
  if (type === undefined) throw bytes.fail(`expected the type of ${what} to be a number from 0 to 12, found ${number}`, at);
  return type[0];
}

async function readScalar(bytes: HeaderBytes, type: GgufScalarType, what: string): Promise<GgufScalar> {
  await bytes.need(leastBytes(type), what);
  if (type !== "string") return bytes.scalar(type, what);
  const length = bytes.u64();
  await bytes.need(length, what);
  return bytes.text(Number(length));
}

/** Passes over an array and remembers where it lies. */
async function readList(bytes: HeaderBytes, what: string): Promise<GgufList> {
  await bytes.need(12, what);
  const items = readValueType(bytes, `the items of ${what}`);
  if (items === "array")
    throw bytes.fail(
      `expected numbers or strings in ${what}, found an array of arrays`,
      bytes.at - 4,
      "neither llama.cpp nor this library reads such a key",
    );
  const least = leastBytes(items);
  const length = bytes.count(least, Number.MAX_SAFE_INTEGER, `items of ${what}`);
  const begin = bytes.at;
  if (items !== "string") {
    await bytes.need(length * least, what);
    bytes.skip(length * least);
  }
  for (let i = 0; items === "string" && i < length; i++) {
    if (!bytes.has(8)) await bytes.need(8, what);
    const size = bytes.u64();
    if (!bytes.has(size)) await bytes.need(size, what);
    bytes.skip(Number(size));
  }
  return { items, length, values: () => bytes.items(begin, items, length, what) };
}

interface Described extends Omit<GgufTensor, "offset"> {
  /** From the beginning of the data. */
  readonly begin: number;
  /** Where the offset stands in the file. */
  readonly at: number;
}

async function readTensor(bytes: HeaderBytes): Promise<Described> {
  const name = await readName(bytes, "a tensor");
  const of = `tensor ${showValue(name)}`;
  await bytes.need(4, `the rank of ${of}`);
  const rank = bytes.u32();
  if (rank > MAX_RANK) throw bytes.fail(`expected ${of} to have at most ${MAX_RANK} axes, found ${rank}`, bytes.at - 4);
  await bytes.need(8 * rank + 12, `the description of ${of}`);
  const extentsAt = bytes.at;
  const extents = Array.from({ length: rank }, () => bytes.u64());
  const shape = extents.map(Number).reverse();
  const elements = shape.reduce((product, extent) => product * extent, 1);
  if (!extents.every(isSafe) || !Number.isSafeInteger(elements * 8)) {
    throw bytes.fail(`expected ${of} to have fewer than 2^50 elements, found extents [${extents}]`, extentsAt);
  }
  const number = bytes.u32();
  const type = elementType(number);
  if (type === undefined) {
    throw bytes.fail(
      `expected ${of} to be of a type of ggml, found number ${number}`,
      bytes.at - 4,
      "the type was removed from ggml or is newer than this library; convert the model again, to Q8_0 for example",
    );
  }
  const width = shape.at(-1) ?? 1;
  if (width % type.blockElements !== 0) {
    throw bytes.fail(
      `expected the rows of ${of} to be whole blocks of ${type.blockElements} (${type.name}), found ${width} elements`,
      extentsAt,
    );
  }
  const at = bytes.at;
  const begin = bytes.u64();
  if (!isSafe(begin)) throw bytes.fail(`expected the data of ${of} to begin within the file, found offset ${begin}`, at);
  return { name, type, shape, begin: Number(begin), at, bytes: (elements / type.blockElements) * type.blockBytes };
}

const isSafe = (value: number | bigint): boolean => value <= Number.MAX_SAFE_INTEGER;

function alignmentOf(keys: ReadonlyMap<string, GgufValue>, file: string): number {
  const found = keys.get("general.alignment");
  if (found === undefined) return DEFAULT_ALIGNMENT;
  const { value } = found;
  // A power of two has one bit, which it does not share with the number before it.
  if (found.type !== "u32" || typeof value !== "number" || value === 0 || (value & (value - 1)) !== 0) {
    throw new FormatError(
      `expected general.alignment to be a u32 and a power of two, found ${showValue(found.type === "array" ? "an array" : String(value))}`,
      { file, hint: AGAIN },
    );
  }
  return value;
}

/** Every tensor follows the one before it, at the next multiple of the alignment. */
function placeTensors(
  described: readonly Described[],
  dataStart: number,
  alignment: number,
  { name: file, size }: ByteSource,
): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  // Empty tensors share their begin with the next one, and stand before it.
  const inOrder = [...described].sort((a, b) => a.begin - b.begin || a.bytes - b.bytes);
  let next = 0;
  for (const { name, type, shape, begin, at, bytes } of inOrder) {
    if (tensors.has(name))
      throw new FormatError(`expected every tensor once, found ${showValue(name)} twice`, { file, offset: at, hint: AGAIN });
    if (begin !== next) {
      const problem = begin < next ? "overlaps the tensor before it" : `leaves a hole of ${begin - next} bytes`;
      throw new FormatError(
        `expected the data of ${showValue(name)} to begin at ${next} (a multiple of ${alignment}), found ${begin}, which ${problem}`,
        { file, offset: at, hint: AGAIN },
      );
    }
    const offset = dataStart + begin;
    if (size !== undefined && offset + bytes > size) {
      throw new FormatError(
        `expected ${bytes} bytes of ${showValue(name)} (${type.name} [${shape}]), found the end of the file at ${size}`,
        { file, offset: Math.min(offset, size), hint: AGAIN },
      );
    }
    tensors.set(name, { name, type, shape, offset, bytes });
    next = Math.ceil((begin + bytes) / alignment) * alignment;
  }
  return tensors;
}

/** The last tensor may be padded or not. */
function checkEnd({ name: file, size }: ByteSource, least: number, most: number): void {
  if (size === undefined || (size >= least && size <= most)) return;
  throw new FormatError(`expected a file of ${most} bytes, found ${size}`, { file, offset: Math.min(size, most), hint: AGAIN });
}
