import { checkArgument } from "../../arguments.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { ask, derive, type PlainNumber } from "../weak-scalar.js";
import { fitsIn } from "./casts.js";
import { broadcastTo } from "./movement.js";
import { asNumbers, constant, integersBeside, operands, rangeTestsOf, type TensorLike } from "./operands.js";

/** Comparisons, of integers beside any number too, and the logic of what they answer. */

/** A function of two operands that were brought to one shape and dtype. */
const comparison =
  (name: string, compare: (x: Tensor, y: Tensor) => Tensor) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    compare(...operands(name, a, b));

const lessThan = (x: Tensor, y: Tensor): Tensor => apply("lt", [asNumbers(x), asNumbers(y)], {});
const sameAs = (x: Tensor, y: Tensor): Tensor => apply("eq", [x, y], {});

const everywhere = (x: Tensor, value: boolean): Tensor => broadcastTo(constant(Number(value), "bool"), x.shape);

/** x < value for integers x and any number: x < ⌈value⌉, or the same answer everywhere where all of the dtype lies on one side. */
function integersLess(x: Tensor, value: PlainNumber): Tensor {
  const { aboveLowest, aboveHighest } = rangeTestsOf(x);
  if (!ask(value, aboveLowest)) return everywhere(x, false);
  return ask(value, aboveHighest) ? everywhere(x, true) : lessThan(...operands("less", x, derive(value, Math.ceil)));
}

/** value < x for integers x and any number. */
function integersGreater(x: Tensor, value: PlainNumber): Tensor {
  const { belowHighest, belowLowest } = rangeTestsOf(x);
  if (!ask(value, belowHighest)) return everywhere(x, false);
  return ask(value, belowLowest) ? everywhere(x, true) : lessThan(...operands("greater", derive(value, Math.floor), x));
}

const integersEqual = (x: Tensor, value: PlainNumber): Tensor =>
  ask(value, fitsIn[x.dtype as "i32" | "u32"]) ? sameAs(...operands("equal", x, value)) : everywhere(x, false);

/**
 * A comparison that tells the truth about integers beside any plain number, fractions and numbers outside of the dtype included:
 * `first` where the tensor stands first, `second` where the number does.
 */
const ordering =
  (name: string, compare: (x: Tensor, y: Tensor) => Tensor, first: IntegerComparison, second: IntegerComparison) =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const mixed = integersBeside(a, b);
    if (mixed === undefined) return comparison(name, compare)(a, b);
    return (mixed.first ? first : second)(mixed.integers, mixed.value);
  };
type IntegerComparison = (x: Tensor, value: PlainNumber) => Tensor;

// Integers: x ≤ v is x < ⌊v⌋ + 1, and v ≤ x is ⌈v⌉ − 1 < x.
const integerAbove = (value: number): number => Math.floor(value) + 1;
const integerBelow = (value: number): number => Math.ceil(value) - 1;
const integersLessEqual: IntegerComparison = (x, value) => integersLess(x, derive(value, integerAbove));
const integersGreaterEqual: IntegerComparison = (x, value) => integersGreater(x, derive(value, integerBelow));
const integersDiffer: IntegerComparison = (x, value) => not(integersEqual(x, value));

/** a < b; false where either is NaN. */
export const less = ordering("less", lessThan, integersLess, integersGreater);
/** a > b; false where either is NaN. */
export const greater = ordering("greater", (x, y) => lessThan(y, x), integersGreater, integersLess);
/** a = b; false where either is NaN. */
export const equal = ordering("equal", sameAs, integersEqual, integersEqual);
/** a ≠ b; true where either is NaN. */
export const notEqual = ordering("notEqual", (x, y) => not(sameAs(x, y)), integersDiffer, integersDiffer);
/** a ≤ b as (a < b) ∨ (a = b), so that NaN compares false. */
export const lessEqual = ordering("lessEqual", (x, y) => or(lessThan(x, y), sameAs(x, y)), integersLessEqual, integersGreaterEqual);
/** a ≥ b; false where either is NaN. */
export const greaterEqual = ordering("greaterEqual", (x, y) => or(lessThan(y, x), sameAs(y, x)), integersGreaterEqual, integersLessEqual);
/** a ∧ b; of integers bit by bit. */
export const and = comparison("and", (x, y) => apply("and", [x, y], {}));
/** a ∨ b; of integers bit by bit. */
export const or = comparison("or", (x, y) => apply("or", [x, y], {}));
/** ¬x of bools; of integers bit by bit. */
export const not = (x: Tensor): Tensor => {
  checkArgument("not", "x", x, tensorKind);
  return apply("not", [x], {});
};
