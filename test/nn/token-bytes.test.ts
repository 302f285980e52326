import { fc, it } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { bytesOfTokens } from "../../src/nn/token-bytes.js";
import { byteTokenizer, loadTokenizer } from "../../src/nn/tokenizers.js";
import { tinyTokenizerJson } from "../cli/tiny-tokenizer.js";

const tiny = await loadTokenizer({ "tokenizer.json": JSON.stringify(tinyTokenizerJson()) });
const words = fc.constantFrom("whale", " sea", " ship", " call me", "storms", "é", "🐋", "\n", "  ");
const texts = fc
  .array(fc.oneof(words, fc.string({ unit: "grapheme", maxLength: 5 })), { minLength: 1, maxLength: 20 })
  .map((parts) => parts.join(""));

describe("bytes of the text that tokens stand for", () => {
  it.prop([texts])("are all bytes of the text for all tokens", (text) => {
    for (const tokenizer of [tiny, byteTokenizer]) {
      expect(bytesOfTokens(tokenizer, tokenizer.encode(text))).toBe(Buffer.byteLength(text));
    }
  });

  it.prop([texts, fc.nat()])("of both parts add up to those of the whole, wherever characters are cut", (text, at) => {
    const tokens = tiny.encode(text);
    const cut = at % (tokens.length + 1);
    const parts = [tokens.subarray(0, cut), tokens.subarray(cut)].map((part) => bytesOfTokens(tiny, part));
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(Buffer.byteLength(text));
  });
});
