/** The keys of a GGUF file's tokenizer from wherever it is. */
import { OptionError } from "../../errors.js";
import { type ByteSource, MissingFileError } from "../byte-source.js";
import { readCompanions } from "../companion-files.js";
import type { LlamaConfig } from "../config.js";
import { isObject, parseJson } from "../json.js";
import { type ModelSource, modelFiles } from "../model-source.js";
import { sentencePieceDefinition } from "../tokenizers/sentencepiece-model.js";
import { isGguf, readGgufHeader } from "./header.js";
import { pieceKeys, tokenizerKeys } from "./tokenizer-keys.js";
import type { GgufKeys, GgufValue } from "./values.js";

const MAX_TOKENS = 2 ** 20;

/** The keys of a file that are its tokenizer's. */
export const ofTokenizer = (keys: GgufKeys): Map<string, GgufValue> => new Map([...keys].filter(([key]) => key.startsWith("tokenizer.")));

/**
 * The keys of a tokenizer: those of a GGUF file as they are, or those that say what `tokenizer.json`, `tokenizer.model` or llama2.c's `tokenizer.bin` of a
 * folder does.
 *
 * @param pre llama.cpp's name for how texts are cut, where it is not known here
 * @throws FormatError for files that are missing or damaged, OptionError for a tokenizer that llama.cpp has no kind for
 */
export async function tokenizerIn(
  where: string,
  source: ModelSource,
  pre: string | undefined,
  { vocab_size: vocabSize }: Pick<LlamaConfig, "vocab_size">,
): Promise<Map<string, GgufValue>> {
  const files = modelFiles(where, source);
  const whole = await files.whole();
  const inside = whole && (await keysInside(whole));
  if (inside !== undefined) return inside;
  const label = (name: string): string => (whole === undefined ? files.label(name) : files.name);
  const found = await readCompanions(files);
  const text = (name: string): string | undefined => {
    const bytes = found.get(name);
    return bytes && new TextDecoder().decode(bytes);
  };
  const settings = text("tokenizer_config.json");
  const config = settings === undefined ? undefined : parseJson(settings, { file: files.label("tokenizer_config.json") });
  const around = { config, chatTemplate: text("chat_template.jinja") };
  const json = text("tokenizer.json");
  if (json !== undefined) {
    const file = label("tokenizer.json");
    return tokenizerKeys({ file, tokenizer: parseJson(json, { file, maxEntries: MAX_TOKENS }), ...around, pre }, vocabSize);
  }
  const bytes = found.get("tokenizer.model");
  const file = label("tokenizer.model");
  if (bytes === undefined) {
    throw new MissingFileError(files.label("tokenizer.json"), undefined, "name a folder with the files of a tokenizer, or a GGUF file");
  }
  const flag = (field: string, otherwise: boolean): boolean =>
    isObject(config) && typeof config[field] === "boolean" ? config[field] : otherwise;
  const definition = sentencePieceDefinition(bytes, file, { bos: flag("add_bos_token", true), eos: flag("add_eos_token", false) });
  if (definition !== undefined) return pieceKeys(definition, { file, ...around }, vocabSize);
  throw new OptionError(`${file}: GGUF files of Llamas hold tokenizers of SentencePiece of type BPE that leave texts as they are`, {
    hint: "write the model as a folder, whose tokenizer files are copied",
  });
}

/** Those in the header of a GGUF file; undefined for any other. */
async function keysInside(file: ByteSource): Promise<Map<string, GgufValue> | undefined> {
  try {
    return isGguf(await file.start()) ? ofTokenizer((await readGgufHeader(file)).keys) : undefined;
  } finally {
    await file.close();
  }
}
