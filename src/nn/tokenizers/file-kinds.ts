/** What a file by itself says of a tokenizer. */
import { FormatError } from "../../errors.js";
import type { ByteSource } from "../byte-source.js";
import { identifyFile } from "../file-kinds.js";
import { isGguf } from "../gguf/header.js";
import { isLlama2c } from "../llama2c.js";
import { baseName, isListedTokenizer } from "./llama2c-tokenizer.js";

/**
 * "json": Hugging Face's `tokenizer.json`; "pieces": SentencePiece's `tokenizer.model`; "listed": llama2.c's `tokenizer.bin`; "gguf": a model with a
 * tokenizer inside; "none": a model of llama2.c, which has none inside
 */
export type TokenizerFileKind = "json" | "pieces" | "listed" | "gguf" | "none";

/** By the first bytes of a file and its name. Throws FormatError for another kind, which it names. */
export async function tokenizerFileKind(file: ByteSource): Promise<TokenizerFileKind> {
  const start = await file.start();
  const name = baseName(file.name);
  if (isGguf(start)) return "gguf";
  if (isListedTokenizer(name)) return "listed";
  if (isLlama2c(start, file.size)) return "none";
  if (/\.json$/i.test(name) || /^\s*\{/.test(new TextDecoder().decode(start.subarray(0, 64)))) return "json";
  if (/\.model$/i.test(name)) return "pieces";
  const found = identifyFile(start);
  if (found === undefined && /\.bin$/i.test(name)) return "listed";
  throw new FormatError(`expected a model or a tokenizer, found a file${found === undefined ? "" : `: ${found.what}`}`, {
    file: file.name,
    hint: found?.hint ?? "name a tokenizer.json, tokenizer.model or tokenizer.bin, a GGUF file, or a folder",
  });
}

/** Whether a file has the name by which it is found in a folder, so that what lies beside it belongs to it. */
export const isAmongFiles = (file: string): boolean => /^tokenizer\.(json|model)$/.test(baseName(file));
