/** The tokenizer of a model from its files. */
import { FormatError } from "../../errors.js";
import { type ByteSource, MissingFileError, readAll } from "../byte-source.js";
import { readGgufHeader } from "../gguf/header.js";
import { ggufTokenizer } from "../gguf/keys.js";
import { parseJson } from "../json.js";
import { type ModelFiles, type ModelSource, modelFiles, openIfThere } from "../model-source.js";
import { modelFile } from "../open-model.js";
import { byteTokenizer } from "./bytes.js";
import { sha256 } from "./encode-text.js";
import { Fields } from "./fields.js";
import { isAmongFiles, tokenizerFileKind } from "./file-kinds.js";
import { ggufTokenizerParts } from "./gguf-tokenizer.js";
import { listedTokenizerName, readLlama2cTokenizer } from "./llama2c-tokenizer.js";
import { type PipelineParts, PipelineTokenizer, type TokenizerExtras } from "./pipeline.js";
import { readSentencePieceModel } from "./sentencepiece-model.js";
import type { Tokenizer } from "./tokenizer.js";
import { readTokenizerJson } from "./tokenizer-json.js";

/** Gemma's tokenizer.json has 33 MB. */
const MAX_BYTES = 2 ** 28;
const MAX_SETTINGS = 2 ** 24;

/**
 * The tokenizer that lies beside a model: `tokenizer.json` of Hugging Face's `tokenizers` or else `tokenizer.model` of SentencePiece, with what
 * `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and `config.json` say about beginning and end, and the chat
 * template; else `tokenizer.bin` of llama2.c, or the one inside of a GGUF file. Beside a `.bin` of llama2.c the same files are looked for. A source
 * may also be one of these files itself.
 *
 * Tokens are those of Python's `tokenizers` (`sentencepiece`, llama.cpp) for the same file, but for characters that other versions of Unicode class
 * otherwise; `truncation` and `padding` of the file are left to whoever makes batches. A folder whose `config.json` has a vocabulary of 256 and
 * which has no tokenizer gets the {@link byteTokenizer}.
 *
 * @throws FormatError for files that are damaged, or of a kind that is not known here
 */
export async function loadTokenizer(source: ModelSource): Promise<Tokenizer> {
  const files = modelFiles("loadTokenizer", source);
  const whole = await files.whole();
  if (whole !== undefined) return (await insideOf(whole, files.beside())) ?? besideOf(files);
  const found = await amongFiles(files);
  if (found !== undefined) return found;
  const model = await modelFile(files);
  return (model && (await insideOf(model))) ?? bytesOrNothing(files);
}

/** The tokenizer in the folder of a model's file that has none inside. */
async function besideOf(files: ModelFiles): Promise<Tokenizer> {
  const folder = files.beside();
  const found = folder && ((await listedAmong(folder)) ?? (await amongFiles(folder)));
  if (found !== undefined) return found;
  throw new MissingFileError(
    folder?.label("tokenizer.bin") ?? "tokenizer.bin",
    undefined,
    "the models of llama2.c have their tokenizer in a file of its own: put it beside the model",
  );
}

/** The tokenizer that is a file by itself; undefined where there is none. */
async function amongFiles(files: ModelFiles): Promise<Tokenizer | undefined> {
  const json = await readOptional(files, "tokenizer.json", MAX_BYTES);
  if (json !== undefined) {
    return jsonTokenizer(json, files.label("tokenizer.json"), await readSettings(files));
  }
  const pieces = await readOptional(files, "tokenizer.model", MAX_BYTES);
  if (pieces !== undefined) {
    return pieceTokenizer(pieces, files.label("tokenizer.model"), await readSettings(files));
  }
  return listedAmong(files);
}

/** That of `tokenizer.json`. */
const jsonTokenizer = (bytes: Uint8Array, file: string, settings: Settings): Promise<Tokenizer> =>
  finished(readTokenizerJson(utf8Text(bytes, file), file), settings, bytes);

