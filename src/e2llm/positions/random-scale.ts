/** CLEX's positions: an ordered random subset of a grid of random length, with the frequencies of that scale. */
import { checkOptions, type OptionKinds } from "../../arguments.js";
import { checkReach, type RowOptions, type RowRequest, rowKinds, rowSource } from "./rows.js";
import { type ScaleOptions, scaleKinds, scalesOf } from "./scales.js";
import { type DrawnScaling, rowScaling, type ScalingOptions, scalingKinds } from "./scaling.js";
import type { PositionSource } from "./source.js";

/** The scale that was drawn. */
export type RandomScaleDraw = { readonly g: number };

export interface RandomScaleOptions extends RowOptions, ScaleOptions, ScalingOptions {
  /** What is done at the drawn scale. Default "ntk". */
  readonly scaling?: DrawnScaling;
}

export const randomScaleKinds: OptionKinds<RandomScaleOptions> = { ...rowKinds, ...scaleKinds, ...scalingKinds };

/** Numbers of the streams of the scale and of the positions. */
const STREAM = { scale: 1, positions: 2 } as const;

/**
 * Training at random scales as CLEX has it (Chen et al. 2023, arXiv 2310.16450, and its code): the scale g, there called t, is uniform on {1, …, gMax},
 * and the T tokens stand at the ends of a grid of g·T positions and at T − 2 different places between, in ascending order.
 *
 *     0 = p_0 < p_1 < … < p_{T−1} = g·T − 1,   every such set as likely as any other
 *
 * The frequencies are those of NTK-aware scaling by g. CLEX learns its frequencies, and before it has learned anything they are those of NTK-aware
 * scaling by 2g − 1.
 *
 * @throws OptionError for options that make no sense, and without `shape` unless the scaling is "linear" or "default"
 */
export function createRandomScaleSource(options: RandomScaleOptions): PositionSource<RandomScaleDraw> {
  const where = "createRandomScaleSource";
  checkOptions(where, options, randomScaleKinds);
  const { seed = 0, granularity = "batch" } = options;
  const scales = scalesOf(where, options);
  const scaled = rowScaling(where, options, "ntk", scales.largest);
  const draw = ({ length, random }: RowRequest) => {
    const g = scales.draw(random(STREAM.scale));
    const last = g * length - 1;
    checkReach(where, last + 1);
    const between = length < 3 ? [] : random(STREAM.positions).subset(length - 2, last - 1);
    const positions = length < 2 ? new Int32Array(length) : [0, ...between.map((place) => place + 1), last];
    return { positions, ...scaled(g), draw: { g } };
  };
  return rowSource({ draw, seed, granularity });
}
