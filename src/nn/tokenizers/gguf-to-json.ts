/** The tokenizer inside of a GGUF file as the files that Hugging Face's libraries read. */
import type { GgufTokenizer } from "../gguf/keys.js";
import { GGUF_TOKEN_TYPES } from "../gguf/keys.js";
import { ggufPatterns, ggufTokenizerParts } from "./gguf-tokenizer.js";

/** A merge of pieces, for sorting. */
interface ScoredMerge {
  readonly left: string;
  readonly right: string;
  readonly score: number;
}

const text = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/**
 * `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` that give the tokens, the ends and the chat template of a GGUF file's
 * tokenizer. SentencePiece's pieces become a BPE whose merges are all pairs of pieces that make a piece, the highest score first, as
 * transformers converts them.
 *
 * @throws FormatError for a tokenizer of a kind that is not known here
 */
export function ggufTokenizerFiles(tokenizer: GgufTokenizer, file: string): Record<string, string> {
  const { before, after } = ggufTokenizerParts(tokenizer, file);
  const { tokens, bosTokenId, eosTokenId, eotTokenId, unknownTokenId, chatTemplate } = tokenizer;
  const textOf = (token: number | undefined): string | undefined => (token === undefined ? undefined : tokens[token]);
  const pieces = tokenizer.model === "llama";
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokenizer),
    ...(pieces ? pieceParts(tokenizer) : byteLevelParts(tokenizer, file)),
    post_processor: template(before, after, tokens),
  };
  const ends = [...new Set([eosTokenId, eotTokenId])].filter((token) => token !== undefined);
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: before.length > 0,
    add_eos_token: after.length > 0,
    bos_token: textOf(bosTokenId),
    eos_token: textOf(eosTokenId),
    unk_token: textOf(unknownTokenId),
    clean_up_tokenization_spaces: false,
    chat_template: chatTemplate,
  };
  const generation = { bos_token_id: bosTokenId, eos_token_id: ends.length === 1 ? ends[0] : ends };
  return {
    "tokenizer.json": text(json),
    "tokenizer_config.json": text(config),
    ...(ends.length > 0 ? { "generation_config.json": text(generation) } : {}),
  };
}

function addedTokens({ tokens, tokenTypes }: GgufTokenizer): unknown[] {
  return tokens.flatMap((content, id) => {
    const type = tokenTypes?.[id] ?? GGUF_TOKEN_TYPES.normal;
    const special = type === GGUF_TOKEN_TYPES.control || type === GGUF_TOKEN_TYPES.unknown;
    if (!special && type !== GGUF_TOKEN_TYPES.userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** Of several tokens with one text the first. */
function vocabularyOf(tokens: readonly string[]): Map<string, number> {
  const vocabulary = new Map<string, number>();
  for (const [token, each] of tokens.entries()) if (!vocabulary.has(each)) vocabulary.set(each, token);
  return vocabulary;
}

function byteLevelParts(tokenizer: GgufTokenizer, file: string): Record<string, unknown> {
  const { patterns, wholeFirst } = ggufPatterns(tokenizer, file);
  const split = (Regex: string): unknown => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...patterns.map(split), byteLevel] },
    decoder: byteLevel,
    model: {
      ...bpe,
      unk_token: tokenizer.unknownTokenId === undefined ? null : tokenizer.tokens[tokenizer.unknownTokenId],
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: wholeFirst,
      vocab: Object.fromEntries(vocabularyOf(tokenizer.tokens)),
      merges: (tokenizer.merges ?? []).map((merge) => {
        const space = merge.indexOf(" ", 1);
        return [merge.slice(0, space), merge.slice(space + 1)];
      }),
    },
  };
}

const bpe = { type: "BPE", dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

function pieceParts(tokenizer: GgufTokenizer): Record<string, unknown> {
  const { tokens, unknownTokenId, addSpacePrefix = true } = tokenizer;
  const space = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    normalizer: { type: "Sequence", normalizers: [...(addSpacePrefix ? [{ type: "Prepend", prepend: "▁" }] : []), space] },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(addSpacePrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpe,
      unk_token: unknownTokenId === undefined ? null : tokens[unknownTokenId],
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabularyOf(tokens)),
      merges: mergesOfPieces(tokenizer).map(({ left, right }) => [left, right]),
    },
  };
}

/** All pairs of pieces that make a piece: the highest score first, then the longer left piece, as transformers sorts them. */
function mergesOfPieces({ tokens, scores, tokenTypes }: GgufTokenizer): ScoredMerge[] {
  const ordinary = (token: number): boolean => {
    const type = tokenTypes?.[token] ?? GGUF_TOKEN_TYPES.normal;
    return type === GGUF_TOKEN_TYPES.normal || type === GGUF_TOKEN_TYPES.userDefined;
  };
  const vocabulary = vocabularyOf(tokens);
  const merges: ScoredMerge[] = [];
  for (const [piece, token] of vocabulary) {
    if (!ordinary(token)) continue;
    const characters = [...piece];
    const found: (ScoredMerge & { readonly parts: readonly [number, number] })[] = [];
    for (let i = 1; i < characters.length; i++) {
      const [left, right] = [characters.slice(0, i).join(""), characters.slice(i).join("")];
      const parts = [vocabulary.get(left), vocabulary.get(right)];
      if (parts.some((part) => part === undefined || !ordinary(part))) continue;
      found.push({ left, right, score: scores?.[token] ?? 0, parts: parts as [number, number] });
    }
    found.sort((a, b) => a.parts[0] - b.parts[0] || a.parts[1] - b.parts[1]);
    merges.push(...found);
  }
  return merges.sort((a, b) => b.score - a.score || b.left.length - a.left.length || b.right.length - a.right.length);
}

/** What stands before and after every text. */
function template(before: readonly number[], after: readonly number[], tokens: readonly string[]): unknown {
  if (before.length + after.length === 0) return null;
  const special = (token: number, type_id: number): unknown => ({ SpecialToken: { id: tokens[token], type_id } });
  const around = (id: "A" | "B", type_id: number): unknown[] => [
    ...before.map((token) => special(token, type_id)),
    { Sequence: { id, type_id } },
    ...after.map((token) => special(token, type_id)),
  ];
  const entries = [...new Set([...before, ...after])].map((token) => {
    const id = tokens[token] as string;
    return [id, { id, ids: [token], tokens: [id] }];
  });
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(entries),
  };
}
