import { FormatError } from "../errors.js";

const DEPTH = 64;
const ENTRIES = 2 ** 18;

/** A hundred megabytes of "{}," become gigabytes of objects. A checkpoint of a hundred thousand tensors has about a million values. */
const MAX_VALUES = 2_000_000;

/** Where a JSON text comes from, and how deep it may nest. */
export interface JsonSource {
  /** The file, for messages. */
  readonly file: string;
  /** Byte offset of the text in the file. Default 0. */
  readonly offset?: number;
  /** Most containers inside of each other. Default 64. */
  readonly maxDepth?: number;
  /** Most entries of one object. Default 2¹⁸. */
  readonly maxEntries?: number;
  /** Most values of the text. Default two million. */
  readonly maxValues?: number;
}

/**
 * JSON.parse for files that nobody vouches for.
 *
 * JSON.parse keeps the last of two equal keys without a word, and builds whatever nesting it is given, at which later recursion fails.
 * Both are refused here, and so are texts of more than `maxValues` values and objects of more than `maxEntries` keys, before any of them is
 * built. The look takes time in proportion to the text.
 *
 * @throws FormatError for text that is not JSON, an object with a key twice, nesting deeper than `maxDepth`, or too many values or keys
 */
export function parseJson(text: string, source: JsonSource): unknown {
  refuseDepthAndDuplicates(text, source);
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // Some messages of V8 name no position; then the place is where the JSON begins.
    const position = /end of JSON/.test(reason) ? text.length : Number(/at position (\d+)/.exec(reason)?.[1] ?? 0);
    throw new FormatError(`expected JSON, found text that is none (${reason})`, {
      file: source.file,
      offset: byteOffset(text, position, source),
      hint: "the file is damaged, or it is of another kind; download or export it again",
      cause: error,
    });
  }
}

/** A value from a file, short enough for a message. */
export function showValue(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    // Values that did not come through parseJson may be circular or too deep.
    text = `a ${typeof value}`;
  }
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Whether a JSON value is an object (not null, not an array). */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Walks over the tokens that matter. In text that is no JSON it may stop early, for JSON.parse to say what is wrong. */
function refuseDepthAndDuplicates(text: string, source: JsonSource): void {
  const { maxDepth = DEPTH, maxEntries = ENTRIES, maxValues = MAX_VALUES } = source;
  const refuse = (message: string, at: number, hint: string): FormatError =>
    new FormatError(message, { file: source.file, offset: byteOffset(text, at, source), hint });
  const open: (Set<string> | null)[] = []; // the keys so far of every open object, null for an open array
  let values = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // Every value but the first follows a bracket, a brace or a comma.
    if ((code === brace.open || code === bracket.open || code === comma) && ++values > maxValues) {
      throw refuse(`expected JSON of at most ${maxValues} values, found more`, i, "no file of this kind holds so much; export it again");
    }
    if (code === brace.open || code === bracket.open) {
      open.push(code === brace.open ? new Set() : null);
      if (open.length > maxDepth) {
        throw refuse(`expected JSON of at most ${maxDepth} levels, found more`, i, "no file of this kind nests so deep; export it again");
      }
    } else if (code === brace.close || code === bracket.close) {
      open.pop();
    } else if (code === quote) {
      const end = endOfString(text, i);
      if (end === undefined) return;
      const keys = open.at(-1);
      if (keys && isKey(text, end)) {
        const key = decodeString(text.slice(i, end));
        if (key === undefined) return;
        if (keys.has(key)) {
          const hint = "which of the two is meant cannot be known; export the file again";
          throw refuse(`expected every key once, found ${showValue(key)} twice`, i, hint);
        }
        keys.add(key);
        if (keys.size > maxEntries) {
          throw refuse(
            `expected objects of at most ${maxEntries} keys, found more`,
            i,
            "no file of this kind holds so many; export it again",
          );
        }
      }
      i = end - 1;
    }
  }
}

const [quote, comma, colon, backslash] = [0x22, 0x2c, 0x3a, 0x5c];
const brace = { open: 0x7b, close: 0x7d };
const bracket = { open: 0x5b, close: 0x5d };

/** Index after the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number | undefined {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === quote) return i + 1;
    if (code === backslash) i++;
  }
  return undefined;
}

function isKey(text: string, end: number): boolean {
  let i = end;
  while (i < text.length && " \t\n\r".includes(text[i] as string)) i++;
  return text.charCodeAt(i) === colon;
}

function decodeString(literal: string): string | undefined {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return undefined;
  }
}

const byteOffset = (text: string, index: number, source: JsonSource): number =>
  (source.offset ?? 0) + new TextEncoder().encode(text.slice(0, index)).length;
