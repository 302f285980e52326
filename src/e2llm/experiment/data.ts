/** The sequences of an experiment: those of training, and those that rows are measured on. */

import { OptionError } from "../../errors.js";
import { randomStream } from "../../ir/random-stream.js";
import { createWindowSampler, type TokenSource } from "../../nn/data.js";
import { evaluationTargets } from "../../nn/evaluation-targets.js";
import { targetWindow } from "../../nn/target-window.js";
import { cutExample, evaluationExamples, noTarget, type Question, type Task, type TaskExample, trainingWindows } from "../tasks/task.js";
import type { TextData } from "./definition.js";
import { textKind } from "./kinds.js";
import type { PlannedEvaluation, PlannedTraining } from "./plan.js";

export const isTask = (data: Task | TextData): data is Task => "example" in data;

/** Tags that keep examples of "positions" apart from those of other evaluations of one seed. */
const everywhere = 0x706c_6163;

/** Seeds of one repetition: the base's data, and data and draws of all that goes on from it, which are therefore the same for all variants. */
export const seedsOf = (seed: number): { readonly base: number; readonly extension: number } => ({
  base: 2 * seed,
  extension: 2 * seed + 1,
});

/** What a training reads, step by step. */
export function trainingData(data: Task | TextData, { length, batch }: PlannedTraining, seed: number): TokenSource {
  return isTask(data)
    ? trainingWindows({ task: data, length, batch, seed })
    : createWindowSampler({ documents: data.train, length, batch, seed });
}

/** Sequences of one context length. */
export interface EvaluationSet {
  readonly context: number;
  readonly examples: readonly TaskExample[];
}

/** The sequences of an evaluation, one set for each context. Number i of every set of "contexts" asks the same. */
export function evaluationSets(data: Task | TextData, evaluation: PlannedEvaluation, seed: number): EvaluationSet[] {
  const { contexts, count, type, targets: targetLength } = evaluation;
  const longest = contexts.at(-1) as number;
  if (type === "positions") return [{ context: longest, examples: askedEverywhere(data, longest, count, seed) }];
  if (!isTask(data)) {
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
  if (type === "lengths") {
    return contexts.map((context) => ({ context, examples: evaluationExamples({ task: data, length: context, count, seed }) }));
  }
  const whole = evaluationExamples({ task: data, length: longest, count, seed });
  return contexts.map((context) => ({ context, examples: whole.map((example) => cutExample(data, example, context)) }));
}

/** Sequences in which every place asks: stretches of a text, or of a task what it asks in training. */
function askedEverywhere(data: Task | TextData, length: number, count: number, seed: number): TaskExample[] {
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
