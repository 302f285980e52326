import { type Code, type Expression, f32x4, i32, i32x4, type Local, op } from "../assembler.js";
import { add, div, mul, multiplyAdd, or, pick, polynomial, shiftLeft, sub } from "./expressions.js";

const LN2_HIGH = 0.693359375;
const LN2_LOW = -0.00021219444170128554;
/** The bits of √½. */
const ROOT_HALF = 0x3f3504f3;

/** (ln((1 + s)/(1 − s)) − 2s)/s³ as a polynomial in s², s² ≤ 0.0295; least squares, relative error of the logarithm 8e-10. */
const TAIL = [0.6666677594184875, 0.39977511763572693, 0.2987399697303772];

/**
 * ln x = k·ln 2 + ln m with x = 2ᵏ·m, √½ ≤ m < √2, and ln m = ln((1 + s)/(1 − s)), s = f/(2 + f), f = m − 1.
 *
 * 2s = f − s·f, and s·f = f²/2 − s·f²/2 keeps the large part f apart from the small ones, as in FreeBSD's e_logf.c.
 * The error is at most 0.85 ulp; the largest seen is 0.840 ulp at 1.4133185, and 0.829 ulp at 1.4013005
 * with fused multiply-add.
 */
export function log(code: Code, x: Local, fused: boolean): Expression {
  const madd = multiplyAdd(fused);
  // Subnormal numbers are scaled by 2²³ first.
  const tiny = code.local("v128", op("f32x4.lt", x.get, f32x4(2 ** -126)));
  const scaled = code.local("v128", pick(tiny.get, mul(x.get, f32x4(2 ** 23)), x.get, fused));
  const k = code.local("v128", op("i32x4.shr_s", op("i32x4.sub", scaled.get, i32x4(ROOT_HALF)), i32(23)));
  const f = code.local("v128", sub(op("i32x4.sub", scaled.get, shiftLeft(k.get, i32(23))), f32x4(1)));
  const exponent = sub(op("f32x4.convert_i32x4_s", k.get), op("v128.and", tiny.get, f32x4(23)));
  code.set(k, exponent);
  const s = code.local("v128", div(f.get, add(f.get, f32x4(2))));
  const square = code.local("v128", mul(s.get, s.get));
  const halfSquare = code.local("v128", mul(mul(f.get, f32x4(0.5)), f.get));
  const rest = mul(s.get, madd(square.get, polynomial(square.get, TAIL, madd), halfSquare.get));
  const value = madd(k.get, f32x4(LN2_HIGH), sub(f.get, sub(halfSquare.get, madd(k.get, f32x4(LN2_LOW), rest))));
  // ∞ and NaN stay what they are; below 0 all bits are set, which is a NaN.
  const finite = pick(op("f32x4.lt", x.get, f32x4(Infinity)), value, x.get, fused);
  const positive = or(finite, op("f32x4.lt", x.get, f32x4(0)));
  code.set(x, pick(op("f32x4.eq", x.get, f32x4(0)), f32x4(-Infinity), positive, fused));
  code.release(tiny, scaled, k, f, s, square, halfSquare);
  return x.get;
}
