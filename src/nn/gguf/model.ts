/** A GGUF file as a model: names are this library's, rows of queries and keys in Hugging Face's order, blocks of quantised numbers read as f32. */
import { FormatError } from "../../errors.js";
import type { ByteSource } from "../byte-source.js";
import { type LlamaConfig, llamaShapes } from "../config.js";
import { fromInterleaved } from "../interleaved.js";
import { showValue } from "../json.js";
import type { StoredModel, StoredTensor, WeightDtype } from "../stored-model.js";
import { dequantizers } from "./blocks.js";
import { ggufArchitecture, ggufConfig, statedVocabulary } from "./config.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./header.js";
import { remembering } from "./header-bytes.js";
import { ggufNumber } from "./keys.js";
import { isRotated, modelName, ROPE_FACTORS } from "./names.js";
import { asWritten } from "./rope-keys.js";
import type { GgufValue } from "./values.js";

/** A model in a GGUF file, with what else the file says. */
export interface GgufModel extends StoredModel {
  readonly format: "gguf";
  readonly header: GgufHeader;
}

/** Whether a model came from a GGUF file, whose keys say more than its configuration. */
export const isGgufModel = (model: StoredModel): model is GgufModel => model.format === "gguf" && "header" in model;

/** Lists that are longer are left out of {@link StoredModel.metadata}. */
const MOST_LISTED = 16;
/** As many pairs as a head may have. */
const MOST_FACTORS = 512;

/**
 * Opens a GGUF file of the Llama family. Keys, names, shapes and types of tensors are held against each other, and no weight is read.
 *
 * @throws FormatError for what is damaged or does not fit together, for other architectures, and for types that cannot be read, by name
 */
export async function openGgufModel(source: ByteSource): Promise<GgufModel> {
  const header = await readGgufHeader(source);
  refuseParts(header);
  const { name: architecture, interleaved } = ggufArchitecture(header);
  const [ropeFactors, data] = await readRopeFactors(header);
  const config = ggufConfig(header, {
    vocabSize: vocabularyOf(header, architecture),
    tied: !header.tensors.has("output.weight"),
    ropeFactors,
    has: (part) => header.tensors.has(`blk.0.${part}`),
  });
  checkTensors(header, config);
  const tensors = new Map<string, StoredTensor>();
  for (const tensor of header.tensors.values()) {
    const name = modelName(tensor.name);
    if (name === undefined) continue;
    const headDim = interleaved && isRotated(name) ? config.head_dim : undefined;
    tensors.set(name, storedTensor(name, tensor, data, headDim));
  }
  return {
    format: "gguf",
    label: header.file,
    config,
    tensors,
    fileBytes: source.size ?? header.dataEnd,
    metadata: metadataOf(header.keys),
    header,
    close: () => source.close(),
  };
}

/** A file of a model in several holds a part of its tensors. */
function refuseParts(header: GgufHeader): void {
  const parts = ggufNumber(header, "split.count") ?? 1;
  if (parts <= 1) return;
  throw new FormatError(`expected a whole model, found one of ${parts} files of it`, {
    file: header.file,
    hint: "put them together with `llama-gguf-split --merge FIRST OUT` (llama.cpp)",
  });
}

/** The rows of the embedding, which what else the header says must not contradict. */
function vocabularyOf(header: GgufHeader, architecture: string): number {
  const embedding = header.tensors.get("token_embd.weight");
  const hint = "the file holds no whole model of the Llama family";
  if (embedding === undefined || embedding.shape.length !== 2) {
    const found = embedding === undefined ? "none of that name" : `shape [${embedding.shape}]`;
    throw new FormatError(`expected a matrix "token_embd.weight", found ${found}`, { file: header.file, hint });
  }
  const [rows = 0] = embedding.shape;
  const stated = statedVocabulary(header, architecture);
  if (stated === undefined || stated === rows) return rows;
  throw new FormatError(`expected "token_embd.weight" to have a row for each of ${stated} tokens, found ${rows}`, {
    file: header.file,
    hint,
  });
}

/** Holds names, shapes and types against what the model needs. */
function checkTensors(header: GgufHeader, config: LlamaConfig): void {
  const expected = llamaShapes(config);
  const fail = (message: string, hint: string, offset?: number): FormatError =>
    new FormatError(message, { file: header.file, hint, ...(offset !== undefined && { offset }) });
  const whole = "the file holds no whole model of the Llama family, or one with features that this library lacks";
  const found = new Map([...header.tensors.values()].map((tensor) => [modelName(tensor.name) ?? tensor.name, tensor]));
  const missing = [...expected.keys()].filter((name) => !found.has(name));
  if (missing.length > 0) throw fail(`expected tensors for ${list(missing)}, found none of their names`, whole);
  const unknown = [...found]
    .filter(([name, tensor]) => !expected.has(name) && tensor.name !== ROPE_FACTORS)
    .map(([, tensor]) => tensor.name);
  if (unknown.length > 0) throw fail(`found ${list(unknown)}, which the model has no place for`, whole);
  for (const [name, shape] of expected) {
    const tensor = found.get(name) as GgufTensor;
    if (tensor.shape.length !== shape.length || tensor.shape.some((extent, axis) => extent !== shape[axis])) {
      throw fail(
        `expected ${showValue(tensor.name)} to have shape [${shape}], found [${tensor.shape}]`,
        "keys and tensors must be of one model",
        tensor.offset,
      );
    }
    if (!(tensor.type.name in READABLE)) throw unreadable(tensor, header.file);
  }
}

