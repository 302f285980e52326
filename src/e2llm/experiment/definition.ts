/**
 * What an experiment is: one object that could stand in a JSON file.
 *
 *     task or text ── base training ──┬── variant "plain" ──┐        readings × variants = rows
 *                                     ├── variant "e2"     ─┤ ──▶    each row read by each evaluation, for each seed,
 *                                     └── variant "pose"  ──┘        pooled over seeds, held against expectations
 */

import type { HostTables } from "../../nn/batch.js";
import type { LlamaConfig } from "../../nn/config.js";
import type { LlamaOptions } from "../../nn/config-options.js";
import type { TokenDocument } from "../../nn/data.js";
import type { PositionSource } from "../positions/index.js";
import type { Task } from "../tasks/task.js";
import type { Measure } from "./measures.js";

export type { Measure } from "./measures.js";

/** A number of tokens, or a multiple of the trained window: 64, "L", "8L", "0.5L". */
export type Length = number | string;

/** A named thing of the library with its options, as `createTask` and `createPositionSource` take it: `{ "type": "ledger", "names": 24 }`. */
export interface Named {
  readonly type: string;
  readonly [option: string]: unknown;
}

/** What a position source of one's own is made for. */
export interface SourceRequest {
  readonly config: LlamaConfig;
  /** L: the trained window. */
  readonly window: number;
  /** The seed of the draws, the same for every variant. */
  readonly seed: number;
}

/** A position source by name, or in code one of one's own. What it closes over is not seen by `runExperiment`: see `version`. */
export type PositionsOf = Named | ((request: SourceRequest) => PositionSource);

/** What tables of one's own are made for. */
export interface TablesRequest {
  readonly config: LlamaConfig;
  /** W: tokens that are read. */
  readonly length: number;
  /** Tokens that the text will have, which a scale follows, where tables are made for more of them than are read. Default: `length`. */
  readonly planned?: number;
  /** L: the trained window. */
  readonly window: number;
}

/**
 * How a model is read: a schedule with its scale and further options as `readingTables` takes them, or in code a function that makes the tables.
 */
export type ReadingOf =
  | {
      readonly schedule: string;
      /** A number of at least 1, or "W/L": context over window, at least 1. Default "W/L", and 1 for "none". */
      readonly scale?: number | "W/L";
      readonly [option: string]: unknown;
    }
  | ((request: TablesRequest) => HostTables);

/** Text with its end held out. */
export interface TextData {
  readonly train: readonly TokenDocument[];
  readonly heldOut: readonly TokenDocument[];
}

/** How a training is done: the base one, or what a variant goes on with. */
export interface TrainingRule {
  readonly steps: number;
  /** B: sequences of a step. */
  readonly batch: number;
  /** R: tokens of a sequence. Default "L". */
  readonly length?: Length;
  /** Peak learning rate. */
  readonly lr: number;
  /** Steps of linear warm-up. Default a tenth of the steps, at most 100. */
  readonly warmup?: number;
  /** The learning rate at the end of the cosine, as a share of the peak. Default 0.1. */
  readonly floor?: number;
  /** Where tokens stand. Default `{ type: "plain" }`. */
  readonly positions?: PositionsOf;
  /** Rows that are computed at once, a divisor of the batch. Default: all. */
  readonly microBatch?: number;
}

/** A training that is compared: what it changes of `extension`, and where it begins. */
export interface VariantRule extends Partial<TrainingRule> {
  /** "base": the base model (default). "scratch": fresh weights, those that the base began with. */
  readonly from?: "base" | "scratch";
  readonly description?: string;
}

/** AdamW and clipping, the same for all trainings. */
export interface OptimizerNumbers {
  readonly betas?: readonly [number, number];
  readonly weightDecay?: number;
  readonly eps?: number;
  /** Bound of the gradients' norm; 0 is none. Default 1. */
  readonly clip?: number;
}

/** A range of distances, or of places: from … to, both included. */
export interface Range {
  readonly from?: Length;
  readonly to?: Length;
  /** The kind of question that it divides. Default: every kind. */
  readonly kind?: string;
}

/** What all evaluations have in common. */
interface CommonRule {
  /** N: sequences of a task, or stretches of a text. */
  readonly count: number;
  /** Names of the rows that are measured. Default: all. */
  readonly rows?: readonly string[];
}

/**
 * Questions answered. Every target gives its loss and whether it was right; targets are put into groups: one for each kind of question, and
 * `kind/name` for each bucket.
 *
 *   contexts    the same targets with ever more before them: sequences of the longest context, cut to their ends
 *   lengths     fresh sequences at every context, for tasks that lose their sense when they are cut (a passkey at a depth)
 *   positions   every place of sequences as long as the longest context, by its distance from the beginning
 */
export interface TargetRule extends CommonRule {
  readonly type: "contexts" | "lengths" | "positions";
  /** Default L, 2L, 4L, 8L. */
  readonly contexts?: readonly Length[];
  /** T: targets at the end of each block of a text. Default 16, at most the shortest context. */
  readonly targets?: number;
  /** Named ranges of the distance between a question and what it is answered from; of places for "positions". */
  readonly buckets?: Readonly<Record<string, Range>>;
  /** Parts into which a sequence is divided by depth, 1 − distance/length: "depth 1/4" is its first quarter. */
  readonly depths?: number;
}

