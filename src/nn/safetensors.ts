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
import { fromHalves } from "../ir/halves.js";
import { START_BYTES } from "./byte-source.js";
import { showValue } from "./json.js";
import {
  checkedBytes,
  ELEMENT_BYTES,
  hasLoneSurrogate,
  headerLength,
  isDtype,
  isSize,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  MAX_RANK,
  METADATA,
  parseHeader,
  type SafetensorsDtype,
} from "./safetensors-header.js";

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

/**
 * Reads a safetensors file from its bytes. Nothing is copied.
 *
 * Checked are: the header's length (at most 16 MiB), UTF-8, JSON without a key twice, every dtype, shape (rank ≤ 8, safe integers,
 * product without overflow) and range, and that the ranges tile the data exactly: from 0, without holes or overlaps, to the file's end.
 *
 * @param file name of the file, for messages
 * @throws FormatError with the file, the byte offset, what was expected and what was found
 */
export function readSafetensors(bytes: Uint8Array, file: string): SafetensorsFile {
  checkArgument("readSafetensors", "bytes", bytes, bytesKind);
  checkArgument("readSafetensors", "file", file, text);
  const length = headerLength(bytes.subarray(0, START_BYTES), file, bytes.length);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length), file, bytes.length);
  const entries = [...header.tensors.values()].map(({ bytes: count, ...place }): [string, SafetensorsEntry] => [
    place.name,
    { ...place, data: bytes.subarray(place.offset, place.offset + count) },
  ]);
  return { metadata: header.metadata, tensors: new Map(entries) };
}

/**
 * Holds the names, shapes and dtypes of a file against what a model needs, before any of it is loaded.
 *
 * @param expected every parameter's name and shape
 * @throws FormatError for a tensor that is missing, is not expected, has another shape, or holds no floating-point numbers that
 *   {@link toFloat32} reads
 */
export function checkTensors(
  tensors: ReadonlyMap<string, Omit<SafetensorsEntry, "data">>,
  expected: ReadonlyMap<string, readonly number[]>,
  options: { readonly file: string },
): void {
  checkArgument("checkTensors", "tensors", tensors, mapKind);
  checkArgument("checkTensors", "expected", expected, mapKind);
  checkOptions("checkTensors", options, { file: text });
  const { file } = options;
  const hint = "config.json and the weights must be of one model";
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  for (const [name, shape] of expected) {
    const entry = tensors.get(name);
    if (entry === undefined) continue;
    if (entry.shape.length !== shape.length || entry.shape.some((extent, axis) => extent !== shape[axis])) {
      throw new FormatError(`expected ${showValue(name)} to have shape [${shape}], found [${entry.shape}]`, {
        file: entry.file,
        offset: entry.offset,
        hint,
      });
    }
    if (!(entry.dtype in TO_FLOAT32)) throw notFloating(entry);
  }
  if (missing.length > 0) {
    const wanted = missing.length === 1 ? "a tensor" : "the tensors";
    throw new FormatError(`expected ${wanted} ${showNames(missing)}, found none of that name`, { file, hint });
  }
  const unknown = [...tensors.values()].filter(({ name }) => !expected.has(name));
  const [first] = unknown;
  if (first !== undefined) {
    throw new FormatError(
      `expected ${expected.size} tensors, found ${showNames(unknown.map(({ name }) => name))}, which the model does not have`,
      { file: first.file, offset: first.offset, hint },
    );
  }
}

/** The first of some names, and how many more there are. */
export function showNames(names: readonly string[]): string {
  const shown = names.slice(0, 4).map(showValue);
  const more = names.length - shown.length;
  return more === 0 ? shown.join(", ") : `${shown.join(", ")} and ${more} more`;
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
  // Typed arrays refuse views at odd offsets, which a header of any length may cause. (The slice of a Buffer of Node is no copy.)
  const aligned = entry.data.byteOffset % ELEMENT_BYTES[entry.dtype] === 0 ? entry.data : new Uint8Array(entry.data);
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
  for (const [name, tensor] of tensors) checkWritable(showValue(name), tensor);
  const { head, sorted, fileBytes } = layOutSafetensors([...tensors], metadata);
  const file = new Uint8Array(fileBytes);
  file.set(head);
  let at = head.length;
  for (const [, { data }] of sorted) {
    file.set(data, at);
    at += data.length;
  }
  return file;
}

/** What stands before the data of a file, and the order in which they follow; see {@link writeSafetensors}. */
export function layOutSafetensors<T extends Omit<SafetensorsTensor, "data">>(
  tensors: readonly (readonly [string, T])[],
  metadata: Readonly<Record<string, string>>,
): { readonly head: Uint8Array; readonly sorted: readonly (readonly [string, T])[]; readonly fileBytes: number } {
  const sorted = [...tensors].sort(([a, x], [b, y]) => ELEMENT_BYTES[y.dtype] - ELEMENT_BYTES[x.dtype] || (a < b ? -1 : Number(a > b)));
  const fields = new Map<string, string>();
  if (Object.keys(metadata).length > 0) fields.set(METADATA, encodeMetadata(metadata));
  let end = 0;
  for (const [name, { dtype, shape }] of sorted) {
    if (name === METADATA || fields.has(name) || hasLoneSurrogate(name)) {
      const problem = name === METADATA ? "a reserved one" : fields.has(name) ? "two of one name" : "one that is not Unicode";
      throw new OptionError(`tensors need names of their own, found ${problem}: ${showValue(name)}`, { hint: "rename the tensor" });
    }
    const begin = end;
    end += checkedBytes(shape, dtype) as number;
    fields.set(name, JSON.stringify({ dtype, shape, data_offsets: [begin, end] }));
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
  const head = new Uint8Array(LENGTH_BYTES + padded);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(header, LENGTH_BYTES);
  head.fill(0x20, LENGTH_BYTES + header.length);
  return { head, sorted, fileBytes: head.length + end };
}

const notFloating = ({ name, dtype, file, offset }: Omit<SafetensorsEntry, "data">): FormatError =>
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
  F16: (data) => fromHalves("f16", new Uint16Array(data.buffer, data.byteOffset, data.length / 2)),
  BF16: (data) => fromHalves("bf16", new Uint16Array(data.buffer, data.byteOffset, data.length / 2)),
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
