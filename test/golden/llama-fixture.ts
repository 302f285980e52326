import { readFileSync } from "node:fs";
import { key, mapTensors, type Tensor, tensor } from "../../src/index.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { Llama, type RopeTensors } from "../../src/nn/llama.js";

/** What test/golden/make_llama.py wrote: a Llama of Hugging Face transformers and what it computes in f64. */
export interface GoldenLlama {
  readonly shape: [batch: number, time: number];
  readonly inputs: number[];
  readonly targets: number[];
  readonly logits: number[];
  readonly loss: number;
  readonly gradNorms: Record<string, number>;
  /** The first 40 elements of some gradients. */
  readonly gradients: Record<string, number[]>;
  readonly training: {
    readonly betas: [number, number];
    readonly eps: number;
    readonly weightDecay: number;
    readonly maxNorm: number;
    readonly steps: { readonly lr: number; readonly loss: number; readonly gradNorm: number }[];
  };
}

export const goldenFolder = new URL("llama/", import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, goldenFolder));

export const goldenLlama = (): GoldenLlama => JSON.parse(read("golden.json").toString()) as GoldenLlama;

/** The sizes that make_llama.py states. */
export const goldenConfig: LlamaConfig = {
  vocab_size: 61,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  initializer_range: 0.02,
};

/** The weights, read by these few lines and not by the library: one little-endian length, a JSON header, f32 data. */
export function goldenWeights(): Map<string, { readonly shape: number[]; readonly values: Float32Array }> {
  const bytes = read("model.safetensors");
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start).toString()) as Record<string, { shape: number[]; data_offsets: [number, number] }>;
  const { __metadata__: _, ...entries } = header;
  return new Map(
    Object.entries(entries).map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const values = Float32Array.from({ length: (to - from) / 4 }, (_, i) => bytes.readFloatLE(start + from + 4 * i));
        return [name, { shape, values }];
      },
    ),
  );
}

/** The model with those weights. */
export function goldenModel(): Llama {
  const weights = goldenWeights();
  return mapTensors(new Llama(goldenConfig, { key: key(0) }), (_, path): Tensor => {
    const { shape, values } = weights.get(path) as { shape: number[]; values: Float32Array };
    return tensor(values, { shape });
  });
}

/** RoPE tables of the plain positions 0, 1, … for it. */
export function goldenTables(length: number): RopeTensors {
  const half = goldenConfig.head_dim / 2;
  const angles = Float64Array.from({ length: length * half }, (_, i) => Math.floor(i / half) * 10000 ** (-(i % half) / half));
  const shape = [1, length, half];
  return { cos: tensor(Float32Array.from(angles, Math.cos), { shape }), sin: tensor(Float32Array.from(angles, Math.sin), { shape }) };
}