/** That of `tokenizer.model`. */
function pieceTokenizer(bytes: Uint8Array, file: string, settings: Settings): Promise<Tokenizer> {
  const around = {
    bos: settings.tokenizer?.flag("add_bos_token", true) ?? true,
    eos: settings.tokenizer?.flag("add_eos_token", false) ?? false,
  };
  return finished(readSentencePieceModel(bytes, file, around), settings, bytes);
}

/** That of llama2.c. */
async function listedAmong(files: ModelFiles): Promise<Tokenizer | undefined> {
  const name = await listedTokenizerName(files);
  const bytes = name && (await readOptional(files, name, MAX_BYTES));
  return name && bytes ? listedTokenizer(bytes, files.label(name)) : undefined;
}

/** The tokenizer of llama2.c. */
const listedTokenizer = async (bytes: Uint8Array, file: string): Promise<Tokenizer> =>
  new PipelineTokenizer(readLlama2cTokenizer(bytes, file), {
    bos: 1,
    eos: 2,
    // Where one story ends the next begins; llama2.c's models write no other end.
    stopTokens: [1, 2],
    chatTemplate: undefined,
    fingerprint: await fingerprintOf(bytes),
  });

/**
 * The tokenizer inside of a model's file, or a tokenizer that is one, with the settings beside it; undefined for the models of llama2.c, which have
 * none inside.
 */
async function insideOf(file: ByteSource, beside?: ModelFiles): Promise<Tokenizer | undefined> {
  try {
    const kind = await tokenizerFileKind(file);
    if (kind === "none") return undefined;
    if (kind !== "gguf") {
      const bytes = await readAll(file, MAX_BYTES);
      if (kind === "listed") return await listedTokenizer(bytes, file.name);
      const settings = await readSettings(isAmongFiles(file.name) ? beside : undefined);
      return await (kind === "json" ? jsonTokenizer : pieceTokenizer)(bytes, file.name, settings);
    }
    const found = ggufTokenizer(await readGgufHeader(file));
    if (found === undefined) {
      throw new FormatError("expected a tokenizer in the GGUF file, found none", {
        file: file.name,
        hint: "put the model's tokenizer.json into a folder, and name that",
      });
    }
    const { bosTokenId: bos, eosTokenId: eos, eotTokenId, chatTemplate } = found;
    const definition = new TextEncoder().encode(
      JSON.stringify({ ...found, scores: found.scores && [...found.scores], tokenTypes: found.tokenTypes && [...found.tokenTypes] }),
    );
    return new PipelineTokenizer(ggufTokenizerParts(found, file.name), {
      bos,
      eos,
      stopTokens: [...new Set([eos, eotTokenId])].filter((token) => token !== undefined),
      chatTemplate,
      fingerprint: await fingerprintOf(definition),
    });
  } finally {
    await file.close();
  }
}

const finished = async (parts: PipelineParts, settings: Settings, definition: Uint8Array): Promise<Tokenizer> =>
  new PipelineTokenizer(parts, await extrasOf(parts, settings, definition));

/** A model of bytes, as the command trains it, has no file for its tokenizer. */
async function bytesOrNothing(files: ModelFiles): Promise<Tokenizer> {
  // What is no folder, or an empty one, is told as that.
  if ((await files.names())?.length === 0) await (await files.open("tokenizer.json")).close();
  const config = await readFields(files, "config.json");
  if (config?.raw("vocab_size") === byteTokenizer.vocabSize) return byteTokenizer;
  throw new MissingFileError(
    files.label("tokenizer.json"),
    undefined,
    "a model that does not read bytes needs its tokenizer: copy tokenizer.json beside it",
  );
}

/** All bytes of a file, or undefined where there is none of that name. */
async function readOptional(files: ModelFiles, name: string, most: number): Promise<Uint8Array | undefined> {
  const file = await openIfThere(files, name);
  try {
    return file && (await readAll(file, most));
  } finally {
    await file?.close();
  }
}

const utf8Text = (bytes: Uint8Array, file: string): string => {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError("expected JSON in UTF-8, found bytes that are not", { file, hint: "the file is damaged; get it again", cause });
  }
};

