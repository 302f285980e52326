import { OptionError } from "../errors.js";
import { blockRange, planBlocks } from "./block-reader.js";

/** Prompts as rows of one length: shorter ones begin later, after padding. */
export interface PromptRows {
  /** The tokens of the longest prompt. */
  readonly length: number;
  /** Where the prompt of each row begins. */
  readonly first: Int32Array;
  /** What to read, one piece after the other. */
  readonly pieces: readonly Piece[];
}

/** Tokens [B, T] to read, row-major, the first `count` places of them; the others fill up. */
export interface Piece {
  readonly tokens: Int32Array;
  readonly count: number;
}

/**
 * Prompts in one piece, or in pieces of one length, at most `longest`.
 *
 *   [1, 2, 3, 4, 5] and [6, 7]          · stands for padding
 *
 *      1 2 3 4 5
 *      · · · 6 7        first = 0, 3
 */
export function promptRows(prompts: readonly Int32Array[], longest: number): PromptRows {
  const length = Math.max(...prompts.map((prompt) => prompt.length));
  const first = Int32Array.from(prompts, (prompt) => length - prompt.length);
  const plan = planBlocks(length, longest);
  const width = plan.count === 1 ? bucket(plan.length) : plan.length;
  const pieces = Array.from({ length: plan.count }, (_, i): Piece => {
    const { from, to } = blockRange(plan, i);
    const tokens = new Int32Array(prompts.length * width);
    prompts.forEach((prompt, row) => {
      const start = first[row] as number;
      const at = Math.max(from, start);
      if (at < to) tokens.set(prompt.subarray(at - start, to - start), row * width + at - from);
    });
    return { tokens, count: to - from };
  });
  return { length, first, pieces };
}

/** A length of at least 16 from a short list, at most a quarter larger than needed: few lengths mean few programs. */
export function bucket(length: number): number {
  const step = Math.max(16, 2 ** (Math.ceil(Math.log2(length)) - 3));
  return step * Math.ceil(length / step);
}

/** Prompts as tokens. Throws OptionError for an empty one, and for tokens that are not in a vocabulary of V. */
export function checkedPrompts(prompts: readonly ArrayLike<number>[], V: number, isOne: boolean): Int32Array[] {
  if (prompts.length === 0) throw new OptionError("generate: there are no prompts", { hint: "give at least one prompt to go on from" });
  return prompts.map((prompt, row) => {
    const which = isOne ? "the prompt" : `prompt ${row}`;
    if (prompt.length === 0) throw new OptionError(`generate: ${which} is empty`, { hint: "give at least one token to go on from" });
    for (let i = 0; i < prompt.length; i++) checkToken(prompt[i] as number, V, `at place ${i}${isOne ? "" : ` of ${which}`}`);
    return Int32Array.from(prompt);
  });
}

export function checkToken(token: number, V: number, where: string): void {
  if (Number.isInteger(token) && token >= 0 && token < V) return;
  throw new OptionError(`generate: token ${token} ${where} is not in the vocabulary of ${V}`);
}
