import { checkFields, didYouMean, number } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { LlamaConfig } from "./config.js";
import { checkConfig } from "./config-checks.js";

/** What {@link llamaConfig} takes: sizes without a default, and all else. */
export type LlamaOptions = Partial<LlamaConfig> & Pick<LlamaConfig, SizeKey>;
type SizeKey = "vocab_size" | "hidden_size" | "num_hidden_layers" | "num_attention_heads";

const configKeys: Readonly<Record<keyof LlamaConfig, true>> = {
  vocab_size: true,
  hidden_size: true,
  intermediate_size: true,
  num_hidden_layers: true,
  num_attention_heads: true,
  num_key_value_heads: true,
  head_dim: true,
  max_position_embeddings: true,
  rms_norm_eps: true,
  rope_theta: true,
  tie_word_embeddings: true,
  initializer_range: true,
  rope_scaling: true,
  rope_parameters: true,
  original_max_position_embeddings: true,
  e2llm: true,
  position_encoding: true,
  attention_bias: true,
  attention_output_bias: true,
  mlp_bias: true,
  qk_norm: true,
  sliding_window: true,
  layer_types: true,
  bos_token_id: true,
  eos_token_id: true,
};

/**
 * A config for code: checks it and fills in what is left out.
 *
 * Defaults: as many key/value heads as heads; `head_dim` C/H; `intermediate_size` 8/3·C rounded up to a multiple of 8, at which
 * SwiGLU has the weights of an ordinary block of 4·C (Shazeer 2020); window 2048; ε 10⁻⁵; theta 10,000; head not tied; weights from N(0, 0.02²).
 *
 * @throws OptionError for values that are missing, out of range or do not fit together
 */
export function llamaConfig(options: LlamaOptions): LlamaConfig {
  checkFields<Pick<LlamaConfig, SizeKey>>("llamaConfig", "the options", options, {
    vocab_size: number,
    hidden_size: number,
    num_hidden_layers: number,
    num_attention_heads: number,
  });
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(configKeys, name)) continue;
    throw new OptionError(`llamaConfig: there is no option "${name}"`, {
      hint: didYouMean(name, Object.keys(configKeys)) ?? "the names are those of Hugging Face's config.json for a Llama",
    });
  }
  const { hidden_size: C, num_attention_heads: H } = options;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as unknown as LlamaOptions;
  const config: LlamaConfig = {
    intermediate_size: 8 * Math.ceil(C / 3),
    num_key_value_heads: H,
    head_dim: C / H,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
    ...given,
  };
  checkConfig(config, (message, hint) => new OptionError(message, { hint }));
  return config;
}
