/** The comparison of E²-LLM with what people would try instead: which losses are measured, and measuring them. */

import { callable, checkArgument, checkOptions, integer, listOf, number, objectWith, optional } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { TokenDocument } from "../nn/data.js";
import type { TargetBlock } from "../nn/evaluation-targets.js";
import { blocksKind, documentsKind, modelKind } from "../nn/kinds.js";
import type { Llama } from "../nn/llama.js";
import { evaluateContexts } from "./evaluation.js";
import { type Reading, type ReadingSchedule, readingTables } from "./reading.js";
import { type EvaluationProgress, planScoring, type ScoringCost, scoringCost } from "./scoring.js";

/**
 * "base": the pretrained model; "plain": after further ordinary steps, the control; "e2": after as many steps of E²-LLM; "full": after as many
 * steps on sequences of the length that is to be read, which is what extension without long sequences is measured by.
 */
export type ComparedVariant = "base" | "plain" | "e2" | "full";

/** The model of each variant; that of full length may be left out. */
export type ComparedModels = Readonly<Record<Exclude<ComparedVariant, "full">, Llama>> & { readonly full?: Llama };

/** One loss to measure. */
export interface ComparisonRow extends Reading {
  readonly variant: ComparedVariant;
  /** W: tokens of context before the last target of a block. */
  readonly context: number;
}

/** A loss that was measured, in nats per token. */
export interface ComparedLoss extends ComparisonRow {
  readonly nats: number;
}

/** Ways to read the two models that saw no position beyond the window; their scale is context / L. */
const schedulesOf: Readonly<Record<"base" | "plain", readonly ReadingSchedule[]>> = {
  base: ["none", "linear", "ntk", "yarn", "yarn-turns"],
  plain: ["none", "yarn", "yarn-turns"],
};

/**
 * The rows of the comparison: base and plain by each of their schedules at scale context/L, E² at every scale g for every context, and the
 * model of full length unscaled at the contexts that it was trained for.
 *
 * @param options.window trained window L
 * @param options.contexts context lengths. Default L, 2L, 4L, 8L.
 * @param options.scales scales g at which E² is read. Default 1, 2, 4, 8.
 * @param options.fullLength tokens of the sequences of the variant "full". Default: there is no such model.
 */
export function comparisonRows(options: {
  readonly window: number;
  readonly contexts?: readonly number[];
  readonly scales?: readonly number[];
  readonly fullLength?: number;
}): ComparisonRow[] {
  checkOptions("comparisonRows", options, {
    window: integer(1),
    contexts: optional(listOf(integer(1))),
    scales: optional(listOf(number)),
    fullLength: optional(integer(1)),
  });
  const { window, scales = [1, 2, 4, 8], fullLength = 0 } = options;
  const contexts = options.contexts ?? [1, 2, 4, 8].map((times) => times * window);
  const untrained = (["base", "plain"] as const).flatMap((variant) =>
    schedulesOf[variant].flatMap((schedule) =>
      contexts.map((context): ComparisonRow => ({ variant, schedule, scale: schedule === "none" ? 1 : context / window, context })),
    ),
  );
  const extended = scales.flatMap((scale) =>
    contexts.map((context): ComparisonRow => ({ variant: "e2", schedule: "linear", scale, context })),
  );
  const whole = contexts
    .filter((context) => context <= fullLength)
    .map((context): ComparisonRow => ({ variant: "full", schedule: "none", scale: 1, context }));
  return [...untrained, ...extended, ...whole];
}

const rowsKind = listOf(objectWith("a row { variant, schedule, scale, context }", "variant", "schedule", "scale", "context"));

export interface ComparisonOptions {
  readonly models: ComparedModels;
  /** Trained window L of all of them. */
  readonly window: number;
  readonly rows: readonly ComparisonRow[];
  readonly documents: readonly TokenDocument[];
  readonly blocks: readonly TargetBlock[];
  /** T: targets of a block. */
  readonly targetLength: number;
  /** Sequences that are read together at a context. Default: as many as `evaluateContexts` takes. */
  readonly batch?: (context: number) => number;
  /** Called after each forward pass with the row that it is for; passes and work are those of all rows. */
  readonly onProgress?: (progress: EvaluationProgress & { readonly row: ComparisonRow }) => void;
  readonly shouldStop?: () => boolean;
}

export interface Comparison {
  /** In the order of the rows asked for; shorter only where `shouldStop` ended it. */
  readonly losses: ComparedLoss[];
  /** Loss of each variant on the same targets when only the last L tokens are read, unscaled. */
  readonly truncation: Partial<Record<ComparedVariant, number>>;
  readonly complete: boolean;
}

