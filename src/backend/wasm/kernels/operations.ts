import type { Reducer, Value } from "../../../compiler/program.js";
import { elementBytes } from "../../../ir/bytes.js";
import { type DType, isHalf } from "../../../ir/dtype.js";
import { type Code, type Expression, f32x4, i32x4, op } from "../assembler.js";
import { magnitude, pick, signBit, xor } from "../math/expressions.js";
import type { MathFunctions, MathName } from "../math/index.js";

/** Scalar operations on vectors of four lanes. Bools are masks: all ones or all zeros. */

/** Bytes of an element in memory: bools are words. */
export const bytesOf = elementBytes;

export const isFloatType = (dtype: DType): boolean => dtype === "f32" || isHalf(dtype);

/** Numbers of 16 bits, in the lower halves of lanes, as floats. */
export const widen = (x: Expression, dtype: "f16" | "bf16", code: Code, math: MathFunctions): Expression =>
  math.apply(dtype === "f16" ? "half_to_float" : "bfloat_to_float", code, x);

/** Floats as the nearest numbers of 16 bits, in the lower halves of lanes. */
export const narrow = (x: Expression, dtype: "f16" | "bf16", code: Code, math: MathFunctions): Expression =>
  math.apply(dtype === "f16" ? "float_to_half" : "float_to_bfloat", code, x);

/** The result of an operation on the vectors of its arguments. */
export function operation(
  value: Value & { kind: "operation" },
  args: readonly Expression[],
  code: Code,
  functions: MathFunctions,
): Expression {
  const [a, b, c] = args as [Expression, Expression, Expression];
  const from = (value.args[0] as Value).dtype;
  const float = isFloatType(from);
  const math = (name: MathName): Expression => functions.apply(name, code, ...args);
  switch (value.operation) {
    case "neg":
      return float ? xor(a, signBit) : op("i32x4.neg", a);
    case "abs":
      return float ? magnitude(a) : from === "u32" ? a : op("i32x4.abs", a);
    case "sign":
      return sign(a, from);
    case "exp":
      return math(signOf(value.args[0] as Value) === -1 ? "exp_not_positive" : "exp");
    case "log":
    case "sin":
    case "cos":
    case "tanh":
    case "erf":
    case "pow":
      return math(value.operation);
    case "sqrt":
      return op("f32x4.sqrt", a);
    case "recip":
      return op("f32x4.div", f32x4(1), a);
    case "floor":
      return op("f32x4.floor", a);
    case "not":
      return op("v128.not", a);
    case "and":
      return op("v128.and", a, b);
    case "or":
      return op("v128.or", a, b);
    case "add":
    case "sub":
    case "mul":
      return op(float ? `f32x4.${value.operation}` : `i32x4.${value.operation}`, a, b);
    case "div":
      return float ? op("f32x4.div", a, b) : math(from === "u32" ? "div_u32" : "div_i32");
    case "mod":
      return math(float ? "mod_f32" : from === "u32" ? "mod_u32" : "mod_i32");
    case "max":
    case "min":
      return combine(value.operation, a, b, from);
    case "lt":
      return op(float ? "f32x4.lt" : from === "u32" ? "i32x4.lt_u" : "i32x4.lt_s", a, b);
    case "eq":
      return op(float ? "f32x4.eq" : "i32x4.eq", a, b);
    case "where":
      return pick(a, b, c, functions.fused);
    case "bitcast":
      return a;
    case "cast":
      return cast(a, from, value.dtype, code, functions);
  }
}

/** How far the sign of a number is looked for in what it is computed from. */
const signDepth = 4;

/** 1 for floats that are never negative, −1 for those that are never positive, NaN aside. */
function signOf(value: Value, depth = signDepth): 1 | -1 | undefined {
  if (value.kind === "const") return value.value >= 0 ? 1 : -1;
  if (value.kind !== "operation" || depth === 0) return undefined;
  const [a, b] = value.args as [Value, Value];
  switch (value.operation) {
    case "abs":
    case "exp":
      return 1;
    case "neg":
      return opposite(signOf(a, depth - 1));
    case "mul": {
      if (a === b) return 1;
      const sign = signOf(a, depth - 1);
      return sign === -1 ? opposite(signOf(b, depth - 1)) : sign && signOf(b, depth - 1);
    }
    default:
      return undefined;
  }
}

const opposite = (sign: 1 | -1 | undefined): 1 | -1 | undefined => (sign === undefined ? undefined : sign === 1 ? -1 : 1);

function cast(x: Expression, from: DType, to: DType, code: Code, math: MathFunctions): Expression {
  const rounded = (y: Expression): Expression => (isHalf(to) ? widen(narrow(y, to, code, math), to, code, math) : y);
  if (from === to) return x;
  if (to === "bool") return isFloatType(from) ? op("f32x4.ne", x, f32x4(0)) : op("i32x4.ne", x, i32x4(0));
  if (from === "bool") return op("v128.and", x, isFloatType(to) ? f32x4(1) : i32x4(1));
  if (isFloatType(to)) {
    if (isFloatType(from)) return rounded(x);
    return rounded(op(from === "u32" ? "f32x4.convert_i32x4_u" : "f32x4.convert_i32x4_s", x));
  }
  if (isFloatType(from)) return op(to === "u32" ? "i32x4.trunc_sat_f32x4_u" : "i32x4.trunc_sat_f32x4_s", x);
  return x;
}

export function constant(value: number, dtype: DType): Expression {
  if (dtype === "bool") return i32x4(value ? -1 : 0);
  if (isFloatType(dtype)) return f32x4(value);
  return i32x4(dtype === "u32" ? value >>> 0 : value | 0);
}

function sign(x: Expression, dtype: DType): Expression {
  if (dtype === "u32") return op("i32x4.min_u", x, i32x4(1));
  if (dtype === "i32") return op("i32x4.max_s", op("i32x4.min_s", x, i32x4(1)), i32x4(-1));
  const positive = op("v128.and", op("f32x4.gt", x, f32x4(0)), f32x4(1));
  const sign = op("v128.bitselect", f32x4(-1), positive, op("f32x4.lt", x, f32x4(0)));
  // All ones are the bits of a NaN.
  return op("v128.or", sign, op("f32x4.ne", x, x));
}

/** The starting value of a reduction. */
export function identity(reducer: Reducer, dtype: DType): Expression {
  if (reducer === "sum") return constant(0, dtype);
  const largest = reducer === "max" || reducer === "argmax";
  if (dtype === "i32") return i32x4(largest ? -2147483648 : 2147483647);
  if (dtype === "u32") return i32x4(largest ? 0 : -1);
  return f32x4(largest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY);
}

/** a combined with b, lane by lane. */
export function combine(reducer: Reducer, a: Expression, b: Expression, dtype: DType): Expression {
  if (reducer === "sum") return op(isFloatType(dtype) ? "f32x4.add" : "i32x4.add", a, b);
  const name = reducer === "max" ? "max" : "min";
  return isFloatType(dtype) ? op(`f32x4.${name}`, a, b) : op(`i32x4.${name}_${dtype === "u32" ? "u" : "s"}`, a, b);
}
