import { fc, it } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { bytesOfTokens } from "../../src/nn/token-bytes.js";
import { byteTokenizer, type Tokenizer } from "../../src/nn/tokenizers.js";

/** Pairs of bytes and single ones as tokens: characters begin and end inside of tokens. */
const pairs: Tokenizer = {
  ...byteTokenizer,
  name: "pairs",
  vocabSize: 65_536 + 256,
  encode(text) {
    const bytes = byteTokenizer.encode(text);
    const tokens: number[] = [];
    for (let i = 0; i < bytes.length; i += 2) {
      const [a, b] = [bytes[i] as number, bytes[i + 1]];
      tokens.push(b === undefined ? 65_536 + a : 256 * a + b);
    }
    return Int32Array.from(tokens);
  },
  decode: (tokens) => byteTokenizer.decode(bytesOf(tokens)),
  decoder() {
    const inner = byteTokenizer.decoder();
    return { push: (tokens) => inner.push(bytesOf(tokens)), end: () => inner.end() };
  },
};
const bytesOf = (tokens: ArrayLike<number>): number[] =>
  Array.from(tokens).flatMap((token) => (token >= 65_536 ? [token - 65_536] : [token >> 8, token & 255]));

const texts = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 });

describe("bytes of the text that tokens stand for", () => {
  it.prop([texts])("are all bytes of the text for all tokens", (text) => {
    expect(bytesOfTokens(pairs, pairs.encode(text))).toBe(Buffer.byteLength(text));
  });

  it.prop([texts, fc.nat(), fc.nat()])("of neighbouring ranges add up to those of both, wherever characters are cut", (text, a, b) => {
    const tokens = pairs.encode(text);
    const [from, to] = [a % (tokens.length + 1), b % (tokens.length + 1)].sort((x, y) => x - y) as [number, number];
    const parts = [
      { from: 0, to: from },
      { from, to },
      { from: to, to: tokens.length },
    ].map((range) => bytesOfTokens(pairs, tokens, range));
    expect(parts.reduce((sum, part) => sum + part, 0)).toBe(Buffer.byteLength(text));
  });

  it.prop([texts, fc.nat()])("are as many as there are tokens where these are bytes", (text, a) => {
    const tokens = byteTokenizer.encode(text);
    expect(bytesOfTokens(byteTokenizer, tokens, { from: a % tokens.length })).toBe(tokens.length - (a % tokens.length));
  });
});
