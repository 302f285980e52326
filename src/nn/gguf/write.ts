/**
 * Models written as GGUF files: the header, then one tensor after another in pieces of some megabytes, so that nothing but these is in memory,
 * whatever the model's size.
 */
import { NonFiniteError, OptionError } from "../../errors.js";
import { fromHalves, type Half, toHalves } from "../../ir/halves.js";
import { sizeOf } from "../../ir/shape.js";
import type { LlamaConfig } from "../config.js";
import { toInterleaved } from "../interleaved.js";
import type { StoredModel, StoredTensor } from "../stored-model.js";
import { quantizeQ8 } from "./blocks.js";
import { type ElementType, namedType } from "./element-types.js";
import { aligned, encodeHeader, type TensorEntry } from "./encode.js";
import { ggufName, isRotated, ROPE_FACTORS } from "./names.js";
import { type GgufKeys, type GgufValue, textValue, u32Value } from "./values.js";
import { type WrittenConfig, writeConfig } from "./write-config.js";

/** What weights are written as. */
export type GgufDtype = "f32" | "f16" | "bf16" | "q8_0";

/** By what is asked for: the type of matrices, and llama.cpp's number for files of which most tensors are of that type. */
const TYPES: Readonly<Record<GgufDtype, { readonly type: string; readonly fileType: number }>> = {
  f32: { type: "F32", fileType: 0 },
  f16: { type: "F16", fileType: 1 },
  bf16: { type: "BF16", fileType: 32 },
  q8_0: { type: "Q8_0", fileType: 7 },
};

/** What a model is written from. */
export type WeightSource = Pick<StoredModel, "config" | "tensors" | "label">;

export interface GgufParts {
  readonly dtype: GgufDtype;
  /** The configuration to write, which may state another scale of RoPE than the source's. */
  readonly config: LlamaConfig;
  /** Keys about the model and its tokenizer, `general.…` and `tokenizer.…`. */
  readonly keys: GgufKeys;
}

/** Numbers that are in memory at a time. */
const CHUNK = 2 ** 20;

interface Planned extends TensorEntry {
  readonly tensor: StoredTensor;
  readonly bytes: number;
  /** Where rows are put in another order: D, and the numbers of a row. */
  readonly heads: { readonly headDim: number; readonly width: number } | undefined;
}

/**
 * The bytes of a GGUF file, made as they are asked for. Vectors stay F32; in "q8_0" rows that are no whole blocks of 32 are F16.
 *
 * @throws OptionError for a model that GGUF has no place for, before anything is made; NonFiniteError for weights that are NaN or infinite or that
 *   the type does not reach
 */
export function ggufBytes(source: WeightSource, parts: GgufParts): AsyncGenerator<Uint8Array> {
  const written = writeConfig(parts.config);
  const { type, fileType } = TYPES[parts.dtype];
  const factors = written.ropeFactors;
  const first = factors === undefined ? 0 : aligned(factors.byteLength);
  const planned = plan(source, parts.config, written, type, first);
  const keys = new Map<string, GgufValue>([
    ["general.architecture", textValue(written.architecture)],
    ["general.type", textValue("model")],
    ...parts.keys,
    ["general.file_type", u32Value(fileType)],
    ...(parts.dtype === "q8_0" ? ([["general.quantization_version", u32Value(2)]] as const) : []),
    ...written.keys,
  ]);
  const entries: TensorEntry[] = planned;
  const rope = factors && { name: ROPE_FACTORS, shape: [factors.length], type: namedType("F32"), offset: 0 };
  const header = encodeHeader(keys, rope === undefined ? entries : [rope, ...entries]);
  return pieces(header, factors, planned);
}

function plan(
  { tensors }: WeightSource,
  { head_dim: headDim }: LlamaConfig,
  { interleaved }: WrittenConfig,
  wanted: string,
  first: number,
): Planned[] {
  const planned: Planned[] = [];
  let offset = first;
  for (const tensor of tensors.values()) {
    const name = ggufName(tensor.name);
    if (name === undefined) {
      throw new OptionError(`GGUF has no place for ${tensor.name}`, { hint: "write the model as a folder with saveModel" });
    }
    const { shape } = tensor;
    const width = shape.at(-1) ?? 1;
    const type = namedType(shape.length < 2 ? "F32" : wanted === "Q8_0" && width % 32 !== 0 ? "F16" : wanted);
    const bytes = (sizeOf(shape) / type.blockElements) * type.blockBytes;
    const heads = interleaved && isRotated(tensor.name) ? { headDim, width: shape.length < 2 ? 1 : width } : undefined;
    planned.push({ name, shape, type, offset, tensor, bytes, heads });
    offset += aligned(bytes);
  }
  return planned;
}

async function* pieces(header: Uint8Array, factors: Float32Array | undefined, planned: readonly Planned[]): AsyncGenerator<Uint8Array> {
  yield header;
  if (factors !== undefined) yield* padded(bytesOf(factors), factors.byteLength);
  for (const { tensor, type, heads, bytes } of planned) {
    const size = sizeOf(tensor.shape);
    const unit = commonMultiple(commonMultiple(tensor.unit, type.blockElements), heads === undefined ? 1 : heads.headDim * heads.width);
    const step = unit * Math.max(1, Math.floor(CHUNK / unit));
    for (let begin = 0; begin < size; begin += step) {
      const read = await tensor.read(begin, Math.min(size, begin + step));
      const values = heads === undefined ? read : toInterleaved(read, heads.headDim, heads.width);
      yield encode(values, type, tensor, begin);
    }
    yield new Uint8Array(aligned(bytes) - bytes);
  }
}

function* padded(bytes: Uint8Array, length: number): Generator<Uint8Array> {
  yield bytes;
  yield new Uint8Array(aligned(length) - length);
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

const commonMultiple = (a: number, b: number): number => {
  const divisor = (x: number, y: number): number => (y === 0 ? x : divisor(y, x % y));
  return (a / divisor(a, b)) * b;
};

/** Numbers, or bits of halves as `tensor.dtype` says, as the file has them. */
function encode(values: Float32Array | Uint16Array, { name: type }: ElementType, { name, dtype }: StoredTensor, begin: number): Uint8Array {
  const numbers = values instanceof Uint16Array ? fromHalves(dtype as Half, values) : values;
  refuseUnsound(numbers, type, name, begin);
  switch (type) {
    case "F32":
      return bytesOf(numbers);
    case "Q8_0":
      return quantizeQ8(numbers);
    default: {
      const half = type === "F16" ? "f16" : "bf16";
      return bytesOf(values instanceof Uint16Array && dtype === half ? values : toHalves(half, numbers));
    }
  }
}

/** From where on numbers of a type are rounded to infinity; blocks of Q8_0 have 127 times a scale in f16. */
const INFINITE_FROM: Readonly<Record<string, number>> = { F16: 65520, BF16: 2 ** 128 - 2 ** 119, Q8_0: 127 * 65520 };

function refuseUnsound(numbers: Float32Array, type: string, name: string, begin: number): void {
  const limit = INFINITE_FROM[type] ?? Number.POSITIVE_INFINITY;
  for (let i = 0; i < numbers.length; i++) {
    const value = numbers[i] as number;
    if (Math.abs(value) < limit) continue;
    if (!Number.isFinite(value)) {
      throw new NonFiniteError(`${name} holds ${value} (element ${begin + i}), so nothing was saved`, {
        hint: "what was saved before is as it was",
      });
    }
    throw new NonFiniteError(`${name} holds ${value} (element ${begin + i}), which ${type} does not reach, so nothing was saved`, {
      hint: 'write it as "f32"',
    });
  }
}
