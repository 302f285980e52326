/** What an experiment comes to, as one JSON document, and the records that runs leave in their folders. */
import type { EvaluationRule, Expectation, Measure, Requirement, Selector } from "./definition.js";

/** Version of the records and documents; files of another are not taken up. */
export const experimentVersion = 1;

/** A training that is done: run.json in its folder. */
export interface RunRecord {
  readonly version: number;
  /** Of everything that changes the numbers. */
  readonly digest: string;
  readonly variant: string;
  readonly seed: number;
  readonly steps: number;
  /** Tokens that were trained on. */
  readonly tokens: number;
  /** Wall-clock seconds of its steps, over all the sittings that it took. */
  readonly seconds: number;
  /** Training losses in nats, means over stretches of steps; `step` is the last of its stretch, counted from 1. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  /** Bytes that a step takes at its most, where the definition asks for it. */
  readonly bytes?: number;
}

/** Scores of one group of targets, example by example. */
export interface GroupScores {
  /** "question", or "question/far" for a bucket of it. */
  readonly group: string;
  /** Targets of each example. */
  readonly asked: readonly number[];
  /** Of each measure the sum over these targets, such as how many were answered right; null where one is no number. */
  readonly sums: Readonly<Partial<Record<Measure, readonly (number | null)[]>>>;
}

/** Scores of a row by one evaluation at one context. */
export interface ContextScores {
  readonly evaluation: string;
  readonly context: number;
  readonly groups: readonly GroupScores[];
}

/** What was measured of a row for one seed: an entry of scores.json. */
export interface RowRecord {
  readonly digest: string;
  readonly row: string;
  readonly scores: readonly ContextScores[];
}

/** A number over seeds. */
export interface Pooled {
  /** Mean over seeds of the mean over the targets of each; null where one is no number, as all below. */
  readonly mean: number | null;
  /** Smallest and largest of the seeds. */
  readonly min: number | null;
  readonly max: number | null;
  /** Ends of the 95 % bootstrap interval of the mean: seeds are drawn anew, and the examples of each. */
  readonly low: number | null;
  readonly high: number | null;
  /** Of each seed, in their order. */
  readonly bySeed: readonly (number | null)[];
}

/** Numbers by what they measure. */
export type Measures = Readonly<Partial<Record<Measure, Pooled>>>;

/** One group of targets of one row at one context, with what its evaluation measures of it, as `nats` and `accuracy`. */
export interface Cell extends Measures {
  readonly row: string;
  readonly evaluation: string;
  readonly context: number;
  readonly group: string;
  /** Targets of all seeds. */
  readonly targets: number;
  /** This row less the reference row on the same targets; null for the reference itself and where that was not measured. */
  readonly difference: Measures | null;
}

/** Whether something that was expected is so. */
export interface Verdict {
  readonly name: string;
  readonly held: boolean;
  /** The numbers behind it, in words. */
  readonly found: string;
  /** For how many seeds it holds by itself, of all. */
  readonly seedsHeld: number;
  readonly seeds: number;
}

export interface ExperimentRow {
  readonly name: string;
  readonly variant: string;
  readonly reading: string;
}

export interface ExperimentEvaluation {
  readonly name: string;
  readonly type: EvaluationRule["type"];
  readonly contexts: readonly number[];
  /** Groups in the order of the task's kinds, each followed by its buckets. */
  readonly groups: readonly string[];
  /** Kinds whose buckets are places of one sequence, in order, and not ranges of what is asked at several contexts. */
  readonly byPlace: readonly string[];
  /** What is measured, and of it what tables and figures show unless something else is asked for. */
  readonly measures: readonly Measure[];
  readonly shown: readonly Measure[];
}

/** What `runExperiment` returns and `results.json` holds. */
export interface ExperimentResults {
  readonly version: number;
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly backend: string;
  readonly window: number;
  readonly parameters: number;
  readonly seeds: readonly number[];
  readonly reference: string;
  readonly rows: readonly ExperimentRow[];
  readonly evaluations: readonly ExperimentEvaluation[];
  /** Share of right answers without any knowledge, for kinds whose task says it. */
  readonly chance: Readonly<Record<string, number>>;
  readonly cells: readonly Cell[];
  readonly requirements: readonly Verdict[];
  readonly expectations: readonly Verdict[];
  readonly runs: readonly Omit<RunRecord, "version">[];
  /** Whether every run was trained and every row measured. */
  readonly complete: boolean;
  /** Whether all requirements and expectations hold that could be looked at. */
  readonly held: boolean;
}

export type { Expectation, Measure, Requirement, Selector };
