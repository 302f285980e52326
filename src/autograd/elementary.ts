/**
 * Elementary functions of each element, defined by the primitives: the rest of what a table of functions has. Each is a call with the
 * derivative that one would write on paper, because the definitions choose between formulas where one of them loses digits.
 */
import { checkArgument, number as numberKind } from "../arguments.js";
import { DtypeError } from "../errors.js";
import { isFloat, isHalf, isInteger } from "../ir/dtype.js";
import { sigmoid } from "./composites.js";
import { tensorKind, tensorLikeKind } from "./kinds.js";
import { asFloat, floatOperands, operands } from "./operations/operands.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { callOf } from "./region.js";
import type { Tensor } from "./tensor.js";

type OfOne = (x: Tensor) => Tensor;

/** A function of floats from its value and its derivative y′ = slope(x, y); halves are computed in f32. */
const elementary =
  (name: string, value: OfOne, slope: (x: Tensor, y: Tensor) => Tensor) =>
  (x: TensorLike): Tensor => {
    checkArgument(name, "x", x, tensorLikeKind);
    const t = asFloat(name, x);
    const wide = isHalf(t.dtype) ? ops.cast(t, "f32") : t;
    const { results } = callOf(
      name,
      {},
      [wide],
      ([u]) => [value(u as Tensor)],
      ({ inputs, results: [y] }, [ct]) => [ct ? ops.mul(ct, slope(inputs[0] as Tensor, y as Tensor)) : null],
    );
    return ops.cast(results[0] as Tensor, t.dtype);
  };

/** The same of two operands, which broadcast; `slopes` gives the derivative by each. */
const elementaryOfTwo =
  (
    name: string,
    value: (a: Tensor, b: Tensor) => Tensor,
    slopes: readonly [(a: Tensor, b: Tensor, y: Tensor) => Tensor, (a: Tensor, b: Tensor, y: Tensor) => Tensor],
  ) =>
  (a: TensorLike, b: TensorLike): Tensor => {
    for (const [which, given] of Object.entries({ a, b })) checkArgument(name, which, given, tensorLikeKind);
    const [x, y] = floatOperands(name, a, b);
    const wide = [x, y].map((t) => (isHalf(t.dtype) ? ops.cast(t, "f32") : t));
    const { results } = callOf(
      name,
      {},
      wide,
      ([u, v]) => [value(u as Tensor, v as Tensor)],
      ({ inputs: [u, v], results: [z] }, [ct], needs) =>
        slopes.map((slope, i) => (ct && needs[i] ? ops.mul(ct, slope(u as Tensor, v as Tensor, z as Tensor)) : null)),
    );
    return ops.cast(results[0] as Tensor, x.dtype);
  };

/** c₀ + c₁·x + c₂·x² + … by Horner's rule. */
const polynomial = (x: Tensor, coefficients: readonly number[]): Tensor =>
  coefficients.reduceRight<Tensor>((sum, c) => ops.add(ops.mul(sum, x), c), ops.zerosLike(x));

/** f(|x|) with the sign of x; −0 and NaN keep theirs. */
const odd = (x: Tensor, f: OfOne): Tensor =>
  ops.where(ops.less(x, 0), ops.neg(f(ops.abs(x))), ops.where(ops.equal(x, 0), x, f(ops.abs(x))));

/** eˣ − 1, to full precision near 0: there 2t/(1 − t) with t = tanh(x/2). */
export const expm1 = elementary(
  "expm1",
  (x) => {
    const small = ops.less(ops.abs(x), 1);
    const t = ops.tanh(ops.mul(ops.where(small, x, 0), 0.5));
    return ops.where(small, ops.div(ops.mul(2, t), ops.sub(1, t)), ops.sub(ops.exp(x), 1));
  },
  (x) => ops.exp(x),
);

/** 1, ⅓, ⅕, …: 2·artanh(s) = 2s·(1 + s²/3 + s⁴/5 + …), to the last digit of f64 for s ≤ 1/9. */
const artanhSeries = Array.from({ length: 9 }, (_, i) => 2 / (2 * i + 1));

/** ln(1 + x), to full precision near 0: there 2·artanh(x/(2 + x)) by its series. NaN below −1. */
export const log1p = elementary(
  "log1p",
  (x) => {
    const small = ops.less(ops.abs(x), 0.25);
    const near = ops.where(small, x, 0);
    const s = ops.div(near, ops.add(2, near));
    return ops.where(small, ops.mul(s, polynomial(ops.mul(s, s), artanhSeries)), ops.log(ops.add(1, x)));
  },
  (x) => ops.recip(ops.add(1, x)),
);

