/**
 * A tokenizer as its steps: tokens that stand in the text are cut out, what lies between is normalized, split into pieces and encoded piece by
 * piece (the design of Hugging Face's `tokenizers`, which SentencePiece and llama.cpp are special cases of).
 */
import { concatenateTokens } from "../token-arrays.js";
import { type AddedToken, TokenSplitter } from "./added-tokens.js";
import { toByteCharacters } from "./byte-characters.js";
import { bytesInside, type DecodeStep, runDecoder } from "./decoders.js";
import type { Emit, TokenModel } from "./model.js";
import type { Normalizer } from "./normalizers.js";
import type { PreTokenizer } from "./pre-tokenizers.js";
import {
  checkToken,
  type DecodeOptions,
  type EncodedPart,
  type EncodeOptions,
  type StreamingDecoder,
  type Tokenizer,
  textOf,
} from "./tokenizer.js";

export interface PipelineParts {
  readonly name: string;
  /** How every token is written, by token. */
  readonly texts: ReadonlyMap<number, string>;
  readonly addedTokens: readonly AddedToken[];
  readonly normalizer: Normalizer | undefined;
  readonly preTokenizers: readonly PreTokenizer[];
  /** Pieces are given to the model as the characters of their bytes. */
  readonly byteLevel: boolean;
  readonly model: TokenModel;
  readonly decoder: readonly DecodeStep[];
  /** Tokens around a text that is encoded with `special`. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** What a model's files say beside the tokenizer itself. */
export interface TokenizerExtras {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly stopTokens: readonly number[];
  readonly chatTemplate: string | undefined;
  readonly fingerprint: string | undefined;
}

/** Tokens of a part of {@link Tokenizer.encodeParts}, about. */
const PART = 16_384;
/** Pieces whose tokens are remembered, and how long they are at most. */
const REMEMBERED = 65_536;
const LONGEST = 64;

export class PipelineTokenizer implements Tokenizer {
  readonly name: string;
  readonly vocabSize: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly stopTokens: readonly number[];
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly chatTemplate: string | undefined;
  readonly fingerprint: string | undefined;
  private readonly special: ReadonlySet<number>;
  private readonly inText: TokenSplitter;
  private readonly inNormalized: TokenSplitter;
  private readonly remembered = new Map<string, readonly number[]>();

  constructor(
    private readonly parts: PipelineParts,
    extras: TokenizerExtras,
  ) {
    this.name = parts.name;
    let last = -1;
    for (const token of parts.texts.keys()) last = Math.max(last, token);
    this.vocabSize = last + 1;
    this.bos = extras.bos;
    this.eos = extras.eos;
    this.stopTokens = extras.stopTokens;
    this.chatTemplate = extras.chatTemplate;
    this.fingerprint = extras.fingerprint;
    const special = parts.addedTokens.filter((token) => token.special);
    this.specialTokens = new Map(special.map(({ content, id }) => [content, id]));
    this.special = new Set(this.specialTokens.values());
    this.inText = new TokenSplitter(parts.addedTokens.filter(({ normalized }) => normalized === undefined));
    this.inNormalized = new TokenSplitter(parts.addedTokens.filter(({ normalized }) => normalized !== undefined));
  }

  encode(text: string | Uint8Array, options: EncodeOptions = {}): Int32Array {
    const parts: Int32Array[] = [];
    for (const { tokens } of this.encodeParts(text, options)) parts.push(tokens);
    return concatenateTokens(parts);
  }

  *encodeParts(text: string | Uint8Array, options: EncodeOptions = {}): Generator<EncodedPart> {
    const whole = textOf(text);
    const { before, after } = this.parts;
    let tokens: number[] = options.special ? [...before] : [];
    const emit: Emit = (token) => void tokens.push(token);
    for (const done of this.steps(whole, options.parseSpecial ?? true, emit)) {
      if (tokens.length < PART) continue;
      yield { tokens: Int32Array.from(tokens), done: Math.min(done / whole.length, 1) };
      tokens = [];
    }
    if (options.special) tokens.push(...after);
    yield { tokens: Int32Array.from(tokens), done: 1 };
  }

