import { checkArgument, checkOptions, flag, type Kind, oneOf, optional, plainObject, text } from "../../arguments.js";
import { data } from "../../autograd/realize.js";
import type { Tensor } from "../../autograd/tensor.js";
import { tensorsOf } from "../../autograd/tree.js";
import { sizeOf } from "../../ir/shape.js";
import type { LlamaConfig } from "../config.js";
import { parseLlamaConfig, toHfConfig } from "../config-json.js";
import { writeFileAtomic } from "../files.js";
import { Llama } from "../llama.js";
import { refuseAdapters } from "../lora.js";
import { type HostBlob, type ModelSource, sourceKind } from "../model-source.js";
import { configOfLayers } from "../position-encodings.js";
import type { StoredModel, StoredTensor } from "../stored-model.js";
import { isGgufModel } from "./model.js";
import { byteTokenizerKeys } from "./tokenizer-keys.js";
import { ofTokenizer, tokenizerIn } from "./tokenizer-source.js";
import { f32Value, flagValue, type GgufKeys, type GgufValue, textValue, u32Value } from "./values.js";
import { type GgufDtype, ggufBytes, type WeightSource } from "./write.js";

export interface SaveGgufOptions {
  /**
   * What matrices are written as. Default "f32". "q8_0" rounds them to eight bits with a scale for every 32 (rows that are no multiple of 32 are
   * F16); vectors stay F32.
   */
  readonly dtype?: GgufDtype;
  /**
   * Fields that are put over those of the model's configuration, such as `rope_parameters` of an extended model: RoPE of type "linear" and
   * "yarn" becomes llama.cpp's keys, "llama3" and a fixed "longrope" its factors of frequencies.
   */
  readonly extraConfig?: Readonly<Record<string, unknown>>;
  /** `general.name`. */
  readonly name?: string;
  /**
   * Where the tokenizer is: a folder with `tokenizer.json`, `tokenizer.model` or llama2.c's `tokenizer.bin`, or a GGUF file. Default: that of the GGUF file which the model came from, and for a model of
   * 256 tokens their bytes. A file without any runs in llama.cpp on tokens alone.
   */
  readonly tokenizer?: ModelSource;
  /** llama.cpp's name for how the tokenizer cuts texts (`tokenizer.ggml.pre`), where it is not known here. */
  readonly pre?: string;
  /** Further keys; numbers that are integers become u32, others f32. */
  readonly metadata?: Readonly<Record<string, string | number | boolean>>;
}

const optionKinds = {
  dtype: optional(oneOf("f32", "f16", "bf16", "q8_0")),
  extraConfig: optional(plainObject),
  name: optional(text),
  tokenizer: optional(sourceKind),
  pre: optional(text),
  metadata: optional({
    wanted: "an object of strings, numbers and booleans",
    fits: (value) =>
      plainObject.fits(value) && Object.values(value as object).every((one) => text.fits(one) || Number.isFinite(one) || flag.fits(one)),
  }),
} as const;

const modelOrStored: Kind = {
  wanted: "a Llama, or what openModel gives",
  fits: (value) => value instanceof Llama || (typeof value === "object" && value !== null && "tensors" in value && "config" in value),
};

/**
 * Writes a model as a GGUF file of version 3, which llama.cpp reads: rows of queries and keys in its order, RoPE's scale and the tokenizer under its keys.
 * The file appears whole or not at all. Of a model that was opened with `openModel`, some megabytes at a time are in memory, and no device is
 * needed; of one on a device one tensor at a time.
 *
 * @throws OptionError for what GGUF has no place for (position encodings other than RoPE, scales that follow the length, tokenizers of other
 *   kinds) and where the file cannot be written; NonFiniteError for weights that are NaN or infinite, or that the dtype does not reach
 */
export async function saveGguf(path: string, model: Llama | StoredModel, options: SaveGgufOptions = {}): Promise<void> {
  checkArgument("saveGguf", "path", path, text);
  await writeFileAtomic(path, await ggufContent("saveGguf", model, options));
}

/** The file that {@link saveGguf} writes as a Blob, for pages. */
export async function ggufBlob(model: Llama | StoredModel, options: SaveGgufOptions = {}): Promise<HostBlob> {
  const parts: BlobPart[] = [];
  for await (const piece of await ggufContent("ggufBlob", model, options)) parts.push(new Blob([piece as Uint8Array<ArrayBuffer>]));
  return new Blob(parts) as HostBlob;
}

