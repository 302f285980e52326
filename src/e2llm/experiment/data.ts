/** The sequences of an experiment: those of training, and those that rows are measured on. */

import { OptionError } from "../../errors.js";
import { randomStream } from "../../ir/random-stream.js";
import { createWindowSampler, type TokenSource } from "../../nn/data.js";
import { evaluationTargets } from "../../nn/evaluation-targets.js";
import { targetWindow } from "../../nn/target-window.js";
import { cutExample, evaluationExamples, noTarget, type Question, type Task, type TaskExample, trainingWindows } from "../tasks/task.js";
import type { TextData } from "./definition.js";

export const isTask = (data: Task | TextData): data is Task => "example" in data;

/** The kind of question that every token of a text is, as in `textTask`. */
export const textKind = "next";

/** Kinds of what is asked, in order. */
export const kindsOfData = (data: Task | TextData): readonly string[] => (isTask(data) ? Object.keys(data.kinds) : [textKind]);

/** Tags that keep examples of "positions" apart from those of other evaluations of one seed. */
const everywhere = 0x706c_6163;

/** Seeds of one repetition: the base's data, and data and draws of all that goes on from it, which are therefore the same for all variants. */
export const seedsOf = (seed: number): { readonly base: number; readonly extension: number } => ({
  base: 2 * seed,
  extension: 2 * seed + 1,
});

/** What a training reads, step by step. */
export function trainingData(
  data: Task | TextData,
  { length, batch }: { readonly length: number; readonly batch: number },
  seed: number,
): TokenSource {
  return isTask(data)
    ? trainingWindows({ task: data, length, batch, seed })
    : createWindowSampler({ documents: data.train, length, batch, seed });
}

/** Sequences of one context length. */
export interface EvaluationSet {
  readonly context: number;
  readonly examples: readonly TaskExample[];
}

/** What sequences are asked for. */
export interface SetRequest {
  readonly contexts: readonly number[];
  readonly count: number;
  /** T: targets at the end of each block of a text. */
  readonly targets: number;
}

/** The same targets with ever more before them: number i of every set asks the same. */
export function cutSets(data: Task | TextData, { contexts, count, targets: targetLength }: SetRequest, seed: number): EvaluationSet[] {
  const longest = contexts.at(-1) as number;
  if (isTask(data)) {
    const whole = evaluationExamples({ task: data, length: longest, count, seed });
    return contexts.map((context) => ({ context, examples: whole.map((example) => cutExample(data, example, context)) }));
  }
  const documents = data.heldOut;
  const blocks = evaluationTargets({ documents, targetLength, maxContext: longest, count });
  return contexts.map((context) => ({
    context,
    examples: blocks.map((block) => {
      const { inputs, targets } = targetWindow({ documents, block, targetLength, context });
      return asExample(inputs, targets);
    }),
  }));
}

/** Fresh sequences at every context. */
export const freshSets = (task: Task, { contexts, count }: SetRequest, seed: number): EvaluationSet[] =>
  contexts.map((context) => ({ context, examples: evaluationExamples({ task, length: context, count, seed }) }));

/** Sequences in which every place asks: stretches of a text, or of a task what it asks in training. */
export function askedEverywhere(data: Task | TextData, length: number, count: number, seed: number): TaskExample[] {
  if (isTask(data)) {
    return Array.from({ length: count }, (_, i) =>
      data.example({ length, random: randomStream(seed, everywhere, i), purpose: "training" }),
    );
  }
  const documents = data.heldOut;
  const blocks = evaluationTargets({ documents, targetLength: length, maxContext: length, count });
  return blocks.map((block) => {
    const { inputs, targets } = targetWindow({ documents, block, targetLength: length, context: length });
    return asExample(inputs, targets);
  });
}

/** Tokens of a text with the last targets asked. */
function asExample(inputs: Int32Array, asked: Int32Array): TaskExample {
  const targets = new Int32Array(inputs.length).fill(noTarget);
  const first = inputs.length - asked.length;
  if (first < 0) throw new OptionError(`${asked.length} targets do not fit into ${inputs.length} tokens`);
  targets.set(asked, first);
  const questions = Array.from(asked, (_, i): Question => ({ place: first + i, kind: textKind }));
  return { inputs, targets, questions };
}
