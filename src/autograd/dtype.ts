import { DtypeError } from "../errors.js";

/**
 * Element types. `f32`, `i32`, `u32` and `bool` exist on every backend; `f16` where the device has it; `f64` on the
 * reference backend.
 */
export type DType = "f64" | "f32" | "f16" | "i32" | "u32" | "bool";

/** Host arrays that tensors are made from and read into. `f16` is read as f32, `bool` as bytes of 0 and 1. */
export type HostArray = Float64Array | Float32Array | Int32Array | Uint32Array | Uint8Array;

/** Order of promotion: the later of two dtypes wins; `i32` with `u32` has no common dtype. */
const rank: Record<DType, number> = { bool: 0, i32: 1, u32: 1, f16: 2, f32: 3, f64: 4 };

export const isFloat = (dtype: DType): boolean => rank[dtype] >= 2;
export const isInteger = (dtype: DType): boolean => dtype === "i32" || dtype === "u32";

/** The dtype in which two operands meet. Throws {@link DtypeError} for i32 with u32. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (rank[a] === rank[b]) {
    throw new DtypeError(`${a} and ${b} have no common dtype`, { hint: 'cast one of them: x.cast("i32")' });
  }
  return rank[a] > rank[b] ? a : b;
}

/** A host array of `length` zeros that can hold values of `dtype`. */
export function hostArray(dtype: DType, length: number): HostArray {
  switch (dtype) {
    case "f64":
      return new Float64Array(length);
    case "f32":
    case "f16":
      return new Float32Array(length);
    case "i32":
      return new Int32Array(length);
    case "u32":
      return new Uint32Array(length);
    case "bool":
      return new Uint8Array(length);
  }
}

/** The value that stands for `value` in `dtype`: what a store of it into a {@link hostArray} would give back. */
export function representable(dtype: DType, value: number): number {
  switch (dtype) {
    case "f64":
      return value;
    case "f32":
    case "f16":
      return Math.fround(value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return value ? 1 : 0;
  }
}
