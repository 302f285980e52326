import { type Code, type Expression, f32x4, i32, type Local, op } from "../assembler.js";
import { add, mul, multiplyAdd, polynomial, polynomialByPairs, shiftLeft, sub } from "./expressions.js";

/** Added to a number below 2²², it leaves the nearest integer in the last bits of the sum. */
const ROUNDER = 1.5 * 2 ** 23;

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
  // Twice the bias of an exponent, as n is split into two.
  const { n, power } = reduced(code, x, { bias: 254 }, fused);
  const half = code.local("v128", op("i32x4.shr_u", n.get, i32(1)));
  code.set(x, mul(mul(power.get, shiftLeft(half.get, i32(23))), shiftLeft(op("i32x4.sub", n.get, half.get), i32(23))));
  code.release(n, power, half);
  return x.get;
}

/**
 * eˣ where x ≤ 0, as in a sigmoid: the same as `exp` there, with one factor instead of two. The power of e is 2⁻²⁴ times what it
 * would be and the factor 2²⁴ times, so that the factor is a normal number and results below 2⁻¹²⁶ are rounded once, by the product.
 */
export function expNotPositive(code: Code, x: Local, fused: boolean): Expression {
  code.set(x, op("f32x4.pmax", x.get, f32x4(-104)));
  return scaled(code, x, reduced(code, x, { bias: 127 + 24, scale: 2 ** -24 }, fused));
}

/**
 * eˣ where x ≤ 0, as in a softmax whose row was shifted by its largest element: nothing can overflow, and results below 2⁻¹²⁶
 * become 0, so that 2ⁿ is one factor; it is 0 for n = −127. Down to there the error is that of `exp`, at most 1.01 ulp.
 */
export function expOfNegative(code: Code, x: Local, fused: boolean): Expression {
  code.set(x, op("f32x4.pmax", x.get, f32x4(-88)));
  return scaled(code, x, reduced(code, x, { bias: 127 }, fused));
}

/** x = power·2ⁿ⁻¹²⁷. */
function scaled(code: Code, x: Local, { n, power }: Reduced): Expression {
  code.set(x, mul(power.get, shiftLeft(n.get, i32(23))));
  code.release(n, power);
  return x.get;
}

interface Reduced {
  readonly n: Local;
  readonly power: Local;
}

/**
 * eʳ·scale with r = x − n·ln 2, and n = round(x/ln 2) + bias in the last bits of a float. With one rounding in each step Horner's
 * rule is exact enough, and the shortest; with two it would cost 1.17 ulp.
 */
function reduced(code: Code, x: Local, { bias, scale = 1 }: { bias: number; scale?: number }, fused: boolean): Reduced {
  const madd = multiplyAdd(fused);
  const rounder = ROUNDER + bias;
  const n = code.local("v128", madd(x.get, f32x4(Math.LOG2E), f32x4(rounder)));
  const whole = code.local("v128", sub(n.get, f32x4(rounder)));
  const r = code.local("v128", madd(whole.get, f32x4(-LN2_LOW), madd(whole.get, f32x4(-LN2_HIGH), x.get)));
  const coefficients = [1, 1, ...TAIL].map((coefficient) => coefficient * scale);
  const apart = (): Expression => (scale === 1 ? powerBySquare(code, r) : mul(powerBySquare(code, r), f32x4(scale)));
  const power = code.local("v128", fused ? polynomial(r.get, coefficients, madd) : apart());
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
