/** The configuration of a model from the keys of a GGUF file. */
import { FormatError, OptionError } from "../../errors.js";
import type { LlamaConfig } from "../config.js";
import { type LlamaOptions, llamaConfig } from "../config-options.js";
import { showValue } from "../json.js";
import type { GgufHeader } from "./header.js";
import { ggufNumber, ggufString } from "./keys.js";
import { asWritten, readRopeKeys } from "./rope-keys.js";

/** llama.cpp's architectures that are this library's block, and whether the rows of their queries and keys are in Meta's order. */
const ARCHITECTURES: Readonly<Record<string, { readonly interleaved: boolean }>> = {
  llama: { interleaved: true },
  // Converters write Mistral as "llama".
  mistral: { interleaved: true },
  qwen2: { interleaved: false },
  qwen3: { interleaved: false },
};

/** Keys of other models of an architecture, with the values at which they change nothing. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  logit_scale: [0, 1],
  embedding_scale: [0, 1],
  residual_scale: [0, 1],
  expert_count: [0],
  expert_used_count: [0],
  use_parallel_residual: [false],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  "attention.causal": [true],
  "attention.scale": [0],
  "attention.output_scale": [0],
  "attention.clamp_kqv": [0],
  "attention.max_alibi_bias": [0],
  "attention.temperature_scale": [0],
  "attention.sliding_window_pattern": [],
  "attention.key_length_mla": [],
  "rope.dimension_sections": [],
};

/** The architecture of a file. Throws FormatError for one whose weights cannot be run here. */
export function ggufArchitecture(header: Pick<GgufHeader, "keys" | "file">): { readonly name: string; readonly interleaved: boolean } {
  const name = ggufString(header, "general.architecture");
  const known = name !== undefined && Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
  if (name !== undefined && known !== undefined) return { name, ...known };
  throw new FormatError(
    `expected general.architecture ${Object.keys(ARCHITECTURES).map(showValue).join(" or ")}, found ${name === undefined ? "no such key" : showValue(name)}`,
    { file: header.file, hint: "models of the Llama family are read: Llama, Mistral, SmolLM2, TinyLlama, Qwen2, Qwen3" },
  );
}

/** What of a configuration the tensors of a file tell. */
export interface ToldByTensors {
  readonly vocabSize: number;
  /** Whether there is no `output.weight`. */
  readonly tied: boolean;
  /** The numbers of `rope_freqs.weight`, where there is such a tensor. */
  readonly ropeFactors: Float32Array | undefined;
  /** Whether the first block has a tensor of that name: "attn_q.bias", "attn_q_norm.weight". */
  has(part: string): boolean;
}

/** The number of tokens that the header states, or undefined where it states none. */
export function statedVocabulary(header: Pick<GgufHeader, "keys" | "file">, architecture: string): number | undefined {
  const tokens = header.keys.get("tokenizer.ggml.tokens");
  return ggufNumber(header, `${architecture}.vocab_size`) ?? (tokens?.type === "array" ? tokens.value.length : undefined);
}

/**
 * The configuration of a model from the keys of its file.
 *
 * @throws FormatError for keys that are missing, of a wrong type or out of any sane range, and for features that this library lacks
 */
export function ggufConfig(header: Pick<GgufHeader, "keys" | "file">, told: ToldByTensors): LlamaConfig {
  const { name: architecture } = ggufArchitecture(header);
  const fail = (message: string, hint = "convert the model again"): FormatError => new FormatError(message, { file: header.file, hint });
  const key = (name: string): string => `${architecture}.${name}`;
  const optional = (name: string): number | undefined => asWritten(ggufNumber(header, key(name)));
  const number = (name: string): number => {
    const found = optional(name);
    if (found === undefined) throw fail(`expected a key ${showValue(key(name))}, found none of that name`);
    return found;
  };
  refuseFeatures(header, architecture);

  const hidden = number("embedding_length");
  const heads = number("attention.head_count");
  const headDim = optional("attention.key_length") ?? hidden / heads;
  const valueDim = optional("attention.value_length") ?? headDim;
  if (valueDim !== headDim)
    throw fail(`expected keys and values of one width, found ${headDim} and ${valueDim}`, "such models cannot be run here");
  const rotated = optional("rope.dimension_count") ?? headDim;
  if (rotated !== headDim) {
    throw fail(
      `expected RoPE on all ${headDim} channels of a head, found ${showValue(key("rope.dimension_count"))} ${rotated}`,
      "such models cannot be run here",
    );
  }
  const window = number("context_length");
  const slidingWindow = optional("attention.sliding_window");
  const [bos, eos] = [tokenId(header, "bos", told.vocabSize), tokenId(header, "eos", told.vocabSize)];
  const options: LlamaOptions = {
    vocab_size: told.vocabSize,
    hidden_size: hidden,
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: optional("attention.head_count_kv") ?? heads,
    head_dim: headDim,
    max_position_embeddings: window,
    rms_norm_eps: number("attention.layer_norm_rms_epsilon"),
    tie_word_embeddings: told.tied,
    ...readRopeKeys(header, architecture, { theta: optional("rope.freq_base") ?? 10_000, headDim, window }, told.ropeFactors),
    ...(told.has("attn_q.bias") && { attention_bias: true }),
    ...(told.has("attn_output.bias") && { attention_output_bias: true }),
    ...(told.has("ffn_up.bias") && { mlp_bias: true }),
    ...(told.has("attn_q_norm.weight") && { qk_norm: true }),
    // A window of all that the model reads is none.
    ...(slidingWindow !== undefined && slidingWindow > 0 && slidingWindow < window && { sliding_window: slidingWindow }),
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
  };
  try {
    return llamaConfig(options);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw new FormatError(error.message, { file: header.file, hint: error.hint, cause: error });
  }
}

function refuseFeatures(header: Pick<GgufHeader, "keys" | "file">, architecture: string): void {
  for (const [name, neutral] of Object.entries(NEUTRAL)) {
    const found = header.keys.get(`${architecture}.${name}`);
    if (found === undefined || neutral.includes(found.value)) continue;
    const value = found.type === "array" ? `an array of ${found.value.length}` : String(found.value);
    throw new FormatError(`expected ${neutral.length === 0 ? "no" : "a neutral"} ${showValue(`${architecture}.${name}`)}, found ${value}`, {
      file: header.file,
      hint: "models with this feature cannot be run here",
    });
  }
}

/** A token's id, or undefined where the file has none: then it was left out, or is -1 as some converters write it. */
function tokenId(header: Pick<GgufHeader, "keys" | "file">, name: string, vocabSize: number): number | undefined {
  const found = ggufNumber(header, `tokenizer.ggml.${name}_token_id`);
  return found !== undefined && Number.isInteger(found) && found >= 0 && found < vocabSize ? found : undefined;
}
