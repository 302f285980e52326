/** Long texts to tokens: between other things that want to happen, and once for each tokenizer where there is a place for the result. */
import {
  callable,
  checkArgument,
  checkOptions,
  either,
  flag,
  instanceOf,
  objectWith,
  optional,
  text as textKind,
} from "../../arguments.js";
import { DawngradError, FormatError } from "../../errors.js";
import { yieldToEvents } from "../events.js";
import { readFileChecked, writeFileAtomic } from "../files.js";
import { concatenateTokens } from "../token-arrays.js";
import type { EncodeOptions, Tokenizer } from "./tokenizer.js";

export interface EncodeTextOptions extends EncodeOptions {
  /** Told how much of the text has been encoded, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

const optionKinds = { special: optional(flag), parseSpecial: optional(flag), onProgress: optional(callable) };
const tokenizerKind = objectWith("a tokenizer, as loadTokenizer gives it", "encodeParts");

/** Milliseconds after which timers, signals and input get their turn. */
const TURN = 30;

/**
 * The tokens of `tokenizer.encode(text)`, which long texts take seconds for, without holding up timers, signals and input meanwhile. No cut of
 * the text is made that the tokenizer does not make itself.
 */
export async function encodeText(tokenizer: Tokenizer, text: string | Uint8Array, options: EncodeTextOptions = {}): Promise<Int32Array> {
  checkArgument("encodeText", "tokenizer", tokenizer, tokenizerKind);
  checkArgument("encodeText", "text", text, either(textKind, instanceOf("bytes of UTF-8", Uint8Array)));
  checkOptions("encodeText", options, optionKinds);
  const { onProgress, ...rest } = options;
  const parts: Int32Array[] = [];
  let last = Date.now();
  for (const { tokens, done } of tokenizer.encodeParts(text, rest)) {
    parts.push(tokens);
    onProgress?.(done);
    if (Date.now() - last < TURN) continue;
    await yieldToEvents();
    last = Date.now();
  }
  return concatenateTokens(parts);
}

/** Shorter texts are encoded faster than a file is read. */
const WORTH_KEEPING = 65_536;

/**
 * {@link encodeText} for a text whose tokens are kept in a file: read from there where they are those of this very text, tokenizer and option, and
 * written there otherwise. Where the file cannot be written, as in a folder that may only be read, the text is encoded again each time. Short
 * texts, and those of the byte tokenizer, are not worth a file. In Node.
 *
 * @param file where the tokens are kept, such as {@link tokensFile}
 */
export async function encodeTextCached(
  tokenizer: Tokenizer,
  text: string | Uint8Array,
  file: string,
  options: EncodeTextOptions = {},
): Promise<Int32Array> {
  checkArgument("encodeTextCached", "tokenizer", tokenizer, tokenizerKind);
  checkArgument("encodeTextCached", "text", text, either(textKind, instanceOf("bytes of UTF-8", Uint8Array)));
  checkArgument("encodeTextCached", "file", file, textKind);
  checkOptions("encodeTextCached", options, optionKinds);
  const { fingerprint } = tokenizer;
  if (fingerprint === undefined || fingerprint === "bytes" || text.length < WORTH_KEEPING) return encodeText(tokenizer, text, options);
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const digest = await sha256(
    new TextEncoder().encode(`${fingerprint} ${options.special ?? false} ${options.parseSpecial ?? true}\n`),
    bytes,
  );
  const kept = await readTokens(file, digest);
  if (kept !== undefined) {
    options.onProgress?.(1);
    return kept;
  }
  const tokens = await encodeText(tokenizer, text, options);
  await writeFileAtomic(file, await tokensBytes(tokens, digest)).catch((error: unknown) => {
    // Nothing depends on it: the next one encodes the text again.
    if (!(error instanceof DawngradError)) throw error;
  });
  return tokens;
}

/** Where the tokens of a text file are kept: beside it, one file for each tokenizer. */
export function tokensFile(path: string, tokenizer: Tokenizer): string {
  checkArgument("tokensFile", "path", path, textKind);
  checkArgument("tokensFile", "tokenizer", tokenizer, tokenizerKind);
  return `${path}.${(tokenizer.fingerprint ?? tokenizer.name).slice(0, 12)}.tokens`;
}

/** {@link encodeTextCached} for a text file in UTF-8, with the tokens beside it. Throws FormatError for a file that cannot be read. */
export async function encodeFileCached(tokenizer: Tokenizer, path: string, options: EncodeTextOptions = {}): Promise<Int32Array> {
  checkArgument("encodeFileCached", "tokenizer", tokenizer, tokenizerKind);
  checkArgument("encodeFileCached", "path", path, textKind);
  checkOptions("encodeFileCached", options, optionKinds);
  return encodeTextCached(tokenizer, await readFileChecked(path), tokensFile(path, tokenizer), options);
}

/*
 * The file: "DGTOKENS", the number of tokens n (u32), SHA-256 of what was encoded and by what, SHA-256 of the tokens,
 * and n tokens (u32); little endian.
 */
const MAGIC = new TextEncoder().encode("DGTOKENS");
const [DIGEST, HASH, HEADER] = [12, 44, 76];

async function tokensBytes(tokens: Int32Array, digest: Uint8Array): Promise<Uint8Array> {
  const bytes = new Uint8Array(HEADER + 4 * tokens.length);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC);
  view.setUint32(MAGIC.length, tokens.length, true);
  bytes.set(digest, DIGEST);
  tokens.forEach((token, i) => {
    view.setUint32(HEADER + 4 * i, token, true);
  });
  bytes.set(await sha256(bytes.subarray(HEADER)), HASH);
  return bytes;
}

/** The tokens of a file; undefined where it is missing, damaged, or of something else. */
async function readTokens(file: string, digest: Uint8Array): Promise<Int32Array | undefined> {
  const bytes = await readFileChecked(file).catch((error: unknown) => {
    if (error instanceof FormatError) return new Uint8Array(0);
    throw error;
  });
  if (bytes.length < HEADER || !equal(bytes.subarray(0, MAGIC.length), MAGIC)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint32(MAGIC.length, true);
  if (bytes.length !== HEADER + 4 * count) return undefined;
  if (!equal(bytes.subarray(DIGEST, HASH), digest)) return undefined;
  if (!equal(bytes.subarray(HASH, HEADER), await sha256(bytes.subarray(HEADER)))) return undefined;
  return Int32Array.from({ length: count }, (_, i) => view.getUint32(HEADER + 4 * i, true));
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

export async function sha256(...parts: readonly Uint8Array[]): Promise<Uint8Array> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", whole));
}
