/** Retrieval from every depth of sequences of every length. */
import { checkOptions, integer, type Kind, listOf, type OptionKinds, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { HostTables } from "../nn/batch.js";
import { type TruncationOptions, truncatedReading, truncationKinds } from "./context-targets.js";
import { defaultTables, PassCounter, type ReadingOptions, readingOptionKinds, scoringCost } from "./scoring.js";
import { planTargets, scoreTargets, type TargetScore } from "./target-evaluation.js";
import { sumsOf } from "./target-summaries.js";
import { cutExample, evaluationExamples, type Task, type TaskExample, taskKind } from "./tasks/task.js";

export interface GridOptions extends ReadingOptions, TruncationOptions {
  /** A task with `atDepth`, such as `passkeyTask()`. */
  readonly task: Task;
  /** Tokens of a sequence. */
  readonly lengths: readonly number[];
  /** Where what is asked for stands, from 0, the beginning, to 1, right before the question. */
  readonly depths: readonly number[];
  /** Sequences for each length and depth. Default 32. */
  readonly count?: number;
  /** Seed of the sequences. Default 0. */
  readonly seed?: number;
}

const depthsKind: Kind = {
  wanted: "a list of numbers with 0 ≤ x ≤ 1",
  fits: (value) => Array.isArray(value) && value.every((x) => typeof x === "number" && x >= 0 && x <= 1),
};
const gridKinds: OptionKinds<GridOptions> = {
  ...readingOptionKinds,
  ...truncationKinds,
  task: taskKind,
  lengths: listOf(integer(1)),
  depths: depthsKind,
  count: optional(integer(1)),
  seed: optional(integer(0)),
};

/** Scores of some sequences, with their means. */
export interface GridScores {
  readonly scores: readonly TargetScore[];
  readonly targets: number;
  readonly nats: number;
  readonly accuracy: number;
}

/** One length and one depth. */
export interface GridCell extends GridScores {
  readonly length: number;
  readonly depth: number;
  /** The same questions from the last L tokens alone, not scaled: right by chance where what is asked for stands before them. */
  readonly truncation: GridScores;
}

/**
 * Loss and accuracy of retrieval on a grid of length by depth ("needle in a haystack"), length by length, each with the truncation baseline
 * beside it. The sequences of all cells come from the same draws, those of one length differ in the depth alone. Fewer cells only where
 * `shouldStop` ended it.
 *
 * Throws OptionError for a task that knows no depth and what `evaluateTargets` throws, before anything is read.
 */
export async function evaluateGrid(options: GridOptions): Promise<GridCell[]> {
  const place = "evaluateGrid";
  checkOptions(place, options, gridKinds);
  const { model, task, lengths, depths, count = 32, seed = 0, shouldStop, onProgress } = options;
  const { atDepth } = task;
  if (atDepth === undefined) {
    throw new OptionError(`${place}: the task "${task.name}" does not put what it asks for at a depth`, {
      hint: "take passkeyTask(…), or give the task a function atDepth",
    });
  }
  if (lengths.length === 0 || depths.length === 0) throw new OptionError(`${place} needs at least one length and one depth`);
  const truncated = truncatedReading(model, options);
  const plan = (examples: readonly TaskExample[], tables: (context: number) => HostTables) =>
    planTargets(place, { ...options, tables }, examples);
  const cells = lengths.flatMap((length) =>
    depths.map((depth) => {
      const examples = evaluationExamples({ task: atDepth(depth), length, count, seed });
      const cut = examples.map((example) => cutExample(task, example, Math.min(truncated.window, length)));
      return { length, depth, reading: plan(examples, options.tables ?? defaultTables(model)), truncation: plan(cut, truncated.tables) };
    }),
  );
  const counter = new PassCounter(
    cells.flatMap(({ reading, truncation }) => [reading, truncation].map((one) => scoringCost(model.config, one.plan))),
    onProgress,
  );
  const found: GridCell[] = [];
  for (const { length, depth, reading, truncation } of cells) {
    const own = await scoreTargets(model, reading, { counter, shouldStop });
    if (!own.complete) break;
    const baseline = await scoreTargets(model, truncation, { counter, shouldStop });
    if (!baseline.complete) break;
    found.push({ length, depth, ...gridScores(own.scores), truncation: gridScores(baseline.scores) });
  }
  return found;
}

function gridScores(scores: readonly TargetScore[]): GridScores {
  const { targets, nats, accuracy } = sumsOf(scores).means("");
  return { scores, targets, nats, accuracy };
}
