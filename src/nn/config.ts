/** The configuration of a Llama, and what follows from it: names, shapes and numbers of weights, windows of layers. */
import { checkArgument, objectWith } from "../arguments.js";
import { sizeOf } from "../ir/shape.js";
import { encodingShapes } from "./encodings/create.js";
import type { PositionEncodingConfig } from "./encodings/encoding-config.js";

/** `rope_scaling` or `rope_parameters` of a Hugging Face config, carried along as it is. */
export type RopeObject = Readonly<Record<string, unknown>>;

/** What `config.json` of an extended model says of its extension. */
export interface ExtensionNotes {
  /** L: the window that it was trained with before. */
  readonly trained_window: number;
  /** The largest scale that it has seen. */
  readonly g_max: number;
  /** Name of the schedule that it is read by. Default "linear": positions divided by the scale. */
  readonly schedule?: string;
  /** Whether it has seen every whole scale up to g_max, or `scales` alone. Default true. */
  readonly every_scale?: boolean;
  /** The scales that it has seen, where it has not seen every one. Default: g_max alone. */
  readonly scales?: readonly number[];
  readonly [key: string]: unknown;
}

/** Whether the queries of a layer see the last `sliding_window` keys or all before them. */
export type LayerType = "full_attention" | "sliding_attention";

/** Sizes and constants of a Llama, under the names of Hugging Face's `config.json`. */
export interface LlamaConfig {
  /** V: how many tokens there are. */
  readonly vocab_size: number;
  /** C: width of the residual stream. */
  readonly hidden_size: number;
  /** F: width inside of the feed-forward block. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  /** H: query heads. */
  readonly num_attention_heads: number;
  /** Hkv: key/value heads, a divisor of H. H is multi-head attention, 1 is multi-query attention. */
  readonly num_key_value_heads: number;
  /** D: channels of a head; even, because RoPE turns pairs. */
  readonly head_dim: number;
  /** Window in tokens: the trained one, or the extended one beside a `rope_scaling` that extends it. */
  readonly max_position_embeddings: number;
  /** ε inside of the square root of RMSNorm. */
  readonly rms_norm_eps: number;
  /** Base b of the RoPE frequencies b^(−2j/D). */
  readonly rope_theta: number;
  /** Whether the embedding matrix is the head too. */
  readonly tie_word_embeddings: boolean;
  /** Standard deviation of the initial weights. */
  readonly initializer_range: number;
  /** How RoPE is scaled, in the form of transformers 4; null or absent for not at all. */
  readonly rope_scaling?: RopeObject | null;
  /** How RoPE is scaled, in the form of transformers 5. */
  readonly rope_parameters?: RopeObject;
  /** Trained window, where `max_position_embeddings` is the extended one. */
  readonly original_max_position_embeddings?: number;
  /** How the window was extended in training and how the model is read therefore; other software takes no notice of it. */
  readonly e2llm?: ExtensionNotes;
  /** How the layers know positions in place of RoPE; see `createPositionEncoding`. Absent: RoPE. */
  readonly position_encoding?: PositionEncodingConfig;
  /** Whether q, k and v have biases. Absent: no. */
  readonly attention_bias?: boolean;
  /** Whether o has one too, as Llama and Qwen3 with `attention_bias` have and Qwen2 has not. Absent: no. */
  readonly attention_output_bias?: boolean;
  /** Whether gate, up and down have biases. Absent: no. */
  readonly mlp_bias?: boolean;
  /** Whether each head of queries and keys goes through an RMSNorm of width D before RoPE, as in Qwen3. Absent: no. */
  readonly qk_norm?: boolean;
  /** W: a query sees the last W keys, its own among them. null or absent: all before it. */
  readonly sliding_window?: number | null;
  /** Which layers have the window, where some have and some have not. Absent: all of them, where there is one. */
  readonly layer_types?: readonly LayerType[];
  /** Token that begins a text. */
  readonly bos_token_id?: number;
  /** Token or tokens that end a text. */
  readonly eos_token_id?: number | readonly number[];
}

/** A configuration with its sizes, as `llamaConfig` and `loadConfig` make it. */
export const configKind = objectWith(
  "a configuration, as llamaConfig(…) makes it",
  "vocab_size",
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
);

/** The kinds of RoPE scaling that are computed, by their names in Hugging Face's configs. */
export const ropeTypes: readonly string[] = ["default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"];

