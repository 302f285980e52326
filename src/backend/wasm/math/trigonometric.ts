import {
  call,
  type Expression,
  type FunctionReference,
  f32x4,
  f64,
  f64x2,
  i32,
  i32x4,
  i64,
  type Local,
  lane,
  type ModuleBuilder,
  op,
  select,
  shuffle,
} from "../assembler.js";
import { and, magnitude, mul, multiplyAdd, pick, polynomial, shiftLeft, sub, withSignOf, xor } from "./expressions.js";

/** π/2 in two parts; products of the first with integers below 2²¹ are exact in f64. */
const HALF_PI_HIGH = 1.5707963267341256;
const HALF_PI_LOW = 6.077100506506192e-11;
/** From here on the multiples of π/2 are counted with integers. */
const HUGE = 2 ** 21;
/** Added to an f64 below 2⁵¹, it leaves the nearest integer in the last bits of the sum. */
const ROUNDER = 1.5 * 2 ** 52;

/** The first 256 binary digits after the point of 1/(8π). */
const EIGHTH_OF_INVERSE_PI = [0x0a2f9836e4e44152n, 0x9fc2757d1f534ddcn, 0x0db6295993c43904n, 0x1fe5163abdebbc56n] as const;
/** One turn of 2π in units of 2⁻⁶⁴ turns. */
const UNIT_OF_TURN = 3.4061215800865545e-19;

/** (sin r − r)/r³ and (cos r − 1 + r²/2)/r⁴ as polynomials in r², |r| ≤ π/4; least squares, relative errors 3.8e-9 and 1.2e-10. */
const SINE = [-0.16666655242443085, 0.008332188241183758, -0.0001951801823452115];
const COSINE = [0.04166664555668831, -0.0013887308305129409, 2.443210360070225e-5];

/**
 * The fraction of |x|/2π after the point in units of 2⁻⁶⁴, for the bits of 2²¹ ≤ |x| < ∞.
 *
 * |x| = m·2ᵉ with a whole m of 24 bits. The digits of 1/2π before place e make whole turns with m and are left out; the next
 * 96 are multiplied by m. Source: Payne and Hanek, "Radian Reduction for Trigonometric Functions" (SIGNUM 18, 1983).
 */
export function turns(module: ModuleBuilder): FunctionReference {
  return module.function({ parameters: ["i32"], results: ["i64"] }, (code, bits) => {
    const [first, second, third, fourth] = EIGHTH_OF_INVERSE_PI;
    // Two zeros were put before the digits, as e ≥ −2: e + 2 of them are left out.
    const skipped = code.local("i32", op("i32.sub", op("i32.and", op("i32.shr_u", bits.get, i32(23)), i32(255)), i32(148)));
    const far = (a: bigint, b: bigint): Expression => select(op("i32.ge_u", skipped.get, i32(64)), i64(a), i64(b));
    const shift = code.local("i64", op("i64.extend_i32_u", op("i32.and", skipped.get, i32(63))));
    const next = code.local("i64", far(third, second));
    const join = (a: Expression, b: Expression): Expression =>
      op("i64.or", op("i64.shl", a, shift.get), op("i64.shr_u", op("i64.shr_u", b, i64(1n)), op("i64.sub", i64(63n), shift.get)));
    const m = code.local("i64", op("i64.extend_i32_u", op("i32.or", op("i32.and", bits.get, i32(0x7fffff)), i32(0x800000))));
    const high = op("i64.mul", m.get, join(far(second, first), next.get));
    const low = op("i64.mul", m.get, op("i64.shr_u", join(next.get, far(fourth, third)), i64(32n)));
    code.do(op("i64.add", high, op("i64.shr_u", low, i64(32n))));
  });
}

/**
 * sin x or cos x from x = n·π/2 + r, |r| ≤ π/4, with r computed in f64: ±sin r or ±cos r, by the last two bits of n.
 *
 * For every float the error is at most 1.6 ulp; the largest seen are 1.578 ulp for sin at 2.6469912e31 and 1.581 ulp for cos at
 * 1.4874547e14.
 */
function wave(module: ModuleBuilder, turnsOf: FunctionReference, quarter: 0 | 1, fused: boolean): FunctionReference {
  const madd = multiplyAdd(fused);
  return module.function({ parameters: ["v128"], results: ["v128"] }, (code, x) => {
    const size = code.local("v128", magnitude(x.get));
    const reduce = (half: Expression): readonly [Local, Local] => {
      const wide = code.local("v128", op("f64x2.promote_low_f32x4", half));
      const n = code.local("v128", op("f64x2.add", op("f64x2.mul", wide.get, f64x2(2 / Math.PI)), f64x2(ROUNDER)));
      const whole = code.local("v128", op("f64x2.sub", n.get, f64x2(ROUNDER)));
      const part = (by: number): Expression => op("f64x2.mul", whole.get, f64x2(by));
      code.set(wide, op("f32x4.demote_f64x2_zero", op("f64x2.sub", op("f64x2.sub", wide.get, part(HALF_PI_HIGH)), part(HALF_PI_LOW))));
      return [wide, n];
    };
    const [lowRest, lowCount] = reduce(size.get);
    const [highRest, highCount] = reduce(shuffle(size.get, size.get, [2, 3, 2, 3]));
    const r = code.local("v128", shuffle(lowRest.get, highRest.get, [0, 1, 4, 5]));
    const n = code.local("v128", shuffle(lowCount.get, highCount.get, [0, 2, 4, 6]));

    const huge = code.local("v128", op("f32x4.ge", size.get, f32x4(HUGE)));
    code.if(op("v128.any_true", huge.get), () => {
      const turn = code.local("i64");
      const count = code.local("i64");
      for (let i = 0; i < 4; i++) {
        code.if(lane("i32x4.extract_lane", i, huge.get), () => {
          code.set(turn, call(turnsOf, lane("i32x4.extract_lane", i, size.get)));
          code.set(count, op("i64.shr_u", op("i64.add", turn.get, i64(1n << 61n)), i64(62n)));
          code.set(n, lane("i32x4.replace_lane", i, n.get, op("i32.wrap_i64", count.get)));
          const rest = op("f64.convert_i64_s", op("i64.sub", turn.get, op("i64.shl", count.get, i64(62n))));
          code.set(r, lane("f32x4.replace_lane", i, r.get, op("f32.demote_f64", op("f64.mul", rest, f64(UNIT_OF_TURN)))));
        });
      }
      // ∞ − ∞ is NaN.
      code.set(r, sub(r.get, sub(size.get, size.get)));
    });

    if (quarter === 1) code.set(n, op("i32x4.add", n.get, i32x4(1)));
    const square = code.local("v128", mul(r.get, r.get));
    const sine = madd(mul(r.get, square.get), polynomial(square.get, SINE, madd), r.get);
    const most = madd(square.get, f32x4(-0.5), f32x4(1));
    const cosine = madd(mul(square.get, square.get), polynomial(square.get, COSINE, madd), most);
    const even = op("i32x4.eq", and(n.get, i32x4(1)), i32x4(0));
    const value = xor(pick(even, sine, cosine), shiftLeft(and(n.get, i32x4(2)), i32(30)));
    code.do(quarter === 0 ? withSignOf(x.get, value) : value);
  });
}

export const sin = (module: ModuleBuilder, turnsOf: FunctionReference, fused: boolean): FunctionReference =>
  wave(module, turnsOf, 0, fused);
/** cos x = sin(x + π/2). */
export const cos = (module: ModuleBuilder, turnsOf: FunctionReference, fused: boolean): FunctionReference =>
  wave(module, turnsOf, 1, fused);
