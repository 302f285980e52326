/** Files of llama2.c: the golden model and a tokenizer for it. */
import { goldenWeights } from "../golden/llama-fixture.js";
import { join } from "./gguf.js";

export const i32 = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
export const f32 = (values: Float32Array): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** Groups of 16 with a scale of max/127 each: all numbers, then all scales. */
function grouped(values: Float32Array): Uint8Array {
  const scales = Float32Array.from(
    { length: values.length / 16 },
    (_, g) => Math.max(...values.subarray(16 * g, 16 * g + 16).map(Math.abs)) / 127,
  );
  const numbers = Int8Array.from(values, (value, i) => Math.round(value / (scales[i >> 4] as number)));
  return join(new Uint8Array(numbers.buffer), f32(scales));
}

/** The file of the golden model, in the layout that llama2.c's export.py and run.c state. */
export function llama2cFile(version: 0 | 1 | 2, tied = false): Uint8Array {
  const weights = goldenWeights();
  const values = (name: string): Float32Array => weights.get(name)?.values as Float32Array;
  /** Row 2j of a head is channel j, row 2j + 1 channel j + 4. */
  const pairs = (name: string): Float32Array => {
    const rows = values(name);
    const order = Array.from({ length: rows.length / 32 }, (_, row) => (row >> 3) * 8 + (row % 2) * 4 + ((row % 8) >> 1));
    return Float32Array.from(order.flatMap((row) => [...rows.subarray(32 * row, 32 * row + 32)]));
  };
  const layers = (part: string): string[] => [0, 1].map((layer) => `model.layers.${layer}.${part}.weight`);
  const matrix = version === 2 ? grouped : f32;
  const all = (part: string): Uint8Array =>
    join(...layers(part).map((name) => matrix(/[qk]_proj/.test(name) ? pairs(name) : values(name))));
  const norms = (part: string): Uint8Array => join(...layers(part).map((name) => f32(values(name))));
  const attention = join(...["q", "k", "v", "o"].map((one) => all(`self_attn.${one}_proj`)));
  const feedForward = join(...["gate", "down", "up"].map((one) => all(`mlp.${one}_proj`)));
  const embedding = matrix(values("model.embed_tokens.weight"));
  const [norm, head] = [f32(values("model.norm.weight")), tied ? new Uint8Array() : matrix(values("lm_head.weight"))];
  const [first, second] = [norms("input_layernorm"), norms("post_attention_layernorm")];
  const sizes = [32, 48, 2, 4, 2, version === 0 && !tied ? -61 : 61, 32];
  if (version === 0) return join(i32(...sizes), embedding, first, attention, second, feedForward, norm, new Uint8Array(4 * 32 * 8), head);
  const header = new Uint8Array(256);
  header.set(join(i32(0x616b3432, version, ...sizes), Uint8Array.of(Number(tied)), version === 2 ? i32(16) : new Uint8Array()));
  return join(header, first, second, norm, embedding, attention, feedForward, head);
}

/** Letters, and what they join to: the larger the number, the sooner. */
const pieces: readonly (readonly [text: string, score: number])[] = [
  ...[..." whalesipcmtorbdnkfguy.,!?'-\n0123456789ABCIMJKLN"].map((letter): [string, number] => [letter, -100]),
  ...["wh", "al", "whal", "whale", " whale", "se", "sea", "sh", "ip", "ship"].map((text, i): [string, number] => [text, -i]),
];

/** A `tokenizer.bin` of as many tokens as the golden model knows; what is none of its letters is unknown. */
export function llama2cTokenizer(): Uint8Array {
  const entries = [["<unk>", 0] as const, ["\n<s>\n", 0] as const, ["\n</s>\n", 0] as const, ...pieces].map(([text, score]) => {
    const bytes = new TextEncoder().encode(text);
    return join(f32(Float32Array.of(score)), i32(bytes.length), bytes);
  });
  return join(i32(8), ...entries);
}
