import { type Code, type Expression, type FunctionReference, i32x4, type Local, type ModuleBuilder, op, shuffle } from "../assembler.js";
import { and, pick, xor } from "./expressions.js";

/**
 * ⌊a/b⌋ toward 0 by division in f64: a quotient of 32-bit integers that is not whole differs from the next whole number by at
 * least 2⁻³² of itself, so rounding never reaches it. Nothing traps: conversions saturate, and 0/0 gives 0.
 */
function quotient(code: Code, a: Local, b: Local, sign: "s" | "u"): Expression {
  const half = (x: Expression, y: Expression): Expression =>
    op(
      `i32x4.trunc_sat_f64x2_${sign}_zero`,
      op("f64x2.div", op(`f64x2.convert_low_i32x4_${sign}`, x), op(`f64x2.convert_low_i32x4_${sign}`, y)),
    );
  const upper = (x: Local): Expression => shuffle(x.get, x.get, [2, 3, 2, 3]);
  const low = code.local("v128", half(a.get, b.get));
  const high = half(upper(a), upper(b));
  const q = shuffle(low.get, high, [0, 1, 4, 5]);
  // −2³¹/−1 wraps instead of saturating.
  return sign === "u" ? q : pick(op("i32x4.eq", b.get, i32x4(-1)), op("i32x4.neg", a.get), q);
}

const twoToOne = { parameters: ["v128", "v128"], results: ["v128"] } as const;

/** a/b, truncated toward 0; any number where b = 0. */
export const divide = (module: ModuleBuilder, sign: "s" | "u"): FunctionReference =>
  module.function(twoToOne, (code, a, b) => code.do(quotient(code, a, b, sign)));

/** a − b·⌊a/b⌋, with the sign of b; any number where b = 0. */
export const modulo = (module: ModuleBuilder, sign: "s" | "u"): FunctionReference =>
  module.function(twoToOne, (code, a, b) => {
    const r = code.local("v128", op("i32x4.sub", a.get, op("i32x4.mul", quotient(code, a, b, sign), b.get)));
    if (sign === "u") return code.do(r.get);
    const opposite = op("i32x4.lt_s", xor(r.get, b.get), i32x4(0));
    const wrong = and(opposite, op("i32x4.ne", r.get, i32x4(0)));
    code.do(op("i32x4.add", r.get, and(wrong, b.get)));
  });
