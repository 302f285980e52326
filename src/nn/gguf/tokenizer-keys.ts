/**
 * The keys of a GGUF file's tokenizer from a Hugging Face `tokenizer.json`. llama.cpp has two kinds that Llamas use: "gpt2", byte-level BPE whose way of
 * cutting texts has a name, and "llama", SentencePiece's BPE, which joins the pair whose result has the largest score.
 */
import { FormatError, OptionError } from "../../errors.js";
import { isObject, showValue } from "../json.js";
import { byteCharacters } from "../tokenizers/byte-characters.js";
import { preOfPatterns } from "../tokenizers/gguf-tokenizer.js";
import { GGUF_TOKEN_TYPES, type GgufTokenizer } from "./keys.js";
import { flagValue, type GgufValue, listValue, textValue, u32Value } from "./values.js";

/** The parsed files of a folder that say what its tokenizer does. */
export interface TokenizerFiles {
  /** The name of `tokenizer.json`, for messages. */
  readonly file: string;
  readonly tokenizer: unknown;
  /** `tokenizer_config.json`. */
  readonly config?: unknown;
  /** `chat_template.jinja`, which newer folders have in place of a key. */
  readonly chatTemplate?: string | undefined;
  /** llama.cpp's name for the way of cutting texts, where it is not known here. */
  readonly pre?: string | undefined;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Keys `tokenizer.…` for a vocabulary of `vocabSize` tokens, of which those that the tokenizer does not have are unused ones.
 *
 * @throws FormatError for a tokenizer.json that is none, OptionError for one that llama.cpp has no kind for
 */
export function tokenizerKeys(files: TokenizerFiles, vocabSize: number): Map<string, GgufValue> {
  const { file } = files;
  const fail = (message: string): FormatError => new FormatError(message, { file, hint: "this is no tokenizer.json of a model" });
  const json = files.tokenizer;
  if (!isObject(json) || !isObject(json["model"])) throw fail("expected a JSON object with a model, found none");
  const { vocab, merges } = json["model"];
  if (json["model"]["type"] !== "BPE" || !isObject(vocab) || !Array.isArray(merges)) {
    throw new OptionError(`${file}: GGUF files of Llamas hold tokenizers of type "BPE", found ${showValue(json["model"]["type"])}`, {
      hint: "write the model as a folder, whose tokenizer files are copied",
    });
  }
  const added = (Array.isArray(json["added_tokens"]) ? json["added_tokens"] : []).filter(isObject);
  const tokens = tokenList(vocab, added, vocabSize, fail);
  const rules = merges.map((rule: unknown) => mergeOf(rule, fail));
  const special = new Set(added.filter((token) => token["special"] === true).map((token) => token["content"]));
  const isSentencePiece = json["model"]["byte_fallback"] === true;
  const unknown = json["model"]["unk_token"];
  const types = tokens.map((token, id) => {
    if (token === undefined) return GGUF_TOKEN_TYPES.unused;
    if (isSentencePiece && token === unknown) return GGUF_TOKEN_TYPES.unknown;
    if (special.has(token)) return GGUF_TOKEN_TYPES.control;
    if (isSentencePiece && /^<0x[0-9A-F]{2}>$/.test(token)) return GGUF_TOKEN_TYPES.byte;
    return added.some((one) => one["id"] === id) ? GGUF_TOKEN_TYPES.userDefined : GGUF_TOKEN_TYPES.normal;
  });
  const keys = new Map<string, GgufValue>();
  const key = (name: string, value: GgufValue): unknown => keys.set(`tokenizer.ggml.${name}`, value);
  key("model", textValue(isSentencePiece ? "llama" : "gpt2"));
  key("pre", textValue(isSentencePiece ? "default" : (files.pre ?? preOf(json, file))));
  key(
    "tokens",
    listValue(
      "string",
      tokens.map((token, id) => token ?? `[PAD${id}]`),
    ),
  );
  if (isSentencePiece) key("scores", listValue("f32", scoresOf(tokens, rules)));
  key("token_type", listValue("i32", types));
  if (!isSentencePiece)
    key(
      "merges",
      listValue(
        "string",
        rules.map(([left, right]) => `${left} ${right}`),
      ),
    );
  key("add_space_prefix", flagValue(isSentencePiece && hasSpacePrefix(json)));
  for (const [name, value] of configKeys(files, tokens)) keys.set(name, value);
  const begins = beginsTexts(json);
  if (begins !== undefined) key("add_bos_token", flagValue(begins));
  return keys;
}

/** Files around a list of pieces. */
export type PieceFiles = Pick<TokenizerFiles, "file" | "config" | "chatTemplate">;

/**
 * Keys of SentencePiece's pieces for a vocabulary of `vocabSize` tokens, of which those that are no pieces are unused ones. Throws OptionError where
 * there are more.
 */
export function pieceKeys(tokenizer: GgufTokenizer, files: PieceFiles, vocabSize: number): Map<string, GgufValue> {
  const { tokens, scores = [], tokenTypes = [] } = tokenizer;
  if (tokens.length > vocabSize) {
    throw new OptionError(`${files.file} has ${tokens.length} tokens, and the model has ${vocabSize}`, {
      hint: "the tokenizer must be that of the model",
    });
  }
  const filled = <T>(values: ArrayLike<T>, otherwise: (id: number) => T): T[] =>
    Array.from({ length: vocabSize }, (_, id) => (id < tokens.length ? (values[id] as T) : otherwise(id)));
  const id = (value: number | undefined): GgufValue | undefined => (value === undefined ? undefined : u32Value(value));
  const flag = (value: boolean | undefined): GgufValue | undefined => (value === undefined ? undefined : flagValue(value));
  const keys = {
    model: textValue(tokenizer.model),
    pre: textValue(tokenizer.pre ?? "default"),
    tokens: listValue(
      "string",
      filled(tokens, (token) => `[PAD${token}]`),
    ),
    scores: listValue(
      "f32",
      filled(scores, () => 0),
    ),
    token_type: listValue(
      "i32",
      filled(tokenTypes, () => GGUF_TOKEN_TYPES.unused),
    ),
    ...{ bos_token_id: id(tokenizer.bosTokenId), eos_token_id: id(tokenizer.eosTokenId), unknown_token_id: id(tokenizer.unknownTokenId) },
    ...{ add_bos_token: flag(tokenizer.addBosToken), add_eos_token: flag(tokenizer.addEosToken) },
    add_space_prefix: flag(tokenizer.addSpacePrefix),
  };
  const found = Object.entries(keys).flatMap(([name, value]): [string, GgufValue][] =>
    value === undefined ? [] : [[`tokenizer.ggml.${name}`, value]],
  );
  return new Map([...found, ...configKeys(files, tokens)]);
}

/** The bytes as tokens of byte-level BPE without any merge, for models whose tokens are bytes. */
export function byteTokenizerKeys(): Map<string, GgufValue> {
  return new Map<string, GgufValue>([
    ["tokenizer.ggml.model", textValue("gpt2")],
    ["tokenizer.ggml.pre", textValue("gpt-2")],
    ["tokenizer.ggml.tokens", listValue("string", byteCharacters)],
    ["tokenizer.ggml.token_type", listValue("i32", Array<number>(256).fill(GGUF_TOKEN_TYPES.normal))],
    ["tokenizer.ggml.merges", listValue("string", [])],
    // Without this llama.cpp takes token 11 for the end of a text.
    ["tokenizer.ggml.eos_token_id", u32Value(0)],
    ["tokenizer.ggml.bos_token_id", u32Value(0)],
    ["tokenizer.ggml.add_bos_token", flagValue(false)],
    ["tokenizer.ggml.add_eos_token", flagValue(false)],
    ["tokenizer.ggml.add_space_prefix", flagValue(false)],
  ]);
}

type Fail = (message: string) => FormatError;

function tokenList(vocab: Json, added: readonly Json[], vocabSize: number, fail: Fail): (string | undefined)[] {
  const tokens = new Array<string | undefined>(vocabSize).fill(undefined);
  for (const [token, id] of [...Object.entries(vocab), ...added.map((one) => [one["content"], one["id"]] as const)]) {
    if (typeof token !== "string" || typeof id !== "number" || !Number.isInteger(id) || id < 0) {
      throw fail(`expected tokens with their ids, found ${showValue(token)} with ${showValue(id)}`);
    }
    if (id >= vocabSize) {
      throw new OptionError(`token ${showValue(token)} has id ${id}, and the model has ${vocabSize} tokens`, {
        hint: "the tokenizer must be that of the model",
      });
    }
    tokens[id] = token;
  }
  return tokens;
}

/** Older files have a rule as one text, newer ones as a pair. */
function mergeOf(rule: unknown, fail: Fail): readonly [string, string] {
  const parts: unknown[] = typeof rule === "string" ? rule.split(" ") : Array.isArray(rule) ? rule : [];
  const [left, right] = parts;
  if (parts.length !== 2 || typeof left !== "string" || typeof right !== "string")
    throw fail(`expected merges of two, found ${showValue(rule)}`);
  return [left, right];
}

/** The earlier a token is made by a merge, the higher is its score; the pieces that none makes come before all. */
function scoresOf(tokens: readonly (string | undefined)[], rules: readonly (readonly [string, string])[]): number[] {
  const ranks = new Map<string, number>();
  for (const [left, right] of rules) if (!ranks.has(left + right)) ranks.set(left + right, ranks.size + 1);
  return tokens.map((token) => -(ranks.get(token ?? "") ?? 0));
}

/** A space in front of every text: by a normalizer, or by how texts are cut. */
function hasSpacePrefix(json: Json): boolean {
  const parts = [...partsOf(json["normalizer"], "normalizers"), ...partsOf(json["pre_tokenizer"], "pretokenizers")];
  return parts.some(({ type, prepend_scheme: scheme }) => type === "Prepend" || (type === "Metaspace" && scheme !== "never"));
}

/** The steps of a part that may be a sequence of them. */
function partsOf(part: unknown, list: string): Json[] {
  if (!isObject(part)) return [];
  const inside = part[list];
  return part["type"] === "Sequence" && Array.isArray(inside) ? inside.flatMap((one) => partsOf(one, list)) : [part];
}

/** Whether a token is put in front of every text, where the tokenizer says so by a template. */
function beginsTexts(json: Json): boolean | undefined {
  const template = partsOf(json["post_processor"], "processors").find(({ type }) => type === "TemplateProcessing");
  const single = template?.["single"];
  if (!Array.isArray(single)) return undefined;
  const [first] = single as unknown[];
  return isObject(first) && "SpecialToken" in first;
}

function preOf(json: Json, file: string): string {
  const steps = partsOf(json["pre_tokenizer"], "pretokenizers");
  const normalizers = partsOf(json["normalizer"], "normalizers");
  const shape = steps.map((step) => (step["type"] === "ByteLevel" && step["use_regex"] === false ? "Bytes" : step["type"])).join(" ");
  const [first] = steps;
  const patterns = steps.slice(0, -1).map(({ pattern }) => (isObject(pattern) ? pattern["Regex"] : undefined));
  const prefixed = steps.some((step) => step["add_prefix_space"] === true);
  const known =
    shape === "ByteLevel"
      ? "gpt-2"
      : shape === "Digits ByteLevel" && first?.["individual_digits"] === true
        ? "smollm"
        : /^(Split )+Bytes$/.test(shape)
          ? preOfPatterns(patterns)
          : undefined;
  if (known !== undefined && !prefixed && normalizers.every(({ type }) => type === "NFC")) return known;
  throw new OptionError(`${file}: the way in which this tokenizer cuts texts is none that llama.cpp is known to have a name for`, {
    hint: 'state the name with { pre: "…" }: that of tokenizer.ggml.pre in a GGUF file of the same tokenizer',
  });
}

/** What `tokenizer_config.json` says: which tokens begin and end texts, and the chat template. */
function configKeys({ config, chatTemplate }: PieceFiles, tokens: readonly (string | undefined)[]): [string, GgufValue][] {
  const fields: Json = isObject(config) ? config : {};
  const found: [string, GgufValue][] = [];
  for (const [field, name] of [
    ["bos_token", "bos"],
    ["eos_token", "eos"],
    ["unk_token", "unknown"],
    ["pad_token", "padding"],
  ] as const) {
    const token = fields[field];
    const content = isObject(token) ? token["content"] : token;
    const id = typeof content === "string" ? tokens.indexOf(content) : -1;
    if (id >= 0) found.push([`tokenizer.ggml.${name}_token_id`, u32Value(id)]);
  }
  for (const field of ["add_bos_token", "add_eos_token"] as const) {
    const value = fields[field];
    if (typeof value === "boolean") found.push([`tokenizer.ggml.${field}`, flagValue(value)]);
  }
  const template = chatTemplate ?? fields["chat_template"];
  if (typeof template === "string") found.push(["tokenizer.chat_template", textValue(template)]);
  return found;
}
