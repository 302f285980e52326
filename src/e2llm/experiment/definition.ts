/**
 * What an experiment is: one object that could stand in a JSON file.
 *
 *     task or text ── base training ──┬── variant "plain" ──┐        readings × variants = rows
 *                                     ├── variant "e2"     ─┤ ──▶    each row read by each evaluation, for each seed,
 *                                     └── variant "pose"  ──┘        pooled over seeds, held against expectations
 */

import type { HostTables } from "../../nn/batch.js";
import type { LlamaConfig, LlamaOptions } from "../../nn/config.js";
import type { TokenDocument } from "../../nn/data.js";
import type { PositionSource } from "../positions/index.js";
import type { Task } from "../tasks/task.js";

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

/**
 * What is measured of each row. Every target gives its loss and whether it was right; targets are put into groups: one for each kind of
 * question, and `kind/name` for each bucket.
 *
 *   contexts    the same targets with ever more before them: sequences of the longest context, cut to their ends
 *   lengths     fresh sequences at every context, for tasks that lose their sense when they are cut (a passkey at a depth)
 *   positions   every place of sequences as long as the longest context, by its distance from the beginning
 */
export interface EvaluationRule {
  readonly type: "contexts" | "lengths" | "positions";
  /** Default L, 2L, 4L, 8L. */
  readonly contexts?: readonly Length[];
  /** N: sequences of a task, or blocks of a text. */
  readonly count: number;
  /** T: targets at the end of each block of a text. Default 16, at most the shortest context. */
  readonly targets?: number;
  /** Named ranges of the distance between a question and what it is answered from; of places for "positions". */
  readonly buckets?: Readonly<Record<string, Range>>;
  /** Parts into which a sequence is divided by depth, 1 − distance/length: "depth 1/4" is its first quarter. */
  readonly depths?: number;
  /** Names of the rows that are measured. Default: all. */
  readonly rows?: readonly string[];
}

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

export type Measure = "nats" | "accuracy";

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
