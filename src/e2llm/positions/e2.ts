/** E²-LLM's positions: a random scale g and a random shift t in a short window. */
import { checkOptions, integer, type Kind, type OptionKinds, oneOf, optional, plainObject, positive } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { checkReach, type DrawnRow, largestPosition, type RowOptions, type RowRequest, rowKinds, rowSource } from "./rows.js";
import { type ScaleOptions, scaleKinds, scalesOf } from "./scales.js";
import { type DrawnScaling, rowScaling, type ScalingOptions, scalingKinds, windowKind } from "./scaling.js";
import type { PositionDraw, PositionRequest, PositionSource } from "./source.js";

/** What E²-LLM draws for a row: the scale g and the shift t. */
export type E2Draw = { readonly g: number; readonly t: number };

/**
 * How t is distributed, given that it may be as large as t_max: "uniform" on {0, …, t_max}; "largest", t_max itself; a fixed number (0 switches the
 * shift off); or ⌊(t_max + 1)·u^power⌋ with u uniform on [0, 1), which prefers large shifts for powers below 1 and small ones above.
 */
export type ShiftDistribution = "uniform" | "largest" | number | { readonly power: number };

/** Options of the E²-LLM sampler that stay fixed during training. */
export interface E2Options extends RowOptions, ScaleOptions, ScalingOptions {
  /** Trained window L of the model that is being extended, or the range of positions that one trained from scratch sees. */
  readonly window: number;
  /** How many first tokens keep t = 0. Default 4, as in the paper. */
  readonly sinks?: number;
  /** How the shift is drawn. Default "uniform" on {0, …, max(0, g·L − R)}. */
  readonly t?: ShiftDistribution;
  /**
   * What happens where a scale has no room for the sequence or for a fixed shift, R + t > g·L: "clamp" (default) takes the largest shift that is left, at
   * least 0, and positions then run to (R − 1)/g, beyond L; "refuse" throws. The paper leaves that case open.
   */
  readonly overflow?: "clamp" | "refuse";
  /**
   * Default "linear", as in the paper: positions are divided by g. With any other schedule positions stay whole, and the frequencies are those of the
   * schedule at factor g; see `createE2YarnSource`.
   */
  readonly scaling?: DrawnScaling;
}

const SINKS = 4;
/** Numbers that keep the streams of g and of t apart; any two different constants do. */
const STREAM = { scale: 1, shift: 2 } as const;

const wholeShift = integer(0, largestPosition);
const sinksKind = optional(wholeShift);
const shiftKind: Kind = {
  wanted: '"uniform", "largest", a whole shift of at least 0, or { power } with a number above 0',
  fits: (value) =>
    value === "uniform" ||
    value === "largest" ||
    wholeShift.fits(value) ||
    (plainObject.fits(value) && Object.keys(value as object).join() === "power" && positive.fits((value as { power: unknown }).power)),
};

export const e2Kinds: OptionKinds<E2Options> = {
  ...rowKinds,
  ...scaleKinds,
  ...scalingKinds,
  window: windowKind,
  sinks: sinksKind,
  t: optional(shiftKind),
  overflow: optional(oneOf("clamp", "refuse")),
};

/** The largest shift at scale g: t_max = max(0, g·L − R). Zero where the sequence fills the window or exceeds it. */
export function largestShift(g: number, window: number, length: number): number {
  checkOptions("largestShift", { g, window, length }, { g: integer(0), window: integer(0), length: integer(0) });
  return Math.max(0, g * window - length);
}

/** 0 … sinks − 1, then sinks + t … length − 1 + t. */
const shifted = (length: number, t: number, sinks: number): Int32Array => Int32Array.from({ length }, (_, i) => (i < sinks ? i : i + t));

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
  checkOptions("e2Row", options, { length: wholeShift, g: integer(1, largestPosition), t: wholeShift, sinks: sinksKind });
  const { length, g, t, sinks = SINKS } = options;
  checkReach("e2Row", length + t);
  return { numerators: shifted(length, t, sinks), denominators: Int32Array.of(g), rows: 1, draws: [{ g, t }] };
}

/**
 * Draws E²-LLM's training positions (arXiv 2401.06951v3, eq. 5–7): g uniform on {1, …, gMax}, then t uniform on
 * {0, …, max(0, g·L − R)}, from independent streams; the first `sinks` tokens are at i/g, all later ones at (i + t)/g.
 *
 * With R ≤ L every position lies in [0, L). With R > L a scale g < R/L has no room, t is clamped to 0 there, and positions run
 * to (R − 1)/g ≥ L, unless `overflow` refuses that; the paper leaves that case open.
 *
 * The draw is a pure function of (seed, step, row): no state, so a resumed run and a recomputed forward pass see the same positions.
 *
 * @returns rows = 1 for granularity "batch" and rows = batch for "sample"
 * @throws OptionError for values that are no integers in range, or a length R above gMax·L, which no scale can hold
 */
export function e2Positions(options: E2Options & PositionRequest): PositionDraw<E2Draw> {
  checkOptions("e2Positions", options, { ...e2Kinds, batch: integer(1), length: integer(0), step: integer(0, 0xffff_ffff) });
  const { batch, length, step, ...fixed } = options;
  return sourceOf("e2Positions", fixed)({ batch, length, step });
}

/** E²-LLM's augmentation as a source; see `e2Positions`. Bad options are refused here, before any training step. */
export function createE2Source(options: E2Options): PositionSource<E2Draw> {
  checkOptions("createE2Source", options, e2Kinds);
  return sourceOf("createE2Source", options);
}

/** The source of checked options. `where` is the function that was called. */
export function sourceOf(where: string, options: E2Options): PositionSource<E2Draw> {
  const { window, sinks = SINKS, t = "uniform", overflow = "clamp", seed = 0, granularity = "batch" } = options;
  const scales = scalesOf(where, options);
  checkReach(where, scales.largest * window);
  const scaled = rowScaling(where, options, "linear", scales.largest);

  const checkRoom = (length: number): void => {
    if (length > scales.largest * window) {
      throw new OptionError(`a length of ${length} does not fit a window of ${window} at any scale up to ${scales.largest}`, {
        hint: `use a length of at most ${window}, the trained window, or a larger gMax`,
      });
    }
    const shift = typeof t === "number" ? t : 0;
    if (overflow === "refuse" && length + shift > scales.smallest * window) {
      throw new OptionError(
        `a length of ${length}${shift === 0 ? "" : ` shifted by ${shift}`} does not fit a window of ${window} at scale ${scales.smallest}, which may be drawn`,
        { hint: 'draw larger scales alone, g: { values: [2, 4] } for example, or take overflow: "clamp"' },
      );
    }
  };
  const shiftOf = (largest: number, random: RandomStream): number => {
    if (t === "uniform") return random.below(largest + 1);
    if (t === "largest") return largest;
    return Math.min(largest, typeof t === "number" ? t : Math.floor((largest + 1) * random.unit() ** t.power));
  };
  const draw = ({ length, random }: RowRequest): DrawnRow<E2Draw> => {
    checkRoom(length);
    const g = scales.draw(random(STREAM.scale));
    const shift = shiftOf(largestShift(g, window, length), random(STREAM.shift));
    return { positions: shifted(length, shift, sinks), ...scaled(g), draw: { g, t: shift } };
  };
  return rowSource({ draw, seed, granularity });
}
