/** The keys of a GGUF file from the configuration of a model. */
import { OptionError } from "../../errors.js";
import { type LlamaConfig, type RopeObject, windowOfLayer } from "../config.js";
import { isObject, showValue } from "../json.js";
import { llama3Factors, yarnAttention } from "./rope-keys.js";
import { f32Value, type GgufKeys, type GgufValue, textValue, u32Value } from "./values.js";

/** What the header and the tensors say of a configuration. */
export interface WrittenConfig {
  readonly architecture: string;
  readonly keys: GgufKeys;
  /** Whether rows of queries and keys are written as pairs side by side. */
  readonly interleaved: boolean;
  /** Divisors of RoPE's frequencies, for the tensor `rope_freqs.weight`. */
  readonly ropeFactors: Float32Array | undefined;
}

/** Throws OptionError for a configuration that llama.cpp has no model for. */
export function writeConfig(config: LlamaConfig): WrittenConfig {
  if (config.position_encoding !== undefined) {
    throw new OptionError("a GGUF file holds models with RoPE, found one with a position encoding of its own", {
      hint: "write it as a folder with saveModel, which dawngrad reads",
    });
  }
  const { keys: ofRope, factors } = writeRope(config);
  const { name: architecture, interleaved } = architectureOf(config, factors !== undefined);
  const keys = new Map<string, GgufValue>();
  const key = (name: string, value: GgufValue): unknown => keys.set(`${architecture}.${name}`, value);
  const { hidden_size: C, num_attention_heads: H, head_dim: D } = config;
  key("vocab_size", u32Value(config.vocab_size));
  key("context_length", u32Value(config.max_position_embeddings));
  key("embedding_length", u32Value(C));
  key("block_count", u32Value(config.num_hidden_layers));
  key("feed_forward_length", u32Value(config.intermediate_size));
  key("attention.head_count", u32Value(H));
  key("attention.head_count_kv", u32Value(config.num_key_value_heads));
  if (D * H !== C) {
    key("attention.key_length", u32Value(D));
    key("attention.value_length", u32Value(D));
  }
  key("attention.layer_norm_rms_epsilon", f32Value(config.rms_norm_eps));
  const window = windowOfLayer(config, 0);
  if (window !== undefined) key("attention.sliding_window", u32Value(window));
  key("rope.dimension_count", u32Value(D));
  key("rope.freq_base", f32Value(config.rope_theta));
  for (const [name, value] of ofRope) key(`rope.scaling.${name}`, value);
  return { architecture, keys, interleaved, ropeFactors: factors };
}

/**
 * llama.cpp's model for a configuration: "llama" has biases of any layer where its file has them, and pairs side by side; "qwen2" has biases on queries,
 * keys and values, and "qwen3" norms of heads, with halves as Hugging Face has them. Factors of the frequencies are read for "llama" alone.
 */
function architectureOf(config: LlamaConfig, hasFactors: boolean): { readonly name: string; readonly interleaved: boolean } {
  const {
    attention_bias: bias = false,
    attention_output_bias: outputBias = false,
    mlp_bias: mlpBias = false,
    qk_norm: norms = false,
  } = config;
  const unknown = (feature: string): OptionError =>
    new OptionError(`llama.cpp has no model of this kind with ${feature}`, { hint: "write it as a folder with saveModel" });
  const window = windowOfLayer(config, 0);
  for (let layer = 1; layer < config.num_hidden_layers; layer++) {
    if (windowOfLayer(config, layer) !== window) throw unknown("windows in some layers alone");
  }
  if (norms && (bias || outputBias || mlpBias)) throw unknown("norms of queries and keys beside biases");
  if (norms && hasFactors) {
    throw new OptionError("llama.cpp has no model of this kind with RoPE whose frequencies have factors of their own", {
      hint: 'export a scale of type "linear", "ntk" or "yarn", or write it as a folder',
    });
  }
  if (norms) return { name: "qwen3", interleaved: false };
  return bias && !outputBias && !mlpBias && !hasFactors ? { name: "qwen2", interleaved: false } : { name: "llama", interleaved: true };
}

interface WrittenRope {
  readonly keys: readonly (readonly [string, GgufValue])[];
  readonly factors: Float32Array | undefined;
}

