import { DtypeError } from "../../errors.js";
import { type DType, isFloat } from "../../ir/dtype.js";
import type { Shape } from "../../ir/shape.js";

/**
 * How values are held: every float, `f32` included, as an unrounded f64, because this backend is what the others are
 * measured by; integers in arrays that wrap around by themselves; `bool` as bytes of 0 and 1.
 */
export type Data = Float64Array | Int32Array | Uint32Array | Uint8Array;

/** A tensor in row-major order without gaps. */
export interface Value {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly data: Data;
}

/** Zeros that can hold `length` elements of `dtype`. Throws DtypeError for `f16` and `bf16`, which have no exact counterpart here. */
export function zeros(dtype: DType, length: number): Data {
  switch (dtype) {
    case "f64":
    case "f32":
      return new Float64Array(length);
    case "i32":
      return new Int32Array(length);
    case "u32":
      return new Uint32Array(length);
    case "bool":
      return new Uint8Array(length);
    case "f16":
    case "bf16":
      throw new DtypeError(`the reference backend computes in f64, f32, i32, u32 and bool, not in ${dtype}`, {
        hint: "use f32 here; the reference keeps more digits than either",
      });
  }
}

/** Bytes that one element of `dtype` takes in {@link Data}. */
export const bytesPerElement = (dtype: DType): number => zeros(dtype, 0).BYTES_PER_ELEMENT;

/** Whether a buffer written as `a` can be read as `b`. */
export const sameStorage = (a: DType, b: DType): boolean => a === b || (isFloat(a) && isFloat(b));
