import { checkArgument, checkOptions, given, integer, number, optional } from "../../arguments.js";
import { type DType, type DTypeName, isHalf, readDType, representable, requireFits } from "../../ir/dtype.js";
import { normalizeAxis, readShape, type Shape } from "../../ir/shape.js";
import { finiteSingle, tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { add, mul, sub } from "./elementwise.js";
import { broadcastTo, concat, flip } from "./movement.js";
import { constant } from "./operands.js";

/** Tensors from nothing but a shape: one value everywhere, coordinates, equal steps. */

/** Options of what makes tensors: their dtype. */
export interface DTypeOption {
  readonly dtype?: DTypeName;
}

/** The dtype that options ask for, or the default of a function. */
export function dtypeOf(where: string, options: DTypeOption, fallback: DType): DType {
  checkOptions(where, options, { dtype: optional(given) });
  return options.dtype === undefined ? fallback : readDType(where, options.dtype);
}

function filled(where: string, shape: Shape | number, value: number, options: DTypeOption): Tensor {
  const extents = readShape(shape, where);
  checkArgument(where, "value", value, number);
  const dtype = dtypeOf(where, options, "f32");
  requireFits(where, dtype, value);
  // A number beside a half keeps its digits; a tensor of halves does not.
  return broadcastTo(constant(isHalf(dtype) ? representable(dtype, value) : value, dtype), extents);
}

/**
 * The same value everywhere, f32 unless said otherwise. `shape` is a list of extents, or one extent for a vector. Throws
 * DtypeError for a value that an integer dtype or bool does not have.
 */
export const full = (shape: Shape | number, value: number, options: DTypeOption = {}): Tensor => filled("full", shape, value, options);
/** 0 everywhere, f32 unless said otherwise. */
export const zeros = (shape: Shape | number, options: DTypeOption = {}): Tensor => filled("zeros", shape, 0, options);
/** 1 everywhere, f32 unless said otherwise. */
export const ones = (shape: Shape | number, options: DTypeOption = {}): Tensor => filled("ones", shape, 1, options);
/** 0 everywhere, in the shape and dtype of x. */
export function zerosLike(x: Tensor): Tensor {
  checkArgument("zerosLike", "x", x, tensorKind);
  return filled("zerosLike", x.shape, 0, { dtype: x.dtype });
}
/** 1 everywhere, in the shape and dtype of x. */
export function onesLike(x: Tensor): Tensor {
  checkArgument("onesLike", "x", x, tensorKind);
  return filled("onesLike", x.shape, 1, { dtype: x.dtype });
}
/** 0, 1, … n − 1 as i32, or as another dtype. Throws DtypeError where an integer or half dtype ends before n − 1. */
export function arange(n: number, options: DTypeOption = {}): Tensor {
  checkArgument("arange", "n", n, integer(0));
  return apply("iota", [], { shape: [n], axis: 0, dtype: dtypeOf("arange", options, "i32") });
}
/**
 * The coordinate along `axis` at each place of `shape`; i32 unless said otherwise. Throws DtypeError where the coordinates are no
 * distinct values of an integer or half dtype; f32 rounds from 2²⁴ on.
 */
export function iota(shape: Shape | number, axis: number, options: DTypeOption = {}): Tensor {
  const extents = readShape(shape, "iota");
  return apply("iota", [], { shape: extents, axis: normalizeAxis(axis, extents.length, "iota"), dtype: dtypeOf("iota", options, "i32") });
}
/**
 * `count` values from start to stop in equal steps, f32: the first is start, the last is stop, and none passes the next.
 * A single one is start. Throws OptionError unless both ends are finite in f32.
 */
export function linspace(start: number, stop: number, count: number): Tensor {
  for (const [name, value] of Object.entries({ start, stop })) checkArgument("linspace", name, value, finiteSingle);
  checkArgument("linspace", "count", count, integer(0));
  if (count < 2) return full([count], start);
  // Counted from the nearer end, so that both ends are exact and nothing overflows on the way.
  const half = Math.ceil(count / 2);
  const step = count > 2 ? (stop - start) / (count - 1) : 0;
  const steps = (n: number): Tensor => mul(arange(n, { dtype: "f32" }), step);
  return concat([add(start, steps(half)), flip(sub(stop, steps(count - half)))]);
}
