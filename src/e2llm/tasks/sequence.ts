/** Parts that tasks make their sequences from. */
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { noTarget, type Question, type TaskExample } from "./task.js";

/** The token at place 0 of every sequence that is made by code. */
export const beginning = 0;

/** A sequence that begins with token 0, and in which nothing is asked yet. */
export class Draft {
  readonly inputs: Int32Array;
  private readonly targets: Int32Array;
  private readonly questions: Question[] = [];

  constructor(readonly length: number) {
    this.inputs = new Int32Array(length);
    this.targets = new Int32Array(length).fill(noTarget);
  }

  ask(question: Question, answer: number): void {
    this.targets[question.place] = answer;
    this.questions.push(question);
  }

  /** The example; its questions are put in the order of their places. */
  finish(weights?: Float32Array): TaskExample {
    const { inputs, targets } = this;
    const questions = this.questions.sort((a, b) => a.place - b.place);
    return { inputs, targets, ...(weights === undefined ? {} : { weights }), questions };
  }
}

/** Entries of some tokens each, and the single places between and around them. */
export interface Layout {
  /** The first place of each entry, ascending. */
  readonly entries: readonly number[];
  readonly free: readonly number[];
  /** Index of the entry that was put at a depth. */
  readonly fixed: number;
}

/**
 * Puts `count` entries of `width` tokens into places 1 … end − 1, every arrangement equally likely. With a depth d, 0 ≤ d ≤ 1, one of them
 * is put where a share d of the other units, entries and single places, come before it. Throws OptionError where they do not fit.
 */
export function layOut(
  random: RandomStream,
  sizes: {
    readonly name: string;
    readonly count: number;
    readonly width: number;
    readonly end: number;
    readonly depth?: number | undefined;
  },
): Layout {
  const { name, count, width, end, depth } = sizes;
  const units = end - 1 - count * (width - 1);
  if (units < count) {
    throw new OptionError(`${name}: ${count} entries of ${width} tokens do not fit into ${Math.max(0, end - 1)} places`, {
      hint: "ask for a longer sequence or for fewer entries",
    });
  }
  const needle = depth === undefined ? undefined : Math.round(depth * (units - 1));
  const chosen =
    needle === undefined
      ? random.subset(count, units)
      : [...random.subset(count - 1, units - 1).map((unit) => (unit < needle ? unit : unit + 1)), needle].sort((a, b) => a - b);
  const entries: number[] = [];
  const free: number[] = [];
  let place = 1;
  for (let unit = 0; unit < units; unit++) {
    if (chosen[entries.length] === unit) {
      entries.push(place);
      place += width;
    } else free.push(place++);
  }
  return { entries, free, fixed: needle === undefined ? -1 : chosen.indexOf(needle) };
}

/** Whether one of the free places of a training window asks something; the others hold fillers. */
export const asksInBetween = (random: RandomStream): boolean => random.below(2) === 0;

/** `count` distinct integers of {0, …, bound − 1} in random order. */
export function draw(random: RandomStream, count: number, bound: number): number[] {
  const chosen = random.subset(count, bound);
  return random.permutation(count).map((i) => chosen[i] as number);
}

/**
 * n as a sum of whole numbers that are proportional to `shares` as nearly as can be: each rounded down, and what is left given to those with
 * the largest remainders, the first of equal ones first (Hamilton's method).
 */
export function apportion(n: number, shares: readonly number[]): number[] {
  const all = shares.reduce((sum, share) => sum + share, 0);
  const exact = shares.map((share) => (n * share) / all);
  const counts = exact.map(Math.floor);
  const byRemainder = exact.map((_, i) => i).sort((a, b) => ((exact[b] as number) % 1) - ((exact[a] as number) % 1) || a - b);
  const left = n - counts.reduce((sum, count) => sum + count, 0);
  for (const i of byRemainder.slice(0, left)) counts[i] = (counts[i] as number) + 1;
  return counts;
}
