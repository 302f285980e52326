/**
 * The files of llama2.c (karpathy/llama2.c, `export.py` and `run.c`), little-endian:
 *
 *     version 0   seven i32: dim, hidden dim, layers, heads, kv heads, vocabulary (negative: the head is not tied), window; then f32
 *     version 1   "ak42" as a u32, version i32, the seven, a byte: whether the head is tied, zeros up to byte 256; then f32
 *     version 2   the same, and after that byte the size of groups as an i32; then vectors in f32, and matrices as i8 with an f32 scale for each group
 *
 * Rows of queries and keys are pairs side by side.
 */
import { FormatError, OptionError } from "../errors.js";
import { sizeOf } from "../ir/shape.js";
import type { ByteSource } from "./byte-source.js";
import type { LlamaConfig } from "./config.js";
import { llamaConfig } from "./config-options.js";
import { fromInterleaved } from "./interleaved.js";
import type { StoredModel, StoredTensor } from "./stored-model.js";

const MAGIC = 0x616b3432;
const HEADER_BYTES = 256;
const LEGACY_BYTES = 28;
const AGAIN = "the file is damaged or incomplete; download or export it again";

type Fail = (message: string, offset: number) => FormatError;
const failIn =
  (file: string): Fail =>
  (message, offset) =>
    new FormatError(message, { file, offset, hint: AGAIN });

interface Header {
  readonly version: 0 | 1 | 2;
  readonly sizes: readonly number[];
  readonly tied: boolean;
  /** Elements that share a scale, in version 2. */
  readonly group: number;
}

/** A tensor's place. */
interface Place {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
  readonly group: number | undefined;
}

/** Whether a file is llama2.c's: by its first bytes, and version 0, which has no mark, by a size that is exactly that of its header's model. */
export function isLlama2c(start: Uint8Array, size: number | undefined): boolean {
  if (start.length < LEGACY_BYTES) return false;
  const view = viewOf(start);
  if (view.getUint32(0, true) === MAGIC) return true;
  try {
    const header = legacyHeader(view);
    return size !== undefined && layOut(header, configOf(header, ""), failIn("")).end === size;
  } catch {
    return false;
  }
}

/**
 * Opens a model of llama2.c. What the header states is held against the file's size before anything is read.
 *
 * @throws FormatError for sizes that are impossible, another version, and a file that is longer or shorter than its header says
 */
