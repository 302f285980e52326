/** Measuring rows: one reading of one model by all evaluations. */
import type { Llama } from "../../nn/llama.js";
import { type EvaluationSet, isTask, trainingData } from "./data.js";
import { canonicalText, digestOf } from "./digest.js";
import type { ModelReading } from "./evaluations/kind.js";
import { kindOf } from "./kinds.js";
import { namedSource } from "./named.js";
import type { ExperimentPlan, PlannedRow } from "./plan.js";
import type { PlannedEvaluation } from "./plan-evaluations.js";
import { tablesOf } from "./readings.js";
import type { ContextScores, RowRecord } from "./results.js";

/** The sequences of all evaluations for one seed. */
export type SeedSets = ReadonlyMap<PlannedEvaluation, readonly EvaluationSet[]>;

export const setsOf = (plan: ExperimentPlan, seed: number): SeedSets =>
  new Map(plan.evaluations.map((evaluation) => [evaluation, kindOf(evaluation).sets(plan.data, evaluation, seed)]));

/** Makes what the plan will need, as far as that is quick, so that what cannot be made is refused before anything is trained. */
export function tryPlan(plan: ExperimentPlan): void {
  const { config, window, data, variants, rows, evaluations } = plan;
  for (const { training } of variants.values()) {
    const windows = trainingData(data, training, 0).at(0);
    namedSource(training.positions, { config, window, seed: 0 })({ batch: windows.batch, length: windows.length, step: 0 });
  }
  for (const evaluation of evaluations) {
    kindOf(evaluation).sets(data, isTask(data) ? { ...evaluation, count: 1 } : evaluation, 0);
    for (const { name, reading } of rows) {
      if (evaluation.rows.has(name)) for (const length of evaluation.contexts) tablesOf(reading, { config, length, window });
    }
  }
}

/** The row that judges in an evaluation, where there is one. */
export function judgeOf({ rows }: ExperimentPlan, evaluation: PlannedEvaluation): PlannedRow | undefined {
  return evaluation.type === "generation" ? rows.find(({ name }) => name === evaluation.judge) : undefined;
}

/** Whether a row is the first that an evaluation measures. */
const isFirst = ({ rows }: ExperimentPlan, evaluation: PlannedEvaluation, row: PlannedRow): boolean =>
  rows.find(({ name }) => evaluation.rows.has(name)) === row;

/** The digest of all that decides the scores of a row of a run; `runOf` gives the digest of the run of another variant. */
export async function rowDigest(
  plan: ExperimentPlan,
  row: PlannedRow,
  run: string,
  runOf: (variant: string) => Promise<string>,
): Promise<string> {
  const evaluations: object[] = [];
  for (const evaluation of plan.evaluations) {
    if (!evaluation.rows.has(row.name)) continue;
    const { rows: _, ...rest } = evaluation;
    const judge = judgeOf(plan, evaluation);
    evaluations.push({
      ...rest,
      ...(judge === undefined ? {} : { judge: { reading: judge.reading, run: await runOf(judge.variant) } }),
      ...(evaluation.type === "generation" ? { first: isFirst(plan, evaluation, row) } : {}),
    });
  }
  return digestOf(canonicalText({ run, reading: row.reading, evaluations }));
}

/** Multiply-adds of measuring a row. */
export const rowWork = ({ config, evaluations }: ExperimentPlan, { name }: PlannedRow): number =>
  evaluations.reduce((sum, evaluation) => (evaluation.rows.has(name) ? sum + kindOf(evaluation).work(config, evaluation) : sum), 0);

export interface RowRequest {
  readonly plan: ExperimentPlan;
  readonly row: PlannedRow;
  readonly model: Llama;
  /** Gives the model of a variant that judges. */
  readonly modelOf: (variant: string) => Promise<Llama>;
  readonly sets: SeedSets;
  readonly digest: string;
  /** Called after each forward pass with its multiply-adds and tokens. */
  readonly onPass: (work: number, tokens: number) => void;
  readonly shouldStop: () => boolean;
}

/** The scores of a row; undefined where `shouldStop` ended it. */
export async function measureRow(request: RowRequest): Promise<RowRecord | undefined> {
  const { plan, row, sets, digest, modelOf, onPass, shouldStop } = request;
  const { config, window, data } = plan;
  const reading = (model: Llama, by: PlannedRow): ModelReading => ({
    model,
    tables: (length, planned) => tablesOf(by.reading, { config, length, planned, window }),
  });
  const scores: ContextScores[] = [];
  for (const [evaluation, ofContexts] of sets) {
    if (!evaluation.rows.has(row.name)) continue;
    const by = judgeOf(plan, evaluation);
    const judge = by === undefined ? undefined : reading(await modelOf(by.variant), by);
    const first = isFirst(plan, evaluation, row);
    for (const set of ofContexts) {
      const groups = await kindOf(evaluation).measure({
        ...reading(request.model, row),
        data,
        evaluation,
        set,
        judge,
        first,
        onPass,
        shouldStop,
      });
      if (groups === undefined) return undefined;
      scores.push({ evaluation: evaluation.name, context: set.context, groups });
    }
  }
  return { digest, row: row.name, scores };
}
