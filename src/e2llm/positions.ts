/**
 * Position sources: which exact rational position every token of a training sample or of a text at inference gets.
 *
 * Positions stay pairs of integers until the tables are made, so that equal positions at different scales are equal bit for bit.
 */

import { callable, checkArgument, checkOptions, integer, number, type OptionKinds, optional, text } from "../arguments.js";
import { OptionError } from "../errors.js";
import { randomStream } from "../ir/random-stream.js";
import { seedKey } from "../ir/threefry.js";
import type { RopeFrequencies } from "./schedules.js";

/** Exact rational positions: token i of row r is at `numerators[r·T + i] / denominators[r]`. */
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

/** What E²-LLM draws for a row: the scale g and the shift t. */
export type E2Draw = { readonly g: number; readonly t: number };

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

/** "batch": one draw per step, shared by all samples, as in the paper's algorithm 1. "sample": one draw per sample. */
export type DrawGranularity = "batch" | "sample";

/** Options of the E²-LLM sampler that stay fixed during training. */
export interface E2Options {
  /** Trained window L of the model that is being extended. */
  readonly window: number;
  /** Largest scale G: g is uniform on {1, …, G}. */
  readonly gMax: number;
  /** How many first tokens keep t = 0. Default 4, as in the paper. */
  readonly sinks?: number;
  /** Default "batch", as in the paper. */
  readonly granularity?: DrawGranularity;
  /** Seed of the draws. Default 0. */
  readonly seed?: number;
}

const e2Kinds: OptionKinds<E2Options> = {
  window: number,
  gMax: number,
  sinks: optional(number),
  granularity: optional(text),
  seed: optional(number),
};

const SINKS = 4;
const LARGEST_INT32 = 0x7fff_ffff;
/** Tags that keep the streams of g and of t apart; any two different constants do. */
const STREAM = { scale: 1, shift: 2 } as const;

/**
 * The scale for reading a text of W tokens with a model of window L: g = max(1, ceil(W / L)).
 *
 * The paper says that the scale follows from the input's length without giving the rule; this is the smallest integer that fits.
 *
 * @throws OptionError unless W ≥ 0 and L ≥ 1 are integers
 */
export function inferenceScale(length: number, window: number): number {
  checkArgument("inferenceScale", "length", length, number);
  checkArgument("inferenceScale", "window", window, number);
  return Math.max(1, Math.ceil(checkInteger("length", length, 0) / checkInteger("window", window, 1)));
}

/**
 * Positions (offset + i) / scale for i = 0 … length − 1, as one row: plain RoPE at scale 1, Position Interpolation at scale g.
 *
 * @param options.offset position of the first token before scaling, as in decoding with a cache. Default 0.
 * @param options.scale integer g ≥ 1. Default 1. Scales that are no integers belong into the frequencies: `{ type: "linear", factor }`.
 * @throws OptionError for values that are no such integers, or positions beyond 2³¹ − 1
 */
export function plainPositions(options: {
  readonly length: number;
  readonly offset?: number;
  readonly scale?: number;
}): PositionDraw<E2Draw> {
  checkOptions("plainPositions", options, { length: number, offset: optional(number), scale: optional(number) });
  const length = checkInteger("length", options.length, 0);
  const offset = checkInteger("offset", options.offset ?? 0, 0);
  const scale = checkInteger("scale", options.scale ?? 1, 1);
  checkReach(offset + length);
  return {
    numerators: Int32Array.from({ length }, (_, i) => offset + i),
    denominators: Int32Array.of(scale),
    rows: 1,
    draws: [{ g: scale, t: 0 }],
  };
}

/** The largest shift at scale g: t_max = max(0, g·L − R). Zero where the sequence fills the window or exceeds it. */
export function largestShift(g: number, window: number, length: number): number {
  for (const [name, value] of Object.entries({ g, window, length })) checkArgument("largestShift", name, value, integer(0));
  return Math.max(0, g * window - length);
}

/**
 * The positions of one row for a given draw: i/g for the first `sinks` tokens, (i + t)/g after (E²-LLM, arXiv 2401.06951v3, eq. 5 and 7).
 *
 * @throws OptionError for values that are no integers in range
 */
export function e2Row(options: {
  readonly length: number;
  readonly g: number;
  readonly t: number;
  readonly sinks?: number;
}): PositionDraw<E2Draw> {
  checkOptions("e2Row", options, { length: number, g: number, t: number, sinks: optional(number) });
  const length = checkInteger("length", options.length, 0);
  const g = checkInteger("g", options.g, 1);
  const t = checkInteger("t", options.t, 0);
  const sinks = checkInteger("sinks", options.sinks ?? SINKS, 0);
  checkReach(length + t);
  return {
    numerators: Int32Array.from({ length }, (_, i) => (i < sinks ? i : i + t)),
    denominators: Int32Array.of(g),
    rows: 1,
    draws: [{ g, t }],
  };
}

