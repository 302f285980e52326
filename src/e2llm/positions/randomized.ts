/** Randomized positions: an ordered random subset of a range that is longer than any text. */
import { checkOptions, integer, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { largestPosition, type RowOptions, type RowRequest, rowKinds, rowSource } from "./rows.js";
import { type DrawnScaling, factorKind, rowScaling, type ScalingOptions, scalingKinds } from "./scaling.js";
import type { PositionSource } from "./source.js";

/** The positions of the first and of the last token, before any division. */
export type RandomizedDraw = { readonly first: number; readonly last: number };

export interface RandomizedOptions extends RowOptions, ScalingOptions {
  /** L_max: positions are below it. It bounds the length of any text that the model will read, too. */
  readonly lMax: number;
  /** What is done at scale `scale`. Default "default": nothing, as in the paper, which trains from scratch. */
  readonly scaling?: DrawnScaling;
  /** s ≥ 1, of a `scaling`. Default L_max / window. */
  readonly scale?: number;
}

export const randomizedKinds: OptionKinds<RandomizedOptions> = {
  ...rowKinds,
  ...scalingKinds,
  lMax: integer(1, largestPosition),
  scale: optional(factorKind),
};

/**
 * Randomized positional encodings (Ruoss et al. 2023, arXiv 2305.16843): the positions of T tokens are a set of T different integers of
 * {0, …, L_max − 1}, every set as likely as any other, in ascending order. As an extension of a model of window L (PoSE's comparator "RandPos"):
 * L_max = s·L and `scaling: "linear"`, which divides them by s.
 *
 * @throws OptionError for options that make no sense, at each step for more than L_max tokens
 */
export function createRandomizedSource(options: RandomizedOptions): PositionSource<RandomizedDraw> {
  const where = "createRandomizedSource";
  checkOptions(where, options, randomizedKinds);
  const { lMax, window, scaling = "default", scale = Math.max(1, lMax / (window ?? lMax)), seed = 0, granularity = "batch" } = options;
  const scaled = rowScaling(where, options, scaling, scale)(scale);
  const draw = ({ length, random }: RowRequest) => {
    if (length > lMax) {
      throw new OptionError(`there are no ${length} different positions below lMax ${lMax}`, {
        hint: "raise lMax, or train on shorter sequences",
      });
    }
    const positions = random().subset(length, lMax);
    return { positions, ...scaled, draw: { first: positions[0] ?? 0, last: positions.at(-1) ?? 0 } };
  };
  return rowSource({ draw, seed, granularity });
}
