// The model, the adapters and the tokens of a step of LoRA, the same numbers for every library: lora_definition.py says the same for PyTorch.
import { numbers, tokens } from "./llama.mjs";

/** The shape of SmolLM2-135M under the names of Hugging Face's `config.json`, and the adapters. Neither decay nor clipping. */
export const loraShape = {
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  head_dim: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings: true,
  max_position_embeddings: 8192,
  rank: 8,
  alpha: 16,
  lr: 1e-3,
};

/** The numbers of a matrix, of standard deviation 0.02, or 0.04 in A; matrices 32 places apart have the same ones. */
export const loraNumbers = (place, count, isA) => {
  const found = numbers(place % 32, count);
  const scale = Math.sqrt(12) * (isA ? 0.04 : 0.02);
  return found.map((x) => x * scale);
};

export const loraTokens = (step, length) => tokens(step, { batch: 1, length });
