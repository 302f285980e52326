/** A tokenizer of some three hundred tokens, made here: byte-level BPE over the words of the workbench's text. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** GPT-2's characters for bytes: printable ones stand for themselves, the others for U+0100 and following. */
const alphabet: readonly string[] = (() => {
  const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
})();

const words = ["whale", " sea", " ship", " call", " me", " storm", " boat"];
const specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/** The content of a tokenizer.json. */
export function tinyTokenizerJson(): object {
  const vocab = new Map<string, number>();
  const add = (piece: string): void => {
    if (!vocab.has(piece)) vocab.set(piece, vocab.size);
  };
  for (const piece of [...specials, ...alphabet]) add(piece);
  const merges: [string, string][] = [];
  for (const word of words) {
    let [left, ...rest] = [...new TextEncoder().encode(word)].map((byte) => alphabet[byte] as string) as [string, ...string[]];
    for (const piece of rest) {
      if (!vocab.has(left + piece)) merges.push([left, piece]);
      left += piece;
      add(left);
    }
  }
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({ id, content, ...special })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges: merges.map((pair) => pair.join(" ")),
    },
  };
}

/** ChatML, as many models have it. */
export const tinyTemplate =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** A folder with the files of the tokenizer; returns its path. */
export async function writeTinyTokenizer(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tinyTokenizerJson()));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|im_end|>", chat_template: tinyTemplate }));
  return folder;
}
