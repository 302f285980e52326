import { checkArgument } from "../../arguments.js";
import { type DType, integerRange, isFloat, isHalf, promote, requireFits } from "../../ir/dtype.js";
import { broadcastShapes, sameShape } from "../../ir/shape.js";
import { tensorLikeKind } from "../kinds.js";
import { apply, Tensor } from "../tensor.js";
import { ask, isPlain, numberOf, type PlainNumber, WeakScalar } from "../weak-scalar.js";
import { cast, fitsIn } from "./casts.js";
import { broadcastTo } from "./movement.js";

/** How operands meet: plain numbers take a dtype, dtypes are promoted, shapes are broadcast. */

/** A tensor, or a number that takes the dtype of what it meets. */
export type TensorLike = Tensor | number;

/** One number as a scalar of a dtype. */
export const constant = (value: PlainNumber, dtype: DType): Tensor =>
  value instanceof WeakScalar ? value.as(dtype) : apply("const", [], { value, shape: [], dtype });

/**
 * A plain number beside a tensor takes the tensor's dtype; beside integers and bool, a number that is no integer is f32, so that
 * both meet there. Throws DtypeError for an integer that the tensor's dtype does not have.
 */
export function literal(name: string, value: PlainNumber, beside: DType): Tensor {
  const dtype = isFloat(beside) ? beside : ask(value, Number.isInteger) ? (beside === "bool" ? "i32" : beside) : "f32";
  if (!isFloat(dtype) && !ask(value, fitsIn[dtype as "i32" | "u32"])) requireFits(name, dtype, numberOf(value));
  return constant(value, dtype);
}

export function operands(name: string, a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  checkArgument(name, "a", a, tensorLikeKind);
  checkArgument(name, "b", b, tensorLikeKind);
  let x = isPlain(a) ? literal(name, a, isPlain(b) ? "f32" : b.dtype) : a;
  let y = isPlain(b) ? literal(name, b, x.dtype) : b;
  const dtype = promote(x.dtype, y.dtype);
  x = cast(x, dtype);
  y = cast(y, dtype);
  if (sameShape(x.shape, y.shape)) return [x, y];
  const shape = broadcastShapes(x.shape, y.shape, name);
  return [broadcastTo(x, shape), broadcastTo(y, shape)];
}

/** Two operands of an operation on floats: integers beside a plain number are f32 before the number joins them. */
export function floatOperands(name: string, a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  const beside = (x: TensorLike, other: TensorLike): TensorLike => (!isPlain(x) && isPlain(other) ? asFloat(name, x) : x);
  const [x, y] = operands(name, beside(a, b), beside(b, a));
  return [asFloat(name, x), asFloat(name, y)];
}

export function asTensor(name: string, x: TensorLike): Tensor {
  checkArgument(name, "x", x, tensorLikeKind);
  return isPlain(x) ? literal(name, x, "f32") : x;
}
export function asFloat(name: string, x: TensorLike): Tensor {
  const t = asTensor(name, x);
  return isFloat(t.dtype) ? t : cast(t, "f32");
}
/** f of x, with halves in f32 between. */
export const inSingles = (x: Tensor, f: (x: Tensor) => Tensor): Tensor => (isHalf(x.dtype) ? cast(f(cast(x, "f32")), x.dtype) : f(x));
export const asNumbers = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "i32") : x);

/** The tensor beside a number, where that is one of integers or bools. */
export const integersBeside = (a: TensorLike, b: TensorLike): { integers: Tensor; value: PlainNumber; first: boolean } | undefined => {
  const [x, value] = isPlain(a) ? [b, a] : [a, b];
  if (!(x instanceof Tensor) || isPlain(x) || !isPlain(value) || isFloat(x.dtype)) return undefined;
  return { integers: asNumbers(x), value, first: x === a };
};

/** Where a number lies beside the range of an integer dtype, as questions: one function for each, so that a trace notes each once. */
const rangeTests = ([lowest, highest]: readonly [lowest: number, highest: number]) => ({
  aboveLowest: (value: number) => value > lowest,
  belowLowest: (value: number) => value < lowest,
  atMostLowest: (value: number) => value <= lowest,
  aboveHighest: (value: number) => value > highest,
  belowHighest: (value: number) => value < highest,
  atLeastHighest: (value: number) => value >= highest,
});
const tests = { i32: rangeTests(integerRange("i32")), u32: rangeTests(integerRange("u32")) };
export const rangeTestsOf = (integers: Tensor): ReturnType<typeof rangeTests> => tests[integers.dtype as "i32" | "u32"];