/** A text read through windows of W tokens that move by S, every token scored once (`slidingWindowPerplexity`). Of texts alone. */
export interface SlidingRule extends CommonRule {
  readonly type: "sliding";
  /** W of each window. Default L, 2L, 4L, 8L. */
  readonly contexts?: readonly Length[];
  /** S, at most the shortest window. Default half of each window. */
  readonly stride?: Length;
  /** Tokens of each stretch that are scored. Default twice the longest window. */
  readonly targets?: Length;
}

/**
 * Where attention goes (`attentionMaps`), as shares of its mass, means over the queries and heads of a sequence: "sinks" to the first keys, "answer" to
 * the token that a question is answered from, each also by layer and for the head that gives it most; and "distance/…" to all keys but the sinks, by
 * distance. The queries are a task's questions, or the last places of a text.
 */
export interface AttentionRule extends CommonRule {
  readonly type: "attention";
  /** Default L, 2L, 4L, 8L; at most 4096 tokens. */
  readonly contexts?: readonly Length[];
  /** How many first keys are sinks. Default 4. */
  readonly sinks?: number;
  /** Queries at the end of each block of a text. Default 4. */
  readonly targets?: number;
  /** Named ranges of distance. Default: ranges that double. */
  readonly buckets?: Readonly<Record<string, Omit<Range, "kind">>>;
}

/**
 * A text continued far beyond the window, at the one scale of its planned length (`longGeneration`): by equal parts of what was written its
 * repetition, its drift and the loss of a judge. "written" is the model's, "real" how the text itself went on, which one row alone is given.
 */
export interface GenerationRule extends CommonRule {
  readonly type: "generation";
  /** Tokens of the text that are continued. Default "0.5L". */
  readonly prompt?: Length;
  /** Tokens that are written. Default "8L". */
  readonly tokens?: Length;
  /** Default 8. */
  readonly parts?: number;
  /** n of the n-grams that repetition is counted in. Default 4. */
  readonly ngram?: number;
  readonly temperature?: number;
  readonly topK?: number;
  /** Name of the row that judges, such as a model trained at full length. Default: no losses. */
  readonly judge?: string;
}

/** What is measured of each row. */
export type EvaluationRule = TargetRule | SlidingRule | AttentionRule | GenerationRule;

/** Rows to measure: every named variant by every named reading. */
export interface RowRule {
  /** Name of the row where it is one. Default "variant, reading". */
  readonly name?: string;
  /** "base", or names of variants. */
  readonly variant: string | readonly string[];
  /** Names of readings. */
  readonly reading: string | readonly string[];
}

/** A pooled number of a row. */
export interface Selector {
  readonly row: string;
  /** Default: the first evaluation. */
  readonly evaluation?: string;
  readonly context: Length;
  /** "question", "question/far". Default: the first kind. */
  readonly group?: string;
}

/** What should come out. `margin` and `within` are in units of the measure: nats, or a share of right answers from 0 to 1. */
export type Expectation = {
  readonly name: string;
  /** Default "nats". */
  readonly measure?: Measure;
} & (
  | { readonly type: "less" | "greater"; readonly of: Selector; readonly than: Selector; readonly margin: number }
  /** Largest less smallest over the contexts is at most `within`. */
  | ({ readonly type: "flat"; readonly contexts: readonly Length[]; readonly within: number } & Omit<Selector, "context">)
  /** Each row is worse than the one before it by at most `within`. */
  | ({ readonly type: "gradual"; readonly rows: readonly string[]; readonly within: number } & Omit<Selector, "row">)
);

/** What must hold for each seed before anything is compared. */
export interface Requirement extends Selector {
  readonly name?: string;
  /** Default "accuracy". */
  readonly measure?: Measure;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface ExperimentDefinition {
  readonly name: string;
  readonly title?: string;
  /** What it is to show. */
  readonly description?: string;
  /** Where sequences come from: a task by name, or in code one of one's own. Either this or `text`. */
  readonly task?: Named | Task;
  /** "moby-dick", a file or a folder, read as bytes; or in code the documents. */
  readonly text?: string | TextData;
  /** The model in Hugging Face's names, without `vocab_size` and `max_position_embeddings`, which follow from the data and from L. */
  readonly model: Omit<LlamaOptions, "vocab_size" | "max_position_embeddings">;
  /** L: the trained window. */
  readonly window: number;
  readonly optimizer?: OptimizerNumbers;
  readonly base: TrainingRule;
  /** What all variants do alike. Default: as the base. */
  readonly extension?: Partial<TrainingRule>;
  readonly variants?: Readonly<Record<string, VariantRule>>;
  readonly readings: Readonly<Record<string, ReadingOf>>;
  readonly rows: readonly RowRule[];
  readonly evaluations: Readonly<Record<string, EvaluationRule>>;
  /** Each is a base and its variants, data and draws of their own. */
  readonly seeds: readonly number[];
  /** Name of the row that others are compared with, pair by pair. Default: the first. */
  readonly reference?: string;
  readonly requires?: readonly Requirement[];
  readonly expectations?: readonly Expectation[];
  /** Whether bytes of a step's memory are recorded for each variant. Default false. */
  readonly memory?: boolean;
  /** What a size changes of all this: objects are merged, lists and numbers replaced, null takes away. */
  readonly sizes?: Readonly<Record<string, object>>;
  /** Change it where functions of this definition changed in ways that their texts do not show, so that no earlier run is taken for one of this. */
  readonly version?: string | number;
}