  /** Encodes a text in steps; yields how many of its characters have been encoded. */
  private *steps(text: string, parseSpecial: boolean, emit: Emit): Generator<number> {
    const { normalizer } = this.parts;
    for (const section of this.inText.split(text, parseSpecial)) {
      if ("token" in section) {
        emit(section.token);
        yield section.to;
        continue;
      }
      const normalized = normalizer?.(section.text) ?? section.text;
      const length = section.to - section.from;
      for (const part of this.inNormalized.split(normalized, parseSpecial)) {
        if ("token" in part) {
          emit(part.token);
          yield section.from + (length * part.to) / normalized.length;
          continue;
        }
        let read = part.from;
        for (const piece of this.pieces(part.text, section.from === 0 && part.from === 0, 0)) {
          this.encodePiece(piece, emit);
          read += piece.length;
          yield section.from + (length * read) / normalized.length;
        }
      }
    }
  }

  private *pieces(text: string, first: boolean, step: number): Generator<string> {
    const { preTokenizers, model, byteLevel } = this.parts;
    const next = preTokenizers[step];
    if (next === undefined) {
      if (text.length > LONGEST && model.separates !== undefined && !byteLevel) yield* separate(text, model.separates.bind(model));
      else if (text !== "") yield text;
      return;
    }
    const last = step === preTokenizers.length - 1 && (model.separates === undefined || byteLevel);
    let begins = first;
    for (const piece of next(text, first)) {
      if (last) {
        if (piece !== "") yield piece;
      } else yield* this.pieces(piece, begins, step + 1);
      begins = false;
    }
  }

  private encodePiece(piece: string, emit: Emit): void {
    const { model, byteLevel } = this.parts;
    const known = this.remembered.get(piece);
    if (known !== undefined) {
      for (const token of known) emit(token);
      return;
    }
    const written = byteLevel ? toByteCharacters(piece) : piece;
    if (piece.length > LONGEST) {
      model.encode(written, emit);
      return;
    }
    const tokens: number[] = [];
    model.encode(written, (token) => void tokens.push(token));
    for (const token of tokens) emit(token);
    if (this.remembered.size >= REMEMBERED) this.remembered.clear();
    this.remembered.set(piece, tokens);
  }

  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    const run = runDecoder(this.parts.decoder, false);
    return run.push(this.written(tokens, options)) + run.end();
  }

  decoder(options: DecodeOptions = {}): StreamingDecoder {
    const run = runDecoder(this.parts.decoder, true);
    return { push: (tokens) => run.push(this.written(tokens, options)), end: () => run.end() };
  }

  private written(tokens: ArrayLike<number>, { skipSpecial = false }: DecodeOptions): string[] {
    const written: string[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i] as number;
      checkToken(token, this.vocabSize, i);
      const text = this.parts.texts.get(token);
      // A number between others may be no token; it stands for nothing, as in Hugging Face's `tokenizers`.
      if (text !== undefined && !(skipSpecial && this.special.has(token))) written.push(text);
    }
    return written;
  }

  tokenBytes(token: number): Uint8Array {
    const text = this.tokenText(token);
    return this.special.has(token) || text === "" ? new Uint8Array(0) : bytesInside(this.parts.decoder, text);
  }

  tokenText(token: number): string {
    checkToken(token, this.vocabSize);
    return this.parts.texts.get(token) ?? "";
  }
}

/** Parts of a long piece, cut where a model says that nothing spans the place. */
function* separate(text: string, separates: (before: string, after: string) => boolean): Generator<string> {
  let from = 0;
  let at = 0;
  let before = "";
  for (const character of text) {
    if (at > from && separates(before, character)) {
      yield text.slice(from, at);
      from = at;
    }
    before = character;
    at += character.length;
  }
  yield text.slice(from);
}
