import { type Tensor, tensor } from "../../src/autograd/tensor.js";
import type { DType } from "../../src/ir/dtype.js";
import { type Shape, sizeOf } from "../../src/ir/shape.js";
import { uniformSource } from "./samples.js";

export interface FloatRange {
  /** Default −1.5. */
  readonly low?: number;
  /** Default 1.5. */
  readonly high?: number;
  /** Default 1. */
  readonly seed?: number;
  /** Default f64. */
  readonly dtype?: DType;
}

/** A tensor of values uniform on a range. */
export function floats(shape: Shape, { low = -1.5, high = 1.5, seed = 1, dtype = "f64" }: FloatRange = {}): Tensor {
  const uniform = uniformSource(seed);
  return tensor(
    Float64Array.from({ length: sizeOf(shape) }, () => low + uniform() * (high - low)),
    { shape, dtype },
  );
}

/** A f64 tensor of values in random order, neighbours 0.07 apart, none of them 0: far from every tie and kink. */
export function distinct(shape: Shape, seed = 1): Tensor {
  const size = sizeOf(shape);
  const uniform = uniformSource(seed);
  const values = Array.from({ length: size }, (_, i) => (i - Math.floor(size / 2)) * 0.07 + 0.03);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [values[i], values[j]] = [values[j] as number, values[i] as number];
  }
  return tensor(Float64Array.from(values), { shape });
}

/** The numbers of a tensor as a plain list. */
export const numbersOf = async (t: Tensor): Promise<number[]> => [...(await t.data())];

/** Σ w·x with fixed weights of either sign, so that no symmetry of x hides an error; a scalar. */
export const weighted = (x: Tensor, seed = 99): Tensor => x.mul(floats(x.shape, { seed, dtype: x.dtype })).sum();
