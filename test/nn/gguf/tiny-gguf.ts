import { FormatError } from "../../../src/errors.js";
import { threefry2x32 } from "../../../src/ir/threefry.js";
import { type ByteSource, bytesSource } from "../../../src/nn/byte-source.js";
import { array, type RawGguf, type RawKey, type RawTensor } from "../../support/gguf.js";

/** Sizes of the tiny model: V, C, F, layers, H, Hkv, D. */
export const tinySizes = { V: 5, C: 8, F: 12, layers: 2, H: 2, Hkv: 1, D: 4 };

export const tinyKeys: readonly RawKey[] = [
  ["general.architecture", "string", "llama"],
  ["general.name", "string", "tiny"],
  ["llama.context_length", "u32", 64],
  ["llama.embedding_length", "u32", 8],
  ["llama.block_count", "u32", 2],
  ["llama.feed_forward_length", "u32", 12],
  ["llama.attention.head_count", "u32", 2],
  ["llama.attention.head_count_kv", "u32", 1],
  ["llama.attention.layer_norm_rms_epsilon", "f32", 1e-6],
  ["llama.rope.freq_base", "f32", 10000],
  ["tokenizer.ggml.model", "string", "llama"],
  ["tokenizer.ggml.tokens", "array", array("string", ["<s>", "</s>", "a", "b", "c"])],
  ["tokenizer.ggml.bos_token_id", "u32", 0],
  ["tokenizer.ggml.eos_token_id", "u32", 1],
];

/** Numbers that are a function of the name alone. */
export function numbersOf(name: string, count: number): Float32Array {
  const seed = [...name].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 2 ** 31, 7);
  return Float32Array.from({ length: count }, (_, i) => threefry2x32(seed, 5, i, 0)[0] / 2 ** 31 - 1);
}

export const f32Tensor = (name: string, ...extents: number[]): RawTensor => {
  const numbers = numbersOf(
    name,
    extents.reduce((a, b) => a * b, 1),
  );
  return { name, extents, type: 0, data: new Uint8Array(numbers.buffer) };
};

/** The tensors of the tiny model, as a converter writes them. */
export function tinyTensors({ tied = false }: { readonly tied?: boolean } = {}): RawTensor[] {
  const { V, C, F, layers, H, Hkv, D } = tinySizes;
  const blocks = Array.from({ length: layers }, (_, layer) => [
    f32Tensor(`blk.${layer}.attn_norm.weight`, C),
    f32Tensor(`blk.${layer}.attn_q.weight`, C, H * D),
    f32Tensor(`blk.${layer}.attn_k.weight`, C, Hkv * D),
    f32Tensor(`blk.${layer}.attn_v.weight`, C, Hkv * D),
    f32Tensor(`blk.${layer}.attn_output.weight`, H * D, C),
    f32Tensor(`blk.${layer}.ffn_norm.weight`, C),
    f32Tensor(`blk.${layer}.ffn_gate.weight`, C, F),
    f32Tensor(`blk.${layer}.ffn_up.weight`, C, F),
    f32Tensor(`blk.${layer}.ffn_down.weight`, F, C),
  ]);
  const head = tied ? [] : [f32Tensor("output.weight", C, V)];
  return [f32Tensor("token_embd.weight", C, V), ...blocks.flat(), f32Tensor("output_norm.weight", C), ...head];
}

export const tinyGguf = (): RawGguf => ({ keys: tinyKeys, tensors: tinyTensors() });

/** The file with other keys in place of those of their names, or beside them. */
export const withKeys = (file: RawGguf, ...keys: readonly RawKey[]): RawGguf => {
  const names = new Set(keys.map(([name]) => name));
  return { ...file, keys: [...(file.keys ?? []).filter(([name]) => !names.has(name)), ...keys] };
};

/** Bytes that come one after another, and of which nobody knows how many there are. */
export function streamed(bytes: Uint8Array): ByteSource {
  let gone = 0;
  return {
    name: "stream",
    size: undefined,
    seekable: false,
    start: async () => bytes.subarray(0, 512),
    length: async (most) => Math.min(bytes.length, most + 1),
    close: async () => undefined,
    read: async (begin, end) => {
      if (begin < gone) throw new Error(`bytes from ${begin} on are gone, ${gone} were read`);
      if (end > bytes.length) throw new FormatError("too short", { file: "stream", hint: "again" });
      gone = end;
      return bytes.slice(begin, end);
    },
  };
}

export const sourceOfBytes = (bytes: Uint8Array): ByteSource => bytesSource(bytes, "m.gguf");
