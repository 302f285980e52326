/** tokenizer.json, the file of Hugging Face's `tokenizers`: every part is checked when it is read, and what is not known is refused by name. */
import { FormatError } from "../../errors.js";
import { isObject, parseJson, showValue } from "../json.js";
import { type AddedToken, checkAddedTokens, readAddedToken } from "./added-tokens.js";
import { BpeModel, type Merge } from "./bpe.js";
import { readDecoder, spacedDecoder } from "./decoders.js";
import { Fields } from "./fields.js";
import { byteTokensOf, type TokenModel } from "./model.js";
import { readNormalizer } from "./normalizers.js";
import type { PipelineParts } from "./pipeline.js";
import { readPreTokenizer } from "./pre-tokenizers.js";
import { UNKNOWN_PENALTY } from "./sentencepiece.js";
import { UnigramModel, type UnigramPiece } from "./unigram.js";
import { WordLevelModel, WordPieceModel } from "./word-piece.js";

/** Gemma's has 262,145 tokens and 515,000 merges of two texts each. */
const JSON_LIMITS = { maxEntries: 2 ** 20, maxValues: 8_000_000 };

type Vocabulary = ReadonlyMap<string, number>;

/** Throws FormatError for what is no tokenizer.json, or has parts that are not known here. */
export function readTokenizerJson(text: string, file: string): PipelineParts {
  const fields = Fields.of(parseJson(text, { file, ...JSON_LIMITS }), file);
  if (!fields.has("model")) {
    throw new FormatError("expected a tokenizer.json with a model, found none", { file, hint: "this is another file; get tokenizer.json" });
  }
  const { model, vocabulary } = readModel(fields.object("model"));
  const normalizer = fields.has("normalizer") ? readNormalizer(fields.object("normalizer")) : undefined;
  const addedTokens = fields.has("added_tokens") ? fields.objects("added_tokens").map((token) => readAddedToken(token, normalizer)) : [];
  checkAddedTokens(addedTokens, file);
  const preTokenizer = fields.has("pre_tokenizer") ? readPreTokenizer(fields.object("pre_tokenizer")) : { steps: [], byteLevel: false };
  return {
    name: file,
    texts: textsOf(vocabulary, addedTokens, file),
    addedTokens,
    normalizer,
    preTokenizers: preTokenizer.steps,
    byteLevel: preTokenizer.byteLevel,
    model,
    decoder: fields.has("decoder") ? readDecoder(fields.object("decoder")) : [spacedDecoder],
    ...(fields.has("post_processor") ? readPostProcessor(fields.object("post_processor")) : { before: [], after: [] }),
  };
}

/** Writings by token: of those that are looked for in normalized text the normalized ones. Throws FormatError where two have the same number. */
export function textsOf(vocabulary: Vocabulary, addedTokens: readonly AddedToken[], file: string): Map<number, string> {
  const texts = new Map<number, string>();
  const put = (text: string, token: number): void => {
    const other = texts.get(token);
    if (other !== undefined && other !== text) {
      throw new FormatError(`expected every token once, found ${token} for ${showValue(other)} and for ${showValue(text)}`, {
        file,
        hint: "the file is damaged; get it again",
      });
    }
    texts.set(token, text);
  };
  for (const [text, token] of vocabulary) put(text, token);
  for (const { id, content, normalized } of addedTokens) {
    if ((vocabulary.get(content) ?? id) !== id) {
      throw new FormatError(
        `expected the added token ${showValue(content)} to be ${vocabulary.get(content)} as in the vocabulary, found ${id}`,
        {
          file,
          hint: "the file is damaged; get it again",
        },
      );
    }
    if (vocabulary.get(content) !== id) put(normalized ?? content, id);
  }
  if (texts.size === 0) throw new FormatError("expected tokens, found none", { file, hint: "the file is damaged; get it again" });
  return texts;
}

function readModel(fields: Fields): { model: TokenModel; vocabulary: Vocabulary } {
  // Files of older versions name no type.
  const type = fields.stringOr("type", fields.has("merges") ? "BPE" : Array.isArray(fields.raw("vocab")) ? "Unigram" : "WordPiece");
  switch (type) {
    case "BPE":
      return readBpe(fields);
    case "Unigram":
      return readUnigram(fields);
    case "WordPiece": {
      const vocabulary = readVocabulary(fields);
      const model = new WordPieceModel({
        tokens: vocabulary,
        unknown: vocabulary.get(fields.stringOr("unk_token", "[UNK]")),
        prefix: fields.stringOr("continuing_subword_prefix", "##"),
        longestWord: fields.integerOr("max_input_chars_per_word", 100, 0, Number.MAX_SAFE_INTEGER),
      });
      return { model, vocabulary };
    }
    case "WordLevel": {
      const vocabulary = readVocabulary(fields);
      return { model: new WordLevelModel(vocabulary, vocabulary.get(fields.stringOr("unk_token", "<unk>"))), vocabulary };
    }
    default:
      throw fields.fail("type", '"BPE", "Unigram", "WordPiece" or "WordLevel"');
  }
}

function readVocabulary(fields: Fields): Vocabulary {
  const vocab = fields.raw("vocab");
  if (!isObject(vocab)) throw fields.fail("vocab", "an object of tokens");
  const tokens = new Map<string, number>();
  for (const [text, token] of Object.entries(vocab)) {
    if (!Number.isInteger(token) || (token as number) < 0 || (token as number) > 2 ** 31 - 1) {
      throw new FormatError(`expected ${fields.nameOf("vocab")}[${showValue(text)}] to be a token's number, found ${showValue(token)}`, {
        file: fields.file,
        hint: "the file is damaged; get it again",
      });
    }
    tokens.set(text, token as number);
  }
  return tokens;
}

