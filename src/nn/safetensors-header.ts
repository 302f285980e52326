/**
 * The header of a safetensors file, read and checked before anything of its body is.
 *
 *     bytes 0–7      N, the length of the header, as an unsigned little-endian 64-bit integer
 *     bytes 8–8+N    the header: a JSON object { name: { dtype, shape, data_offsets: [begin, end] }, … }, padded with spaces
 *     the rest       the tensors, row-major and little-endian, one after the other without holes
 */
import { FormatError } from "../errors.js";
import type { ByteSource } from "./byte-source.js";
import { identifyFile } from "./file-kinds.js";
import { isObject, parseJson, showValue } from "./json.js";

/** Bytes of one element. Formats of less than a byte are not read. */
export const ELEMENT_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;

/** Element formats by the names that the format gives them. */
export type SafetensorsDtype = keyof typeof ELEMENT_BYTES;

/** Where a tensor of a file lies. */
export interface SafetensorsPlace {
  readonly name: string;
  readonly file: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Where the data begin in the file. */
  readonly offset: number;
  /** How many bytes they take. */
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** The strings under `__metadata__`; empty when there are none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, SafetensorsPlace>;
  /** Bytes of the whole file. */
  readonly fileBytes: number;
}

export const LENGTH_BYTES = 8;
/** A header of a hundred thousand tensors takes some 12 MB. */
export const MAX_HEADER_BYTES = 2 ** 24;
/** Tensors, and entries of the metadata. */
const MAX_ENTRIES = 2 ** 18;
export const MAX_RANK = 8;
export const METADATA = "__metadata__";
const AGAIN = "the file is damaged or incomplete; download or export it again";

/**
 * Reads and checks the header of a file, and nothing behind it. Where the file's length is known, it must be the one that the header states.
 *
 * @throws FormatError with the file, the byte offset, what was expected and what was found
 */
export async function readSafetensorsHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const { name, size } = source;
  const length = headerLength(await source.start(), name, size);
  return parseHeader(await source.read(LENGTH_BYTES, LENGTH_BYTES + length), name, size);
}

/**
 * Bytes of the header, from the first bytes of a file of `size` bytes.
 *
 * @throws FormatError that says what kind of file it is, where it is of another
 */
export function headerLength(start: Uint8Array, file: string, size: number | undefined): number {
  const fail = (message: string, offset: number, hint = AGAIN): FormatError => new FormatError(message, { file, offset, hint });
  const other = (): FormatError | undefined => {
    const kind = identifyFile(start);
    return kind && fail(`expected a safetensors file, found ${kind.what}`, 0, kind.hint);
  };
  if (start.length < LENGTH_BYTES) {
    throw other() ?? fail(`expected at least ${LENGTH_BYTES} bytes, found ${start.length}`, start.length);
  }
  const stated = new DataView(start.buffer, start.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (stated > BigInt(MAX_HEADER_BYTES)) {
    const found = `expected a header of at most ${MAX_HEADER_BYTES} bytes, found a length of ${stated}`;
    throw other() ?? fail(found, 0, "this is no safetensors file; pickled files (.pt, .bin) must be converted to safetensors first");
  }
  const length = Number(stated);
  if (size !== undefined && LENGTH_BYTES + length > size) {
    throw other() ?? fail(`expected a header of ${length} bytes, found ${size - LENGTH_BYTES}`, size);
  }
  const first = start[LENGTH_BYTES];
  if (length === 0 || (first !== undefined && first !== 0x7b)) {
    const found = length === 0 || first === undefined ? "an empty header" : `byte 0x${first.toString(16).padStart(2, "0")}`;
    throw other() ?? fail(`expected the header to start with "{", found ${found}`, LENGTH_BYTES);
  }
  return length;
}

/**
 * The header from its bytes, those between the length and the data, of a file of `size` bytes.
 *
 * @throws FormatError
 */
export function parseHeader(header: Uint8Array, file: string, size: number | undefined): SafetensorsHeader {
  const fail: Fail = (message, hint = AGAIN) => new FormatError(message, { file, offset: LENGTH_BYTES, hint });
  const parsed = parseJson(decodeHeader(header, file), { file, offset: LENGTH_BYTES, maxEntries: MAX_ENTRIES });
  if (!isObject(parsed)) throw fail(`expected the header to be a JSON object, found ${showValue(parsed)}`);

  let metadata: Record<string, string> = Object.create(null);
  const described: Described[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (hasLoneSurrogate(name)) throw fail(`expected tensor names in Unicode, found ${showValue(name)}`);
    if (name === METADATA) metadata = readMetadata(value, fail);
    else described.push(describe(name, value, fail));
  }

  // Empty tensors share their begin with the next one, and stand before it.
  described.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataStart = LENGTH_BYTES + header.length;
  const tensors = new Map<string, SafetensorsPlace>();
  let end = 0;
  for (const { name, dtype, shape, begin, end: next } of described) {
    if (begin !== end) {
      const problem = begin > end ? `leaves a hole of ${begin - end} bytes` : "overlaps the tensor before it";
      throw new FormatError(`expected the data of ${showValue(name)} to begin at ${end}, found ${begin}, which ${problem}`, {
        file,
        offset: dataStart + Math.min(begin, end),
        hint: AGAIN,
      });
    }
    end = next;
    if (size !== undefined && dataStart + end > size) throw wrongLength(file, size, dataStart + end);
    tensors.set(name, { name, file, dtype, shape, offset: dataStart + begin, bytes: end - begin });
  }
  if (size !== undefined && dataStart + end !== size) throw wrongLength(file, size, dataStart + end);
  return { metadata, tensors, fileBytes: dataStart + end };
}

function decodeHeader(header: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (error) {
    throw new FormatError("expected the header in UTF-8, found bytes that are not", {
      file,
      offset: LENGTH_BYTES,
      hint: AGAIN,
      cause: error,
    });
  }
}

type Fail = (message: string, hint?: string) => FormatError;

interface Described {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function readMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isObject(value)) throw fail(`expected ${METADATA} to be an object of strings, found ${showValue(value)}`);
  // Without a prototype a key such as "__proto__" is a key like any other.
  const metadata: Record<string, string> = Object.create(null);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw fail(`expected ${METADATA} to hold strings, found ${showValue(text)} under ${showValue(key)}`);
    metadata[key] = text;
  }
  return metadata;
}

