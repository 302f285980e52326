import { type Code, f32x4, i32, type Local, op } from "../assembler.js";
import { mul, multiplyAdd, shiftLeft, sub } from "./expressions.js";

/** Added to a number, it leaves the nearest integer, with the bias of an exponent, in the last bits of the sum. */
const ROUNDER = 1.5 * 2 ** 23 + 127;

/** (2ʳ − 1)/r on |r| ≤ ½; least squares weighted to an even relative error of 2ʳ (2.0e-9). */
const TAIL = [
  0.6931471824645996, 0.24022647738456726, 0.055503323674201965, 0.00961843691766262, 0.0013398873852565885, 0.00015353361959569156,
];

/**
 * 2ˣ = 2ⁿ·2ʳ with n = round(x) in place of each x, where x < 128. What is below 2⁻¹²⁶ becomes 0, and NaN stays. The steps of all of them are
 * printed side by side, so that none waits for another. The error is at most 1 ulp of that of x: no logarithm of 2 is rounded here.
 */
export function powersOfTwo(code: Code, xs: readonly Local[], fused: boolean): void {
  const ns = xs.map(() => code.local("v128"));
  const powers = xs.map(() => code.local("v128"));
  const each = (visit: (x: Local, n: Local, power: Local) => void): void =>
    xs.forEach((x, i) => visit(x, ns[i] as Local, powers[i] as Local));
  const madd = multiplyAdd(fused);
  each((x) => code.set(x, op("f32x4.pmax", x.get, f32x4(-127))));
  each((x, n) => code.set(n, op("f32x4.add", x.get, f32x4(ROUNDER))));
  each((x, n) => code.set(x, sub(x.get, sub(n.get, f32x4(ROUNDER)))));
  const [last, ...rest] = [...TAIL].reverse() as [number, ...number[]];
  rest.push(1);
  rest.forEach((coefficient, i) =>
    each((x, _, power) => code.set(power, madd(i === 0 ? f32x4(last) : power.get, x.get, f32x4(coefficient)))),
  );
  each((x, n, power) => code.set(x, mul(power.get, shiftLeft(n.get, i32(23)))));
  code.release(...ns, ...powers);
}
