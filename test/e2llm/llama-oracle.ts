import type { LlamaConfig } from "../../src/nn/config.js";

/**
 * A Llama in plain loops over f64, with any distance between query and key: what methods that change positions are held against. It shares
 * no code with the library, and has no tables: each score is Σ_j Re(q_j·k̄_j·e^{i·distance·θ_j}).
 */

export interface Pairing {
  /** Position of the query at i less that of the key at j, or undefined where the key is not seen. Asked for j ≤ i only. */
  readonly distance: (i: number, j: number) => number | undefined;
  /** What the query at i is multiplied by. Default 1. */
  readonly factor?: (i: number) => number;
}

/** The values of parameters by their paths, as `valuesOf(model)` gives them. */
export type Weights = ReadonlyMap<string, ArrayLike<number>>;

/** Logits [T, V] of one row of tokens. */
export function oracleLogits(config: LlamaConfig, weights: Weights, tokens: ArrayLike<number>, pairing: Pairing): Float64Array[] {
  const { hidden_size: C, intermediate_size: F, num_hidden_layers: layers, vocab_size: V } = config;
  const { num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D, rms_norm_eps: eps } = config;
  const weight = (path: string): ArrayLike<number> => weights.get(path) as ArrayLike<number>;
  const product = (path: string, x: Float64Array, rows: number): Float64Array => {
    const w = weight(path);
    return Float64Array.from({ length: rows }, (_, r) => x.reduce((sum, value, c) => sum + value * (w[r * x.length + c] as number), 0));
  };
  const norm = (path: string, x: Float64Array): Float64Array => {
    const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + eps);
    return x.map((value, c) => value * scale * (weight(path)[c] as number));
  };
  const add = (x: Float64Array, y: Float64Array): Float64Array => x.map((value, c) => value + (y[c] as number));

  let rows: Float64Array[] = Array.from(tokens, (token) => {
    const table = weight("model.embed_tokens.weight");
    return Float64Array.from({ length: C }, (_, c) => table[token * C + c] as number);
  });
  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string): string => `model.layers.${layer}.${name}.weight`;
    const normed = rows.map((x) => norm(at("input_layernorm"), x));
    const [q, k, v] = (["q_proj", "k_proj", "v_proj"] as const).map((name) =>
      normed.map((x) => product(at(`self_attn.${name}`), x, name === "q_proj" ? H * D : Hkv * D)),
    ) as [Float64Array[], Float64Array[], Float64Array[]];
    const attended = rows.map((_, i) => {
      const out = new Float64Array(H * D);
      for (let h = 0; h < H; h++) {
        const kv = Math.floor((h * Hkv) / H);
        const scores: { key: number; score: number }[] = [];
        for (let j = 0; j <= i; j++) {
          const distance = pairing.distance(i, j);
          if (distance === undefined) continue;
          const raw = score((q[i] as Float64Array).subarray(h * D), (k[j] as Float64Array).subarray(kv * D), distance, config);
          scores.push({ key: j, score: ((pairing.factor?.(i) ?? 1) * raw) / Math.sqrt(D) });
        }
        const most = Math.max(...scores.map(({ score }) => score));
        const sum = scores.reduce((total, { score }) => total + Math.exp(score - most), 0);
        for (const { key, score } of scores) {
          const share = Math.exp(score - most) / sum;
          for (let d = 0; d < D; d++)
            out[h * D + d] = (out[h * D + d] as number) + share * ((v[key] as Float64Array)[kv * D + d] as number);
        }
      }
      return out;
    });
    rows = rows.map((x, i) => add(x, product(at("self_attn.o_proj"), attended[i] as Float64Array, C)));
    rows = rows.map((x) => {
      const y = norm(at("post_attention_layernorm"), x);
      const [gate, up] = [product(at("mlp.gate_proj"), y, F), product(at("mlp.up_proj"), y, F)];
      const inner = gate.map((g, f) => (g / (1 + Math.exp(-g))) * (up[f] as number));
      return add(x, product(at("mlp.down_proj"), inner, C));
    });
  }
  const head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return rows.map((x) => product(head, norm("model.norm.weight", x), V));
}

/** q·R(distance)ᵀ… as a sum over pairs (j, j + D/2) of Re(q·conj(k)·e^{i·distance·θ_j}). */
function score(q: Float64Array, k: Float64Array, distance: number, { head_dim: D, rope_theta: theta }: LlamaConfig): number {
  let sum = 0;
  for (let j = 0; j < D / 2; j++) {
    const [a, b, c, d] = [q[j], q[j + D / 2], k[j], k[j + D / 2]] as [number, number, number, number];
    const angle = distance * theta ** ((-2 * j) / D);
    // (a + bi)(c − di) = (ac + bd) + (bc − ad)i
    sum += (a * c + b * d) * Math.cos(angle) - (b * c - a * d) * Math.sin(angle);
  }
  return sum;
}
