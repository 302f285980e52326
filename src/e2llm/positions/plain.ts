/** Positions that are not random: those of ordinary training, interpolated or not, and those of reading. */
import { checkArgument, checkOptions, integer, type OptionKinds, optional } from "../../arguments.js";
import type { E2Draw } from "./e2.js";
import { checkReach, largestPosition, rowKinds, rowSource } from "./rows.js";
import { type DrawnScaling, factorKind, rowScaling, type ScalingOptions, scalingKinds } from "./scaling.js";
import type { PositionDraw, PositionSource } from "./source.js";

/**
 * The scale for reading a text of W tokens with a model of window L: g = max(1, ceil(W / L)).
 *
 * The paper says that the scale follows from the input's length without giving the rule; this is the smallest integer that fits.
 *
 * @throws OptionError unless W ≥ 0 and L ≥ 1 are integers
 */
export function inferenceScale(length: number, window: number): number {
  checkArgument("inferenceScale", "length", length, integer(0, largestPosition));
  checkArgument("inferenceScale", "window", window, integer(1, largestPosition));
  return Math.max(1, Math.ceil(length / window));
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
  const whole = integer(0, largestPosition);
  checkOptions("plainPositions", options, { length: whole, offset: optional(whole), scale: optional(integer(1, largestPosition)) });
  const { length, offset = 0, scale = 1 } = options;
  checkReach("plainPositions", offset + length);
  return {
    numerators: Int32Array.from({ length }, (_, i) => offset + i),
    denominators: Int32Array.of(scale),
    rows: 1,
    draws: [{ g: scale, t: 0 }],
  };
}

export interface PlainOptions extends ScalingOptions {
  /** s ≥ 1: how far beyond the window the samples reach. Default 1, as the model was trained. */
  readonly scale?: number;
  /** What is done at that scale. Default "linear": positions divided by s. */
  readonly scaling?: DrawnScaling;
  /** Taken so that every source can be made in one way; nothing is drawn here. */
  readonly seed?: number;
}

export const plainKinds: OptionKinds<PlainOptions> = { ...scalingKinds, scale: optional(factorKind), seed: rowKinds.seed };

/**
 * A source of the positions 0 … T − 1 at a fixed scale: ordinary training, or at full length T = s·L the training of Position Interpolation, NTK or
 * YaRN. The draw is { g: s, t: 0 }.
 *
 * @throws OptionError for options that make no sense, or a scaling that needs a window or a shape that is not given
 */
export function createPlainSource(options: PlainOptions = {}): PositionSource<E2Draw> {
  checkOptions("createPlainSource", options, plainKinds);
  const { scale = 1 } = options;
  const scaled = rowScaling("createPlainSource", options, "linear", scale)(scale);
  return rowSource({ draw: ({ length }) => ({ positions: counted(length), ...scaled, draw: { g: scale, t: 0 } }) });
}

/** 0 … length − 1. */
const counted = (length: number): Int32Array => Int32Array.from({ length }, (_, i) => i);
