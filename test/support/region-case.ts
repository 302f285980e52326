import type { Tensor } from "../../src/index.js";

/** A function that uses calls and loops, and the same one without them, by the same float tensors. */
export interface RegionCase {
  readonly name: string;
  readonly f: (...args: Tensor[]) => Tensor[];
  readonly plain: (...args: Tensor[]) => Tensor[];
  readonly shapes: readonly (readonly number[])[];
}
