/**
 * `tokenizer.bin` of llama2.c (Karpathy 2023, tokenizer.py): SentencePiece's pieces with their scores, in which spaces are written as such.
 *
 *     bytes of the longest text u32 · for each token its score f32, the bytes of its text u32 and they; little endian
 */
import { FormatError } from "../../errors.js";
import type { GgufTokenizer } from "../gguf/keys.js";
import type { ModelFiles } from "../model-source.js";
import { writtenByte } from "./decoders.js";
import type { PipelineParts } from "./pipeline.js";
import { PIECE_TYPES, type Piece, sentencePieceParts } from "./sentencepiece.js";

/** Tokens with a meaning, by number. */
const reserved = ["<unk>", "<s>", "</s>"];

/** The tokens that begin and end a text. */
const ends = { bosTokenId: 1, eosTokenId: 2 } as const;

/** Whether a name is that of such a file: `tokenizer.bin`, `tok512.bin`. */
export const isListedTokenizer = (name: string): boolean => /^tok[^/\\]*\.bin$/i.test(name);

/** The last part of a path or an address. */
export const baseName = (path: string): string => /[^/\\]*$/.exec(path)?.[0] ?? path;

/** The name of the one such file among others: `tokenizer.bin`, or whichever there is of its kind; undefined where there is none, or several. */
export async function listedTokenizerName(files: ModelFiles): Promise<string | undefined> {
  const found = ((await files.names()) ?? ["tokenizer.bin"]).filter(isListedTokenizer);
  return found.find((name) => name === "tokenizer.bin") ?? (found.length === 1 ? found[0] : undefined);
}

/** Throws FormatError for what is no such file. */
export function readLlama2cTokenizer(bytes: Uint8Array, file: string): PipelineParts {
  return sentencePieceParts({
    file,
    pieces: readPieces(bytes, file),
    kind: "bpe",
    space: " ",
    dummy: "before",
    removeExtraSpaces: false,
    charsMap: undefined,
    byteFallback: true,
    unknownText: " ⁇ ",
    userDefinedIn: "text",
    before: [ends.bosTokenId],
    after: [],
  });
}

/** The same tokens as a GGUF file holds them, in which spaces are "▁". Throws FormatError for what is no such file. */
export function llama2cDefinition(bytes: Uint8Array, file: string): GgufTokenizer {
  const pieces = readPieces(bytes, file);
  return {
    ...{ model: "llama", pre: "default", merges: undefined, chatTemplate: undefined },
    tokens: pieces.map(({ text }) => text.replaceAll(" ", "▁")),
    scores: Float64Array.from(pieces, ({ score }) => score),
    tokenTypes: Float64Array.from(pieces, ({ type }) => type),
    ...{ ...ends, unknownTokenId: 0, paddingTokenId: undefined, eotTokenId: undefined },
    ...{ addBosToken: true, addEosToken: false, addSpacePrefix: true, removeExtraWhitespaces: false },
  };
}

function readPieces(bytes: Uint8Array, file: string): Piece[] {
  const fail = (message: string, offset: number): FormatError =>
    new FormatError(message, { file, offset, hint: "this is no tokenizer.bin of llama2.c, or it is damaged; export it again" });
  if (bytes.length < 4) throw fail(`expected the length of the longest token, found ${bytes.length} bytes`, 0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const longest = view.getUint32(0, true);
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const pieces: Piece[] = [];
  for (let at = 4; at < bytes.length; ) {
    if (bytes.length - at < 8) throw fail("expected a score and a length, found the end", at);
    const [score, length] = [view.getFloat32(at, true), view.getUint32(at + 4, true)];
    if (length > longest || length > bytes.length - at - 8)
      throw fail(`expected a text of at most ${longest} bytes inside of the file, found ${length}`, at);
    let text: string;
    try {
      text = utf8.decode(bytes.subarray(at + 8, at + 8 + length));
    } catch (cause) {
      throw new FormatError("expected text in UTF-8, found bytes that are not", { file, offset: at + 8, hint: "export it again", cause });
    }
    const token = pieces.length;
    const type =
      token === 0
        ? PIECE_TYPES.unknown
        : token < 3
          ? PIECE_TYPES.control
          : writtenByte(text) !== undefined
            ? PIECE_TYPES.byte
            : PIECE_TYPES.normal;
    pieces.push({ text: reserved[token] ?? text, score, type });
    at += 8 + length;
  }
  if (pieces.length <= reserved.length)
    throw fail(`expected tokens beside ${reserved.join(", ")}, found ${pieces.length} in all`, bytes.length);
  return pieces;
}
