/** Names of a Llama's parameters: those of Hugging Face's checkpoints, which are this library's, and those of GGUF. */

const WHOLE: readonly (readonly [model: string, gguf: string])[] = [
  ["model.embed_tokens", "token_embd"],
  ["model.norm", "output_norm"],
  ["lm_head", "output"],
];

const OF_BLOCK: readonly (readonly [model: string, gguf: string])[] = [
  ["input_layernorm", "attn_norm"],
  ["self_attn.q_proj", "attn_q"],
  ["self_attn.k_proj", "attn_k"],
  ["self_attn.v_proj", "attn_v"],
  ["self_attn.o_proj", "attn_output"],
  ["self_attn.q_norm", "attn_q_norm"],
  ["self_attn.k_norm", "attn_k_norm"],
  ["post_attention_layernorm", "ffn_norm"],
  ["mlp.gate_proj", "ffn_gate"],
  ["mlp.up_proj", "ffn_up"],
  ["mlp.down_proj", "ffn_down"],
];

const toGguf = new Map([...WHOLE, ...OF_BLOCK]);
const toModel = new Map([...toGguf].map(([model, gguf]) => [gguf, model]));

/** The frequencies' divisors of a model whose RoPE is scaled by them; no parameter of the model. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** The name in a GGUF file of a parameter of the model, or undefined where the format has none. */
export function ggufName(name: string): string | undefined {
  const [, layer, part = "", kind] = /^(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name) ?? [];
  const found = toGguf.get(part);
  return found && `${layer === undefined ? "" : `blk.${layer}.`}${found}.${kind}`;
}

/** The parameter of the model under a name of a GGUF file, or undefined where it has none. */
export function modelName(name: string): string | undefined {
  const [, layer, part = "", kind] = /^(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)$/.exec(name) ?? [];
  const found = toModel.get(part);
  return found && `${layer === undefined ? "" : `model.layers.${layer}.`}${found}.${kind}`;
}

/** Whether the rows of a parameter are the channels of heads that RoPE turns. */
export const isRotated = (name: string): boolean => /\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name);