/** 2ˣ. */
export const exp2 = elementary(
  "exp2",
  (x) => ops.pow(2, x),
  (_, y) => ops.mul(y, Math.LN2),
);
/** The logarithm to base 2; −∞ at 0, NaN below. */
export const log2 = elementary(
  "log2",
  (x) => ops.mul(ops.log(x), Math.LOG2E),
  (x) => ops.div(Math.LOG2E, x),
);
/** The logarithm to base 10; −∞ at 0, NaN below. */
export const log10 = elementary(
  "log10",
  (x) => ops.mul(ops.log(x), Math.LOG10E),
  (x) => ops.div(Math.LOG10E, x),
);

/** The tangent of x in radians. */
export const tan = elementary(
  "tan",
  (x) => ops.div(ops.sin(x), ops.cos(x)),
  (_, y) => ops.add(1, ops.mul(y, y)),
);

/** arctan x = x − x³/3 + x⁵/5 − …, to the last digit of f64 for |x| ≤ tan(π/32). */
const arctanSeries = Array.from({ length: 9 }, (_, i) => (i % 2 === 0 ? 1 : -1) / (2 * i + 1));
/** arctan of 0 ≤ x ≤ 1, of which half an angle is taken three times: tan(α/2) = x/(1 + √(1 + x²)). */
function arctanWithin1(x: Tensor): Tensor {
  let t = x;
  for (let turn = 0; turn < 3; turn++) t = ops.div(t, ops.add(1, ops.sqrt(ops.add(1, ops.mul(t, t)))));
  return ops.mul(8, ops.mul(t, polynomial(ops.mul(t, t), arctanSeries)));
}
const arctan: OfOne = (x) => {
  const beyond = ops.less(1, x);
  const near = arctanWithin1(ops.where(beyond, ops.recip(ops.maximum(x, 1)), x));
  return ops.where(beyond, ops.sub(Math.PI / 2, near), near);
};

/** The angle in (−π/2, π/2) with tangent x. */
export const atan = elementary(
  "atan",
  (x) => odd(x, arctan),
  (x) => ops.recip(ops.add(1, ops.mul(x, x))),
);
const cube: OfOne = (x) => ops.mul(ops.mul(x, x), x);
/** √((1 − x)·(1 + x)), which keeps its digits near ±1. */
const across: OfOne = (x) => ops.sqrt(ops.mul(ops.sub(1, x), ops.add(1, x)));
/** 1/√(1 − x²) with its derivative x/(1 − x²)^(3/2), which has its limits at ±1 as well. */
const oneOverAcross = elementary(
  "oneOverAcross",
  (x) => ops.recip(across(x)),
  (x, y) => ops.mul(x, cube(y)),
);
/** The angle in [−π/2, π/2] with sine x; NaN beyond ±1. */
export const asin = elementary("asin", (x) => odd(x, (t) => arctan(ops.div(t, across(t)))), oneOverAcross);
/** The angle in [0, π] with cosine x, as 2·arctan √((1 − x)/(1 + x)); NaN beyond ±1. */
export const acos = elementary(
  "acos",
  (x) => ops.mul(2, arctan(ops.sqrt(ops.div(ops.sub(1, x), ops.add(1, x))))),
  (x) => ops.neg(oneOverAcross(x)),
);

/** (eˣ − e⁻ˣ)/2; near 0 by eˣ − 1. Half of eˣ is e^(x/2) twice, so that it ends where the result does. */
export const sinh = elementary(
  "sinh",
  (x) =>
    odd(x, (t) => {
      const e = expm1(ops.minimum(t, 1));
      const half = ops.exp(ops.mul(t, 0.5));
      const far = ops.sub(ops.mul(ops.mul(half, 0.5), half), ops.div(0.5, ops.mul(half, half)));
      return ops.where(ops.less(t, 1), ops.mul(0.5, ops.add(e, ops.div(e, ops.add(e, 1)))), far);
    }),
  (x) => cosh(x),
);
/** (eˣ + e⁻ˣ)/2. */
export const cosh = elementary(
  "cosh",
  (x) => {
    const half = ops.exp(ops.mul(ops.abs(x), 0.5));
    return ops.add(ops.mul(ops.mul(half, 0.5), half), ops.div(0.5, ops.mul(half, half)));
  },
  (x) => sinh(x),
);

/** 1/√(x² − 1) with its derivative −x/(x² − 1)^(3/2). */
const oneOverBeyond = elementary(
  "oneOverBeyond",
  (x) => ops.recip(ops.mul(ops.sqrt(ops.sub(x, 1)), ops.sqrt(ops.add(x, 1)))),
  (x, y) => ops.neg(ops.mul(x, cube(y))),
);
/** 1/(1 − x²) with its derivative 2x/(1 − x²)². */
const oneOverProduct = elementary(
  "oneOverProduct",
  (x) => ops.recip(ops.mul(ops.sub(1, x), ops.add(1, x))),
  (x, y) => ops.mul(ops.mul(2, x), ops.mul(y, y)),
);

