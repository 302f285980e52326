import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type Backend, key, mapTensors, realize, type Tensor, tensor, tensorsOf, useBackend } from "../../src/index.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { Llama, type RopeTensors } from "../../src/nn/llama.js";

/** Small Llamas and batches for tests, the same on every backend. */

export const tinyConfig: LlamaConfig = {
  vocab_size: 19,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  initializer_range: 0.02,
};

/** RoPE tables [1, T, D/2] of positions start, start + 1, …, made by the textbook formula. */
export function tablesAt(positions: readonly number[], headDim: number, theta = 10000): RopeTensors {
  const half = headDim / 2;
  const angles = positions.flatMap((position) => Array.from({ length: half }, (_, j) => position * theta ** ((-2 * j) / headDim)));
  const shape = [1, positions.length, half];
  return { cos: tensor(Float32Array.from(angles, Math.cos), { shape }), sin: tensor(Float32Array.from(angles, Math.sin), { shape }) };
}

export const plainTables = (length: number, headDim: number, start = 0): RopeTensors =>
  tablesAt(
    Array.from({ length }, (_, i) => start + i),
    headDim,
  );

/** Integers in 0 … bound − 1, a function of the seed alone. */
export const integers = (count: number, bound: number, seed: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => threefry2x32(seed, 77, i, 0)[0] % bound);

/** Random tokens with the tokens that follow them. */
export function randomBatch(config: LlamaConfig, options: { batch: number; time: number; seed: number; start?: number }): LanguageBatch {
  const { batch, time, seed, start = 0 } = options;
  const text = integers(batch * (time + 1), config.vocab_size, seed);
  const rows = (offset: number): Tensor => {
    const picked = Array.from({ length: batch }, (_, b) => [...text.subarray(b * (time + 1) + offset, b * (time + 1) + offset + time)]);
    return tensor(Int32Array.from(picked.flat()), { shape: [batch, time] });
  };
  return { inputs: rows(0), targets: rows(1), tables: plainTables(time, config.head_dim, start) };
}

/** The values of a tree's tensors by path. */
export async function valuesOf(tree: unknown): Promise<Map<string, number[]>> {
  await realize(tree);
  const found = new Map<string, number[]>();
  for (const { path, tensor: t } of tensorsOf(tree)) found.set(path, [...(await t.data())]);
  return found;
}

/** A copy of a tree on the current backend, from values that were read. */
export const treeFrom = <T>(like: T, values: ReadonlyMap<string, readonly number[]>): T =>
  mapTensors(like, (t, path) => tensor(Float32Array.from(values.get(path) as readonly number[]), { shape: t.shape }));

const weights = new Map<string, Promise<Map<string, number[]>>>();

/** A Llama whose weights are the same f32 numbers on every backend, larger than at a real start unless `scale` says otherwise. */
export async function tinyLlama(config: LlamaConfig = tinyConfig, options: { seed?: number; scale?: number } = {}): Promise<Llama> {
  const { seed = 1, scale = 10 } = options;
  const name = JSON.stringify([config, seed, scale]);
  let made = weights.get(name);
  if (made === undefined) {
    const drawn = new Llama({ ...config, initializer_range: config.initializer_range * scale }, { key: key(seed) });
    const before: Backend | undefined = useBackend(createReferenceBackend());
    made = valuesOf(drawn);
    await made;
    useBackend(before);
    weights.set(name, made);
  }
  return treeFrom(new Llama(config, { key: key(seed) }), await made);
}

/** The largest absolute difference of two lists of numbers. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers against ${b.length}`);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const gap = Math.abs((a[i] as number) - (b[i] as number));
    if (!(gap <= largest)) largest = gap;
  }
  return largest;
}
