import { type Code, type Expression, f32x4, i32, i32x4, type Local, op } from "../assembler.js";
import { add, and, magnitude, or, pick, shiftLeft, shiftRight, sub, xor } from "./expressions.js";

/** The exponent biases of f32 and f16 differ by 127 − 15. */
const BIAS = 112 << 23;

/** binary16 to f32, exactly. */
export function halfToFloat(code: Code, x: Local): Expression {
  const size = code.local("v128", and(x.get, i32x4(0x7fff)));
  // A subnormal half is read as 2⁻¹⁴ + itself, from which 2⁻¹⁴ is taken.
  const small = code.local("v128", and(op("i32x4.lt_s", size.get, i32x4(0x0400)), f32x4(2 ** -14)));
  const special = and(op("i32x4.gt_s", size.get, i32x4(0x7bff)), i32x4(BIAS));
  const biased = op("i32x4.add", shiftLeft(size.get, i32(13)), op("i32x4.max_s", small.get, i32x4(BIAS)));
  const sign = shiftLeft(xor(x.get, size.get), i32(16));
  code.set(x, or(sub(op("i32x4.add", biased, special), small.get), sign));
  code.release(size, small);
  return x.get;
}

/** f32 to binary16, to nearest, ties to even. */
export function floatToHalf(code: Code, x: Local): Expression {
  const bits = code.local("v128", magnitude(x.get));
  const size = code.local("v128", op("i32x4.min_s", bits.get, f32x4(65536)));
  // Half of the last place less one, and one more where the last place is odd.
  const odd = and(shiftRight(size.get, i32(13)), i32x4(1));
  const normal = shiftRight(op("i32x4.add", op("i32x4.add", size.get, i32x4(0xfff - BIAS)), odd), i32(13));
  // Next to 1/2 the last place of an f32 is 2⁻²⁴, that of a subnormal half: the addition rounds.
  const subnormal = op("i32x4.sub", add(size.get, f32x4(0.5)), f32x4(0.5));
  const finite = pick(op("i32x4.lt_s", size.get, f32x4(2 ** -14)), subnormal, normal);
  const nan = and(op("i32x4.gt_s", bits.get, f32x4(Infinity)), i32x4(0x7e00));
  code.set(x, or(or(finite, nan), shiftRight(xor(x.get, bits.get), i32(16))));
  code.release(bits, size);
  return x.get;
}

/** bfloat16 to f32: the upper half of its bits. */
export function bfloatToFloat(_code: Code, x: Local): Expression {
  return shiftLeft(x.get, i32(16));
}

/** f32 to bfloat16, to nearest, ties to even. */
export function floatToBfloat(code: Code, x: Local): Expression {
  const upper = code.local("v128", shiftRight(x.get, i32(16)));
  const rounded = shiftRight(op("i32x4.add", op("i32x4.add", x.get, i32x4(0x7fff)), and(upper.get, i32x4(1))), i32(16));
  // The bit that makes a NaN quiet keeps it from becoming ∞.
  code.set(x, pick(op("f32x4.eq", x.get, x.get), rounded, or(upper.get, i32x4(0x40))));
  code.release(upper);
  return x.get;
}
