/** Loss and accuracy of every question of some examples. */
import { checkArgument, checkOptions, listOf, type OptionKinds, objectWith } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { defaultTables, PassCounter, planScoring, type ReadingOptions, readingOptionKinds, scoreRows, scoringCost } from "./scoring.js";
import { exampleKind, type TaskExample } from "./tasks/task.js";

/** How a model answered one question. */
export interface TargetScore {
  /** Index of the example. */
  readonly example: number;
  readonly place: number;
  readonly kind: string;
  /** How many places back the answer stands, where the task says it. */
  readonly distance?: number;
  /** −ln p(answer | tokens up to the place), in nats. */
  readonly nats: number;
  /** Whether no token has a higher probability than the answer; of equal ones the first counts. */
  readonly correct: boolean;
}

export interface TargetEvaluationOptions extends ReadingOptions {
  /** Sequences of one length, from `evaluationExamples` or cut by `cutExample`. */
  readonly examples: readonly TaskExample[];
}

const examplesKind = listOf(exampleKind);

const evaluationKinds: OptionKinds<TargetEvaluationOptions> = { ...readingOptionKinds, examples: examplesKind };

/**
 * Reads every example from its beginning and scores its questions: one score for each, example by example, in order of their places. Shorter
 * only where `shouldStop` ended it. The head computes logits from the first question on alone.
 *
 * Throws OptionError where nothing is asked, ShapeError for examples of different lengths.
 */
export async function evaluateTargets(options: TargetEvaluationOptions): Promise<TargetScore[]> {
  checkOptions("evaluateTargets", options, evaluationKinds);
  const { model, examples, shouldStop, onProgress } = options;
  const length = examples[0]?.inputs.length ?? 0;
  const odd = examples.findIndex(({ inputs }) => inputs.length !== length);
  if (odd >= 0) {
    throw new ShapeError(`evaluateTargets: example 0 has ${length} tokens and example ${odd} has ${examples[odd]?.inputs.length}`, {
      hint: "examples that are read together have one length; cut them with cutExample",
    });
  }
  const first = examples.reduce((least, { questions }) => Math.min(least, questions[0]?.place ?? length), length);
  if (first === length) throw new OptionError("evaluateTargets: the examples ask nothing");

  const targetLength = length - first;
  const plan = planScoring(model.config, { ...options, context: length, targetLength, count: examples.length });
  const found: TargetScore[] = [];
  await scoreRows(
    model,
    (i) => {
      const { inputs, targets } = examples[i] as TaskExample;
      return { inputs, targets: targets.subarray(first) };
    },
    {
      plan,
      tables: (options.tables ?? defaultTables(model))(length),
      counter: new PassCounter([scoringCost(model.config, plan)], onProgress),
      shouldStop,
      answers: true,
      onScores: ({ losses, answers, scored }, firstRow) => {
        losses.forEach((row, i) => {
          const example = firstRow + i;
          const { targets, questions } = examples[example] as TaskExample;
          for (const { place, kind, distance } of questions) {
            if (place - first >= scored) break;
            found.push({
              example,
              place,
              kind,
              ...(distance === undefined ? {} : { distance }),
              nats: row[place - first] as number,
              correct: answers?.[i]?.[place - first] === targets[place],
            });
          }
        });
      },
    },
  );
  return found;
}

/** Means over the scores of one kind. */
export interface TargetSummary {
  readonly kind: string;
  readonly targets: number;
  /** Mean loss in nats. */
  readonly nats: number;
  /** Share of right answers, 0 … 1. */
  readonly accuracy: number;
}

/** Means for each kind, in order of first appearance, summed in f64. */
export function summarizeTargets(scores: readonly TargetScore[]): TargetSummary[] {
  checkArgument("summarizeTargets", "scores", scores, listOf(objectWith("a score, as evaluateTargets(…) gives them", "kind", "nats")));
  const kinds = new Map<string, { targets: number; nats: number; right: number }>();
  for (const { kind, nats, correct } of scores) {
    const sums = kinds.get(kind) ?? { targets: 0, nats: 0, right: 0 };
    kinds.set(kind, { targets: sums.targets + 1, nats: sums.nats + nats, right: sums.right + Number(correct) });
  }
  return [...kinds].map(([kind, { targets, nats, right }]) => ({ kind, targets, nats: nats / targets, accuracy: right / targets }));
}
