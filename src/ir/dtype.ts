import { describe } from "../arguments.js";
import { DtypeError } from "../errors.js";
import { type Half, toNearestHalf } from "./halves.js";

/**
 * Element types. `f32`, `i32`, `u32` and `bool` exist on every backend; `f16` and `bf16` on webgpu and wasm; `f64` on the reference backend. Both kinds of 16 bits are ways to store a number: `f16` has 11 significant bits and
 * ends at 65504, `bf16` has 8 and the range of f32.
 */
export type DType = "f64" | "f32" | "f16" | "bf16" | "i32" | "u32" | "bool";

/** What other libraries call these dtypes; taken wherever a dtype is. */
const aliases = {
  float64: "f64",
  double: "f64",
  float32: "f32",
  float: "f32",
  float16: "f16",
  half: "f16",
  bfloat16: "bf16",
  int32: "i32",
  int: "i32",
  uint32: "u32",
  boolean: "bool",
} as const satisfies Readonly<Record<string, DType>>;

/** A dtype by its own name or by that of NumPy, PyTorch and TensorFlow.js ("float32"). */
export type DTypeName = DType | keyof typeof aliases;

/** Host arrays that tensors are made from and read into. `f16` and `bf16` are read as f32, `bool` as bytes of 0 and 1. */
export type HostArray = Float64Array | Float32Array | Int32Array | Uint32Array | Uint8Array;

/** What is written to a device: numbers, or the bits of halves. */
export type DeviceData = HostArray | Uint16Array;

/** Order of promotion: the later of two dtypes wins; `f16` and `bf16` meet in f32; `i32` with `u32` has no common dtype. */
const rank: Record<DType, number> = { bool: 0, i32: 1, u32: 1, f16: 2, bf16: 2, f32: 3, f64: 4 };

export const isFloat = (dtype: DType): boolean => rank[dtype] >= 2;
/** Whether `dtype` stores a float in 16 bits. */
export const isHalf = (dtype: DType): dtype is Half => dtype === "f16" || dtype === "bf16";
export const isInteger = (dtype: DType): boolean => dtype === "i32" || dtype === "u32";

/** The dtype of a name. Throws {@link DtypeError} for a name of none; `where` is the function that was given it. */
export function readDType(where: string, name: DTypeName): DType {
  if (typeof name === "string") {
    if (Object.hasOwn(rank, name)) return name as DType;
    if (Object.hasOwn(aliases, name)) return aliases[name as keyof typeof aliases];
  }
  throw new DtypeError(`${where}: dtype must be one of ${Object.keys(rank).join(", ")}, found ${describe(name)}`, {
    hint: 'write it in quotes, for example "f32"',
  });
}

/** The smallest and the largest value of a dtype that is no float. */
export function integerRange(dtype: "i32" | "u32" | "bool"): readonly [lowest: number, highest: number] {
  if (dtype === "bool") return [0, 1];
  return dtype === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
}

/** Whether a number is one of the values of `dtype`; a float takes every number, rounded. */
export function fits(dtype: DType, value: number): boolean {
  if (dtype === "i32" || dtype === "u32" || dtype === "bool") {
    const [lowest, highest] = integerRange(dtype);
    return Number.isInteger(value) && value >= lowest && value <= highest;
  }
  return true;
}

/** Throws {@link DtypeError} unless `value` is one of the values of `dtype`. */
export function requireFits(operation: string, dtype: DType, value: number): void {
  if (fits(dtype, value)) return;
  const [lowest, highest] = integerRange(dtype as "i32" | "u32" | "bool");
  throw new DtypeError(`${operation}: ${value} is no ${dtype}, which holds the integers from ${lowest} to ${highest}`, {
    hint:
      dtype === "bool" ? "write 0 or 1, or compare: x.notEqual(0)" : "use a float dtype such as f32, or round and clip the number first",
  });
}

/**
 * How many integers from 0 on are distinct values of `dtype`, for the dtypes that a coordinate may not outgrow: integers,
 * and halves, where neighbours would soon be one number. The other floats round.
 */
export function distinctIntegers(dtype: DType): number {
  switch (dtype) {
    case "i32":
      return 2 ** 31;
    case "u32":
      return 2 ** 32;
    case "f16":
      return 2 ** 11 + 1;
    case "bf16":
      return 2 ** 8 + 1;
    default:
      return Number.POSITIVE_INFINITY;
  }
}

/** The dtype in which sums over many elements of `dtype` are taken: floats of at least 32 bits. */
export const summableDtype = (dtype: DType): DType => (isFloat(dtype) && !isHalf(dtype) ? dtype : "f32");

/** The dtype in which two operands meet. Throws {@link DtypeError} for i32 with u32. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (isHalf(a) && isHalf(b)) return "f32";
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
    case "bf16":
      return new Float32Array(length);
    case "i32":
      return new Int32Array(length);
    case "u32":
      return new Uint32Array(length);
    case "bool":
      return new Uint8Array(length);
  }
}

/** The value that stands for `value` in `dtype`: what a backend gives back that was given it. */
export function representable(dtype: DType, value: number): number {
  switch (dtype) {
    case "f64":
      return value;
    case "f32":
      return Math.fround(value);
    case "f16":
    case "bf16":
      return toNearestHalf(dtype, value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return value ? 1 : 0;
  }
}
