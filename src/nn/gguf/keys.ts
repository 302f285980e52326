/** Keys of a GGUF header by type, and those of its tokenizer. */
import { FormatError } from "../../errors.js";
import { showValue } from "../json.js";
import type { GgufHeader } from "./header.js";
import type { GgufList, GgufValue } from "./values.js";

type Header = Pick<GgufHeader, "keys" | "file">;

/** The string under a key, or undefined where there is no such key. Throws FormatError for a value of another type. */
export const ggufString = ({ keys, file }: Header, key: string): string | undefined => {
  const found = keys.get(key);
  if (found === undefined) return undefined;
  if (found.type !== "string") throw wrongType(file, key, "a string", found);
  return found.value as string;
};

/** The number under a key, of any numeric type, or undefined where there is no such key. Throws FormatError for what no number holds exactly. */
export const ggufNumber = ({ keys, file }: Header, key: string): number | undefined => {
  const found = keys.get(key);
  if (found === undefined) return undefined;
  if (typeof found.value !== "number") throw wrongType(file, key, "a number", found);
  return found.value;
};

/** The boolean under a key, or undefined where there is no such key. Throws FormatError for a value of another type. */
export const ggufFlag = ({ keys, file }: Header, key: string): boolean | undefined => {
  const found = keys.get(key);
  if (found === undefined) return undefined;
  if (typeof found.value !== "boolean") throw wrongType(file, key, "true or false", found);
  return found.value;
};

/** The strings of an array, or undefined where there is no such key. Throws FormatError for a value of another type and strings that are not UTF-8. */
export const ggufStrings = ({ keys, file }: Header, key: string): string[] | undefined => {
  const found = keys.get(key);
  if (found === undefined) return undefined;
  if (found.type !== "array" || found.value.items !== "string") throw wrongType(file, key, "an array of strings", found);
  return found.value.values() as string[];
};

/** The numbers of an array, or undefined where there is no such key. Throws FormatError for a value of another type and integers beyond ±2⁵³. */
export const ggufNumbers = ({ keys, file }: Header, key: string): Float64Array | undefined => {
  const found = keys.get(key);
  if (found === undefined) return undefined;
  const values =
    found.type === "array" && found.value.items !== "string" && found.value.items !== "bool" ? found.value.values() : undefined;
  if (values === undefined || values.some((value) => typeof value !== "number")) throw wrongType(file, key, "an array of numbers", found);
  return Float64Array.from(values as number[]);
};

/** What `token_type` says of a token. */
export const GGUF_TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A tokenizer as a GGUF file holds it, under `tokenizer.ggml.…`. */
export interface GgufTokenizer {
  /** "gpt2" for byte-level BPE, "llama" for SentencePiece's BPE, "bert", "t5", … */
  readonly model: string;
  /** llama.cpp's name for how a text is cut before BPE: "llama-bpe", "smollm", "qwen2". */
  readonly pre: string | undefined;
  /** By id. */
  readonly tokens: readonly string[];
  /** Of every token, where there are any. */
  readonly scores: Float64Array | undefined;
  /** Of every token, numbers of {@link GGUF_TOKEN_TYPES}, where there are any. */
  readonly tokenTypes: Float64Array | undefined;
  /** "left right", the first to be tried first. */
  readonly merges: readonly string[] | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly unknownTokenId: number | undefined;
  readonly paddingTokenId: number | undefined;
  /** The end of a turn in a chat. */
  readonly eotTokenId: number | undefined;
  readonly addBosToken: boolean | undefined;
  readonly addEosToken: boolean | undefined;
  readonly addSpacePrefix: boolean | undefined;
  readonly removeExtraWhitespaces: boolean | undefined;
  /** A Jinja template. */
  readonly chatTemplate: string | undefined;
}

/** As many tokens as a model may have. */
const MAX_TOKENS = 2 ** 20;

/**
 * The tokenizer of a GGUF file, or undefined where it has none. Lists of tokens are decoded here, so this is not asked for by those who only look.
 *
 * @throws FormatError for keys of wrong types, lists of unequal lengths and ids that are no token's
 */
export function ggufTokenizer(header: Header): GgufTokenizer | undefined {
  const { file } = header;
  const key = (name: string): string => `tokenizer.ggml.${name}`;
  const fail = (message: string): FormatError => new FormatError(message, { file, hint: "convert the model again" });
  const model = ggufString(header, key("model"));
  const list = header.keys.get(key("tokens"));
  // Models for other tokenizers say "no_vocab" or nothing.
  if (model === undefined || list === undefined) return undefined;
  if (list.type === "array" && list.value.length > MAX_TOKENS)
    throw fail(`expected at most ${MAX_TOKENS} tokens, found ${list.value.length}`);
  const tokens = ggufStrings(header, key("tokens")) as string[];
  const ofTokens = (name: string): Float64Array | undefined => {
    const values = ggufNumbers(header, key(name));
    if (values !== undefined && values.length !== tokens.length) {
      throw fail(`expected ${showValue(key(name))} to have ${tokens.length} items, one for each token, found ${values.length}`);
    }
    return values;
  };
  const id = (name: string): number | undefined => {
    const value = ggufNumber(header, key(`${name}_token_id`));
    if (value === undefined || (Number.isInteger(value) && value >= 0 && value < tokens.length)) return value;
    // What has no such token was given −1, or that as a u32.
    if (value === -1 || value === 2 ** 32 - 1) return undefined;
    throw fail(`expected ${showValue(key(`${name}_token_id`))} to be from 0 to ${tokens.length - 1}, found ${value}`);
  };
  return {
    model,
    pre: ggufString(header, key("pre")),
    tokens,
    scores: ofTokens("scores"),
    tokenTypes: ofTokens("token_type"),
    merges: ggufStrings(header, key("merges")),
    bosTokenId: id("bos"),
    eosTokenId: id("eos"),
    unknownTokenId: id("unknown"),
    paddingTokenId: id("padding"),
    eotTokenId: id("eot"),
    addBosToken: ggufFlag(header, key("add_bos_token")),
    addEosToken: ggufFlag(header, key("add_eos_token")),
    addSpacePrefix: ggufFlag(header, key("add_space_prefix")),
    removeExtraWhitespaces: ggufFlag(header, key("remove_extra_whitespaces")),
    chatTemplate: ggufString(header, "tokenizer.chat_template"),
  };
}

const wrongType = (file: string, key: string, wanted: string, { type, value }: GgufValue): FormatError => {
  const found =
    type === "array" ? `an array of ${(value as GgufList).length} ${(value as GgufList).items}` : `${type} ${showValue(String(value))}`;
  return new FormatError(`expected ${showValue(key)} to be ${wanted}, found ${found}`, { file, hint: "convert the model again" });
};
