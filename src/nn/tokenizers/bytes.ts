import { OptionError } from "../../errors.js";
import { newUtf8, type Tokenizer, textOf } from "./tokenizer.js";

/** Bytes of a part of {@link Tokenizer.encodeParts}. */
const PART = 2 ** 20;

const utf8Of = (text: string | Uint8Array): Uint8Array => (typeof text === "string" ? new TextEncoder().encode(textOf(text)) : text);

/**
 * Every byte of the UTF-8 text is a token: V = 256, no training, no unknown characters, no special tokens, nats per token = nats per byte.
 *
 * `encode` throws OptionError for a string with half of a surrogate pair, which UTF-8 cannot express; bytes need not be UTF-8. `decode`
 * writes "�" for bytes that are not UTF-8, as a model may emit any, and throws OptionError for a token that is no byte.
 */
export const byteTokenizer: Tokenizer = {
  name: "bytes",
  vocabSize: 256,
  bos: undefined,
  eos: undefined,
  stopTokens: [],
  specialTokens: new Map(),
  chatTemplate: undefined,
  fingerprint: "bytes",
  encode: (text) => Int32Array.from(utf8Of(text)),
  *encodeParts(text) {
    const bytes = utf8Of(text);
    for (let at = 0; at < bytes.length; at += PART) {
      const part = bytes.subarray(at, at + PART);
      yield { tokens: Int32Array.from(part), done: (at + part.length) / bytes.length };
    }
  },
  decode: (tokens) => newUtf8().decode(toBytes(tokens)),
  decoder() {
    const utf8 = newUtf8();
    return {
      push: (tokens) => utf8.decode(toBytes(tokens), { stream: true }),
      end: () => utf8.decode(),
    };
  },
  tokenBytes: (token) => toBytes([token]),
  tokenText: (token) => `<0x${(toBytes([token])[0] as number).toString(16).toUpperCase().padStart(2, "0")}>`,
};

function toBytes(tokens: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as number;
    if (!Number.isInteger(token) || token < 0 || token > 255) {
      throw new OptionError(`token ${token} at place ${i} is no byte`, { hint: "the tokens of the byte tokenizer are 0 to 255" });
    }
    bytes[i] = token;
  }
  return bytes;
}
