/** The tokenizer inside of a GGUF file, as llama.cpp (llama-vocab.cpp) reads it. */
import { FormatError } from "../../errors.js";
import { GGUF_TOKEN_TYPES, type GgufTokenizer } from "../gguf/keys.js";
import { showValue } from "../json.js";
import type { AddedToken } from "./added-tokens.js";
import { BpeModel, type Merge } from "./bpe.js";
import { byteLevelDecoder } from "./decoders.js";
import { compilePattern } from "./patterns.js";
import type { PipelineParts } from "./pipeline.js";
import { gpt2Pattern, type PreTokenizer, splitAt } from "./pre-tokenizers.js";
import { checkPieceType, type Piece, sentencePieceParts } from "./sentencepiece.js";

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const restOfLlama3 = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const llama3 = [`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${restOfLlama3}`];
const qwen2 = [`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${restOfLlama3}`];
const digitsFirst = ["\\p{N}", gpt2Pattern];
const deepseek3 = [
  "\\p{N}{1,3}",
  "[一-龥\u3040-ゟ゠-ヿ]+",
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
];

/** Patterns that cut a text one after another, by `tokenizer.ggml.pre`. */
const cuts: Readonly<Record<string, readonly string[]>> = {
  default: ["[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2Pattern, "\\p{N}+", "[0-9][0-9][0-9]"],
  "gpt-2": [gpt2Pattern],
  "phi-2": [gpt2Pattern],
  mpt: [gpt2Pattern],
  olmo: [gpt2Pattern],
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
  stablelm2: qwen2,
  smollm: digitsFirst,
  starcoder: digitsFirst,
  refact: digitsFirst,
  "command-r": digitsFirst,
  codeshell: digitsFirst,
  "deepseek-v3": deepseek3,
};
/** Kinds whose pieces are tokens where they can be, whatever merges say. */
const wholeFirst: readonly string[] = ["llama-bpe", "llama3", "llama-v3"];

/** Throws FormatError for a tokenizer of a kind that is not known here. */
export function ggufTokenizerParts(tokenizer: GgufTokenizer, file: string): PipelineParts {
  const types = tokenizer.tokens.map((_, token) => tokenizer.tokenTypes?.[token] ?? GGUF_TOKEN_TYPES.normal);
  for (const [token, type] of types.entries()) checkPieceType(type, token, file);
  if (tokenizer.model === "llama") return pieces(tokenizer, types, file);
  if (tokenizer.model === "gpt2") return byteLevel(tokenizer, types, file);
  throw new FormatError(`expected a tokenizer of the kind "llama" or "gpt2", found ${showValue(tokenizer.model)}`, {
    file,
    hint: "put the model's tokenizer.json beside it, or use another model",
  });
}

const around = (tokenizer: GgufTokenizer, addBos: boolean): Pick<PipelineParts, "before" | "after"> => ({
  before: (tokenizer.addBosToken ?? addBos) && tokenizer.bosTokenId !== undefined ? [tokenizer.bosTokenId] : [],
  after: tokenizer.addEosToken && tokenizer.eosTokenId !== undefined ? [tokenizer.eosTokenId] : [],
});

function pieces(tokenizer: GgufTokenizer, types: readonly number[], file: string): PipelineParts {
  const { tokens, scores } = tokenizer;
  if (scores === undefined) {
    throw new FormatError('expected "tokenizer.ggml.scores", found nothing', { file, hint: "convert the model again" });
  }
  const list: Piece[] = tokens.map((text, token) => ({ text, score: scores[token] as number, type: types[token] as number }));
  return sentencePieceParts({
    file,
    pieces: list,
    kind: "bpe",
    space: "▁",
    dummy: (tokenizer.addSpacePrefix ?? true) ? "before" : "none",
    removeExtraSpaces: false,
    charsMap: undefined,
    byteFallback: true,
    unknownText: " ⁇ ",
    userDefinedIn: "text",
    ...around(tokenizer, true),
  });
}

/** The first name of a way of cutting texts that is known here, if it has one. */
export const preOfPatterns = (patterns: readonly unknown[]): string | undefined =>
  Object.keys(cuts).find((name) => cuts[name]?.length === patterns.length && cuts[name].every((pattern, i) => pattern === patterns[i]));

/** Whether the tokenizer is of a kind that is known here. */
export const isKnownGgufTokenizer = ({ model, pre = "default" }: Pick<GgufTokenizer, "model" | "pre">): boolean =>
  model === "llama" || (model === "gpt2" && Object.hasOwn(cuts, pre));

/** How a text is cut before BPE, and whether pieces are tokens where they can be. Throws FormatError for a kind that is not known here. */
export function ggufPatterns(
  { pre = "default" }: Pick<GgufTokenizer, "pre">,
  file: string,
): { patterns: readonly string[]; wholeFirst: boolean } {
  const patterns = Object.hasOwn(cuts, pre) ? cuts[pre] : undefined;
  if (patterns === undefined) {
    throw new FormatError(`expected "tokenizer.ggml.pre" to be ${Object.keys(cuts).join(", ")}, found ${showValue(pre)}`, {
      file,
      hint: "put the model's tokenizer.json beside it",
    });
  }
  return { patterns, wholeFirst: wholeFirst.includes(pre) };
}

function byteLevel(tokenizer: GgufTokenizer, types: readonly number[], file: string): PipelineParts {
  const { tokens } = tokenizer;
  const { patterns, wholeFirst: whole } = ggufPatterns(tokenizer, file);
  const vocabulary = new Map<string, number>();
  for (const [token, text] of tokens.entries()) if (!vocabulary.has(text)) vocabulary.set(text, token);
  const addedTokens = tokens.flatMap((content, id): AddedToken[] => {
    const type = types[id];
    if (type === GGUF_TOKEN_TYPES.userDefined) return [{ id, content, special: false }];
    return type === GGUF_TOKEN_TYPES.control || type === GGUF_TOKEN_TYPES.unknown ? [{ id, content, special: true }] : [];
  });
  const steps = patterns.map((pattern): PreTokenizer => {
    const compiled = compilePattern(pattern, file);
    return (piece) => splitAt(piece, compiled, "Isolated");
  });
  return {
    name: file,
    texts: new Map(tokens.map((text, token) => [token, text])),
    addedTokens,
    normalizer: undefined,
    preTokenizers: steps,
    byteLevel: true,
    model: new BpeModel({
      tokenOf: (text) => vocabulary.get(text),
      vocabulary: vocabulary.keys(),
      merges: mergesOf(tokenizer, vocabulary, file),
      unknown: { token: tokenizer.unknownTokenId, fuse: false, bytes: undefined },
      wholeFirst: whole,
    }),
    decoder: [byteLevelDecoder],
    ...around(tokenizer, whole),
  };
}

function* mergesOf({ merges }: GgufTokenizer, vocabulary: ReadonlyMap<string, number>, file: string): Generator<Merge> {
  if (merges === undefined)
    throw new FormatError('expected "tokenizer.ggml.merges", found nothing', { file, hint: "convert the model again" });
  for (const [rank, merge] of merges.entries()) {
    const space = merge.indexOf(" ", 1);
    const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
    const result = left + right;
    const missing = space < 0 ? merge : [left, right, result].find((text) => !vocabulary.has(text));
    if (missing !== undefined) {
      throw new FormatError(`expected merge ${rank} to be of tokens, found ${showValue(merge)}, of which ${showValue(missing)} is none`, {
        file,
        hint: "convert the model again",
      });
    }
    yield { left, right, result, rank };
  }
}
