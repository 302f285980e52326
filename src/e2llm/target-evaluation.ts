/** Loss and accuracy of every question of some examples. */
import { checkOptions, listOf, type OptionKinds } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import type { HostTables } from "../nn/batch.js";
import type { Llama } from "../nn/llama.js";
import {
  checkTables,
  defaultTables,
  PassCounter,
  planScoring,
  type ReadingOptions,
  readingOptionKinds,
  type ScoringPlan,
  scoreRows,
  scoringCost,
} from "./scoring.js";
import { checkExample, exampleKind, type TaskExample } from "./tasks/task.js";

/** How a model answered one question. */
export interface TargetScore {
  /** Index of the example. */
  readonly example: number;
  readonly place: number;
  readonly kind: string;
  /** How many places back the answer stands, where the task says it. */
  readonly distance?: number;
  /** What the target counts in means, where the example says it. */
  readonly weight?: number;
  /** −ln p(answer | tokens up to the place), in nats. */
  readonly nats: number;
  /** Whether no token has a higher probability than the answer; of equal ones the first counts. */
  readonly correct: boolean;
}

export interface TargetEvaluationOptions extends ReadingOptions {
  /** Sequences of one length, from `evaluationExamples` or cut by `cutExample`. */
  readonly examples: readonly TaskExample[];
}

export const examplesKind = listOf(exampleKind);

const evaluationKinds: OptionKinds<TargetEvaluationOptions> = { ...readingOptionKinds, examples: examplesKind };

/**
 * Reads every example from its beginning and scores its questions: one score for each, example by example, in order of their places. Shorter
 * only where `shouldStop` ended it. The head computes logits from the first question on alone.
 *
 * Throws OptionError where nothing is asked, for questions without a target and tokens outside of the vocabulary, ShapeError for examples of
 * different lengths, all before anything is read.
 */
export async function evaluateTargets(options: TargetEvaluationOptions): Promise<TargetScore[]> {
  checkOptions("evaluateTargets", options, evaluationKinds);
  const { model, examples, shouldStop, onProgress } = options;
  const reading = planTargets("evaluateTargets", { ...options, tables: options.tables ?? defaultTables(model) }, examples);
  const counter = new PassCounter([scoringCost(model.config, reading.plan)], onProgress);
  return (await scoreTargets(model, reading, { counter, shouldStop })).scores;
}

/** Examples of one length that are read by the same tables. */
export interface TargetReading {
  readonly examples: readonly TaskExample[];
  /** The first place in which any of them asks. */
  readonly first: number;
  readonly plan: ScoringPlan;
  readonly tables: HostTables;
}

/** What {@link evaluateTargets} will read. Checks everything that can be checked without reading. */
export function planTargets(
  where: string,
  options: Pick<ReadingOptions, "model" | "batch" | "block"> & { readonly tables: (context: number) => HostTables },
  examples: readonly TaskExample[],
): TargetReading {
  const { config } = options.model;
  const length = examples[0]?.inputs.length ?? 0;
  const odd = examples.findIndex(({ inputs }) => inputs.length !== length);
  if (odd >= 0) {
    throw new ShapeError(`${where}: example 0 has ${length} tokens and example ${odd} has ${examples[odd]?.inputs.length}`, {
      hint: "examples that are read together have one length; cut them with cutExample",
    });
  }
  for (const [i, example] of examples.entries()) checkExample(where, `example ${i}`, example, config.vocab_size);
  const first = examples.reduce((least, { questions }) => Math.min(least, questions[0]?.place ?? length), length);
  if (first === length) throw new OptionError(`${where}: the examples ask nothing`);
  const plan = planScoring(config, { ...options, context: length, targetLength: length - first, count: examples.length });
  return { examples, first, plan, tables: checkTables(where, options.tables(length), { config, length }) };
}

/** The scores of a reading, and whether it was read to its end. */
export async function scoreTargets(
  model: Llama,
  { examples, first, plan, tables }: TargetReading,
  options: { readonly counter: PassCounter; readonly shouldStop: (() => boolean) | undefined },
): Promise<{ readonly scores: TargetScore[]; readonly complete: boolean }> {
  const scores: TargetScore[] = [];
  const complete = await scoreRows(
    model,
    (i) => {
      const { inputs, targets } = examples[i] as TaskExample;
      return { inputs, targets: targets.subarray(first) };
    },
    {
      ...options,
      plan,
      tables,
      answers: true,
      onScores: ({ losses, answers, scored }, firstRow) => {
        losses.forEach((row, i) => {
          const example = firstRow + i;
          const { targets, questions, weights } = examples[example] as TaskExample;
          for (const { place, kind, distance } of questions) {
            if (place - first >= scored) break;
            scores.push({
              example,
              place,
              kind,
              ...(distance === undefined ? {} : { distance }),
              ...(weights === undefined ? {} : { weight: weights[place] as number }),
              nats: row[place - first] as number,
              correct: answers?.[i]?.[place - first] === targets[place],
            });
          }
        });
      },
    },
  );
  return { scores, complete };
}
