/** Giraffe's randomized positions: a walk of random steps over the window. */
import { checkOptions } from "../../arguments.js";
import { checkReach, type RowOptions, type RowRequest, rowKinds, rowSource } from "./rows.js";
import type { PositionSource } from "./source.js";

/** The position of the last token. */
export type RandomIncrementsDraw = { readonly last: number };

/** Positions are whole multiples of 1/4096, a power of two, so that they are exact. */
const resolution = 4096;

/**
 * Positions p_i = Σ_{k ≤ i} 2u_k with u_k uniform on [0, 1), all of them multiplied by T/p_{T−1} where they would go beyond T: the steps
 * between tokens are of many sizes, 1 on average (Pal et al. 2023, "Giraffe", arXiv 2308.10882, and its code), rounded to 1/4096. The authors draw for each
 * sample: `granularity: "sample"`. They put Position Interpolation on top, which here is a matter of the frequencies that training is given.
 */
export function createRandomIncrementsSource(options: RowOptions = {}): PositionSource<RandomIncrementsDraw> {
  checkOptions("createRandomIncrementsSource", options, rowKinds);
  const { seed = 0, granularity = "batch" } = options;
  const draw = ({ length, random }: RowRequest) => {
    checkReach("createRandomIncrementsSource", resolution * length);
    const steps = random();
    let walked = 0;
    const walk = Array.from({ length }, () => {
      walked += 2 * steps.unit();
      return walked;
    });
    const shrink = Math.min(1, length / walked);
    const positions = walk.map((position) => Math.round(position * shrink * resolution));
    return { positions, scale: resolution, draw: { last: (positions.at(-1) ?? 0) / resolution } };
  };
  return rowSource({ draw, seed, granularity });
}
