import { OptionError } from "../errors.js";

/** Text to tokens and back. */
export interface Tokenizer {
  readonly name: string;
  /** Tokens are integers from 0 to vocabSize − 1. */
  readonly vocabSize: number;
  encode(text: string | Uint8Array): Int32Array;
  decode(tokens: ArrayLike<number>): string;
  /** A decoder for tokens that come one by one. */
  decoder(): StreamingDecoder;
}

/** Holds back the start of a character until the rest of it has come. */
export interface StreamingDecoder {
  /** The text that is complete with these tokens. */
  push(tokens: ArrayLike<number>): string;
  /** What is left at the end: "�" for a character that was not completed. */
  end(): string;
}

/**
 * Every byte of the UTF-8 text is a token: V = 256, no training, no unknown characters, nats per token = nats per byte.
 *
 * `encode` throws OptionError for a string with half of a surrogate pair, which UTF-8 cannot express. `decode` writes "�" for bytes
 * that are not UTF-8, as a model may emit any, and throws OptionError for a token that is no byte.
 */
export const byteTokenizer: Tokenizer = {
  name: "bytes",
  vocabSize: 256,
  encode(text) {
    if (typeof text !== "string") return Int32Array.from(text);
    const half = text.search(/\p{Surrogate}/u);
    if (half >= 0) {
      throw new OptionError(`the text has half of a surrogate pair at place ${half}, which is no character`, {
        hint: "the text was cut inside of a character; cut it elsewhere, or pass bytes",
      });
    }
    return Int32Array.from(new TextEncoder().encode(text));
  },
  decode(tokens) {
    return newUtf8().decode(toBytes(tokens));
  },
  decoder() {
    const utf8 = newUtf8();
    return {
      push: (tokens) => utf8.decode(toBytes(tokens), { stream: true }),
      end: () => utf8.decode(),
    };
  },
};

/** A byte order mark is text like any other here, so that decoding is the inverse of encoding. */
const newUtf8 = (): TextDecoder => new TextDecoder("utf-8", { ignoreBOM: true });

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
