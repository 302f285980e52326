/**
 * Tokenizers of SentencePiece (Kudo & Richardson 2018), which know a list of pieces with scores: from its own files `tokenizer.model`, and from
 * GGUF and llama2.c, which hold the same list.
 *
 * The text is one piece, spaces and all: a space is "▁", which stands at the beginning of words. What is no piece becomes its bytes where all
 * bytes are pieces, or the unknown one.
 */
import { FormatError } from "../../errors.js";
import { showValue } from "../json.js";
import type { AddedToken } from "./added-tokens.js";
import { BpeModel, type Merge } from "./bpe.js";
import { byteFallbackDecoder, type DecodeStep } from "./decoders.js";
import type { CharsMap } from "./double-array.js";
import { byteTokensOf, type TokenModel } from "./model.js";
import type { Normalizer } from "./normalizers.js";
import type { PipelineParts } from "./pipeline.js";
import { Trie } from "./trie.js";
import { UnigramModel } from "./unigram.js";

/** Kinds of pieces by the numbers that files have for them. */
export const PIECE_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface Piece {
  readonly text: string;
  readonly score: number;
  /** A number of {@link PIECE_TYPES}. */
  readonly type: number;
}

export interface SentencePieceOptions {
  readonly file: string;
  /** By token. */
  readonly pieces: readonly Piece[];
  readonly kind: "bpe" | "unigram";
  /** What a space is written as. */
  readonly space: string;
  /** A space in front of a text (or behind it, for languages that are written so). */
  readonly dummy: "before" | "after" | "none";
  /** Spaces in a row are one, and none begin or end a text. */
  readonly removeExtraSpaces: boolean;
  readonly charsMap: CharsMap | undefined;
  /** Bytes stand for characters that are no pieces. */
  readonly byteFallback: boolean;
  /** What the unknown token is decoded to. */
  readonly unknownText: string;
  /**
   * Where pieces that users defined are looked for: in the text, of which the rest is then encoded section by section (llama.cpp), or in the
   * normalized text, which stays whole (SentencePiece).
   */
  readonly userDefinedIn: "text" | "normalized";
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const utf8 = new TextEncoder();

/** Throws FormatError for pieces that are there twice, or too few. */
export function sentencePieceParts(options: SentencePieceOptions): PipelineParts {
  const { pieces, file, kind, userDefinedIn } = options;
  const tokens = new Map<string, number>();
  const reserved = new Map<string, number>();
  for (const [token, { text, type, score }] of pieces.entries()) {
    if (!Number.isFinite(score)) throw wrong(file, `expected piece ${token} to have a finite score, found ${score}`);
    const own = type === PIECE_TYPES.normal || type === PIECE_TYPES.userDefined;
    // Where a text is there twice, the first is the one that texts are encoded with.
    const list = own ? tokens : reserved;
    if (!list.has(text)) list.set(text, token);
  }
  const ofType = (type: number): AddedToken[] =>
    pieces.flatMap((piece, id) => (piece.type === type ? [{ id, content: piece.text, special: type !== PIECE_TYPES.userDefined }] : []));
  const userDefined = ofType(PIECE_TYPES.userDefined).filter(({ content }) => content !== "");
  const addedTokens = [
    ...ofType(PIECE_TYPES.control),
    ...(userDefinedIn === "text" ? userDefined : []),
    ...(userDefinedIn === "normalized" && kind === "bpe" ? userDefined.map((token) => ({ ...token, normalized: token.content })) : []),
  ];
  const unknown = pieces.findIndex(({ type }) => type === PIECE_TYPES.unknown);
  const bytes = options.byteFallback ? byteTokensOf((text) => reserved.get(text)) : undefined;
  const unknownCharacters = { token: unknown < 0 ? undefined : unknown, fuse: true, bytes };
  return {
    name: file,
    texts: new Map(pieces.map(({ text }, token) => [token, text])),
    addedTokens,
    normalizer: normalizerOf(options, userDefinedIn === "normalized" ? userDefined.map(({ content }) => content) : []),
    preTokenizers: [],
    byteLevel: false,
    model: kind === "bpe" ? bpeOf(pieces, tokens, unknownCharacters) : unigramOf(pieces, unknownCharacters),
    decoder: [pieceDecoder(options, pieces[unknown]?.text), byteFallbackDecoder("singly")],
    before: options.before,
    after: options.after,
  };
}

const wrong = (file: string, message: string): FormatError => new FormatError(message, { file, hint: "the file is damaged; get it again" });

/** Two symbols are joined where they are a piece together, those of the highest score first. */
function bpeOf(
  pieces: readonly Piece[],
  tokens: ReadonlyMap<string, number>,
  unknown: ConstructorParameters<typeof BpeModel>[0]["unknown"],
): TokenModel {
  const symbols = new Set<string>(tokens.keys());
  for (const text of tokens.keys()) for (const character of text) symbols.add(character);
  const scores = [...new Set([...tokens.values()].map((token) => (pieces[token] as Piece).score))].sort((a, b) => b - a);
  const ranks = new Map(scores.map((score, rank) => [score, rank]));
  const merges: Merge[] = [];
  for (const [result, token] of tokens) {
    const rank = ranks.get((pieces[token] as Piece).score) as number;
    let at = 0;
    for (const character of result) {
      at += character.length;
      const [left, right] = [result.slice(0, at), result.slice(at)];
      if (symbols.has(left) && symbols.has(right)) merges.push({ left, right, result, rank });
    }
  }
  return new BpeModel({ tokenOf: (text) => tokens.get(text), vocabulary: tokens.keys(), merges, unknown });
}

/** Scores that make a piece that users defined win, and what an unknown character costs more than the least probable piece (SentencePiece). */
const USER_DEFINED_PENALTY = 0.1;
export const UNKNOWN_PENALTY = 10;

function unigramOf(pieces: readonly Piece[], unknown: ConstructorParameters<typeof UnigramModel>[0]["unknown"]): TokenModel {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { type, score } of pieces) {
    if (type !== PIECE_TYPES.normal) continue;
    least = Math.min(least, score);
    most = Math.max(most, score);
  }
  const usable = pieces.flatMap(({ text, score, type }, token) => {
    if (text === "" || (type !== PIECE_TYPES.normal && type !== PIECE_TYPES.userDefined)) return [];
    const own = type === PIECE_TYPES.userDefined ? Math.fround(utf8.encode(text).length * most) - USER_DEFINED_PENALTY : score;
    return [{ text, token, score: own }];
  });
  return new UnigramModel({ pieces: usable, unknownScore: Math.fround(least - UNKNOWN_PENALTY), unknown });
}