function describe(name: string, value: unknown, fail: Fail): Described {
  const of = `tensor ${showValue(name)}`;
  if (!isObject(value)) throw fail(`expected ${of} to be described by an object, found ${showValue(value)}`);
  const extra = Object.keys(value).find((key) => !["dtype", "shape", "data_offsets"].includes(key));
  if (extra !== undefined) {
    throw fail(
      `expected ${of} to have dtype, shape and data_offsets alone, found ${showValue(extra)}`,
      "files of extensions of safetensors are not read",
    );
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    throw fail(
      `expected the dtype of ${of} to be one of ${Object.keys(ELEMENT_BYTES).join(" ")}, found ${showValue(dtype)}`,
      "export the tensor as F32, F16 or BF16",
    );
  }
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isSize)) {
    throw fail(`expected the shape of ${of} to be at most ${MAX_RANK} whole numbers below 2^53, found ${showValue(shape)}`);
  }
  const bytes = checkedBytes(shape, dtype);
  if (bytes === undefined) throw fail(`expected ${of} to have fewer than 2^53 bytes, found shape ${showValue(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw fail(`expected the data_offsets of ${of} to be two whole numbers below 2^53, found ${showValue(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (end - begin !== bytes) {
    throw fail(`expected ${of} to have ${bytes} bytes (${dtype} [${shape}]), found data_offsets [${begin}, ${end}]`);
  }
  return { name, dtype, shape, begin, end };
}

export const isDtype = (value: unknown): value is SafetensorsDtype => typeof value === "string" && Object.hasOwn(ELEMENT_BYTES, value);

export const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && !Object.is(value, -0) && (value as number) >= 0;

/** Π shape · bytes of an element, or undefined where a number cannot hold it. */
export function checkedBytes(shape: readonly number[], dtype: SafetensorsDtype): number | undefined {
  let bytes: number = ELEMENT_BYTES[dtype];
  for (const extent of shape) {
    bytes *= extent;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** A surrogate without its partner matches, because under the flag u a pair is one character of another category. */
export const hasLoneSurrogate = (text: string): boolean => /\p{Surrogate}/u.test(text);

/** A file that is longer or shorter than its header says. */
export const wrongLength = (file: string, found: number, expected: number): FormatError =>
  new FormatError(`expected a file of ${expected} bytes, found ${found}`, { file, offset: Math.min(found, expected), hint: AGAIN });
