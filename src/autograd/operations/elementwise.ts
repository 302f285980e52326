import { checkArgument } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { isFloat } from "../../ir/dtype.js";
import { broadcastShapes } from "../../ir/shape.js";
import { tensorKind, tensorLikeKind } from "../kinds.js";
import { apply, Tensor } from "../tensor.js";
import { ask, isPlain } from "../weak-scalar.js";
import { equal, greater, greaterEqual, less, lessEqual } from "./comparisons.js";
import { broadcastTo } from "./movement.js";
import { asFloat, asNumbers, asTensor, floatOperands, integersBeside, operands, rangeTestsOf, type TensorLike } from "./operands.js";

/** Functions of each element by itself. */

/** A function of floats; integers are cast to f32 first. */
const ofFloats =
  (name: "exp" | "log" | "sin" | "cos" | "tanh" | "erf" | "sqrt" | "recip") =>
  (x: TensorLike): Tensor =>
    apply(name, [asFloat(name, x)], {});
const ofNumbers =
  (name: "neg" | "abs" | "sign") =>
  (x: TensorLike): Tensor =>
    apply(name, [asNumbers(asTensor(name, x))], {});

/** −x; bool as 0 and 1. */
export const neg = ofNumbers("neg");
/** eˣ. */
export const exp = ofFloats("exp");
/** The natural logarithm; −∞ at 0, NaN below. */
export const log = ofFloats("log");
/** The sine of x in radians. */
export const sin = ofFloats("sin");
/** The cosine of x in radians. */
export const cos = ofFloats("cos");
/** (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ). */
export const tanh = ofFloats("tanh");
/** The error function 2/√π ∫₀ˣ e^(−t²) dt. */
export const erf = ofFloats("erf");
/** √x; NaN below 0. */
export const sqrt = ofFloats("sqrt");
/** 1/x. */
export const recip = ofFloats("recip");
/** |x|, with the derivative 0 at 0. */
export const abs = ofNumbers("abs");
/** −1, 0 or 1; NaN where x is NaN. */
export const sign = ofNumbers("sign");
/** The largest integer that is not above x, in the dtype of x. */
export const floor = (x: TensorLike): Tensor => {
  const t = asTensor("floor", x);
  return isFloat(t.dtype) ? apply("floor", [t], {}) : t;
};

const arithmetic =
  (name: string, primitive: "add" | "sub" | "mul" | "max" | "min" | "mod") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const [x, y] = operands(name, a, b);
    return apply(primitive, [asNumbers(x), asNumbers(y)], {});
  };

/** a + b; integers wrap. */
export const add = arithmetic("add", "add");
/** a − b; integers wrap. */
export const sub = arithmetic("sub", "sub");
/** a · b; integers wrap. */
export const mul = arithmetic("mul", "mul");

/** Integers beside a number that none of them passes stay as they are, whether their dtype has that number or not. */
const extreme =
  (name: string, primitive: "max" | "min") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const mixed = integersBeside(a, b);
    if (mixed !== undefined) {
      const { atMostLowest, atLeastHighest } = rangeTestsOf(mixed.integers);
      if (ask(mixed.value, primitive === "max" ? atMostLowest : atLeastHighest)) return mixed.integers;
    }
    return arithmetic(name, primitive)(a, b);
  };

/** The larger of a and b; NaN where either is NaN. Equal operands share a derivative evenly. */
export const maximum = extreme("maximum", "max");
/** The smaller of a and b; NaN where either is NaN. Equal operands share a derivative evenly. */
export const minimum = extreme("minimum", "min");
/** a − b·⌊a/b⌋, with the sign of b. */
export const mod = arithmetic("mod", "mod");
/** a / b as floats; integers are cast to f32 first. */
export const div = (a: TensorLike, b: TensorLike): Tensor => {
  return apply("div", floatOperands("div", a, b), {});
};
/** Quotient of integers, truncated toward 0. */
export const truncDiv = (a: TensorLike, b: TensorLike): Tensor => {
  const [x, y] = operands("truncDiv", a, b);
  return apply("div", [x, y], {});
};
const powers: readonly (readonly [exponent: (b: number) => boolean, power: (a: Tensor) => Tensor])[] = [
  [(b) => b === 1, (a) => a],
  [(b) => b === 2, (a) => mul(a, a)],
  [(b) => b === 3, (a) => mul(mul(a, a), a)],
  [(b) => b === 0.5, (a) => sqrt(a)],
  [(b) => b === -1, (a) => recip(a)],
];

/** aᵇ as floats; integers are cast to f32 first. Small integral numbers b become products. */
export const pow = (a: TensorLike, b: TensorLike): Tensor => {
  if (isPlain(b) && a instanceof Tensor && !isPlain(a)) {
    for (const [exponent, power] of powers) if (ask(b, exponent)) return power(asFloat("pow", a));
  }
  return apply("pow", floatOperands("pow", a, b), {});
};

/** condition ? a : b, elementwise; what is not taken has no influence. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  checkArgument("where", "condition", condition, tensorKind);
  const [x, y] = operands("where", a, b);
  const shape = broadcastShapes(condition.shape, x.shape, "where");
  return apply("where", [broadcastTo(condition, shape), broadcastTo(x, shape), broadcastTo(y, shape)], {});
}

/**
 * x limited to low…high, either of which may be left out: low where x < low, high where x > high (and everywhere where low > high),
 * else x itself, NaN too. As in PyTorch (2.15), the derivative between the bounds is 1; at a bound that is a number it is 0, and at one that
 * is a tensor both share it evenly (where both bounds are x it is x's). Integers stay integers between integral bounds; a bound that their
 * dtype does not have changes nothing where it limits nothing, and throws DtypeError where it does. A NaN in a tensor of bounds gives NaN.
 */
export function clip(x: Tensor, low: TensorLike = Number.NEGATIVE_INFINITY, high: TensorLike = Number.POSITIVE_INFINITY): Tensor {
  checkArgument("clip", "x", x, tensorKind);
  for (const [name, bound] of Object.entries({ low, high })) {
    checkArgument("clip", name, bound, tensorLikeKind);
    if (Number.isNaN(bound)) throw new OptionError(`clip: ${name} is NaN, which is no bound`, { hint: "leave the bound out" });
  }
  const [noLow, noHigh] = [low === Number.NEGATIVE_INFINITY, high === Number.POSITIVE_INFINITY];
  if (isPlain(low) && isPlain(high)) {
    const above = noLow ? x : bounded(x, low, lessEqual, "max");
    return noHigh ? above : bounded(above, high, greaterEqual, "min");
  }
  if (noLow || noHigh) return noLow ? minimum(x, high) : maximum(x, low);
  const shared = minimum(maximum(x, low), high);
  // Where no number lies between the bounds there is nothing to share.
  const between = bounded(bounded(x, low, less, "max"), high, greater, "min");
  return where(less(high, low), high, where(equal(low, high), between, shared));
}

/** x, or the bound where x lies beyond it or, as that is told, at it. */
function bounded(x: Tensor, bound: TensorLike, beyond: typeof less, limit: "max" | "min"): Tensor {
  return isFloat(x.dtype) || !isPlain(bound) ? where(beyond(x, bound), bound, x) : extreme("clip", limit)(x, bound);
}

/** x with no derivative: differentiation takes it as a constant. */
export function stopGradient(x: Tensor): Tensor {
  checkArgument("stopGradient", "x", x, tensorKind);
  return apply("stopGradient", [x], {});
}