/** W of a layer: its queries see the last W keys. undefined: all before them. */
export function windowOfLayer(config: Pick<LlamaConfig, "sliding_window" | "layer_types">, layer: number): number | undefined {
  const { sliding_window: window, layer_types: types } = config;
  return types === undefined || types[layer] === "sliding_attention" ? (window ?? undefined) : undefined;
}

/**
 * Every parameter of the model by its name in Hugging Face's checkpoints, with its shape. Matrices are [out, in]. A tied head has
 * no tensor of its own.
 */
export function llamaShapes(config: LlamaConfig): Map<string, readonly number[]> {
  checkArgument("llamaShapes", "config", config, configKind);
  const { vocab_size: V, hidden_size: C, intermediate_size: F, head_dim: D, num_attention_heads: H, num_key_value_heads: Hkv } = config;
  const ofEncoding = shapesOfEncoding(config);
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [V, C]]]);
  const linear = (name: string, shape: readonly [out: number, into: number], bias = false): void => {
    shapes.set(`${name}.weight`, shape);
    if (bias) shapes.set(`${name}.bias`, [shape[0]]);
  };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const block = `model.layers.${layer}`;
    shapes.set(`${block}.input_layernorm.weight`, [C]);
    linear(`${block}.self_attn.q_proj`, [H * D, C], config.attention_bias);
    linear(`${block}.self_attn.k_proj`, [Hkv * D, C], config.attention_bias);
    linear(`${block}.self_attn.v_proj`, [Hkv * D, C], config.attention_bias);
    linear(`${block}.self_attn.o_proj`, [C, H * D], config.attention_output_bias);
    if (config.qk_norm) for (const norm of ["q_norm", "k_norm"]) shapes.set(`${block}.self_attn.${norm}.weight`, [D]);
    for (const [name, shape] of ofEncoding) shapes.set(`${block}.self_attn.position_encoding.${name}`, shape);
    shapes.set(`${block}.post_attention_layernorm.weight`, [C]);
    linear(`${block}.mlp.gate_proj`, [F, C], config.mlp_bias);
    linear(`${block}.mlp.up_proj`, [F, C], config.mlp_bias);
    linear(`${block}.mlp.down_proj`, [C, F], config.mlp_bias);
  }
  shapes.set("model.norm.weight", [C]);
  if (!config.tie_word_embeddings) shapes.set("lm_head.weight", [V, C]);
  return shapes;
}

/** The parameters of the position encoding of a layer, which RoPE has none of. */
const shapesOfEncoding = ({ position_encoding: encoding, num_attention_heads: H }: LlamaSizes): Map<string, readonly number[]> =>
  encoding === undefined ? new Map() : encodingShapes(encoding, H);

/** What of a configuration decides how many weights there are. */
export type LlamaSizes = Pick<
  LlamaConfig,
  | "vocab_size"
  | "hidden_size"
  | "intermediate_size"
  | "head_dim"
  | "num_hidden_layers"
  | "num_attention_heads"
  | "num_key_value_heads"
  | "tie_word_embeddings"
  | "position_encoding"
  | "attention_bias"
  | "attention_output_bias"
  | "mlp_bias"
  | "qk_norm"
>;

/** Number of weights: V·C·(1 or 2) + layers·(2·C·D·(H + Hkv) + 3·C·F + 2·C + those of biases, norms of heads and a position encoding) + C. */
export function countParameters(config: LlamaSizes): number {
  checkArgument("countParameters", "config", config, configKind);
  const { vocab_size: V, hidden_size: C, intermediate_size: F, head_dim: D, num_attention_heads: H, num_key_value_heads: Hkv } = config;
  const ofEncoding = [...shapesOfEncoding(config).values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  const { attention_bias, attention_output_bias, mlp_bias, qk_norm } = config;
  const ofBiases = (attention_bias ? (H + 2 * Hkv) * D : 0) + (attention_output_bias ? C : 0) + (mlp_bias ? 2 * F + C : 0);
  const block = 2 * C * D * (H + Hkv) + 3 * C * F + 2 * C + ofBiases + (qk_norm ? 2 * D : 0) + ofEncoding;
  return V * C * (config.tie_word_embeddings ? 1 : 2) + config.num_hidden_layers * block + C;
}

/** Theta as the objects about RoPE give it, the older one first, as in Hugging Face. */
export const nestedTheta = (ropes: {
  readonly rope_scaling?: RopeObject | null | undefined;
  readonly rope_parameters?: RopeObject | undefined;
}): unknown => ropes.rope_scaling?.["rope_theta"] ?? ropes.rope_parameters?.["rope_theta"] ?? undefined;
