/** What a type of evaluation has to say and do. */
import type { HostTables } from "../../../nn/batch.js";
import type { LlamaConfig } from "../../../nn/config.js";
import type { Llama } from "../../../nn/llama.js";
import type { Task } from "../../tasks/task.js";
import type { EvaluationSet } from "../data.js";
import type { Measure, TextData } from "../definition.js";
import type { PlannedEvaluation } from "../plan-evaluations.js";
import type { GroupScores } from "../results.js";

/** What groups are named by. */
export interface PlanSubject {
  readonly data: Task | TextData;
  readonly config: LlamaConfig;
}

/** A model with the way that it is read. */
export interface ModelReading {
  readonly model: Llama;
  /** RoPE tables for `length` places of a text of `planned` tokens. */
  readonly tables: (length: number, planned: number) => HostTables;
}

export interface MeasureRequest<E extends PlannedEvaluation> extends ModelReading {
  readonly data: Task | TextData;
  readonly evaluation: E;
  readonly set: EvaluationSet;
  /** The reading of the row that judges, where one is wanted. */
  readonly judge: ModelReading | undefined;
  /** Whether this row tells of what no model decides. */
  readonly first: boolean;
  /** Called with multiply-adds and tokens that were done. */
  readonly onPass: (work: number, tokens: number) => void;
  readonly shouldStop: () => boolean;
}

/** One type of evaluation. */
export interface EvaluationKind<E extends PlannedEvaluation> {
  /** The groups that there may be, in order: each kind, followed by its parts. */
  groups(subject: PlanSubject, evaluation: E): readonly string[];
  /** Kinds whose parts are places of one sequence. */
  byPlace(subject: PlanSubject, evaluation: E): readonly string[];
  /** The sequences of a seed, a set for each context. Throws OptionError where there are not so many or not so long ones. */
  sets(data: Task | TextData, evaluation: E, seed: number): readonly EvaluationSet[];
  /** Multiply-adds of measuring a row at all contexts. */
  work(config: LlamaConfig, evaluation: E): number;
  /** The scores of a row at one context; undefined where `shouldStop` ended it. */
  measure(request: MeasureRequest<E>): Promise<GroupScores[] | undefined>;
}

/** Sums by group and example. */
export class GroupSums {
  private readonly groups = new Map<string, { readonly asked: number[]; readonly sums: Partial<Record<Measure, number[]>> }>();

  constructor(private readonly examples: number) {}

  /** Adds to a group what `weight` targets of an example come to in the mean. */
  add(group: string, example: number, values: Readonly<Partial<Record<Measure, number>>>, weight = 1): void {
    const zeros = (): number[] => new Array<number>(this.examples).fill(0);
    let found = this.groups.get(group);
    if (found === undefined) {
      found = { asked: zeros(), sums: {} };
      this.groups.set(group, found);
    }
    found.asked[example] = (found.asked[example] as number) + weight;
    for (const [measure, value] of Object.entries(values) as [Measure, number][]) {
      found.sums[measure] ??= zeros();
      const sums = found.sums[measure] as number[];
      sums[example] = (sums[example] as number) + weight * value;
    }
  }

  /** The groups that have something, in the order of these names. */
  scores(names: readonly string[]): GroupScores[] {
    return names.flatMap((group): GroupScores[] => {
      const found = this.groups.get(group);
      if (found === undefined) return [];
      const written = (sums: readonly number[]): (number | null)[] =>
        sums.map((sum) => (Number.isFinite(sum) ? Number(sum.toPrecision(7)) : null));
      const sums = Object.fromEntries(Object.entries(found.sums).map(([measure, values]) => [measure, written(values)]));
      return [{ group, asked: found.asked, sums }];
    });
  }
}

/** Tokens that are read together where sequences are short. */
const tokensAtOnce = 8192;
export const rowsAtOnce = (context: number): number => Math.max(1, Math.min(64, Math.floor(tokensAtOnce / context)));

/** Reports the work of passes that tell what was done so far. */
export function passes(
  onPass: (work: number, tokens: number) => void,
): (progress: { readonly work: number; readonly tokens: number }) => void {
  let before = 0;
  return ({ work, tokens }) => {
    onPass(work - before, tokens);
    before = work;
  };
}
