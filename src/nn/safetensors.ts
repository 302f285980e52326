/**
 * The safetensors format, read and written (format description and reference reader: huggingface/safetensors).
 *
 *     bytes 0–7      N, the length of the header, as an unsigned little-endian 64-bit integer
 *     bytes 8–8+N    the header: a JSON object { name: { dtype, shape, data_offsets: [begin, end] }, … }, padded with spaces
 *     the rest       the tensors, row-major and little-endian, one after the other without holes
 *
 * A file is refused whole before anything is made from what it says. Typed arrays are little-endian wherever WebGPU runs.
 */
import { checkArgument, checkFields, checkOptions, instanceOf, integer, type Kind, listOf, text } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import { bfloat16ToFloat32, halfToFloat32 } from "./half-precision.js";
import { isObject, parseJson, showValue } from "./json.js";

/** Bytes of one element. Formats of less than a byte are not read. */
const ELEMENT_BYTES = {
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

/** One tensor as bytes: row-major, little-endian. */
export interface SafetensorsTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** One tensor of a file; `data` is a view into the bytes that were read. */
export interface SafetensorsEntry extends SafetensorsTensor {
  readonly name: string;
  readonly file: string;
  /** Where the data begin in the file. */
  readonly offset: number;
}

export interface SafetensorsFile {
  /** The strings under `__metadata__`; empty when there are none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** By name, in the order of the data. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
}

const bytesKind = instanceOf("a Uint8Array", Uint8Array);
const mapKind = instanceOf("a Map by name", Map);
const isTensor = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "dtype" in value && "shape" in value && "data" in value;
const entriesKind: Kind = {
  wanted: "a list or a Map of [name, { dtype, shape, data }]",
  fits: (value) =>
    (Array.isArray(value) || value instanceof Map) &&
    [...value].every((entry) => Array.isArray(entry) && typeof entry[0] === "string" && isTensor(entry[1])),
};

const LENGTH_BYTES = 8;
const MAX_HEADER_BYTES = 100_000_000;
const MAX_RANK = 8;
const METADATA = "__metadata__";
const AGAIN = "the file is damaged or incomplete; download or export it again";

/**
 * Reads a safetensors file from its bytes. Nothing is copied.
 *
 * Checked are: the header's length (at most 10⁸), UTF-8, JSON without a key twice, every dtype, shape (rank ≤ 8, safe integers,
 * product without overflow) and range, and that the ranges tile the data exactly: from 0, without holes or overlaps, to the file's end.
 *
 * @param file name of the file, for messages
 * @throws FormatError with the file, the byte offset, what was expected and what was found
 */
export function readSafetensors(bytes: Uint8Array, file: string): SafetensorsFile {
  checkArgument("readSafetensors", "bytes", bytes, bytesKind);
  checkArgument("readSafetensors", "file", file, text);
  const header = readHeader(bytes, file);
  const fail = (message: string, hint = AGAIN): FormatError => new FormatError(message, { file, offset: LENGTH_BYTES, hint });
  const parsed = parseJson(header.text, { file, offset: LENGTH_BYTES });
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
  const tensors = new Map<string, SafetensorsEntry>();
  let end = 0;
  for (const tensor of described) {
    if (tensor.begin !== end) {
      const problem = tensor.begin > end ? `leaves a hole of ${tensor.begin - end} bytes` : "overlaps the tensor before it";
      throw new FormatError(`expected the data of ${showValue(tensor.name)} to begin at ${end}, found ${tensor.begin}, which ${problem}`, {
        file,
        offset: dataStart + Math.min(tensor.begin, end),
        hint: AGAIN,
      });
    }
    end = tensor.end;
    if (dataStart + end > bytes.length) throw wrongLength(file, bytes.length, dataStart + end);
    const data = bytes.subarray(dataStart + tensor.begin, dataStart + end);
    tensors.set(tensor.name, {
      name: tensor.name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      data,
      file,
      offset: dataStart + tensor.begin,
    });
  }
  if (dataStart + end !== bytes.length) throw wrongLength(file, bytes.length, dataStart + end);
  return { metadata, tensors };
}

/**
 * Holds the names, shapes and dtypes of a file against what a model needs, before any of it is loaded.
 *
 * @param expected every parameter's name and shape
 * @throws FormatError for a tensor that is missing, is not expected, has another shape, or holds no floating-point numbers that
 *   {@link toFloat32} reads
 */
export function checkTensors(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  expected: ReadonlyMap<string, readonly number[]>,
  options: { readonly file: string },
): void {
  checkArgument("checkTensors", "tensors", tensors, mapKind);
  checkArgument("checkTensors", "expected", expected, mapKind);
  checkOptions("checkTensors", options, { file: text });
  const { file } = options;
  const hint = "config.json and the weights must be of one model";
  for (const [name, shape] of expected) {
    const entry = tensors.get(name);
    if (entry === undefined) throw new FormatError(`expected a tensor ${showValue(name)}, found none of that name`, { file, hint });
    if (entry.shape.length !== shape.length || entry.shape.some((extent, axis) => extent !== shape[axis])) {
      throw new FormatError(`expected ${showValue(name)} to have shape [${shape}], found [${entry.shape}]`, {
        file,
        offset: entry.offset,
        hint,
      });
    }
    if (!(entry.dtype in TO_FLOAT32)) throw notFloating(entry);
  }
  for (const [name, entry] of tensors) {
    if (!expected.has(name)) {
      throw new FormatError(`expected ${expected.size} tensors, found ${showValue(name)}, which the model does not have`, {
        file,
        offset: entry.offset,
        hint,
      });
    }
  }
}

/**
 * The numbers of a tensor as f32. F32 is a view where the data are aligned to 4 bytes, and a copy elsewhere; F16 and BF16 are exact;
 * F64 is rounded to nearest.
 *
 * @throws FormatError for another dtype, and for finite F64 numbers that f32 cannot hold
 */
export function toFloat32(entry: SafetensorsEntry): Float32Array {
  checkFields<Pick<SafetensorsEntry, "dtype" | "data">>("toFloat32", "entry", entry, { dtype: text, data: bytesKind });
  const convert = TO_FLOAT32[entry.dtype];
  if (convert === undefined) throw notFloating(entry);
  // Typed arrays refuse views at odd offsets, which a header of any length may cause.
  const aligned = entry.data.byteOffset % ELEMENT_BYTES[entry.dtype] === 0 ? entry.data : entry.data.slice();
  return convert(aligned, entry);
}

/** The tensor that stores these f32 values, without a copy. Throws OptionError where shape and count disagree. */
export function float32Tensor(values: Float32Array, shape: readonly number[]): SafetensorsTensor {
  checkArgument("float32Tensor", "values", values, instanceOf("a Float32Array", Float32Array));
  checkArgument("float32Tensor", "shape", shape, listOf(integer(0)));
  const tensor: SafetensorsTensor = {
    dtype: "F32",
    shape,
    data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  };
  checkWritable("float32Tensor", tensor);
  return tensor;
}

/**
 * A safetensors file. The bytes depend on the tensors and metadata alone, not on the order in which they are given: larger elements
 * come first, so that all data are aligned, then names in order of their UTF-16 units.
 *
 * Hugging Face's loaders expect the metadata `{ format: "pt" }`.
 *
 * @throws OptionError for a name twice or reserved, and for data that do not fit their shape and dtype
 */
export function writeSafetensors(
  tensors: Iterable<readonly [string, SafetensorsTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  checkArgument("writeSafetensors", "tensors", tensors, entriesKind);
  checkArgument("writeSafetensors", "metadata", metadata, {
    wanted: "an object of strings",
    fits: (value) =>
      typeof value === "object" &&
      value !== null &&
      !Array.isArray(value) &&
      !(value instanceof Promise) &&
      Object.values(value).every(text.fits),
  });
  const sorted = [...tensors].sort(([a, x], [b, y]) => ELEMENT_BYTES[y.dtype] - ELEMENT_BYTES[x.dtype] || (a < b ? -1 : Number(a > b)));
  const fields = new Map<string, string>();
  if (Object.keys(metadata).length > 0) fields.set(METADATA, encodeMetadata(metadata));
  let end = 0;
  for (const [name, tensor] of sorted) {
    checkWritable(showValue(name), tensor);
    if (name === METADATA || fields.has(name) || hasLoneSurrogate(name)) {
      const problem = name === METADATA ? "a reserved one" : fields.has(name) ? "two of one name" : "one that is not Unicode";
      throw new OptionError(`tensors need names of their own, found ${problem}: ${showValue(name)}`, { hint: "rename the tensor" });
    }
    const begin = end;
    end += tensor.data.length;
    fields.set(name, JSON.stringify({ dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }));
  }

  // Assembled by hand because objects reorder keys that look like integers.
  const json = `{${[...fields].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
  const header = new TextEncoder().encode(json);
  const padded = Math.ceil(header.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES) {
    throw new OptionError(`a safetensors header holds at most ${MAX_HEADER_BYTES} bytes, found ${padded}`, {
      hint: "write fewer tensors or less metadata per file",
    });
  }
  const file = new Uint8Array(LENGTH_BYTES + padded + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(padded), true);
  file.set(header, LENGTH_BYTES);
  file.fill(0x20, LENGTH_BYTES + header.length, LENGTH_BYTES + padded);
  let at = LENGTH_BYTES + padded;
  for (const [, { data }] of sorted) {
    file.set(data, at);
    at += data.length;
  }
  return file;
}

type Fail = (message: string, hint?: string) => FormatError;

interface Described {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function readHeader(bytes: Uint8Array, file: string): { readonly text: string; readonly length: number } {
  if (bytes.length < LENGTH_BYTES) {
    throw new FormatError(`expected at least ${LENGTH_BYTES} bytes, found ${bytes.length}`, { file, offset: bytes.length, hint: AGAIN });
  }
  const stated = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (stated > BigInt(MAX_HEADER_BYTES)) {
    throw new FormatError(`expected a header of at most ${MAX_HEADER_BYTES} bytes, found a length of ${stated}`, {
      file,
      offset: 0,
      hint: "this is no safetensors file; pickled files (.pt, .bin) must be converted to safetensors first",
    });
  }
  const length = Number(stated);
  if (LENGTH_BYTES + length > bytes.length) {
    throw new FormatError(`expected a header of ${length} bytes, found ${bytes.length - LENGTH_BYTES}`, {
      file,
      offset: bytes.length,
      hint: AGAIN,
    });
  }
  const header = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
  if (header[0] !== 0x7b) {
    const found = header[0] === undefined ? "an empty header" : `byte 0x${header[0].toString(16).padStart(2, "0")}`;
    throw new FormatError(`expected the header to start with "{", found ${found}`, { file, offset: LENGTH_BYTES, hint: AGAIN });
  }
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header), length };
  } catch (error) {
    throw new FormatError("expected the header in UTF-8, found bytes that are not", {
      file,
      offset: LENGTH_BYTES,
      hint: AGAIN,
      cause: error,
    });
  }
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

const isDtype = (value: unknown): value is SafetensorsDtype => typeof value === "string" && Object.hasOwn(ELEMENT_BYTES, value);

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && !Object.is(value, -0) && (value as number) >= 0;

/** Π shape · bytes of an element, or undefined where a number cannot hold it. */
function checkedBytes(shape: readonly number[], dtype: SafetensorsDtype): number | undefined {
  let bytes: number = ELEMENT_BYTES[dtype];
  for (const extent of shape) {
    bytes *= extent;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** A surrogate without its partner matches, because under the flag u a pair is one character of another category. */
const hasLoneSurrogate = (text: string): boolean => /\p{Surrogate}/u.test(text);

const wrongLength = (file: string, found: number, expected: number): FormatError =>
  new FormatError(`expected a file of ${expected} bytes, found ${found}`, { file, offset: Math.min(found, expected), hint: AGAIN });

const notFloating = ({ name, dtype, file, offset }: SafetensorsEntry): FormatError =>
  new FormatError(`expected ${showValue(name)} to be one of ${Object.keys(TO_FLOAT32).join(" ")}, found ${dtype}`, {
    file,
    offset,
    hint: "export the tensor as F32, F16 or BF16",
  });

function encodeMetadata(metadata: Readonly<Record<string, string>>): string {
  const entries = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
}

function checkWritable(what: string, { dtype, shape, data }: SafetensorsTensor): void {
  const valid = isDtype(dtype) && shape.length <= MAX_RANK && shape.every(isSize);
  const bytes = valid ? checkedBytes(shape, dtype) : undefined;
  if (bytes !== data.length) {
    throw new OptionError(
      `${what}: expected ${bytes ?? "a known dtype and a possible shape, so some number of"} bytes for ${dtype} [${shape}], found ${data.length}`,
      {
        hint: "data are the bytes of the tensor, row-major and little-endian",
      },
    );
  }
}

/** From data at an offset that is a multiple of the element's bytes. */
type ToFloat32 = (data: Uint8Array, entry: SafetensorsEntry) => Float32Array;

const TO_FLOAT32: { readonly [D in SafetensorsDtype]?: ToFloat32 } = {
  F32: (data) => new Float32Array(data.buffer, data.byteOffset, data.length / 4),
  F16: (data) => halfToFloat32(new Uint16Array(data.buffer, data.byteOffset, data.length / 2)),
  BF16: (data) => bfloat16ToFloat32(new Uint16Array(data.buffer, data.byteOffset, data.length / 2)),
  F64: (data, entry) => {
    const doubles = new Float64Array(data.buffer, data.byteOffset, data.length / 8);
    const singles = new Float32Array(doubles);
    const lost = singles.findIndex((single, i) => Math.abs(single) === Number.POSITIVE_INFINITY && Number.isFinite(doubles[i]));
    if (lost >= 0) {
      throw new FormatError(`expected numbers that f32 can hold in ${showValue(entry.name)}, found ${doubles[lost]}`, {
        file: entry.file,
        offset: entry.offset + 8 * lost,
        hint: "the largest f32 is 3.4e38; the file holds no weights of a working model",
      });
    }
    return singles;
  },
};