/** From here on 1 + x² is x². */
const large = 2 ** 30;
/** The inverse of sinh: ln(x + √(x² + 1)). */
export const asinh = elementary(
  "asinh",
  (x) =>
    odd(x, (t) => {
      const near = ops.minimum(t, large);
      const square = ops.mul(near, near);
      const found = log1p(ops.add(near, ops.div(square, ops.add(1, ops.sqrt(ops.add(1, square))))));
      return ops.where(ops.less(large, t), ops.add(ops.log(t), Math.LN2), found);
    }),
  (x) => ops.recip(hypot(x, 1)),
);
/** The inverse of cosh on [1, ∞): ln(x + √(x² − 1)); NaN below 1. */
export const acosh = elementary(
  "acosh",
  (x) => {
    const t = ops.sub(ops.where(ops.less(large, x), 1, x), 1);
    // Two roots, of which the first has no value below 1, where the product of both could have.
    const near = log1p(ops.add(t, ops.mul(ops.sqrt(t), ops.sqrt(ops.add(t, 2)))));
    return ops.where(ops.less(large, x), ops.add(ops.log(x), Math.LN2), near);
  },
  oneOverBeyond,
);
/** The inverse of tanh on [−1, 1]: ½·ln((1 + x)/(1 − x)), ±∞ at ±1, NaN beyond. */
export const atanh = elementary("atanh", (x) => odd(x, (t) => ops.mul(0.5, log1p(ops.div(ops.mul(2, t), ops.sub(1, t))))), oneOverProduct);

/** √(a² + b²) without overflow; ∞ where either is infinite, the other NaN or not; its derivatives of any order where both are 0 are 0. */
export const hypot = elementaryOfTwo(
  "hypot",
  (a, b) => {
    const [x, y] = [ops.abs(a), ops.abs(b)];
    const [most, least] = [ops.maximum(x, y), ops.minimum(x, y)];
    const infinite = ops.or(ops.equal(x, Number.POSITIVE_INFINITY), ops.equal(y, Number.POSITIVE_INFINITY));
    const ratio = ops.div(least, ops.where(ops.equal(most, 0), 1, most));
    return ops.where(infinite, Number.POSITIVE_INFINITY, ops.mul(most, ops.sqrt(ops.add(1, ops.mul(ratio, ratio)))));
  },
  [(a, _, y) => overUnlessNone(a, y), (_, b, y) => overUnlessNone(b, y)],
);
/** a/b, and 0 where b is 0. */
const overUnlessNone = (a: Tensor, b: Tensor): Tensor => {
  const none = ops.equal(b, 0);
  return ops.div(ops.where(none, 0, a), ops.where(none, 1, b));
};

/** The angle in [−π, π] of the point (x = b, y = a), its sign that of a; 0 or π on the axis, and derivatives of any order 0 at the origin. */
export const atan2 = elementaryOfTwo(
  "atan2",
  (a, b) => {
    const [y, x] = [ops.abs(a), ops.abs(b)];
    const [most, least] = [ops.maximum(x, y), ops.minimum(x, y)];
    // ∞/∞ is the diagonal.
    const both = ops.equal(least, Number.POSITIVE_INFINITY);
    const ratio = ops.where(both, 1, ops.div(least, ops.where(ops.equal(most, 0), 1, most)));
    const angle = arctanWithin1(ratio);
    const steep = ops.where(ops.less(x, y), ops.sub(Math.PI / 2, angle), angle);
    const turned = ops.where(ops.less(b, 0), ops.sub(Math.PI, steep), steep);
    return ops.where(ops.less(a, 0), ops.neg(turned), turned);
  },
  [(a, b) => overUnlessNone(b, squaredDistance(a, b)), (a, b) => ops.neg(overUnlessNone(a, squaredDistance(a, b)))],
);
const squaredDistance = (a: Tensor, b: Tensor): Tensor => ops.add(ops.mul(a, a), ops.mul(b, b));

/** ln(eᵃ + eᵇ) without overflow; equal operands share the derivative evenly, also infinite ones. */
export const logAddExp = elementaryOfTwo(
  "logAddExp",
  (a, b) => {
    const apart = ops.where(ops.equal(a, b), 0, ops.abs(ops.sub(a, b)));
    return ops.add(ops.maximum(a, b), log1p(ops.exp(ops.neg(apart))));
  },
  [(a, b) => sigmoid(ops.where(ops.equal(a, b), 0, ops.sub(a, b))), (a, b) => sigmoid(ops.where(ops.equal(a, b), 0, ops.sub(b, a)))],
);

