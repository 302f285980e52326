/** The same questions with more and more before them. */
import { callable, checkOptions, integer, listOf, type OptionKinds, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { HostTables } from "../nn/batch.js";
import type { Llama } from "../nn/llama.js";
import { modelRope } from "./model-frequencies.js";
import { readingTables } from "./reading.js";
import { defaultTables, PassCounter, type ReadingOptions, readingOptionKinds, scoringCost } from "./scoring.js";
import { examplesKind, planTargets, scoreTargets, type TargetScore } from "./target-evaluation.js";
import { type DistanceSummary, edgesKind, summarizeByDistance, summarizeTargets, type TargetSummary } from "./target-summaries.js";
import { cutExample, type Task, type TaskExample, taskKind } from "./tasks/task.js";

/** What cutting off everything but the last L tokens gives, beside which a method that reads more is seen. */
export interface TruncationOptions {
  /** L: tokens of the truncated reading. Default: the trained window that the configuration states. */
  readonly window?: number;
  /** How the last L tokens are read. Default: as the model was trained, at scale 1 but for one that was trained at another scale alone. */
  readonly truncated?: (context: number) => HostTables;
}

export const truncationKinds: OptionKinds<TruncationOptions> = { window: optional(integer(1)), truncated: optional(callable) };

export interface ContextTargetOptions extends ReadingOptions, TruncationOptions {
  readonly task: Task;
  /** Sequences of the task, at least as long as the longest context, from `evaluationExamples`. */
  readonly examples: readonly TaskExample[];
  /** Context lengths W. */
  readonly contexts: readonly number[];
  /** Bounds of the ranges of distances of the summaries, see `summarizeByDistance`. Default: L, near and far. */
  readonly edges?: readonly number[];
}

const contextTargetKinds: OptionKinds<ContextTargetOptions> = {
  ...readingOptionKinds,
  ...truncationKinds,
  task: taskKind,
  examples: examplesKind,
  contexts: listOf(integer(1)),
  edges: optional(edgesKind),
};

/** Scores with one context. */
export interface ContextScores {
  /** W */
  readonly context: number;
  /** One for each question, the same questions in the same order at every context: number i of two contexts, or of two models, is a pair. */
  readonly scores: readonly TargetScore[];
  /** Means of each kind. */
  readonly kinds: readonly TargetSummary[];
  /** Means of each kind by the distance of the answer. */
  readonly distances: readonly DistanceSummary[];
}

export interface TargetsAtContexts {
  /** In the order that was asked for; fewer only where `shouldStop` ended the evaluation. */
  readonly contexts: readonly ContextScores[];
  /** The baseline: the same questions from the last L tokens alone, not scaled. null where `shouldStop` ended the evaluation before. */
  readonly truncation: ContextScores | null;
}

/**
 * Loss and accuracy on the same targets with only the available context varied: each example is cut to its last W tokens (`cutExample`), its
 * first token kept where the task has one. What grows from one context to the next is what the context is worth, less the harm of
 * positions past the trained window. Beside them stands truncation to the trained window, which needs no method at all.
 *
 * Only questions that the shortest of all contexts holds are asked, at every context. Throws OptionError where there is none, for contexts
 * longer than the examples, and all that `evaluateTargets` throws, before anything is read.
 */
export async function evaluateAtContexts(options: ContextTargetOptions): Promise<TargetsAtContexts> {
  const place = "evaluateAtContexts";
  checkOptions(place, options, contextTargetKinds);
  const { model, task, contexts, shouldStop, onProgress } = options;
  const length = options.examples[0]?.inputs.length ?? 0;
  if (contexts.length === 0) throw new OptionError(`${place} needs at least one context length`);
  const { window, tables: truncated } = truncatedReading(model, options);
  const baseline = Math.min(window, length);
  const examples = askWithin(place, { task, examples: options.examples, context: Math.min(baseline, ...contexts) });
  const plan = (context: number, tables: (context: number) => HostTables) => ({
    context,
    reading: planTargets(
      place,
      { ...options, tables },
      examples.map((example) => cutExample(task, example, context)),
    ),
  });
  const asked = contexts.map((context) => plan(context, options.tables ?? defaultTables(model)));
  const jobs = [...asked, plan(baseline, truncated)];
  const counter = new PassCounter(
    jobs.map(({ reading }) => scoringCost(model.config, reading.plan)),
    onProgress,
  );
  const found: ContextScores[] = [];
  for (const { context, reading } of jobs) {
    const { scores, complete } = await scoreTargets(model, reading, { counter, shouldStop });
    if (!complete) break;
    found.push({
      context,
      scores,
      kinds: summarizeTargets(scores),
      distances: summarizeByDistance(scores, options.edges ?? [window]),
    });
  }
  return { contexts: found.slice(0, contexts.length), truncation: found[contexts.length] ?? null };
}

/** L, and the tables of a reading of the last L tokens. */
export function truncatedReading(
  model: Llama,
  options: TruncationOptions,
): { readonly window: number; readonly tables: (context: number) => HostTables } {
  const { window = modelRope(model.config).window } = options;
  const unscaled = (length: number): HostTables => readingTables(model.config, { schedule: "none", scale: 1, length, window });
  // One that knows a single scale alone, as PoSE's, would be held against a reading that it never learned.
  return { window, tables: options.truncated ?? (model.config.e2llm === undefined ? unscaled : defaultTables(model)) };
}

/** The examples with only those questions that a cut to so much context keeps. */
function askWithin(
  where: string,
  { task, examples, context }: { readonly task: Task; readonly examples: readonly TaskExample[]; readonly context: number },
): TaskExample[] {
  const lost = task.bos === null ? 0 : 1;
  const kept = examples.map((example) => {
    const from = example.inputs.length - context;
    const first = from <= 0 ? 0 : from + lost;
    if (first === 0) return example;
    return {
      ...example,
      targets: example.targets.map((target, place) => (place < first ? -100 : target)),
      questions: example.questions.filter((question) => question.place >= first),
    };
  });
  if (kept.every(({ questions }) => questions.length === 0)) {
    throw new OptionError(`${where}: no question is within the last ${context} tokens, so that there are none to ask at every context`, {
      hint: "take a longer shortest context, or a task that asks at the end of its sequences",
    });
  }
  return kept;
}
