import { type Code, type Expression, f32x4, i32, type Local, op } from "../assembler.js";
import { add, mul, multiplyAdd, polynomial, polynomialByPairs, shiftLeft, sub } from "./expressions.js";

/**
 * Added to a number below 2²², it leaves the nearest integer n in the last bits of the sum. The integer is biased by 254, twice
 * the bias of an exponent, which splitting into two exponents needs.
 */
const ROUNDER = 1.5 * 2 ** 23 + 254;

/** ln 2 in two parts; the first has so few bits that its products with exponents are exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = -0.00021219444170128554;

/** (eʳ − 1 − r)/r² on |r| ≤ ln 2/2; least squares on Chebyshev nodes, weighted to an even relative error of eʳ (3.4e-9). */
const TAIL = [0.4999999403953552, 0.16666516661643982, 0.041668280959129333, 0.008369249291718006, 0.0013820775784552097];

/**
 * eˣ = 2ⁿ·eʳ with n = round(x/ln 2) and r = x − n·ln 2.
 *
 * 2ⁿ is multiplied in two halves, since n goes from −150 to 128: results below 2⁻¹²⁶ lose bits one by one, and what is too
 * large becomes infinite. The error is at most 1.01 ulp; the largest seen over all floats is 1.002 ulp at 26.72059, and
 * 0.897 ulp at 26.722153 with fused multiply-add.
 */
export function exp(code: Code, x: Local, fused: boolean): Expression {
  // NaN passes both, as each gives its first operand unless the second is beyond it.
  code.set(x, op("f32x4.pmax", op("f32x4.pmin", x.get, f32x4(89)), f32x4(-104)));
  return expOfSmall(code, x, fused);
}

/** eˣ where −174 ≤ x ≤ 176. */
export function expOfSmall(code: Code, x: Local, fused: boolean): Expression {
  const { n, power } = reduced(code, x, ROUNDER, fused);
  const half = code.local("v128", op("i32x4.shr_u", n.get, i32(1)));
  code.set(x, mul(mul(power.get, shiftLeft(half.get, i32(23))), shiftLeft(op("i32x4.sub", n.get, half.get), i32(23))));
  code.release(n, power, half);
  return x.get;
}

/**
 * eˣ where x ≤ 0, as in a softmax whose row was shifted by its largest element: nothing can overflow, and results below 2⁻¹²⁶
 * become 0, so that 2ⁿ is one factor; it is 0 for n = −127. Down to there the error is that of `exp`, at most 1.01 ulp.
 */
export function expOfNegative(code: Code, x: Local, fused: boolean): Expression {
  code.set(x, op("f32x4.pmax", x.get, f32x4(-88)));
  const { n, power } = reduced(code, x, 1.5 * 2 ** 23 + 127, fused);
  code.set(x, mul(power.get, shiftLeft(n.get, i32(23))));
  code.release(n, power);
  return x.get;
}

/**
 * eʳ with r = x − n·ln 2, and n = round(x/ln 2) in the last bits of its sum with `rounder`. With one rounding in each step Horner's
 * rule is exact enough, and the shortest; with two it would cost 1.17 ulp.
 */
function reduced(code: Code, x: Local, rounder: number, fused: boolean): { n: Local; power: Local } {
  const madd = multiplyAdd(fused);
  const n = code.local("v128", madd(x.get, f32x4(Math.LOG2E), f32x4(rounder)));
  const whole = code.local("v128", sub(n.get, f32x4(rounder)));
  const r = code.local("v128", madd(whole.get, f32x4(-LN2_LOW), madd(whole.get, f32x4(-LN2_HIGH), x.get)));
  const power = code.local("v128", fused ? polynomial(r.get, [1, 1, ...TAIL], madd) : powerBySquare(code, r));
  code.release(whole, r);
  return { n, power };
}

/** eʳ = 1 + (r + r²·tail), which rounds nothing that is larger than r before the last sum, and takes half as long a chain. */
function powerBySquare(code: Code, r: Local): Expression {
  const square = code.local("v128", mul(r.get, r.get));
  const tail = polynomialByPairs(r.get, square.get, TAIL, multiplyAdd(false));
  const power = add(add(mul(square.get, tail), r.get), f32x4(1));
  code.release(square);
  return power;
}
