/** What every tokenizer is, whatever file it came from. */
import { OptionError } from "../../errors.js";

export interface EncodeOptions {
  /**
   * Adds the tokens that the tokenizer's own files put around a text, such as one for its beginning. Default false, as for text that
   * continues another; true gives what Hugging Face's `tokenizer(text)` does.
   */
  readonly special?: boolean;
  /**
   * Encodes the writing of a special token that stands in the text as that token. Default true, which texts made by chat templates need; false
   * takes it for the characters that it is written with, so that a text from elsewhere cannot end a turn.
   */
  readonly parseSpecial?: boolean;
}

export interface DecodeOptions {
  /** Leaves out {@link Tokenizer.specialTokens}. Default false, with which decoding is the inverse of encoding. */
  readonly skipSpecial?: boolean;
}

/** Tokens of the next part of a text. */
export interface EncodedPart {
  readonly tokens: Int32Array;
  /** How much of the whole text has been encoded with this part, from 0 to 1. */
  readonly done: number;
}

/** Text to tokens and back. */
export interface Tokenizer {
  readonly name: string;
  /** Tokens are integers from 0 to vocabSize − 1. */
  readonly vocabSize: number;
  /** The token that begins a text, where there is one. */
  readonly bos: number | undefined;
  /** The token that ends a text, where there is one. */
  readonly eos: number | undefined;
  /** Tokens at which generation ends: {@link eos} and what else the model's files name. */
  readonly stopTokens: readonly number[];
  /** Tokens that stand for no text of their own, by how they are written: `"<|im_end|>"`. Where that stands in a text, it is encoded as the token. */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** The Jinja template that makes a conversation into a text, where the model's files have one. */
  readonly chatTemplate: string | undefined;
  /**
   * Tells this tokenizer from every other one, for caches of encoded text. Undefined where the platform has no digest (pages that are not
   * served over https).
   */
  readonly fingerprint: string | undefined;
  /** Throws OptionError for what is no text: a string with half of a surrogate pair, bytes that are not UTF-8. */
  encode(text: string | Uint8Array, options?: EncodeOptions): Int32Array;
  /** The tokens of {@link encode}, part by part as they become known, so that long texts can be encoded between other things. */
  encodeParts(text: string | Uint8Array, options?: EncodeOptions): Iterable<EncodedPart>;
  /** Throws OptionError for what is no token of this tokenizer. */
  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string;
  /** A decoder for tokens that come one by one. */
  decoder(options?: DecodeOptions): StreamingDecoder;
  /**
   * The bytes of UTF-8 that a token stands for inside of a text, which may be a part of a character; none for a special token. Tokens of
   * pieces that a normalizer made stand for the normalized text. Throws OptionError for what is no token.
   */
  tokenBytes(token: number): Uint8Array;
  /** How the vocabulary writes a token: "Ġthe", "▁the", "<0x0A>", "<|im_end|>". Throws OptionError for what is no token. */
  tokenText(token: number): string;
}

/** Holds back the start of a character until the rest of it has come. */
export interface StreamingDecoder {
  /** The text that is complete with these tokens. */
  push(tokens: ArrayLike<number>): string;
  /** What is left at the end: "�" for a character that was not completed. */
  end(): string;
}

/** A text as a string without halves of surrogate pairs. Throws OptionError. */
export function textOf(text: string | Uint8Array): string {
  if (typeof text !== "string") {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(text);
    } catch (cause) {
      throw new OptionError("the text's bytes are not UTF-8", { hint: "convert the text to UTF-8 first", cause });
    }
  }
  const half = text.search(/\p{Surrogate}/u);
  if (half >= 0) {
    throw new OptionError(`the text has half of a surrogate pair at place ${half}, which is no character`, {
      hint: "the text was cut inside of a character; cut it elsewhere, or pass bytes",
    });
  }
  return text;
}

/** What is used of a TextDecoder, which not every program's types know. */
interface Utf8Decoder {
  decode(bytes?: Uint8Array, options?: { readonly stream?: boolean }): string;
}

/** A byte order mark is text like any other here, so that decoding is the inverse of encoding. */
export const newUtf8 = (): Utf8Decoder => new TextDecoder("utf-8", { ignoreBOM: true });

/** Throws OptionError for what is no token of a vocabulary. */
export function checkToken(token: number, vocabSize: number, place?: number): void {
  if (Number.isInteger(token) && token >= 0 && token < vocabSize) return;
  throw new OptionError(`token ${token}${place === undefined ? "" : ` at place ${place}`} is no token of this tokenizer`, {
    hint: `its tokens are 0 to ${vocabSize - 1}; use the tokenizer of the model`,
  });
}