async function ggufContent(where: string, model: Llama | StoredModel, options: SaveGgufOptions): Promise<AsyncGenerator<Uint8Array>> {
  checkArgument(where, "model", model, modelOrStored);
  checkOptions<SaveGgufOptions>(where, options, optionKinds);
  const { dtype = "f32", extraConfig, name, metadata = {} } = options;
  const source = model instanceof Llama ? onDevice(where, model) : model;
  const config = extraConfig === undefined ? source.config : withFields(source.config, extraConfig);
  const keys = new Map<string, GgufValue>(model instanceof Llama ? [] : generalKeys(model));
  if (name !== undefined) keys.set("general.name", textValue(name));
  for (const [key, value] of await tokenizerOf(where, model, options, config)) keys.set(key, value);
  for (const [key, value] of Object.entries(metadata)) keys.set(key, keyValue(value));
  return ggufBytes(source, { dtype, config, keys });
}

/** As the file's reader would check it. */
const withFields = (config: LlamaConfig, extra: Readonly<Record<string, unknown>>): LlamaConfig =>
  parseLlamaConfig({ ...toHfConfig(config), ...extra }, "extraConfig");

const keyValue = (value: string | number | boolean): GgufValue => {
  if (typeof value === "string") return textValue(value);
  if (typeof value === "boolean") return flagValue(value);
  return Number.isInteger(value) && value >= 0 && value < 2 ** 32 ? u32Value(value) : f32Value(value);
};

/** Keys about the bytes of a file, which the new one has of its own. */
const OF_THE_FILE: readonly string[] = ["alignment", "architecture", "type", "file_type", "quantization_version"];

/** What a GGUF file says of the model it came from: its name, its licence and the like. */
const generalKeys = (model: StoredModel): [string, GgufValue][] =>
  !isGgufModel(model)
    ? []
    : [...model.header.keys].filter(([key]) => key.startsWith("general.") && !OF_THE_FILE.includes(key.slice("general.".length)));

/** A tokenizer's keys, from where it is said to be. */
async function tokenizerOf(where: string, model: Llama | StoredModel, options: SaveGgufOptions, config: LlamaConfig): Promise<GgufKeys> {
  const found =
    options.tokenizer !== undefined
      ? await tokenizerIn(where, options.tokenizer, options.pre, config)
      : !(model instanceof Llama) && isGgufModel(model)
        ? ofTokenizer(model.header.keys)
        : config.vocab_size === 256
          ? byteTokenizerKeys()
          : new Map<string, GgufValue>();
  if (!found.has("tokenizer.ggml.model")) return new Map([...found, ["tokenizer.ggml.model", textValue("none")]]);
  const { bos_token_id: bos, eos_token_id: eos } = config;
  const first = typeof eos === "number" ? eos : eos?.[0];
  if (bos !== undefined && !found.has("tokenizer.ggml.bos_token_id")) found.set("tokenizer.ggml.bos_token_id", u32Value(bos));
  if (first !== undefined && !found.has("tokenizer.ggml.eos_token_id")) found.set("tokenizer.ggml.eos_token_id", u32Value(first));
  return found;
}

/** The tensors of a model on a device; each is read whole when its first elements are asked for, and let go after its last. */
function onDevice(where: string, model: Llama): WeightSource {
  refuseAdapters(where, model);
  const tensors = tensorsOf(model).map(({ path, tensor }): [string, StoredTensor] => [path, fromDevice(path, tensor)]);
  return { config: configOfLayers(where, model), label: "the model", tensors: new Map(tensors) };
}

function fromDevice(name: string, tensor: Tensor): StoredTensor {
  const size = sizeOf(tensor.shape);
  let values: Float32Array | undefined;
  return {
    ...{ name, shape: tensor.shape, storedAs: tensor.dtype, dtype: "f32", bytes: 4 * size, unit: 1 },
    read: async (begin, end) => {
      values ??= Float32Array.from(await data(tensor));
      const part = values.subarray(begin, end);
      if (end === size) values = undefined;
      return part;
    },
  };
}
