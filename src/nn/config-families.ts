/**
 * Families of models that are one block with flags, by their `model_type` in Hugging Face's configs: what each of them means by its keys, and
 * what it assumes where they are silent (transformers 5.24, `configuration_*.py`).
 */
import type { LayerType, LlamaConfig } from "./config.js";

/** The flags of the block. */
export type BlockFlags = Pick<
  LlamaConfig,
  "attention_bias" | "attention_output_bias" | "mlp_bias" | "qk_norm" | "sliding_window" | "layer_types"
>;

/** How the keys of a config.json are read; null counts as absent, except where it says so. */
export interface ConfigKeys {
  number(key: string): number | undefined;
  boolean(key: string): boolean | undefined;
  /** The value as it is, null among them, or undefined. */
  raw(key: string): unknown;
}

export interface ConfigFamily {
  readonly architecture: string;
  /** What stands for a key that is absent. */
  readonly defaults: Partial<LlamaConfig>;
  flags(keys: ConfigKeys, layers: number): BlockFlags;
  /** Whether its keys can say what these flags say. */
  fits(config: LlamaConfig): boolean;
  /** The keys that say it. */
  keys(config: LlamaConfig): Record<string, unknown>;
}

/** `model_type` of a model that no family of Hugging Face computes, which other software would compute wrongly. */
export const OWN_TYPE = "dawngrad_llama";

const hasWindow = ({ sliding_window: window, layer_types: types }: BlockFlags): boolean =>
  typeof window === "number" && (types === undefined || types.includes("sliding_attention"));
const everyLayer = ({ layer_types: types }: BlockFlags): boolean => types === undefined || !types.includes("full_attention");
const isPlain = ({ position_encoding: encoding, ...flags }: LlamaConfig): boolean => encoding === undefined && !flags.mlp_bias;
const biases = (value: boolean): BlockFlags => (value ? { attention_bias: true, attention_output_bias: true } : {});
const sameBiases = ({ attention_bias: first = false, attention_output_bias: last = false }: BlockFlags): boolean => first === last;

/** The windows of Qwen's layers: those before `max_window_layers` have none, unless `layer_types` says otherwise. */
function windowsOfQwen(keys: ConfigKeys, layers: number): BlockFlags {
  const raw = keys.raw("sliding_window");
  const window = !keys.boolean("use_sliding_window") ? undefined : raw === undefined ? 4096 : keys.number("sliding_window");
  const first = keys.number("max_window_layers") ?? 28;
  const ofLayer = (_: unknown, layer: number): LayerType =>
    window !== undefined && layer >= first ? "sliding_attention" : "full_attention";
  const types = (keys.raw("layer_types") ?? Array.from({ length: Math.min(layers, 512) }, ofLayer)) as readonly LayerType[];
  const given = { ...(window !== undefined && { sliding_window: window }), layer_types: types };
  if (!Array.isArray(types) || types.length !== layers) return given; // which the checks refuse
  if (types.every((type) => type === "full_attention")) return {};
  return window !== undefined && types.every((type) => type === "sliding_attention") ? { sliding_window: window } : given;
}

function keysOfQwen(config: LlamaConfig): Record<string, unknown> {
  const layers = Array.from(
    { length: config.num_hidden_layers },
    (_, layer): LayerType => config.layer_types?.[layer] ?? "sliding_attention",
  );
  const uses = hasWindow(config);
  const first = layers.indexOf("sliding_attention");
  return {
    use_sliding_window: uses,
    sliding_window: uses ? config.sliding_window : null,
    max_window_layers: uses ? Math.max(0, first) : config.num_hidden_layers,
    layer_types: uses ? layers : layers.map(() => "full_attention"),
  };
}

/** By `model_type`; a model is written as the first that can say what it computes. */
export const configFamilies: Readonly<Record<string, ConfigFamily>> = {
  llama: {
    architecture: "LlamaForCausalLM",
    defaults: { max_position_embeddings: 2048 },
    flags: (keys) => ({ ...biases(keys.boolean("attention_bias") ?? false), ...(keys.boolean("mlp_bias") && { mlp_bias: true }) }),
    fits: (config) => config.position_encoding === undefined && !config.qk_norm && sameBiases(config) && !hasWindow(config),
    keys: (config) => ({ attention_bias: config.attention_bias ?? false, mlp_bias: config.mlp_bias ?? false }),
  },
  mistral: {
    architecture: "MistralForCausalLM",
    defaults: { num_key_value_heads: 8, max_position_embeddings: 4096 * 32 },
    flags: (keys) => {
      const raw = keys.raw("sliding_window");
      const window = raw === undefined ? 4096 : keys.number("sliding_window");
      return window === undefined ? {} : { sliding_window: window };
    },
    fits: (config) => isPlain(config) && !config.qk_norm && !config.attention_bias && sameBiases(config) && everyLayer(config),
    keys: (config) => ({ sliding_window: config.sliding_window ?? null }),
  },
  qwen2: {
    architecture: "Qwen2ForCausalLM",
    defaults: { num_key_value_heads: 32, max_position_embeddings: 32_768 },
    flags: (keys, layers) => ({ attention_bias: true, ...windowsOfQwen(keys, layers) }),
    fits: (config) => isPlain(config) && !config.qk_norm && config.attention_bias === true && !config.attention_output_bias,
    keys: keysOfQwen,
  },
  qwen3: {
    architecture: "Qwen3ForCausalLM",
    defaults: { num_key_value_heads: 32, head_dim: 128, max_position_embeddings: 32_768 },
    flags: (keys, layers) => ({ ...biases(keys.boolean("attention_bias") ?? false), qk_norm: true, ...windowsOfQwen(keys, layers) }),
    fits: (config) => isPlain(config) && config.qk_norm === true && sameBiases(config),
    keys: (config) => ({ attention_bias: config.attention_bias ?? false, ...keysOfQwen(config) }),
  },
  [OWN_TYPE]: {
    architecture: "DawngradLlamaForCausalLM",
    defaults: { max_position_embeddings: 2048 },
    flags: (keys) => {
      const names = ["attention_bias", "attention_output_bias", "mlp_bias", "qk_norm"] as const;
      const given = Object.fromEntries(names.flatMap((name) => (keys.boolean(name) ? [[name, true]] : [])));
      const [window, types] = [keys.number("sliding_window"), keys.raw("layer_types") ?? undefined];
      return {
        ...given,
        ...(window !== undefined && { sliding_window: window }),
        ...(types !== undefined && { layer_types: types as readonly LayerType[] }),
      };
    },
    fits: () => true,
    keys: ({ attention_bias, attention_output_bias, mlp_bias, qk_norm, sliding_window, layer_types }) => ({
      ...{ attention_bias: attention_bias ?? false, attention_output_bias: attention_output_bias ?? false, mlp_bias: mlp_bias ?? false },
      ...{ qk_norm: qk_norm ?? false, sliding_window: sliding_window ?? null, layer_types: layer_types ?? null },
    }),
  },
};

/** `model_type` and family that a configuration is written as. */
export function familyOf(config: LlamaConfig): [type: string, family: ConfigFamily] {
  return Object.entries(configFamilies).find(([, { fits }]) => fits(config)) as [string, ConfigFamily];
}