/** ln(1 + eˣ). */
export const softplus = elementary(
  "softplus",
  (x) => ops.add(ops.maximum(x, 0), log1p(ops.exp(ops.neg(ops.abs(x))))),
  (x) => sigmoid(x),
);
/** ln σ(x) = −ln(1 + e⁻ˣ). */
export const logSigmoid = elementary(
  "logSigmoid",
  (x) => ops.neg(ops.add(ops.maximum(ops.neg(x), 0), log1p(ops.exp(ops.neg(ops.abs(x)))))),
  (x) => sigmoid(ops.neg(x)),
);

/** Integers and floats as they are, with f of floats. */
const ofFloatsAlone =
  (name: string, f: OfOne) =>
  (x: Tensor): Tensor => {
    checkArgument(name, "x", x, tensorKind);
    return isFloat(x.dtype) ? f(x) : x;
  };
/** The smallest integer that is not below x, in the dtype of x; derivative 0. */
export const ceil = ofFloatsAlone("ceil", (x) => ops.neg(ops.floor(ops.neg(x))));
/** x without its fraction, in the dtype of x; derivative 0. */
export const trunc = ofFloatsAlone("trunc", (x) => ops.where(ops.less(x, 0), ceil(x), ops.floor(x)));
/** The integer next to x, of two the even one (IEEE 754), in the dtype of x; derivative 0. */
export const round = ofFloatsAlone("round", (x) => {
  const below = ops.floor(x);
  const rest = ops.stopGradient(ops.sub(x, below));
  const tie = ops.add(below, ops.mod(below, 2));
  const rounded = ops.where(ops.less(rest, 0.5), below, ops.where(ops.less(0.5, rest), ops.add(below, 1), tie));
  // ±∞ − ±∞ is no fraction.
  return ops.where(isfinite(x), rounded, ops.floor(x));
});

/** Whether x is NaN. */
export function isnan(x: Tensor): Tensor {
  checkArgument("isnan", "x", x, tensorKind);
  return ops.notEqual(x, x);
}
/** Whether x is a number and not infinite. */
export function isfinite(x: Tensor): Tensor {
  checkArgument("isfinite", "x", x, tensorKind);
  return isFloat(x.dtype) ? ops.less(ops.abs(x), Number.POSITIVE_INFINITY) : ops.equal(x, x);
}
/** Whether x is ∞ or −∞. */
export function isinf(x: Tensor): Tensor {
  checkArgument("isinf", "x", x, tensorKind);
  return isFloat(x.dtype) ? ops.equal(ops.abs(x), Number.POSITIVE_INFINITY) : ops.notEqual(x, x);
}
/** Exclusive or of bools; bitwise of integers. Throws DtypeError for floats. */
export function xor(a: TensorLike, b: TensorLike): Tensor {
  for (const [which, given] of Object.entries({ a, b })) checkArgument("xor", which, given, tensorLikeKind);
  const [x, y] = operands("xor", a, b);
  if (x.dtype === "bool") return ops.notEqual(x, y);
  if (!isInteger(x.dtype))
    throw new DtypeError(`xor takes bool or integers, not ${x.dtype}`, { hint: 'cast first, for example x.cast("i32")' });
  return ops.and(ops.or(x, y), ops.not(ops.and(x, y)));
}

/** x for x > 0, α·x elsewhere; its derivative at 0 is α. */
export function leakyRelu(x: TensorLike, slope = 0.01): Tensor {
  checkArgument("leakyRelu", "x", x, tensorLikeKind);
  checkArgument("leakyRelu", "slope", slope, numberKind);
  return ops.where(ops.lessEqual(x, 0), ops.mul(x, slope), x);
}
/** x for x > 0, α·(eˣ − 1) elsewhere (Clevert et al. 2016); its derivative at 0 is α. */
export function elu(x: TensorLike, alpha = 1): Tensor {
  checkArgument("elu", "x", x, tensorLikeKind);
  checkArgument("elu", "alpha", alpha, numberKind);
  return ops.where(ops.lessEqual(x, 0), ops.mul(alpha, expm1(ops.where(ops.lessEqual(x, 0), x, 0))), x);
}
/** x·tanh(ln(1 + eˣ)) (Misra 2019). */
export function mish(x: TensorLike): Tensor {
  checkArgument("mish", "x", x, tensorLikeKind);
  return ops.mul(x, ops.tanh(softplus(x)));
}