/**
 * Draws E²-LLM's training positions (arXiv 2401.06951v3, eq. 5–7): g uniform on {1, …, gMax}, then t uniform on
 * {0, …, max(0, g·L − R)}, from independent streams; the first `sinks` tokens are at i/g, all later ones at (i + t)/g.
 *
 * With R ≤ L every position lies in [0, L). With R > L a scale g < R/L has no room, t is clamped to 0 there, and positions run
 * to (R − 1)/g ≥ L; the paper leaves that case open.
 *
 * The draw is a pure function of (seed, step, row): no state, so a resumed run and a recomputed forward pass see the same positions.
 *
 * @returns rows = 1 for granularity "batch" and rows = batch for "sample"
 * @throws OptionError for values that are no integers in range, or a length R above gMax·L, which no scale can hold
 */
export function e2Positions(options: E2Options & PositionRequest): PositionDraw<E2Draw> {
  checkOptions("e2Positions", options, { ...e2Kinds, batch: number, length: number, step: number });
  const { window, gMax, sinks, granularity, seed } = checkE2(options);
  const batch = checkInteger("batch", options.batch, 1);
  const length = checkInteger("length", options.length, 0);
  const step = checkInteger("step", options.step, 0, 0xffff_ffff);
  if (length > gMax * window) {
    throw new OptionError(`a length of ${length} does not fit a window of ${window} at any scale up to ${gMax}`, {
      hint: `use a length of at most ${window}, the trained window, or a larger gMax`,
    });
  }
  return stackRows(granularity === "batch" ? 1 : batch, (row) => {
    const g = 1 + randomStream(seed, STREAM.scale, step, row).below(gMax);
    const t = randomStream(seed, STREAM.shift, step, row).below(largestShift(g, window, length) + 1);
    return e2Row({ length, g, t, sinks });
  });
}

/** A source of plain positions at a fixed integer scale (default 1): ordinary training, or Position Interpolation at full length. */
export function createPlainSource(options: { readonly scale?: number } = {}): PositionSource<E2Draw> {
  checkOptions("createPlainSource", options, { scale: optional(number) });
  const scale = checkInteger("scale", options.scale ?? 1, 1);
  return ({ length }) => plainPositions({ length, scale });
}

/** E²-LLM's augmentation as a source; see `e2Positions`. Bad options are refused here, before any training step. */
export function createE2Source(options: E2Options): PositionSource<E2Draw> {
  checkOptions("createE2Source", options, e2Kinds);
  const checked = checkE2(options);
  return (request) => e2Positions({ ...checked, ...request });
}

/**
 * Draws of single rows as one batch, row by row: the shape that most sources have. All rows have frequencies of their own, or none has.
 *
 * @param rows 1 (shared by the whole batch) or the batch size
 */
export function stackRows<Draw extends DrawRecord>(rows: number, draw: (row: number) => PositionDraw<Draw>): PositionDraw<Draw> {
  checkArgument("stackRows", "rows", rows, integer(1));
  checkArgument("stackRows", "draw", draw, callable);
  const all = Array.from({ length: rows }, (_, row) => draw(row));
  const length = all[0]?.numerators.length ?? 0;
  const numerators = new Int32Array(rows * length);
  all.forEach((one, row) => {
    numerators.set(one.numerators, row * length);
  });
  const frequencies = all.flatMap((one) => one.frequencies ?? []);
  return {
    numerators,
    denominators: Int32Array.from(all, (one) => one.denominators[0] as number),
    rows,
    draws: all.flatMap((one) => one.draws),
    ...(frequencies.length === 0 ? {} : { frequencies }),
  };
}

function checkE2(options: E2Options): Required<E2Options> {
  const window = checkInteger("window", options.window, 1);
  const gMax = checkInteger("gMax", options.gMax, 1);
  const sinks = checkInteger("sinks", options.sinks ?? SINKS, 0);
  const granularity = options.granularity ?? "batch";
  if (granularity !== "batch" && granularity !== "sample") {
    throw new OptionError(`granularity is "batch" or "sample", found ${JSON.stringify(granularity)}`, {
      hint: '"batch" draws one scale and shift per step, "sample" one per sample',
    });
  }
  const seed = options.seed ?? 0;
  seedKey(seed);
  checkReach(gMax * window);
  return { window, gMax, sinks, granularity, seed };
}

function checkInteger(name: string, value: number, smallest: number, largest = LARGEST_INT32): number {
  if (!Number.isInteger(value) || value < smallest || value > largest) {
    throw new OptionError(`${name} must be an integer from ${smallest} to ${largest}, found ${value}`, {
      hint: `give ${name} as a whole number`,
    });
  }
  return value;
}

function checkReach(end: number): void {
  if (end > LARGEST_INT32) {
    throw new OptionError(`positions up to ${end} do not fit into 32-bit integers`, { hint: "choose a smaller scale or window" });
  }
}