function readBpe(fields: Fields): { model: TokenModel; vocabulary: Vocabulary } {
  const vocabulary = readVocabulary(fields);
  const tokenOf = (text: string): number | undefined => vocabulary.get(text);
  const prefix = fields.stringOr("continuing_subword_prefix", "");
  const suffix = fields.stringOr("end_of_word_suffix", "");
  const unknown = fields.stringOr("unk_token", undefined);
  const token = unknown === undefined ? undefined : tokenOf(unknown);
  if (unknown !== undefined && token === undefined) throw fields.fail("unk_token", "a token of the vocabulary");
  if (fields.has("dropout") && fields.raw("dropout") !== 0) throw fields.fail("dropout", "none, as encoding is not random here");
  const model = new BpeModel({
    tokenOf,
    vocabulary: vocabulary.keys(),
    merges: readMerges(fields, vocabulary, prefix),
    unknown: {
      token,
      fuse: fields.flag("fuse_unk", false),
      bytes: fields.flag("byte_fallback", false) ? byteTokensOf(tokenOf) : undefined,
    },
    prefix,
    suffix,
    wholeFirst: fields.flag("ignore_merges", false),
  });
  return { model, vocabulary };
}

function* readMerges(fields: Fields, vocabulary: Vocabulary, prefix: string): Generator<Merge> {
  let rank = 0;
  for (const merge of fields.list("merges")) {
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    if (typeof left !== "string" || typeof right !== "string") throw problem(fields, rank, "two tokens", merge);
    const result = left + (right.startsWith(prefix) ? right.slice(prefix.length) : right);
    const missing = [left, right, result].find((text) => !vocabulary.has(text));
    if (missing !== undefined) throw problem(fields, rank, `tokens of the vocabulary, which has no ${showValue(missing)}`, merge);
    yield { left, right, result, rank: rank++ };
  }
}

const problem = (fields: Fields, index: number, expected: string, found: unknown): FormatError =>
  new FormatError(`expected ${fields.nameOf("merges")}[${index}] to be ${expected}, found ${showValue(found)}`, {
    file: fields.file,
    hint: "the file is damaged; get it again",
  });

function readUnigram(fields: Fields): { model: TokenModel; vocabulary: Vocabulary } {
  const vocabulary = new Map<string, number>();
  const pieces: UnigramPiece[] = [];
  let least = Number.POSITIVE_INFINITY;
  fields.list("vocab").forEach((entry, token) => {
    const [text, score] = Array.isArray(entry) && entry.length === 2 ? (entry as unknown[]) : [];
    if (typeof text !== "string" || typeof score !== "number" || !Number.isFinite(score) || vocabulary.has(text)) {
      throw new FormatError(
        `expected ${fields.nameOf("vocab")}[${token}] to be a token of its own and its score, found ${showValue(entry)}`,
        {
          file: fields.file,
          hint: "the file is damaged; get it again",
        },
      );
    }
    vocabulary.set(text, token);
    least = Math.min(least, score);
    if (text !== "") pieces.push({ text, token, score });
  });
  const bytes = fields.flag("byte_fallback", false) ? byteTokensOf((text) => vocabulary.get(text)) : undefined;
  const unknown = fields.has("unk_id") ? fields.integer("unk_id", 0, vocabulary.size - 1) : undefined;
  if (unknown === undefined && bytes?.size !== 256) throw fields.fail("unk_id", "a token, as not every character is one");
  const model = new UnigramModel({ pieces, unknownScore: least - UNKNOWN_PENALTY, unknown: { token: unknown, fuse: true, bytes } });
  return { model, vocabulary };
}

type Around = Pick<PipelineParts, "before" | "after">;

/** The tokens that are put around a text. */
function readPostProcessor(fields: Fields): Around {
  const type = fields.string("type");
  switch (type) {
    case "ByteLevel":
      return { before: [], after: [] };
    case "Sequence":
      return fields
        .objects("processors")
        .map(readPostProcessor)
        .reduce((inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }), {
          before: [],
          after: [],
        });
    case "BertProcessing":
    case "RobertaProcessing":
      return { before: [readPair(fields, "cls")], after: [readPair(fields, "sep")] };
    case "TemplateProcessing":
      return readTemplate(fields);
    default:
      throw fields.fail("type", "a post-processor that is known here");
  }
}

function readPair(fields: Fields, name: string): number {
  const [text, token] = fields.list(name);
  if (typeof text !== "string" || !isToken(token)) throw fields.fail(name, "a token and its number");
  return token;
}

const isToken = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;

function readTemplate(fields: Fields): Around {
  const before: number[] = [];
  const after: number[] = [];
  let seen = false;
  for (const item of fields.objects("single")) {
    if (item.has("Sequence")) {
      if (seen || item.object("Sequence").string("id") !== "A") throw item.fail("Sequence", "the text, once");
      seen = true;
      continue;
    }
    const id = item.object("SpecialToken").string("id");
    const ids = fields.object("special_tokens").object(id).list("ids");
    if (!ids.every(isToken)) throw fields.object("special_tokens").object(id).fail("ids", "tokens");
    (seen ? after : before).push(...ids);
  }
  if (!seen) throw fields.fail("single", "a template with the text in it");
  return { before, after };
}
