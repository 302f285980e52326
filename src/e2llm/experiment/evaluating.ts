/** Measuring rows: one reading of one model by all evaluations. */
import type { Llama } from "../../nn/llama.js";
import { planScoring, scoringCost } from "../scoring.js";
import { evaluateTargets, type TargetScore } from "../target-evaluation.js";
import { type EvaluationSet, evaluationSets, isTask, trainingData } from "./data.js";
import { canonicalText, digestOf } from "./digest.js";
import { textKind } from "./kinds.js";
import { namedSource } from "./named.js";
import type { ExperimentPlan, PlannedEvaluation, PlannedRow } from "./plan.js";
import { tablesOf } from "./readings.js";
import type { ContextScores, GroupScores, RowRecord } from "./results.js";

/** Tokens that are read together where sequences are short. */
const tokensAtOnce = 8192;
const rowsAtOnce = (context: number): number => Math.max(1, Math.min(64, Math.floor(tokensAtOnce / context)));

/** The sequences of all evaluations for one seed. */
export type SeedSets = ReadonlyMap<PlannedEvaluation, readonly EvaluationSet[]>;

export const setsOf = (plan: ExperimentPlan, seed: number): SeedSets =>
  new Map(plan.evaluations.map((evaluation) => [evaluation, evaluationSets(plan.data, evaluation, seed)]));

/** Makes what the plan will need, as far as that is quick, so that what cannot be made is refused before anything is trained. */
export function tryPlan(plan: ExperimentPlan): void {
  const { config, window, data, variants, rows, evaluations } = plan;
  for (const { training } of variants.values()) {
    const windows = trainingData(data, training, 0).at(0);
    namedSource(training.positions, { config, window, seed: 0 })({ batch: windows.batch, length: windows.length, step: 0 });
  }
  for (const evaluation of evaluations) {
    evaluationSets(data, isTask(data) ? { ...evaluation, count: 1 } : evaluation, 0);
    for (const { name, reading } of rows) {
      if (evaluation.rows.has(name)) for (const length of evaluation.contexts) tablesOf(reading, { config, length, window });
    }
  }
}

/** The digest of all that decides the scores of a row of a run. */
export function rowDigest(plan: ExperimentPlan, row: PlannedRow, run: string): Promise<string> {
  const evaluations = plan.evaluations.filter(({ rows }) => rows.has(row.name)).map(({ rows: _, ...evaluation }) => evaluation);
  return digestOf(canonicalText({ run, reading: row.reading, evaluations }));
}

/** Multiply-adds of measuring a row. */
export function rowWork({ config, evaluations }: ExperimentPlan, row: PlannedRow): number {
  let work = 0;
  for (const { rows, type, contexts, count, targets } of evaluations) {
    if (!rows.has(row.name)) continue;
    for (const context of contexts) {
      const targetLength = type === "positions" ? context : targets;
      work += scoringCost(config, planScoring(config, { context, count, targetLength, batch: rowsAtOnce(context) })).work;
    }
  }
  return work;
}

export interface RowRequest {
  readonly plan: ExperimentPlan;
  readonly row: PlannedRow;
  readonly model: Llama;
  readonly sets: SeedSets;
  readonly digest: string;
  /** Called after each forward pass with its multiply-adds and tokens. */
  readonly onPass: (work: number, tokens: number) => void;
  readonly shouldStop: () => boolean;
}

/** The scores of a row; undefined where `shouldStop` ended it. */
export async function measureRow(request: RowRequest): Promise<RowRecord | undefined> {
  const { plan, row, model, sets, digest, onPass, shouldStop } = request;
  const scores: ContextScores[] = [];
  for (const [evaluation, ofContexts] of sets) {
    if (!evaluation.rows.has(row.name)) continue;
    for (const { context, examples } of ofContexts) {
      let before = 0;
      const found = await evaluateTargets({
        model,
        examples,
        tables: (length) => tablesOf(row.reading, { config: plan.config, length, window: plan.window }),
        batch: rowsAtOnce(context),
        shouldStop,
        onProgress: ({ work, tokens }) => {
          onPass(work - before, tokens);
          before = work;
        },
      });
      if (shouldStop()) return undefined;
      scores.push({ evaluation: evaluation.name, context, groups: grouped(found, examples.length, evaluation, context, kindsOf(plan)) });
    }
  }
  return { digest, row: row.name, scores };
}

const kindsOf = ({ data }: ExperimentPlan): readonly string[] => (isTask(data) ? Object.keys(data.kinds) : [textKind]);

/** The groups that an evaluation has, in order: each kind, then its buckets and depths. */
export function groupsOf(plan: ExperimentPlan, { buckets, depths }: PlannedEvaluation): string[] {
  return kindsOf(plan).flatMap((kind) => [
    kind,
    ...buckets.map(({ name }) => `${kind}/${name}`),
    ...Array.from({ length: depths }, (_, part) => depthGroup(kind, part, depths)),
  ]);
}

const depthGroup = (kind: string, part: number, depths: number): string => `${kind}/depth ${part + 1} of ${depths}`;

/** Sums by group and example. */
function grouped(
  scores: readonly TargetScore[],
  examples: number,
  { type, buckets, depths }: PlannedEvaluation,
  context: number,
  kinds: readonly string[],
): GroupScores[] {
  const groups = new Map<string, { asked: number[]; right: number[]; nats: number[] }>();
  const add = (group: string, { example, correct, nats }: TargetScore): void => {
    let sums = groups.get(group);
    if (sums === undefined) {
      const zeros = (): number[] => new Array<number>(examples).fill(0);
      sums = { asked: zeros(), right: zeros(), nats: zeros() };
      groups.set(group, sums);
    }
    sums.asked[example] = (sums.asked[example] as number) + 1;
    sums.right[example] = (sums.right[example] as number) + Number(correct);
    sums.nats[example] = (sums.nats[example] as number) + nats;
  };
  for (const score of scores) {
    const { kind, place, distance } = score;
    add(kind, score);
    const measured = type === "positions" ? place : distance;
    if (measured === undefined) continue;
    for (const { name, from, to, kind: of } of buckets) {
      if (measured >= from && measured <= to && (of === null || of === kind)) add(`${kind}/${name}`, score);
    }
    if (depths > 0 && distance !== undefined) {
      const depth = Math.min(1, Math.max(0, 1 - distance / context));
      add(depthGroup(kind, Math.min(depths - 1, Math.floor(depth * depths)), depths), score);
    }
  }
  const order = (group: string): number => kinds.indexOf(group.split("/")[0] as string);
  return [...groups]
    .sort(([a], [b]) => order(a) - order(b))
    .map(([group, { asked, right, nats }]) => ({
      group,
      asked,
      right,
      nats: nats.map((sum) => (Number.isFinite(sum) ? Number(sum.toPrecision(7)) : null)),
    }));
}