/**
 * Measures every row on the same targets, and the truncation baseline of each variant. At scale 1 every schedule reads as trained, so
 * those rows, the baseline among them, are one measurement. Throws OptionError as `evaluateContexts` does.
 */
export async function compareVariants(options: ComparisonOptions): Promise<Comparison> {
  checkOptions("compareVariants", options, {
    models: objectWith("models { base, plain, e2 }"),
    window: integer(1),
    rows: rowsKind,
    documents: documentsKind,
    blocks: blocksKind,
    targetLength: number,
    batch: optional(callable),
    onProgress: optional(callable),
    shouldStop: optional(callable),
  });
  const { models, window, rows, documents, blocks, targetLength, batch, onProgress, shouldStop } = options;
  if (rows.length === 0) throw new OptionError("a comparison needs at least one row");
  const measured = new Map<string, number>();
  const baselines = baselinesOf(rows, window);
  const jobs = distinctJobs([...baselines, ...rows]);
  const costs = jobs.map(([, { variant, context }]) => {
    checkArgument("compareVariants", `models.${variant}`, models[variant], modelKind);
    const { config } = models[variant] as Llama;
    return scoringCost(config, planScoring(config, { context, targetLength, count: blocks.length, batch: batch?.(context) }));
  });
  const total = costs.reduce((sum, { passes }) => sum + passes, 0);
  const totalWork = costs.reduce((sum, { work }) => sum + work, 0);
  let before: ScoringCost = { passes: 0, work: 0 };

  let complete = true;
  for (const [i, [job, row]] of jobs.entries()) {
    const { variant, context, schedule, scale } = row;
    const model = models[variant] as Llama;
    const rowBatch = batch?.(context);
    const found = await evaluateContexts({
      model,
      documents,
      blocks,
      targetLength,
      contexts: [context],
      tables: (length) => readingTables(model.config, { schedule, scale, length, window }),
      ...(rowBatch === undefined ? {} : { batch: rowBatch }),
      onProgress: ({ done, tokens, work }) =>
        onProgress?.({ row, tokens, done: before.passes + done, total, work: before.work + work, totalWork }),
      ...(shouldStop === undefined ? {} : { shouldStop }),
    });
    const [loss] = found;
    if (loss === undefined) {
      complete = false;
      break;
    }
    measured.set(job, loss.nats);
    const { passes, work } = costs[i] as ScoringCost;
    before = { passes: before.passes + passes, work: before.work + work };
  }
  const losses = rows.flatMap((row) => {
    const nats = measured.get(jobOf(row));
    return nats === undefined ? [] : [{ ...row, nats }];
  });
  const truncation = Object.fromEntries(
    baselines.flatMap((row) => {
      const nats = measured.get(jobOf(row));
      return nats === undefined ? [] : [[row.variant, nats]];
    }),
  ) as Partial<Record<ComparedVariant, number>>;
  return { losses, truncation, complete };
}

/**
 * Tokens that measuring these rows reads, with each distinct measurement counted once.
 *
 * @param sizes.weight what a token counts in a sequence of so many. Default 1.
 */
export function comparisonTokens(
  rows: readonly ComparisonRow[],
  sizes: { readonly window: number; readonly blocks: number; readonly weight?: (context: number) => number },
): number {
  checkArgument("comparisonTokens", "rows", rows, rowsKind);
  checkOptions("comparisonTokens", sizes, { window: integer(1), blocks: integer(0), weight: optional(callable) });
  const { window, blocks, weight = () => 1 } = sizes;
  const jobs = distinctJobs([...baselinesOf(rows, window), ...rows]);
  return jobs.reduce((sum, [, { context }]) => sum + blocks * context * weight(context), 0);
}

/** The truncation baseline of every variant among the rows. */
const baselinesOf = (rows: readonly ComparisonRow[], window: number): ComparisonRow[] =>
  [...new Set(rows.map(({ variant }) => variant))].map((variant) => ({ variant, schedule: "none", scale: 1, context: window }));

const distinctJobs = (rows: readonly ComparisonRow[]): [job: string, row: ComparisonRow][] => [
  ...new Map(rows.map((row) => [jobOf(row), row])).entries(),
];

/** Rows of one job are read by the same tables. */
const jobOf = ({ variant, schedule, scale, context }: ComparisonRow): string =>
  scale === 1 && schedule !== "dynamic" ? `${variant}/none/1/${context}` : `${variant}/${schedule}/${scale}/${context}`;
