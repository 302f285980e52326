import type { Tokenizer } from "./tokenizers.js";

/** Bytes, as UTF-8, of the text that tokens stand for (see {@link Tokenizer.tokenBytes}): those of parts add up to those of the whole. */
export function bytesOfTokens(tokenizer: Tokenizer, tokens: Int32Array): number {
  let bytes = 0;
  for (const token of tokens) bytes += tokenizer.tokenBytes(token).length;
  return bytes;
}
