// The small Llama in jax-js.
//
// A function of jax-js takes its arguments over, so a value that is used n times needs `.ref` at n − 1 of them.

import { config, initialWeights, ropeAngles } from "../../shared/llama.mjs";

/** The model over texts [B, T]: `losses` of tokens, and its weights and tables. */
export function smallLlama({ nn, numpy: np, tree }, { batch, length }) {
  const { hidden_size: C, num_attention_heads: H, head_dim: D, rms_norm_eps, num_hidden_layers, vocab_size: V } = config;
  const rows = batch * length;

  const linear = (x, weight) => np.matmul(x, weight.transpose());

  function norm(x, weight) {
    const meanSquare = np.mean(np.square(x.ref), -1, { keepdims: true });
    return x.div(np.sqrt(meanSquare.add(rms_norm_eps))).mul(weight);
  }

  /** Split-half rotation of x [B, T, H, D] by tables [T, 1, D/2]. */
  function rope(x, cos, sin) {
    const first = x.ref.slice([], [], [], [0, D / 2]);
    const second = x.slice([], [], [], [D / 2, D]);
    return np.concatenate([first.ref.mul(cos.ref).sub(second.ref.mul(sin.ref)), second.mul(cos).add(first.mul(sin))], -1);
  }

  function attention(x, weights, { cos, sin }) {
    const heads = (weight) => linear(x.ref, weight).reshape([batch, length, H, D]);
    const q = rope(heads(weights.q), cos.ref, sin.ref);
    const k = rope(heads(weights.k), cos, sin);
    const v = heads(weights.v);
    x.dispose();
    return linear(nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([rows, C]), weights.o);
  }

  function feedForward(x, { gate, up, down }) {
    const gated = nn.silu(linear(x.ref, gate)).mul(linear(x, up));
    return linear(gated, down);
  }

  /** −ln p of each target, [B·T]. Takes everything over: weights, inputs and targets [B·T], tables. */
  function losses(weights, { inputs, targets }, tables) {
    let x = np.take(weights.embedding, inputs, 0); // [B·T, C]
    for (const layer of weights.layers) {
      const shared = { cos: tables.cos.ref, sin: tables.sin.ref };
      x = x.ref.add(attention(norm(x, layer.attentionNorm), layer, shared));
      x = x.ref.add(feedForward(norm(x, layer.feedForwardNorm), layer));
    }
    tree.dispose(tables);
    const logits = linear(norm(x, weights.norm), weights.head); // [B·T, V]
    return nn.logSoftmax(logits, -1).mul(nn.oneHot(targets, V)).sum(-1).mul(-1);
  }

  const named = new Map([...initialWeights()].map(([name, { data, shape }]) => [name, np.array(data, { shape })]));
  const weights = {
    embedding: named.get("model.embed_tokens.weight"),
    layers: Array.from({ length: num_hidden_layers }, (_, i) => {
      const at = (name) => named.get(`model.layers.${i}.${name}.weight`);
      return {
        attentionNorm: at("input_layernorm"),
        q: at("self_attn.q_proj"),
        k: at("self_attn.k_proj"),
        v: at("self_attn.v_proj"),
        o: at("self_attn.o_proj"),
        feedForwardNorm: at("post_attention_layernorm"),
        gate: at("mlp.gate_proj"),
        up: at("mlp.up_proj"),
        down: at("mlp.down_proj"),
      };
    }),
    norm: named.get("model.norm.weight"),
    head: named.get("lm_head.weight"),
  };
  const { cos, sin } = ropeAngles(length);
  const tables = { cos: np.array(cos, { shape: [length, 1, D / 2] }), sin: np.array(sin, { shape: [length, 1, D / 2] }) };
  return { losses, weights, tables };
}
