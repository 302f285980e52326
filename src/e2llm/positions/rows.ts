/** The helpers that make a position source of what is drawn for one row. */
import {
  callable,
  checkArgument,
  checkFields,
  checkOptions,
  integer,
  numbers,
  type OptionKinds,
  object,
  objectWith,
  oneOf,
  optional,
} from "../../arguments.js";
import { OptionError, ShapeError } from "../../errors.js";
import { type RandomStream, randomStream } from "../../ir/random-stream.js";
import type { RopeFrequencies } from "../schedules.js";
import type { DrawGranularity, DrawRecord, PositionDraw, PositionRequest, PositionSource } from "./source.js";

/** Largest numerator and denominator of a position. */
export const largestPosition = 0x7fff_ffff;

/** Throws OptionError for positions that 32-bit integers cannot hold. */
export function checkReach(where: string, end: number): void {
  if (end <= largestPosition) return;
  throw new OptionError(`${where}: positions up to ${end} do not fit into 32-bit integers`, { hint: "choose a smaller scale or window" });
}

/** What is drawn for: row `row` (the sample, or 0 for a draw that the batch shares) of step `step`, of `length` tokens. */
export interface RowRequest {
  readonly length: number;
  readonly step: number;
  readonly row: number;
  /**
   * A stream of random numbers of this row's own, decided by (seed, which, step, row) alone. Streams of different numbers `which` (an integer
   * below 2³², default 0) are independent; the same number again gives the same stream, where it was left.
   */
  readonly random: (which?: number) => RandomStream;
}

/** The positions of one row: token i is at `positions[i] / scale`. */
export interface DrawnRow<Draw extends DrawRecord = DrawRecord> {
  /** Integers, one for each token. */
  readonly positions: ArrayLike<number>;
  /** A whole number of at least 1. Default 1. */
  readonly scale?: number;
  /** What was drawn, for logs and reports. */
  readonly draw: Draw;
  /** θ′ and attention factor of this row, in place of the model's. All rows have some, or none has. */
  readonly frequencies?: RopeFrequencies;
}

/** Options that every source of rows has. */
export interface RowOptions {
  /** Seed of the draws. Default 0. */
  readonly seed?: number;
  /** Default "batch": one draw per step. */
  readonly granularity?: DrawGranularity;
}

export interface RowSourceOptions<Draw extends DrawRecord> extends RowOptions {
  /** Draws one row, as a pure function of the request. */
  readonly draw: (request: RowRequest) => DrawnRow<Draw>;
}

export const rowKinds: OptionKinds<RowOptions> = { seed: optional(integer(0)), granularity: optional(oneOf("batch", "sample")) };

const requestKinds: OptionKinds<PositionRequest> = { batch: integer(1), length: integer(0), step: integer(0, 0xffff_ffff) };
const drawnKinds: OptionKinds<DrawnRow> = {
  positions: numbers,
  scale: optional(integer(1, largestPosition)),
  draw: object,
  frequencies: optional(objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor")),
};

/**
 * A position source of what is drawn for a single row: once per step for granularity "batch", once per sample for "sample", whose first row is
 * that of "batch". Row r of step s is decided by (seed, s, r) alone, so a resumed run and a second evaluation see the same positions.
 *
 *     const source = rowSource({
 *       draw({ length, random }) {
 *         const skip = random().below(100);
 *         return { positions: Array.from({ length }, (_, i) => i + skip), draw: { skip } };
 *       },
 *     });
 *
 * The source throws ShapeError for a row that has not one position for each token, OptionError for positions and scales that are no integers of
 * 32 bits.
 */
export function rowSource<Draw extends DrawRecord>(options: RowSourceOptions<Draw>): PositionSource<Draw> {
  checkOptions("rowSource", options, { ...rowKinds, draw: callable });
  const { draw, seed = 0, granularity = "batch" } = options;
  return (request) => {
    checkFields("a position source", "the request", request, requestKinds);
    const { batch, length, step } = request;
    return stackRows(granularity === "batch" ? 1 : batch, (row) => {
      const streams = new Map<number, RandomStream>();
      const random = (which = 0): RandomStream => {
        const stream = streams.get(which) ?? randomStream(seed, which, step, row);
        streams.set(which, stream);
        return stream;
      };
      return oneRow(draw({ length, step, row, random }), length);
    });
  };
}

/** A drawn row as a batch of one. Throws ShapeError and OptionError where it is none for `length` tokens. */
function oneRow<Draw extends DrawRecord>(drawn: DrawnRow<Draw>, length: number): PositionDraw<Draw> {
  checkFields<unknown>("a position source", "a drawn row", drawn, drawnKinds);
  const { positions, scale = 1, draw, frequencies } = drawn;
  if (positions.length !== length) {
    throw new ShapeError(`a position source: expected positions for ${length} tokens, found ${positions.length}`, {
      hint: "draw as many positions as the request's length",
    });
  }
  const numerators = Int32Array.from(positions);
  const odd = numerators.findIndex((numerator, i) => numerator !== positions[i]);
  if (odd >= 0) {
    throw new OptionError(`a position source: expected 32-bit integers as positions, found ${positions[odd]} for token ${odd}`, {
      hint: "give positions as whole numbers, and a whole scale that they are divided by",
    });
  }
  return {
    numerators,
    denominators: Int32Array.of(scale),
    rows: 1,
    draws: [draw],
    ...(frequencies === undefined ? {} : { frequencies: [frequencies] }),
  };
}

/**
 * Draws of single rows as one batch, row by row: the shape that most sources have. All rows have frequencies of their own, or none has
 * (OptionError), and all have the same number of tokens (ShapeError).
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
    if (one.numerators.length !== length) {
      throw new ShapeError(`stackRows: row 0 has ${length} tokens and row ${row} has ${one.numerators.length}`, {
        hint: "draw rows of one length",
      });
    }
    numerators.set(one.numerators, row * length);
  });
  const frequencies = all.flatMap((one) => one.frequencies ?? []);
  if (frequencies.length !== 0 && frequencies.length !== rows) {
    throw new OptionError(`stackRows: ${frequencies.length} of ${rows} rows have frequencies of their own`, {
      hint: "give all rows frequencies, or none",
    });
  }
  return {
    numerators,
    denominators: Int32Array.from(all, (one) => one.denominators[0] as number),
    rows,
    draws: all.flatMap((one) => one.draws),
    ...(frequencies.length === 0 ? {} : { frequencies }),
  };
}
