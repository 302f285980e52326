/** What a position source is: which exact rational position every token of a training sample gets, and what was drawn for it. */
import type { RopeFrequencies } from "../schedules.js";

/**
 * Exact rational positions: token i of row r is at `numerators[r·T + i] / denominators[r]`. They stay pairs of integers until the tables
 * are made, so that equal positions at different scales are equal bit for bit.
 */
export interface RationalPositions {
  /** [rows, T], row-major. */
  readonly numerators: Int32Array;
  /** [rows], each at least 1. */
  readonly denominators: Int32Array;
  /** 1 (shared by the whole batch) or the batch size. */
  readonly rows: number;
}

/** What a source drew for a row, by names of its own, for logs and reports: `{ g: 3, t: 17 }`. */
export type DrawRecord = { readonly [name: string]: number | string | boolean };

/** Positions with the random draw that made them, so that it can be logged. */
export interface PositionDraw<Draw extends DrawRecord = DrawRecord> extends RationalPositions {
  /** One per row. */
  readonly draws: readonly Draw[];
  /** θ′ and attention factor of each row, where the source draws them too: they take the place of those of the model. */
  readonly frequencies?: readonly RopeFrequencies[];
}

/** What a training step asks of a position source: `batch` samples of `length` tokens T at optimizer step `step` ≥ 0. */
export interface PositionRequest {
  readonly batch: number;
  readonly length: number;
  readonly step: number;
}

/** Gives the positions of a batch as a pure function of the request: asking twice gives the same answer. */
export type PositionSource<Draw extends DrawRecord = DrawRecord> = (request: PositionRequest) => PositionDraw<Draw>;

/** "batch": one draw per step, shared by all samples, as in algorithm 1 of E²-LLM's paper. "sample": one draw per sample. */
export type DrawGranularity = "batch" | "sample";
