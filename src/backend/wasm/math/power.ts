import {
  type Expression,
  type FunctionReference,
  f32x4,
  f64x2,
  i32,
  i64,
  type Local,
  type ModuleBuilder,
  op,
  shuffle,
} from "../assembler.js";
import { and, magnitude, mul, or, pick, polynomial64, signBit, xor } from "./expressions.js";

/** log₂((1 + s)/(1 − s))/s as a polynomial in s², s² ≤ 0.0295; least squares, relative error 4.2e-12. */
const LOG2 = [2.8853900817900855, 0.9617966733425469, 0.577083584831012, 0.4116727266950091, 0.340729969274489];
/** 2ʳ on |r| ≤ 1/2; least squares, relative error 4.0e-11. */
const EXP2 = [
  0.9999999999616217, 0.693147180728719, 0.24022651198754116, 0.05550410352827587, 0.00961802717278693, 0.001333392285924305,
  0.00015469317302155034, 1.5201900364296466e-5,
];
/** The upper half of the bits of √½ as an f64. */
const ROOT_HALF = 0x3fe6a09en << 32n;
const ROUNDER = 1.5 * 2 ** 52;

/**
 * aᵇ = ±2^(b·log₂|a|), in f64 throughout, so that neither the product nor results below 2⁻¹²⁶ lose precision.
 *
 * As in IEEE 754: a⁰ = 1 and 1ᵇ = 1 whatever the other operand is, (−1)^±∞ = 1; a finite a < 0 needs an integral b, an odd one
 * keeps the sign. The error is at most 0.52 ulp; the largest seen over ten million pairs is 0.506 ulp.
 */
export function pow(module: ModuleBuilder): FunctionReference {
  return module.function({ parameters: ["v128", "v128"], results: ["v128"] }, (code, a, b) => {
    const size = code.local("v128", magnitude(a.get));
    const upper = (x: Expression): Expression => shuffle(x, x, [2, 3, 2, 3]);
    const half = (base: Expression, exponent: Expression): Local => {
      const x = code.local("v128", op("f64x2.promote_low_f32x4", base));
      // x = 2ᵏ·m with √½ ≤ m < √2.
      const k = code.local("v128", op("i64x2.shr_s", op("i64x2.sub", x.get, op("i64x2.splat", i64(ROOT_HALF))), i32(52)));
      const m = code.local("v128", op("i64x2.sub", x.get, op("i64x2.shl", k.get, i32(52))));
      const s = code.local("v128", op("f64x2.div", op("f64x2.sub", m.get, f64x2(1)), op("f64x2.add", m.get, f64x2(1))));
      const square = code.local("v128", op("f64x2.mul", s.get, s.get));
      // k as a number: its bits, added to those of the rounder, make the sum.
      const whole = op("f64x2.sub", op("i64x2.add", k.get, f64x2(ROUNDER)), f64x2(ROUNDER));
      const log2 = op("f64x2.add", op("f64x2.mul", s.get, polynomial64(square.get, LOG2)), whole);
      const finite = pick(op("f64x2.lt", x.get, f64x2(Infinity)), log2, x.get);
      code.set(m, pick(op("f64x2.eq", x.get, f64x2(0)), f64x2(-Infinity), finite));
      code.set(x, op("f64x2.mul", m.get, op("f64x2.promote_low_f32x4", exponent)));
      // Beyond ±200 single precision has 0 and ∞ only. NaN passes.
      code.set(x, op("f64x2.pmax", op("f64x2.pmin", x.get, f64x2(200)), f64x2(-200)));
      code.set(k, op("f64x2.add", x.get, f64x2(ROUNDER)));
      code.set(s, op("f64x2.sub", x.get, op("f64x2.sub", k.get, f64x2(ROUNDER))));
      const scaled = op("i64x2.add", polynomial64(s.get, EXP2), op("i64x2.shl", k.get, i32(52)));
      // Adding to the exponent of a NaN could make a number of it.
      code.set(x, op("f32x4.demote_f64x2_zero", pick(op("f64x2.eq", x.get, x.get), scaled, x.get)));
      code.release(k, m, s, square);
      return x;
    };
    const low = half(size.get, b.get);
    const high = half(upper(size.get), upper(b.get));
    const value = code.local("v128", shuffle(low.get, high.get, [0, 1, 4, 5]));

    const infinite = op("f32x4.eq", magnitude(b.get), f32x4(Infinity));
    const one = or(or(op("f32x4.eq", a.get, f32x4(1)), op("f32x4.eq", b.get, f32x4(0))), and(op("f32x4.eq", size.get, f32x4(1)), infinite));
    code.set(value, pick(one, f32x4(1), value.get));
    const trunc = (x: Expression): Expression => op("f32x4.trunc", x);
    const halved = code.local("v128", mul(b.get, f32x4(0.5)));
    const fractional = code.local("v128", op("f32x4.ne", trunc(b.get), b.get));
    const odd = op("v128.andnot", op("f32x4.ne", trunc(halved.get), halved.get), fractional.get);
    const signed = xor(value.get, and(odd, and(a.get, signBit)));
    const negative = and(op("f32x4.lt", a.get, f32x4(0)), op("f32x4.gt", a.get, f32x4(-Infinity)));
    // All bits set are a NaN.
    code.do(or(signed, and(negative, fractional.get)));
  });
}
