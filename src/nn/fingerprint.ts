/** Whether the weights of a model are those that they were, by two words of 32 bits: for mistakes, not for adversaries. */
import { data } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";

/** Frozen weights are read once, however often a run is saved. */
const known = new WeakMap<Tensor, string>();

/** A text that is the same for trees with the same names, shapes and numbers, as f32, whatever they are stored in. */
export async function fingerprint(tree: object): Promise<string> {
  const parts: string[] = [];
  for (const { path, tensor } of tensorsOf(tree)) {
    const found = known.get(tensor) ?? mixed(wordsOf(Float32Array.from(await data(tensor))));
    known.set(tensor, found);
    parts.push(`${path}[${tensor.shape}]${found}`);
  }
  return mixed(new TextEncoder().encode(parts.join("\n")));
}

const wordsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** Two sums that every word and its place change: FNV-1a (Fowler, Noll & Vo) by words, and a polynomial. */
function mixed(words: Uint32Array | Uint8Array): string {
  let [first, second] = [0x811c9dc5, 0];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number;
    first = Math.imul(first ^ word, 0x01000193);
    first ^= first >>> 15;
    second = (Math.imul(second, 0x9e3779b1) + word) | 0;
  }
  return [first, second].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}