export async function openLlama2c(source: ByteSource): Promise<StoredModel> {
  const { name: file, size } = source;
  const fail = failIn(file);
  const view = viewOf(await source.start());
  const isLegacy = view.getUint32(0, true) !== MAGIC;
  if (!isLegacy && view.byteLength < HEADER_BYTES) throw fail(`expected a header of ${HEADER_BYTES} bytes, found ${view.byteLength}`, 0);
  const header = isLegacy ? legacyHeader(view) : markedHeader(view, fail);
  const config = configOf(header, file);
  const { places, end } = layOut(header, config, fail);
  if (size !== undefined && size !== end) throw fail(`expected a file of ${end} bytes, found ${size}`, Math.min(size, end));
  if (header.version === 2 && !source.seekable) {
    throw new FormatError("the scales of this file stand behind its numbers, and it comes as one stream", {
      file,
      hint: "download it and open the file",
    });
  }
  return {
    format: "llama2.c",
    label: file,
    config,
    tensors: new Map(places.map((place) => [place.name, storedTensor(place, source, config.head_dim)])),
    fileBytes: end,
    metadata: { version: header.version, ...(header.version === 2 && { group_size: header.group }) },
    close: () => source.close(),
  };
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const integers = (view: DataView, at: number): number[] => Array.from({ length: 7 }, (_, i) => view.getInt32(at + 4 * i, true));

function legacyHeader(view: DataView): Header {
  const sizes = integers(view, 0);
  const vocabulary = sizes[5] as number;
  sizes[5] = Math.abs(vocabulary);
  return { version: 0, sizes, tied: vocabulary > 0, group: 1 };
}

function markedHeader(view: DataView, fail: Fail): Header {
  const version = view.getInt32(4, true);
  if (version !== 1 && version !== 2) throw fail(`expected llama2.c's version 1 or 2 behind its mark, found ${version}`, 4);
  const tied = view.getUint8(36);
  if (tied > 1) throw fail(`expected a tied head (1) or not (0), found ${tied}`, 36);
  const group = version === 2 ? view.getInt32(37, true) : 1;
  if (group < 1) throw fail(`expected groups of at least 1, found ${group}`, 37);
  return { version, sizes: integers(view, 8), tied: tied === 1, group };
}

function configOf({ sizes, tied }: Header, file: string): LlamaConfig {
  const [dim, hidden, layers, heads, kvHeads, vocabulary, window] = sizes as [number, number, number, number, number, number, number];
  try {
    return llamaConfig({
      vocab_size: vocabulary,
      hidden_size: dim,
      intermediate_size: hidden,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      max_position_embeddings: window,
      tie_word_embeddings: tied,
    });
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw new FormatError(error.message, { file, offset: 0, hint: AGAIN, cause: error });
  }
}

/** Where each tensor lies, in the order of the file, and where the last one ends. */
function layOut(
  { version, tied, group }: Header,
  {
    vocab_size: V,
    hidden_size: C,
    intermediate_size: F,
    num_hidden_layers: layers,
    num_key_value_heads: Hkv,
    head_dim: D,
    max_position_embeddings: T,
  }: LlamaConfig,
  fail: Fail,
): { readonly places: readonly Place[]; readonly end: number } {
  const places: Place[] = [];
  let at = version === 0 ? LEGACY_BYTES : HEADER_BYTES;
  const tensor = (name: string, shape: readonly number[]): void => {
    const size = sizeOf(shape);
    const isGrouped = version === 2 && shape.length > 1;
    if (isGrouped && size % group !== 0) throw fail(`expected ${name} to be whole groups of ${group}, found ${size} elements`, at);
    const bytes = isGrouped ? size + 4 * (size / group) : 4 * size;
    places.push({ name, shape, offset: at, bytes, group: isGrouped ? group : undefined });
    at += bytes;
  };
  const ofLayers = (part: string, shape: readonly number[]): void => {
    for (let layer = 0; layer < layers; layer++) tensor(`model.layers.${layer}.${part}.weight`, shape);
  };
  const attention = (): void => {
    ofLayers("self_attn.q_proj", [C, C]);
    ofLayers("self_attn.k_proj", [Hkv * D, C]);
    ofLayers("self_attn.v_proj", [Hkv * D, C]);
    ofLayers("self_attn.o_proj", [C, C]);
  };
  const feedForward = (): void => {
    ofLayers("mlp.gate_proj", [F, C]);
    ofLayers("mlp.down_proj", [C, F]);
    ofLayers("mlp.up_proj", [F, C]);
  };
  const embedding = (): void => tensor("model.embed_tokens.weight", [V, C]);
  if (version === 0) {
    embedding();
    ofLayers("input_layernorm", [C]);
    attention();
    ofLayers("post_attention_layernorm", [C]);
    feedForward();
    tensor("model.norm.weight", [C]);
    // Cosines and sines of positions, which follow from the sizes.
    at += 4 * T * D;
  } else {
    ofLayers("input_layernorm", [C]);
    ofLayers("post_attention_layernorm", [C]);
    tensor("model.norm.weight", [C]);
    embedding();
    attention();
    feedForward();
  }
  if (!tied) tensor("lm_head.weight", [V, C]);
  return { places, end: at };
}

function storedTensor({ name, shape, offset, bytes, group }: Place, source: ByteSource, headDim: number): StoredTensor {
  const rotated = /\.self_attn\.[qk]_proj\./.test(name);
  const width = shape.at(-1) as number;
  const size = sizeOf(shape);
  const read = async (begin: number, end: number): Promise<Float32Array> => {
    if (group === undefined) return floats(await source.read(offset + 4 * begin, offset + 4 * end));
    const numbers = await source.read(offset + begin, offset + end);
    const scales = floats(await source.read(offset + size + 4 * (begin / group), offset + size + 4 * (end / group)));
    const out = new Float32Array(end - begin);
    for (let i = 0; i < out.length; i++) out[i] = (((numbers[i] as number) << 24) >> 24) * (scales[Math.floor(i / group)] as number);
    return out;
  };
  return {
    ...{ name, shape, bytes, dtype: "f32", storedAs: group === undefined ? "F32" : "Q8_0" },
    unit: rotated ? commonMultiple(headDim * width, group ?? 1) : (group ?? 1),
    read: async (begin, end) => (rotated ? fromInterleaved(await read(begin, end), headDim, width) : read(begin, end)),
  };
}

/** Typed arrays refuse views at odd offsets. */
function floats(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(buffer, byteOffset, length / 4);
}

const commonMultiple = (a: number, b: number): number => {
  const divisor = (x: number, y: number): number => (y === 0 ? x : divisor(y, x % y));
  return (a / divisor(a, b)) * b;
};
