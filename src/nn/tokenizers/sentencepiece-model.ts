/** `tokenizer.model`: the file of SentencePiece (sentencepiece_model.proto of google/sentencepiece). */
import { FormatError } from "../../errors.js";
import type { GgufTokenizer } from "../gguf/keys.js";
import { readCharsMap } from "./double-array.js";
import type { PipelineParts } from "./pipeline.js";
import { protoFields } from "./protobuf.js";
import { checkPieceType, PIECE_TYPES, type Piece, type SentencePieceOptions, sentencePieceParts } from "./sentencepiece.js";

/** Numbers of the fields that are read. */
const MODEL = { pieces: 1, trainer: 2, normalizer: 3 };
const PIECE = { text: 1, score: 2, type: 3 };
const TRAINER = { modelType: 3, spaceAsSuffix: 24, byteFallback: 35, unknownText: 44 };
const NORMALIZER = { charsMap: 2, dummyPrefix: 3, removeExtraSpaces: 4, escapeSpaces: 5 };

const KINDS: Readonly<Record<number, "unigram" | "bpe">> = { 1: "unigram", 2: "bpe" };

/** What such a file says. */
type SentencePieceFile = Omit<SentencePieceOptions, "before" | "after" | "userDefinedIn">;

/** Which of the pieces "<s>" and "</s>" are put around a text that is encoded with `special`. */
export interface AroundText {
  readonly bos: boolean;
  readonly eos: boolean;
}

/** Throws FormatError for what is no such file, or a model of words or characters. */
export function readSentencePieceModel(bytes: Uint8Array, file: string, around: AroundText): PipelineParts {
  const model = parse(bytes, file);
  const tokens = (wanted: boolean, text: string): number[] => (wanted ? [controlToken(model, text)].filter((token) => token >= 0) : []);
  return sentencePieceParts({
    ...model,
    userDefinedIn: "normalized",
    before: tokens(around.bos, "<s>"),
    after: tokens(around.eos, "</s>"),
  });
}

/**
 * The same tokens as a GGUF file holds them, or undefined for a model that llama.cpp's kind "llama" cannot say: unigrams, texts that are normalized, and
 * models without pieces for bytes. Throws FormatError as {@link readSentencePieceModel}.
 */
export function sentencePieceDefinition(bytes: Uint8Array, file: string, around: AroundText): GgufTokenizer | undefined {
  const model = parse(bytes, file);
  const { pieces, kind, space, dummy, removeExtraSpaces, charsMap, byteFallback } = model;
  if (kind !== "bpe" || space !== "▁" || dummy === "after" || removeExtraSpaces || charsMap !== undefined || !byteFallback)
    return undefined;
  const control = (text: string): number | undefined => [controlToken(model, text)].find((token) => token >= 0);
  return {
    ...{ model: "llama", pre: "default", merges: undefined, chatTemplate: undefined },
    tokens: pieces.map(({ text }) => text),
    scores: Float64Array.from(pieces, ({ score }) => score),
    tokenTypes: Float64Array.from(pieces, ({ type }) => type),
    ...{ bosTokenId: control("<s>"), eosTokenId: control("</s>"), paddingTokenId: undefined, eotTokenId: undefined },
    unknownTokenId: pieces.findIndex(({ type }) => type === PIECE_TYPES.unknown),
    ...{ addBosToken: around.bos, addEosToken: around.eos, addSpacePrefix: dummy === "before", removeExtraWhitespaces: false },
  };
}

const controlToken = ({ pieces }: SentencePieceFile, text: string): number =>
  pieces.findIndex((piece) => piece.text === text && piece.type === PIECE_TYPES.control);

function parse(bytes: Uint8Array, file: string): SentencePieceFile {
  const pieces: Piece[] = [];
  let trainer = new Map<number, number | Uint8Array>();
  let normalizer = new Map<number, number | Uint8Array>();
  for (const { number, value, offset } of protoFields(bytes, file)) {
    if (number === MODEL.pieces) pieces.push(readPiece(message(value, "a piece", file, offset), file, offset, pieces.length));
    if (number === MODEL.trainer) trainer = fieldsOf(message(value, "settings", file, offset), file, offset);
    if (number === MODEL.normalizer) normalizer = fieldsOf(message(value, "settings", file, offset), file, offset);
  }
  const fail = (message: string): FormatError =>
    new FormatError(message, { file, hint: "this is no tokenizer.model of SentencePiece, or it is damaged; get it again" });
  if (pieces.length === 0) throw fail("expected a tokenizer.model with pieces, found none");
  if (!pieces.some(({ type }) => type === PIECE_TYPES.unknown)) throw fail("expected a piece for what is unknown, found none");
  const type = trainer.get(TRAINER.modelType) ?? 1;
  const kind = typeof type === "number" ? KINDS[type] : undefined;
  if (kind === undefined) throw fail(`expected a model of type 1 (unigram) or 2 (BPE), found ${String(type)}`);
  if (kind === "bpe" && pieces.some((piece) => piece.type === PIECE_TYPES.unused))
    throw fail("expected a BPE model without unused pieces, found some");
  const flag = (fields: ReadonlyMap<number, unknown>, number: number, otherwise: boolean): boolean =>
    fields.has(number) ? fields.get(number) !== 0 : otherwise;
  const charsMap = normalizer.get(NORMALIZER.charsMap);
  const unknownText = trainer.get(TRAINER.unknownText);
  const dummy = flag(normalizer, NORMALIZER.dummyPrefix, true);
  return {
    file,
    pieces,
    kind,
    space: flag(normalizer, NORMALIZER.escapeSpaces, true) ? "▁" : " ",
    dummy: !dummy ? "none" : flag(trainer, TRAINER.spaceAsSuffix, false) ? "after" : "before",
    removeExtraSpaces: flag(normalizer, NORMALIZER.removeExtraSpaces, true),
    charsMap: charsMap instanceof Uint8Array && charsMap.length > 0 ? readCharsMap(charsMap, file) : undefined,
    byteFallback: flag(trainer, TRAINER.byteFallback, false),
    unknownText: unknownText instanceof Uint8Array ? text(unknownText, file, 0) : " ⁇ ",
  };
}

function message(value: number | Uint8Array, what: string, file: string, offset: number): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new FormatError(`expected ${what}, found an integer`, { file, offset, hint: "the file is damaged; get it again" });
}

/** The last value of every field. */
const fieldsOf = (bytes: Uint8Array, file: string, offset: number): Map<number, number | Uint8Array> =>
  new Map([...protoFields(bytes, file, offset)].map(({ number, value }) => [number, value]));

function readPiece(bytes: Uint8Array, file: string, offset: number, token: number): Piece {
  const fields = fieldsOf(bytes, file, offset);
  const [written, score, type = PIECE_TYPES.normal] = [fields.get(PIECE.text), fields.get(PIECE.score), fields.get(PIECE.type)];
  if (!(written instanceof Uint8Array) || typeof type !== "number" || typeof score === "number" || (score?.length ?? 4) !== 4) {
    throw new FormatError(`expected piece ${token} to have a text, a score and a type`, {
      file,
      offset,
      hint: "the file is damaged; get it again",
    });
  }
  checkPieceType(type, token, file);
  return {
    text: text(written, file, offset),
    score: score === undefined ? 0 : new DataView(score.buffer, score.byteOffset, 4).getFloat32(0, true),
    type,
  };
}

function text(bytes: Uint8Array, file: string, offset: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError("expected text in UTF-8, found bytes that are not", {
      file,
      offset,
      hint: "the file is damaged; get it again",
      cause,
    });
  }
}
