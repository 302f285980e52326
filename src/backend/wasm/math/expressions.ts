import { type Expression, f32x4, f64x2, i32x4, op } from "../assembler.js";

/** Shorthands for what formulas are made of. */

export const add = (a: Expression, b: Expression): Expression => op("f32x4.add", a, b);
export const sub = (a: Expression, b: Expression): Expression => op("f32x4.sub", a, b);
export const mul = (a: Expression, b: Expression): Expression => op("f32x4.mul", a, b);
export const div = (a: Expression, b: Expression): Expression => op("f32x4.div", a, b);

export const and = (a: Expression, b: Expression): Expression => op("v128.and", a, b);
export const or = (a: Expression, b: Expression): Expression => op("v128.or", a, b);
export const xor = (a: Expression, b: Expression): Expression => op("v128.xor", a, b);

/** a·b + c of f32 lanes. */
export type MultiplyAdd = (a: Expression, b: Expression, c: Expression) => Expression;

/**
 * Multiplying and adding in one instruction where `fused`, which an engine has with relaxed SIMD, and in two otherwise. Processors from
 * 2013 on round once in the one.
 */
export const multiplyAdd = (fused: boolean): MultiplyAdd =>
  fused ? (a, b, c) => op("f32x4.relaxed_madd", a, b, c) : (a, b, c) => add(mul(a, b), c);

/**
 * Each lane of a where the mask is all ones, of b where it is all zeros. With relaxed SIMD, as where multiplying and adding is `fused`,
 * there is one instruction for whole lanes where selecting by bits takes three.
 */
export const pick = (mask: Expression, a: Expression, b: Expression, fused = false): Expression =>
  op(fused ? "i32x4.relaxed_laneselect" : "v128.bitselect", a, b, mask);

/** The sign bit of each f32 lane. */
export const signBit: Expression = i32x4(-(2 ** 31));
/** |x|; an `and` with a constant outside of the loop is cheaper than `f32x4.abs`, for which engines make the mask each time. */
export const magnitude = (x: Expression): Expression => and(x, i32x4(0x7fffffff));
/** x with its sign turned round where y is negative. */
export const withSignOf = (y: Expression, x: Expression): Expression => xor(x, and(y, signBit));

/** Shifts of the four i32 lanes by a constant. */
export const shiftLeft = (x: Expression, by: Expression): Expression => op("i32x4.shl", x, by);
export const shiftRight = (x: Expression, by: Expression): Expression => op("i32x4.shr_u", x, by);

/** c₀ + x·(c₁ + x·(c₂ + …)) by Horner's rule; x is evaluated once for each coefficient. */
export const polynomial = (x: Expression, coefficients: readonly number[], madd: MultiplyAdd): Expression =>
  coefficients.map(f32x4).reduceRight((rest, term) => madd(rest, x, term));
/** The same in two lanes of f64. */
export const polynomial64 = (x: Expression, coefficients: readonly number[]): Expression =>
  coefficients.map(f64x2).reduceRight((rest, term) => op("f64x2.add", op("f64x2.mul", rest, x), term));

/**
 * The same as (c₀ + c₁x) + x²·((c₂ + c₃x) + x²·…): as many operations, and half as many that wait for another. How long the
 * chain is decides the speed of short functions.
 */
export function polynomialByPairs(x: Expression, square: Expression, coefficients: readonly number[], madd: MultiplyAdd): Expression {
  const pairs: Expression[] = [];
  for (let i = 0; i < coefficients.length; i += 2) {
    const [even, odd] = coefficients.slice(i, i + 2) as [number, number | undefined];
    pairs.push(odd === undefined ? f32x4(even) : madd(f32x4(odd), x, f32x4(even)));
  }
  return pairs.reduceRight((rest, pair) => madd(rest, square, pair));
}
