import { byteTokenizer, type Tokenizer } from "./tokenizers.js";

/** Tokens before the counted ones from which a decoder learns where it is: no character of UTF-8 spans more, nor does the mark of a beginning. */
const leadIn = 8;
/** Tokens that are decoded at once. */
const piece = 1 << 14;

/**
 * Bytes, as UTF-8, of the text that tokens from … to − 1 of a document stand for. A character that several tokens share counts for the one
 * that completes it, so that the counts of neighbouring ranges add up to that of both. Tokens that are bytes count as one each.
 */
export function bytesOfTokens(
  tokenizer: Tokenizer,
  tokens: Int32Array,
  range: { readonly from?: number; readonly to?: number } = {},
): number {
  const { from = 0, to = tokens.length } = range;
  if (tokenizer === byteTokenizer) return Math.max(0, to - from);
  const utf8 = new TextEncoder();
  const decoder = tokenizer.decoder();
  decoder.push(tokens.subarray(Math.max(0, from - leadIn), from));
  let bytes = 0;
  for (let at = from; at < to; at += piece) bytes += utf8.encode(decoder.push(tokens.subarray(at, Math.min(to, at + piece)))).length;
  return to === tokens.length ? bytes + utf8.encode(decoder.end()).length : bytes;
}
