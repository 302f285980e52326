/** PoSE's positions: chunks of a short window, skipped apart over the whole target window. */
import { checkOptions, integer, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { checkReach, largestPosition, type RowOptions, type RowRequest, rowKinds, rowSource } from "./rows.js";
import { type DrawnScaling, factorKind, rowScaling, type ScalingOptions, scalingKinds, windowKind } from "./scaling.js";
import type { PositionSource } from "./source.js";

/** What PoSE draws: the length l0 of the first chunk and the skip u of the next; further chunks have l1, u2, l2, u3 … */
export type PoseDraw = { readonly l0: number; readonly u: number; readonly [name: string]: number };

export interface PoseOptions extends RowOptions, ScalingOptions {
  /** Trained window L. */
  readonly window: number;
  /** Target scale s ≥ 1, the same in every step: positions are spread over s·L. */
  readonly scale: number;
  /** How many chunks N ≥ 2. Default 2. */
  readonly chunks?: number;
  /** What is done at the target scale. Default "linear": positions divided by s. */
  readonly scaling?: DrawnScaling;
}

export const poseKinds: OptionKinds<PoseOptions> = {
  ...rowKinds,
  ...scalingKinds,
  window: windowKind,
  scale: factorKind,
  chunks: optional(integer(2, largestPosition)),
};

/** Numbers of the streams of chunk lengths and of skips. */
const STREAM = { lengths: 1, skips: 2 } as const;

/**
 * Positional skip-wise training (Zhu et al. 2023, arXiv 2309.10400): the window of R tokens is cut into chunks, every one of which begins
 * farther on than it would.
 *
 *     l0 uniform on {1, …, ⌊(R + 1)/2⌋},   u uniform on {0, …, s·L − R}            two chunks, as in the authors' code
 *     token i stands at i for i < l0 and at i + u after, and the schedule at scale s follows: i/s for "linear"
 *
 * With N > 2 chunks the N − 1 cuts are any different places of the window, each set as likely as the others, and skips grow from chunk to chunk:
 * u_k uniform on {u_{k−1}, …, s·L − R}, as in the paper. The largest position is at most s·L − 1 (before division). The paper also takes
 * the chunks from different places of a document, and says that it hardly matters; tokens are not the concern of a position source. The
 * authors draw for each sample: `granularity: "sample"`.
 *
 * @throws OptionError for options that make no sense, at each step for fewer tokens than chunks or more than s·L
 */
export function createPoseSource(options: PoseOptions): PositionSource<PoseDraw> {
  const where = "createPoseSource";
  checkOptions(where, options, poseKinds);
  const { window, scale, chunks = 2, seed = 0, granularity = "batch" } = options;
  const target = Math.floor(scale * window);
  checkReach(where, target);
  const scaled = rowScaling(where, options, "linear", scale)(scale);

  const draw = ({ length, random }: RowRequest) => {
    if (length < chunks || length > target) {
      throw new OptionError(`a length of ${length} does not make ${chunks} chunks in a target of ${target} positions`, {
        hint: `use a length from ${chunks} to ${target}`,
      });
    }
    const [lengths, skips] = [random(STREAM.lengths), random(STREAM.skips)];
    const cuts =
      chunks === 2 ? [1 + lengths.below(Math.floor((length + 1) / 2))] : lengths.subset(chunks - 1, length - 1).map((cut) => cut + 1);
    const positions = new Int32Array(length);
    const drawn: Record<string, number> = {};
    let skip = 0;
    [0, ...cuts].forEach((from, k) => {
      const end = cuts[k] ?? length;
      if (k > 0) {
        skip += skips.below(target - length - skip + 1);
        drawn[k === 1 ? "u" : `u${k}`] = skip;
      }
      if (k < cuts.length) drawn[`l${k}`] = end - from;
      for (let i = from; i < end; i++) positions[i] = i + skip;
    });
    return { positions, ...scaled, draw: drawn as PoseDraw };
  };
  return rowSource({ draw, seed, granularity });
}
