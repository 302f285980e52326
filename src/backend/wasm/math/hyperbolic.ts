import { type Code, type Expression, f32x4, i32, type Local, op } from "../assembler.js";
import { add, div, magnitude, mul, multiplyAdd, polynomial, shiftLeft, sub, withSignOf } from "./expressions.js";

/** Added to a number below 2²², it leaves the nearest integer, biased as an exponent, in the last bits of the sum. */
const ROUNDER = 1.5 * 2 ** 23 + 127;

/** (tanh r − r)/r³ as a polynomial in r², |r| ≤ ln 2/4; least squares on Chebyshev nodes, relative error of tanh r 1.7e-10. */
const TAIL = [-0.33333322405815125, 0.1333114206790924, -0.052715182304382324];

/**
 * tanh x = (tanh a + t)/(1 + t·tanh a) with |x| = a + r, a = n·ln 2/2, t = tanh r, and tanh a = (2ⁿ − 1)/(2ⁿ + 1), so
 *
 * tanh x = ±((2ⁿ − 1) + (2ⁿ + 1)·t) / ((2ⁿ + 1) + (2ⁿ − 1)·t).
 *
 * For small x, n = 0 and the quotient is 2t/2. One product with ln 2/2 is enough to find r: where its rounding counts, at n ≥ 3,
 * tanh is already flat. From 9.02 on the result is 1 in single precision.
 * The error is at most 2.5 ulp; the largest seen over all floats is 2.495 ulp at 4.505945, with fused multiply-add or
 * without, below ln 2/4 0.516 ulp.
 */
export function tanh(code: Code, x: Local, fused: boolean): Expression {
  const madd = multiplyAdd(fused);
  // NaN passes, as the first operand is taken unless the second is smaller.
  const size = code.local("v128", op("f32x4.pmin", magnitude(x.get), f32x4(9.25)));
  const n = code.local("v128", madd(size.get, f32x4(2 * Math.LOG2E), f32x4(ROUNDER)));
  const r = code.local("v128", madd(sub(n.get, f32x4(ROUNDER)), f32x4(-Math.LN2 / 2), size.get));
  const square = code.local("v128", mul(r.get, r.get));
  const t = code.local("v128", madd(mul(r.get, square.get), polynomial(square.get, TAIL, madd), r.get));
  const power = code.local("v128", shiftLeft(n.get, i32(23)));
  const less = code.local("v128", sub(power.get, f32x4(1)));
  const more = code.local("v128", add(power.get, f32x4(1)));
  const quotient = div(madd(more.get, t.get, less.get), madd(less.get, t.get, more.get));
  code.set(x, withSignOf(x.get, quotient));
  code.release(size, n, r, square, t, power, less, more);
  return x.get;
}
