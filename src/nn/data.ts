/** Text as training data: documents, a held-out part of whole documents, and random windows as a pure function of seed and step. */

import { checkArgument, checkOptions, listOf, number, type OptionKinds, objectWith, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import { seedKey, threefry2x32, uniformBelow } from "../ir/threefry.js";
import type { HostTokens } from "./batch.js";
import { documentsKind } from "./kinds.js";
import { concatenateTokens } from "./token-arrays.js";
import type { Tokenizer } from "./tokenizers.js";

/** One connected text, such as a chapter. */
export interface TextDocument {
  readonly name: string;
  readonly text: string;
}

export interface TokenDocument {
  readonly name: string;
  readonly tokens: Int32Array;
}

/** Every document as tokens, in the same order. */
export function encodeDocuments(documents: readonly TextDocument[], tokenizer: Tokenizer): TokenDocument[] {
  checkArgument("encodeDocuments", "documents", documents, listOf(objectWith("a document { name, text }", "text")));
  checkArgument("encodeDocuments", "tokenizer", tokenizer, objectWith("a tokenizer, such as byteTokenizer", "encode"));
  return documents.map(({ name, text }) => ({ name, tokens: tokenizer.encode(text) }));
}

export function countTokens(documents: readonly TokenDocument[]): number {
  checkArgument("countTokens", "documents", documents, documentsKind);
  return documents.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

export interface HeldOutSplit {
  readonly train: readonly TokenDocument[];
  readonly heldOut: readonly TokenDocument[];
  /** Whether a document had to be cut in two, because there was only one. */
  readonly cut: boolean;
}

/**
 * Holds out whole documents at the end: as many as come nearest to `fraction` of the tokens, at least one, and never all. A single
 * document is cut in two at that fraction. No token is in both parts, and none is lost.
 *
 * @param options.fraction share of the tokens to hold out, between 0 and 1. Default 0.1.
 * @throws OptionError where one of the parts would be empty
 */
export function splitHeldOut(documents: readonly TokenDocument[], options: { readonly fraction?: number } = {}): HeldOutSplit {
  checkArgument("splitHeldOut", "documents", documents, documentsKind);
  checkOptions("splitHeldOut", options, { fraction: optional(number) });
  const fraction = options.fraction ?? 0.1;
  if (!(fraction > 0 && fraction < 1)) {
    throw new OptionError(`fraction must be between 0 and 1, found ${fraction}`, { hint: "0.1 holds out a tenth of the text" });
  }
  const total = countTokens(documents);
  const [only, second] = documents;
  if (only !== undefined && second === undefined) {
    const at = Math.min(Math.max(Math.round(total * (1 - fraction)), 1), total - 1);
    return partsWithTokens({
      train: [{ name: `${only.name} (start)`, tokens: only.tokens.slice(0, Math.max(at, 0)) }],
      heldOut: [{ name: `${only.name} (end)`, tokens: only.tokens.slice(Math.max(at, 0)) }],
      cut: true,
    });
  }
  let first = documents.length - 1;
  let held = documents[first]?.tokens.length ?? 0;
  while (first > 1) {
    const more = held + (documents[first - 1]?.tokens.length ?? 0);
    if (held > 0 && Math.abs(more - fraction * total) > Math.abs(held - fraction * total)) break;
    held = more;
    first--;
  }
  return partsWithTokens({ train: documents.slice(0, first), heldOut: documents.slice(Math.max(first, 0)), cut: false });
}

function partsWithTokens(split: HeldOutSplit): HeldOutSplit {
  if (countTokens(split.train) === 0 || countTokens(split.heldOut) === 0) {
    throw new OptionError("the text is too short to hold a part of it out", { hint: "give a longer text, or several documents" });
  }
  return split;
}

/** What windows are drawn from, and how. */
export interface WindowOptions {
  readonly documents: readonly TokenDocument[];
  /** T: tokens of a window that are read; the targets are one further. */
  readonly length: number;
  /** B: windows per step. */
  readonly batch: number;
  /** Seed of the draws. Default 0. */
  readonly seed?: number;
}

const windowKinds: OptionKinds<WindowOptions> = { documents: documentsKind, length: number, batch: number, seed: optional(number) };

/** Windows of one step: target i of a row is the token after input i. */
export interface TokenWindows {
  readonly inputs: Int32Array; // [B, T]
  readonly targets: Int32Array; // [B, T]
  readonly batch: number;
  readonly length: number;
}

/** What became of the documents. */
export interface WindowCounts {
  readonly documents: number;
  /** Stretches of text that windows lie inside of. */
  readonly segments: number;
  /** Documents of fewer than T + 1 tokens, which were joined to neighbours. */
  readonly joinedDocuments: number;
  /** All tokens of all documents; each of them is in some window. */
  readonly tokens: number;
  /** Distinct windows, all equally likely. */
  readonly windows: number;
}

/** Where the tokens of training come from. */
export interface TokenSource {
  /** The tokens of a step ≥ 0: the same answer whenever it is asked. */
  at(step: number): HostTokens;
}

export interface WindowSampler extends TokenSource {
  at(step: number): TokenWindows;
  readonly counts: WindowCounts;
}

/** Keeps these draws apart from others under the same seed; any constant that they do not use does. */
const STREAM = 0x64617461;

/**
 * Random windows of T + 1 tokens, drawn with replacement, uniformly over all places where one fits.
 *
 * A window lies inside one document. Only a document of fewer than T + 1 tokens, in which none fits, is joined to the ones that follow
 * it until one does (the last ones of all to the one before), so a window that crosses a border always holds tokens of such a document.
 * Row r of step s is decided by Threefry of (seed, s, r) alone: resuming needs no state.
 *
 * @throws OptionError for sizes that are not positive integers, or documents that together have fewer than T + 1 tokens
 */
export function createWindowSampler(options: WindowOptions): WindowSampler {
  checkOptions("createWindowSampler", options, windowKinds);
  const { documents, length, batch, seed = 0 } = options;
  checkCount("length", length);
  checkCount("batch", batch);
  const [high, low] = seedKey(seed);
  const [k0, k1] = threefry2x32(high, low, STREAM, 0);
  const segments = joinShort(documents, length + 1);
  const ends: number[] = []; // ends[i]: windows in segments 0 … i
  let total = 0;
  for (const segment of segments) {
    total += segment.length - length;
    ends.push(total);
  }

  return {
    counts: {
      documents: documents.length,
      segments: segments.length,
      joinedDocuments: documents.filter(({ tokens }) => tokens.length <= length).length,
      tokens: countTokens(documents),
      windows: total,
    },
    at(step) {
      if (!Number.isInteger(step) || step < 0 || step >= 2 ** 32) {
        throw new OptionError(`step must be an integer from 0 to 2^32 - 1, found ${step}`, { hint: "steps count from 0" });
      }
      const inputs = new Int32Array(batch * length);
      const targets = new Int32Array(batch * length);
      for (let row = 0; row < batch; row++) {
        const window = uniformBelow(threefry2x32(k0, k1, step, row), total);
        const index = firstAbove(ends, window);
        const segment = segments[index] as Int32Array;
        const start = window - (ends[index - 1] ?? 0);
        inputs.set(segment.subarray(start, start + length), row * length);
        targets.set(segment.subarray(start + 1, start + 1 + length), row * length);
      }
      return { inputs, targets, batch, length };
    },
  };
}

/** The windows of one step; see {@link createWindowSampler}, which saves work when there are many. */
export function windows(options: WindowOptions & { readonly step: number }): TokenWindows {
  checkOptions("windows", options, { ...windowKinds, step: number });
  const { step, ...rest } = options;
  return createWindowSampler(rest).at(step);
}

/** Consecutive documents, joined where one is too short; every segment has at least `shortest` tokens. */
function joinShort(documents: readonly TokenDocument[], shortest: number): Int32Array[] {
  const groups: Int32Array[][] = [];
  let waiting: Int32Array[] = [];
  let held = 0;
  for (const { tokens } of documents) {
    waiting.push(tokens);
    held += tokens.length;
    if (held >= shortest) {
      groups.push(waiting);
      waiting = [];
      held = 0;
    }
  }
  const last = groups.at(-1);
  if (last === undefined) {
    throw new OptionError(`windows of ${shortest - 1} tokens need a text of at least ${shortest}, found ${held}`, {
      hint: "give a longer text or a shorter window",
    });
  }
  last.push(...waiting);
  return groups.map(concatenateTokens);
}

/** Index of the first element above a value, in ascending numbers. */
function firstAbove(ascending: readonly number[], value: number): number {
  let low = 0;
  let high = ascending.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

function checkCount(name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1 || value > 0x7fff_ffff) {
    throw new OptionError(`${name} must be an integer of at least 1, found ${value}`, { hint: `give ${name} as a whole number` });
  }
}
