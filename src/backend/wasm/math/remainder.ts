import { type Expression, type FunctionReference, f64x2, i32, i64, type Local, type ModuleBuilder, op, shuffle } from "../assembler.js";
import { and, or, pick } from "./expressions.js";

const ABOVE_SIGN = 0x7fffffffffffffffn;
const EXPONENT = 0x7ff0000000000000n;

/**
 * a − b·⌊a/b⌋ with the sign of b: the exact remainder of truncated division, to which b is added where the signs differ.
 *
 * In f64, r − c·⌊r/c⌋ is exact for single-precision r and c with r/c < 2²⁸: c·⌊r/c⌋ has at most 53 bits, and the quotient is never
 * rounded up to a whole number. For larger quotients c = b·2ʲ is taken first, with j so that about 26 bits of the quotient go
 * each round.
 */
export function remainder(module: ModuleBuilder): FunctionReference {
  return module.function({ parameters: ["v128", "v128"], results: ["v128"] }, (code, a, b) => {
    const upper = (x: Expression): Expression => shuffle(x, x, [2, 3, 2, 3]);
    const splat = (value: bigint): Expression => op("i64x2.splat", i64(value));
    const half = (dividend: Expression, divisor: Expression): Local => {
      const x = code.local("v128", op("f64x2.promote_low_f32x4", dividend));
      const y = code.local("v128", op("f64x2.promote_low_f32x4", divisor));
      const r = code.local("v128", op("f64x2.abs", x.get));
      const c = code.local("v128", op("f64x2.abs", y.get));
      const large = code.local("v128");
      const step = (by: Expression): Expression =>
        op("f64x2.sub", r.get, op("f64x2.mul", by, op("f64x2.floor", op("f64x2.div", r.get, by))));
      const exponentOf = (v: Expression): Expression => and(v, splat(EXPONENT));
      const limit = op("f64x2.mul", c.get, f64x2(2 ** 27));
      const finite = op("f64x2.lt", r.get, f64x2(Infinity));
      const isLarge = and(op("f64x2.gt", r.get, limit), and(finite, op("f64x2.gt", c.get, f64x2(0))));
      const scaled = code.local("v128");
      code.set(large, isLarge);
      code.while(op("v128.any_true", large.get), () => {
        const more = op("i64x2.sub", op("i64x2.sub", exponentOf(r.get), exponentOf(c.get)), splat(26n << 52n));
        code.set(scaled, op("i64x2.add", c.get, and(more, large.get)));
        code.set(r, pick(large.get, step(scaled.get), r.get));
        code.set(large, isLarge);
      });
      // r/∞ is 0, and ∞·0 would be NaN.
      code.set(r, pick(op("f64x2.lt", r.get, c.get), r.get, step(c.get)));
      code.set(r, or(r.get, op("v128.andnot", x.get, splat(ABOVE_SIGN))));
      // A remainder of 0 keeps the sign of a.
      const opposite = op("i64x2.shr_s", op("v128.xor", r.get, y.get), i32(63));
      const wrong = op("v128.andnot", opposite, op("f64x2.eq", r.get, f64x2(0)));
      code.set(r, pick(wrong, op("f64x2.add", r.get, y.get), r.get));
      code.release(x, y, c, large, scaled);
      return r;
    };
    const low = half(a.get, b.get);
    const high = half(upper(a.get), upper(b.get));
    code.do(shuffle(op("f32x4.demote_f64x2_zero", low.get), op("f32x4.demote_f64x2_zero", high.get), [0, 1, 4, 5]));
  });
}