const list = (names: readonly string[]): string =>
  names.slice(0, 4).map(showValue).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");

const unreadable = ({ name, type, offset }: GgufTensor, file: string): FormatError =>
  new FormatError(`expected ${showValue(name)} to be one of ${Object.keys(READABLE).join(" ")}, found ${type.name}`, {
    file,
    offset,
    hint: "get the model in one of these, or requantise it with `llama-quantize --allow-requantize FILE OUT Q8_0` (llama.cpp)",
  });

/** From whole blocks of a type that begin at a byte of any alignment. */
type ReadElements = (
  bytes: Uint8Array,
  elements: number,
  of: { readonly name: string; readonly file: string; readonly offset: number },
) => Float32Array | Uint16Array;

/** Typed arrays refuse views at odd offsets. */
const aligned = (bytes: Uint8Array, to: number): Uint8Array => (bytes.byteOffset % to === 0 ? bytes : new Uint8Array(bytes));
const halves: ReadElements = (bytes, elements) => {
  const { buffer, byteOffset } = aligned(bytes, 2);
  return new Uint16Array(buffer, byteOffset, elements);
};

const READABLE: Readonly<Record<string, ReadElements>> = {
  F32: (bytes, elements) => {
    const { buffer, byteOffset } = aligned(bytes, 4);
    return new Float32Array(buffer, byteOffset, elements);
  },
  F16: halves,
  BF16: halves,
  F64: (bytes, elements, { name, file, offset }) => {
    const { buffer, byteOffset } = aligned(bytes, 8);
    const doubles = new Float64Array(buffer, byteOffset, elements);
    const singles = new Float32Array(doubles);
    const lost = singles.findIndex((single, i) => Math.abs(single) === Number.POSITIVE_INFINITY && Number.isFinite(doubles[i]));
    if (lost < 0) return singles;
    throw new FormatError(`expected numbers that f32 can hold in ${showValue(name)}, found ${doubles[lost]}`, {
      file,
      offset: offset + 8 * lost,
      hint: "the largest f32 is 3.4e38; the file holds no weights of a working model",
    });
  },
  ...Object.fromEntries(
    Object.entries(dequantizers).map(([name, dequantize]): [string, ReadElements] => [
      name,
      (bytes, elements) => {
        const out = new Float32Array(elements);
        dequantize(bytes, out);
        return out;
      },
    ]),
  ),
};

const DTYPES: Readonly<Record<string, WeightDtype>> = { F16: "f16", BF16: "bf16" };

/** `headDim` is given where the rows of heads are pairs side by side; then heads are read whole. */
function storedTensor(name: string, tensor: GgufTensor, source: ByteSource, headDim: number | undefined): StoredTensor {
  const { shape, type, bytes } = tensor;
  const { blockElements, blockBytes } = type;
  const width = shape.length > 1 ? (shape.at(-1) as number) : 1;
  const readElements = READABLE[type.name] as ReadElements;
  return {
    name,
    shape,
    storedAs: type.name,
    dtype: DTYPES[type.name] ?? "f32",
    bytes,
    unit: headDim === undefined ? blockElements : headDim * width,
    read: async (begin, end) => {
      const offset = tensor.offset + (begin / blockElements) * blockBytes;
      const data = await source.read(offset, tensor.offset + (end / blockElements) * blockBytes);
      const values = readElements(data, end - begin, { name: tensor.name, file: source.name, offset });
      return headDim === undefined ? values : fromInterleaved(values, headDim, width);
    },
  };
}

/** The divisors of RoPE's frequencies, where the file has them, and the source, of which no byte is lost. */
async function readRopeFactors(header: GgufHeader): Promise<readonly [Float32Array | undefined, ByteSource]> {
  const { tensors, source, file, dataStart } = header;
  const tensor = tensors.get(ROPE_FACTORS);
  if (tensor === undefined) return [undefined, source];
  const { type, shape, offset, bytes } = tensor;
  if (type.name !== "F32" || shape.length !== 1 || bytes > 4 * MOST_FACTORS) {
    throw new FormatError(`expected "${ROPE_FACTORS}" to be a list of F32, one for each pair of channels, found ${type.name} [${shape}]`, {
      file,
      offset,
      hint: "convert the model again",
    });
  }
  // Where bytes come one after another, those in front of it are kept.
  const from = source.seekable ? offset : dataStart;
  const read = await source.read(from, offset + bytes);
  const factors = new Float32Array(new Uint8Array(read.subarray(offset - from)).buffer);
  return [factors, remembering(source, from, read)];
}

/** Keys as strings, numbers and booleans; short lists as text, long ones left out. */
function metadataOf(keys: ReadonlyMap<string, GgufValue>): StoredModel["metadata"] {
  // Without a prototype a key such as "__proto__" is a key like any other.
  const metadata: Record<string, string | number | boolean> = Object.create(null);
  for (const [name, { type, value }] of keys) {
    if (type === "f32") metadata[name] = asWritten(value as number);
    else if (type !== "array") metadata[name] = typeof value === "bigint" ? String(value) : value;
    else if (value.length <= MOST_LISTED) metadata[name] = value.values().join(", ");
  }
  return metadata;
}