function normalizerOf(options: SentencePieceOptions, userDefined: readonly string[]): Normalizer {
  const { space, dummy, removeExtraSpaces, charsMap } = options;
  const mapped = charsMap === undefined ? (text: string) => text : mapperOf(charsMap, userDefined);
  return (text) => {
    if (text === "") return text;
    const all = mapped(text);
    // A prefix is there before a text of spaces alone is found to be empty.
    const body = (removeExtraSpaces ? all.replace(/^ +/, "").replace(/ {2,}/g, " ") : all).replaceAll(" ", space);
    let whole = dummy === "before" ? space + body : body;
    if (removeExtraSpaces) while (whole.endsWith(space)) whole = whole.slice(0, whole.length - space.length);
    return dummy === "after" && whole !== "" ? whole + space : whole;
  };
}

/** The longest replacement at every place, but for pieces that users defined, which stay as they are. */
function mapperOf(map: CharsMap, userDefined: readonly string[]): Normalizer {
  const kept = new Trie(userDefined);
  const replace = (text: string): string => {
    const bytes = utf8.encode(text);
    const parts: Uint8Array[] = [];
    let copied = 0;
    for (let at = 0; at < bytes.length; ) {
      const found = map.match(bytes, at, bytes.length, true);
      if (found === undefined) {
        // To the next character.
        at++;
        while (at < bytes.length && ((bytes[at] as number) & 0xc0) === 0x80) at++;
        continue;
      }
      if (copied < at) parts.push(bytes.subarray(copied, at));
      parts.push(found.text);
      at += found.length;
      copied = at;
    }
    if (copied === 0) return text;
    parts.push(bytes.subarray(copied));
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole);
  };
  if (userDefined.length === 0) return replace;
  return (text) => {
    let written = "";
    let from = 0;
    for (let at = 0; at < text.length; ) {
      let end = at;
      kept.from(text, at, (_, to) => {
        end = to;
      });
      if (end === at) at++;
      else {
        written += replace(text.slice(from, at)) + text.slice(at, end);
        at = end;
        from = at;
      }
    }
    return written + replace(text.slice(from));
  };
}

/** Pieces to text: spaces, none before the first word where one was put there, and what the unknown token is shown as. */
function pieceDecoder({ space, dummy, removeExtraSpaces, unknownText }: SentencePieceOptions, unknown: string | undefined): DecodeStep {
  const spaced = (item: string): string => (item === unknown ? unknownText : item.replaceAll(space, " "));
  const stripped = dummy === "before" || removeExtraSpaces;
  return {
    begin() {
      let begun = !stripped;
      return {
        push: (items) =>
          items.map((item) => {
            if (begun || item === unknown || !item.startsWith(space)) {
              if (item !== "") begun = true;
              return spaced(item);
            }
            // Where spaces in a row are one, all of them go.
            const rest = item.slice(space.length);
            begun = !removeExtraSpaces || rest !== "";
            return spaced(rest);
          }),
        end: () => [],
      };
    },
    inside: (item) => (typeof item !== "string" ? item : item === unknown ? "" : item.replaceAll(space, " ")),
  };
}

/** Throws FormatError for a type that is none. */
export function checkPieceType(type: number, token: number, file: string): void {
  if (!Object.values<number>(PIECE_TYPES).includes(type))
    throw wrong(file, `expected a type of piece for token ${token}, found ${showValue(type)}`);
}