/** How RoPE is scaled: under llama.cpp's own names where it has one, by factors of the frequencies otherwise. Throws OptionError. */
function writeRope(config: LlamaConfig): WrittenRope {
  const { rope_scaling: older, rope_parameters: newer, head_dim: D, rope_theta: theta } = config;
  // As in Hugging Face, the older object wins where both stand.
  const rope: RopeObject = isObject(older) && Object.keys(older).length > 0 ? older : (newer ?? {});
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  const optional = (name: string): number | undefined => {
    const value = rope[name] ?? undefined;
    if (value === undefined || typeof value === "number") return value;
    throw new OptionError(`expected ${showValue(name)} of RoPE to be a number, found ${showValue(value)}`, {
      hint: "correct the configuration",
    });
  };
  const number = (name: string): number => {
    const value = optional(name);
    if (value !== undefined) return value;
    throw new OptionError(`expected ${showValue(name)} of RoPE of type ${showValue(type)}, found none`, {
      hint: "correct the configuration",
    });
  };
  const original =
    config.original_max_position_embeddings ?? optional("original_max_position_embeddings") ?? config.max_position_embeddings;
  switch (type) {
    case "default":
      return { keys: [], factors: undefined };
    case "linear":
      return {
        keys: [
          ["type", textValue("linear")],
          ["factor", f32Value(number("factor"))],
        ],
        factors: undefined,
      };
    case "yarn":
      return writeYarn(rope, { D, theta, original, factor: number("factor"), optional });
    case "llama3": {
      const ramp = {
        factor: number("factor"),
        low_freq_factor: number("low_freq_factor"),
        high_freq_factor: number("high_freq_factor"),
        original_max_position_embeddings: original,
      };
      return { keys: [], factors: llama3Factors(ramp, theta, D) };
    }
    case "longrope":
      return writeLongrope(rope, {
        D,
        theta,
        original,
        factor: optional("factor") ?? Math.max(1, config.max_position_embeddings / original),
        optional,
      });
    default:
      throw new OptionError(
        `GGUF has no key for RoPE of type ${showValue(type)}, whose frequencies follow the length or stop for some channels`,
        {
          hint: 'export a fixed scale, of type "linear" or "yarn" for example',
        },
      );
  }
}

interface RopeReader {
  readonly D: number;
  readonly theta: number;
  readonly factor: number;
  readonly original: number;
  optional(name: string): number | undefined;
}

/** Turns within the trained window between which YaRN's ramp lies; llama.cpp takes no others from a file. */
const YARN_ENDS = { beta_fast: 32, beta_slow: 1 } as const;

function writeYarn(rope: RopeObject, reader: RopeReader): WrittenRope {
  const { factor, original, optional } = reader;
  const own = yarnAttention(factor);
  const mscale = (name: string): number => (factor <= 1 ? 1 : 0.1 * (optional(name) ?? 0) * Math.log(factor) + 1);
  const stated = optional("mscale") && optional("mscale_all_dim") ? mscale("mscale") / mscale("mscale_all_dim") : own;
  const attention = optional("attention_factor") ?? stated;
  const ends = { beta_fast: optional("beta_fast") ?? YARN_ENDS.beta_fast, beta_slow: optional("beta_slow") ?? YARN_ENDS.beta_slow };
  const truncate = rope["truncate"] !== false;
  if (!truncate || ends.beta_fast !== YARN_ENDS.beta_fast || ends.beta_slow !== YARN_ENDS.beta_slow) {
    return byFactors(yarnFactors({ ...ends, truncate }, reader), attention, original);
  }
  // llama.cpp multiplies its own attention factor by this one.
  const multiplier = attention / own;
  const keys = [
    ["type", textValue("yarn")],
    ["factor", f32Value(factor)],
    ["original_context_length", u32Value(original)],
    ...(multiplier === 1 ? [] : [["attn_factor", f32Value(multiplier)] as const]),
  ] as const;
  return { keys, factors: undefined };
}

/**
 * YaRN's divisors of the frequencies: 1 up to the pair that turns `beta_fast` times within the trained window, the scale from the one that turns
 * `beta_slow` times, and between them 1/((1 − m)/s + m) with m falling from 1 to 0 (Peng et al. 2023; the ends are whole pairs where `truncate`).
 */
function yarnFactors(
  { beta_fast, beta_slow, truncate }: { readonly beta_fast: number; readonly beta_slow: number; readonly truncate: boolean },
  { D, theta, factor, original }: RopeReader,
): Float32Array {
  const pairOf = (turns: number): number => (D * Math.log(original / (2 * Math.PI * turns))) / (2 * Math.log(theta));
  const [first, last] = [pairOf(beta_fast), pairOf(beta_slow)];
  const low = Math.max(0, truncate ? Math.floor(first) : first);
  const high = Math.min(D - 1, truncate ? Math.ceil(last) : last);
  return Float32Array.from({ length: D / 2 }, (_, j) => {
    const m = 1 - Math.min(1, Math.max(0, (j - low) / Math.max(0.001, high - low)));
    return 1 / ((1 - m) / factor + m);
  });
}

function writeLongrope(rope: RopeObject, { D, original, factor, optional }: RopeReader): WrittenRope {
  const lists = [rope["short_factor"], rope["long_factor"]];
  const [short, long] = lists.map((list) =>
    Array.isArray(list) && list.length === D / 2 && list.every(Number.isFinite) ? (list as number[]) : undefined,
  );
  if (short === undefined || long === undefined || short.some((value, j) => value !== long[j])) {
    throw new OptionError("a GGUF file of a Llama holds one list of RoPE's factors, found two that differ or are none", {
      hint: "export a fixed scale",
    });
  }
  const attention = optional("attention_factor") ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
  return byFactors(Float32Array.from(short), attention, original);
}

/** The trained window is for those who read the file to train on; llama.cpp computes nothing from it here. */
const byFactors = (factors: Float32Array, attention: number, original: number): WrittenRope => ({
  keys: [["original_context_length", u32Value(original)], ...(attention === 1 ? [] : [["attn_factor", f32Value(attention)] as const])],
  factors,
});