async function readFields(files: ModelFiles, name: string): Promise<Fields | undefined> {
  const bytes = await readOptional(files, name, MAX_SETTINGS);
  const label = files.label(name);
  return bytes && Fields.of(parseJson(utf8Text(bytes, label), { file: label }), label);
}

/** Files beside the tokenizer, those that there are. */
interface Settings {
  readonly tokenizer: Fields | undefined;
  readonly specialTokens: Fields | undefined;
  readonly generation: Fields | undefined;
  readonly model: Fields | undefined;
  readonly template: string | undefined;
}

async function readSettings(files: ModelFiles | undefined): Promise<Settings> {
  if (files === undefined)
    return { tokenizer: undefined, specialTokens: undefined, generation: undefined, model: undefined, template: undefined };
  const template = await readOptional(files, "chat_template.jinja", MAX_SETTINGS);
  return {
    tokenizer: await readFields(files, "tokenizer_config.json"),
    specialTokens: await readFields(files, "special_tokens_map.json"),
    generation: await readFields(files, "generation_config.json"),
    model: await readFields(files, "config.json"),
    template: template && utf8Text(template, files.label("chat_template.jinja")),
  };
}

/** Changes when the same file would be encoded to other tokens than before, so that no cache is taken for what it is not. */
const ENCODING = "dawngrad tokens 1";

/** SHA-256 of what decides about tokens, in hexadecimal. */
async function fingerprintOf(definition: Uint8Array): Promise<string | undefined> {
  if (globalThis.crypto?.subtle === undefined) return undefined;
  const hash = await sha256(new TextEncoder().encode(ENCODING), definition);
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function extrasOf(parts: PipelineParts, settings: Settings, definition: Uint8Array): Promise<TokenizerExtras> {
  const tokens = new Map<string, number>();
  for (const [token, text] of parts.texts) tokens.set(text, token);
  for (const { id, content } of parts.addedTokens) tokens.set(content, id);
  const eosIds = [...namedIds(settings.generation, "eos_token_id"), ...namedIds(settings.model, "eos_token_id")];
  const bosIds = [...namedIds(settings.generation, "bos_token_id"), ...namedIds(settings.model, "bos_token_id")];
  const eos = namedToken(settings, "eos_token", tokens) ?? eosIds[0];
  const known = [...new Set(eos === undefined ? eosIds : [eos, ...eosIds])].filter((token) => parts.texts.has(token));
  return {
    bos: namedToken(settings, "bos_token", tokens) ?? bosIds.find((token) => parts.texts.has(token)),
    eos: known[0],
    stopTokens: known,
    chatTemplate: settings.template ?? templateOf(settings.tokenizer),
    fingerprint: await fingerprintOf(definition),
  };
}

/** A special token by its writing, which stands there as a text or as an object with its content. */
function namedToken(settings: Settings, name: string, tokens: ReadonlyMap<string, number>): number | undefined {
  for (const fields of [settings.tokenizer, settings.specialTokens]) {
    if (!fields?.has(name)) continue;
    const text = typeof fields.raw(name) === "string" ? fields.string(name) : fields.object(name).string("content");
    const token = tokens.get(text);
    if (token !== undefined) return token;
  }
  return undefined;
}

/** A token's number, or a list of them. */
function namedIds(fields: Fields | undefined, name: string): number[] {
  const value = fields?.raw(name);
  const list: readonly unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value];
  if (!list.every((id): id is number => Number.isInteger(id) && (id as number) >= -1))
    throw (fields as Fields).fail(name, "a token or tokens");
  return list.filter((id) => id >= 0);
}

/** The template, or the one named "default" of several. */
function templateOf(fields: Fields | undefined): string | undefined {
  if (!fields?.has("chat_template")) return undefined;
  if (!Array.isArray(fields.raw("chat_template"))) return fields.string("chat_template");
  const templates = fields.objects("chat_template");
  const chosen = templates.find((one) => one.stringOr("name", undefined) === "default") ?? templates[0];
  return chosen?.string("template");
}
