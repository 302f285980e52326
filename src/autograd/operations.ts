import { checkArgument, checkOptions, flag, given, integer, listOf, number, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import {
  type DType,
  type DTypeName,
  fits,
  integerRange,
  isFloat,
  isHalf,
  promote,
  readDType,
  representable,
  requireFits,
} from "../ir/dtype.js";
import { broadcastShapes, checkShape, normalizeAxes, normalizeAxis, readShape, type Shape, sameShape, show, sizeOf } from "../ir/shape.js";
import { finiteSingle, tensorKind, tensorLikeKind } from "./kinds.js";
import { apply, Tensor } from "./tensor.js";
import { ask, derive, isPlain, numberOf, type PlainNumber, WeakScalar } from "./weak-scalar.js";

/**
 * The primitives as functions that broadcast, promote dtypes and take plain numbers. Everything that users call is made
 * of these; nothing below this file broadcasts.
 */

/** A tensor, or a number that takes the dtype of what it meets. */
export type TensorLike = Tensor | number;

/** Options of what makes tensors: their dtype. */
export interface DTypeOption {
  readonly dtype?: DTypeName;
}

/** The dtype that options ask for, or the default of a function. */
function dtypeOf(where: string, options: DTypeOption, fallback: DType): DType {
  checkOptions(where, options, { dtype: optional(given) });
  return options.dtype === undefined ? fallback : readDType(where, options.dtype);
}

function filled(where: string, shape: Shape | number, value: number, options: DTypeOption): Tensor {
  const extents = readShape(shape, where);
  checkArgument(where, "value", value, number);
  const dtype = dtypeOf(where, options, "f32");
  requireFits(where, dtype, value);
  // A number beside a half keeps its digits; a tensor of halves does not.
  return broadcastTo(apply("const", [], { value: isHalf(dtype) ? representable(dtype, value) : value, shape: [], dtype }), extents);
}

/**
 * The same value everywhere, f32 unless said otherwise. `shape` is a list of extents, or one extent for a vector. Throws
 * DtypeError for a value that an integer dtype or bool does not have.
 */
export const full = (shape: Shape | number, value: number, options: DTypeOption = {}): Tensor => filled("full", shape, value, options);
export const zeros = (shape: Shape | number, options: DTypeOption = {}): Tensor => filled("zeros", shape, 0, options);
export const ones = (shape: Shape | number, options: DTypeOption = {}): Tensor => filled("ones", shape, 1, options);
export function zerosLike(x: Tensor): Tensor {
  checkArgument("zerosLike", "x", x, tensorKind);
  return filled("zerosLike", x.shape, 0, { dtype: x.dtype });
}
export function onesLike(x: Tensor): Tensor {
  checkArgument("onesLike", "x", x, tensorKind);
  return filled("onesLike", x.shape, 1, { dtype: x.dtype });
}
/** 0, 1, … n − 1 as i32, or as another dtype. Throws DtypeError where an integer or half dtype ends before n − 1. */
export function arange(n: number, options: DTypeOption = {}): Tensor {
  checkArgument("arange", "n", n, integer(0));
  return apply("iota", [], { shape: [n], axis: 0, dtype: dtypeOf("arange", options, "i32") });
}
/**
 * The coordinate along `axis` at each place of `shape`; i32 unless said otherwise. Throws DtypeError where the coordinates are no
 * distinct values of an integer or half dtype; f32 rounds from 2²⁴ on.
 */
export function iota(shape: Shape | number, axis: number, options: DTypeOption = {}): Tensor {
  const extents = readShape(shape, "iota");
  return apply("iota", [], { shape: extents, axis: normalizeAxis(axis, extents.length, "iota"), dtype: dtypeOf("iota", options, "i32") });
}
/** The n × n identity matrix. */
export function eye(n: number, options: DTypeOption = {}): Tensor {
  checkArgument("eye", "n", n, integer(0));
  return cast(equal(iota([n, n], 0), iota([n, n], 1)), dtypeOf("eye", options, "f32"));
}
/**
 * `count` values from start to stop in equal steps, f32: the first is start, the last is stop, and none passes the next.
 * A single one is start. Throws OptionError unless both ends are finite in f32.
 */
export function linspace(start: number, stop: number, count: number): Tensor {
  for (const [name, value] of Object.entries({ start, stop })) checkArgument("linspace", name, value, finiteSingle);
  checkArgument("linspace", "count", count, integer(0));
  if (count < 2) return full([count], start);
  // Counted from the nearer end, so that both ends are exact and nothing overflows on the way.
  const half = Math.ceil(count / 2);
  const step = count > 2 ? (stop - start) / (count - 1) : 0;
  const steps = (n: number): Tensor => mul(arange(n, { dtype: "f32" }), step);
  return concat([add(start, steps(half)), flip(sub(stop, steps(count - half)))]);
}

/**
 * A plain number beside a tensor takes the tensor's dtype; beside integers and bool, a number that is no integer is f32, so that
 * both meet there. Throws DtypeError for an integer that the tensor's dtype does not have.
 */
function literal(name: string, value: PlainNumber, beside: DType): Tensor {
  const dtype = isFloat(beside) ? beside : ask(value, Number.isInteger) ? (beside === "bool" ? "i32" : beside) : "f32";
  if (!isFloat(dtype) && !ask(value, fitsIn[dtype as "i32" | "u32"])) requireFits(name, dtype, numberOf(value));
  return value instanceof WeakScalar ? value.as(dtype) : apply("const", [], { value, shape: [], dtype });
}

const fitsIn = { i32: (value: number) => fits("i32", value), u32: (value: number) => fits("u32", value) } as const;

function operands(name: string, a: TensorLike, b: TensorLike): [Tensor, Tensor] {
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
function floatOperands(name: string, a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  const beside = (x: TensorLike, other: TensorLike): TensorLike => (!isPlain(x) && isPlain(other) ? asFloat(name, x) : x);
  const [x, y] = operands(name, beside(a, b), beside(b, a));
  return [asFloat(name, x), asFloat(name, y)];
}

function asTensor(name: string, x: TensorLike): Tensor {
  checkArgument(name, "x", x, tensorLikeKind);
  return isPlain(x) ? literal(name, x, "f32") : x;
}
function asFloat(name: string, x: TensorLike): Tensor {
  const t = asTensor(name, x);
  return isFloat(t.dtype) ? t : cast(t, "f32");
}
const asNumbers = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "i32") : x);

/** A function of floats; integers are cast to f32 first. */
const ofFloats =
  (name: "exp" | "log" | "sin" | "cos" | "tanh" | "erf" | "sqrt" | "recip") =>
  (x: TensorLike): Tensor =>
    apply(name, [asFloat(name, x)], {});
const ofNumbers =
  (name: "neg" | "abs" | "sign") =>
  (x: TensorLike): Tensor =>
    apply(name, [asNumbers(asTensor(name, x))], {});

export const neg = ofNumbers("neg");
export const exp = ofFloats("exp");
export const log = ofFloats("log");
export const sin = ofFloats("sin");
export const cos = ofFloats("cos");
export const tanh = ofFloats("tanh");
export const erf = ofFloats("erf");
export const sqrt = ofFloats("sqrt");
export const recip = ofFloats("recip");
export const abs = ofNumbers("abs");
export const sign = ofNumbers("sign");
export const floor = (x: TensorLike): Tensor => {
  const t = asTensor("floor", x);
  return isFloat(t.dtype) ? apply("floor", [t], {}) : t;
};
export const not = (x: Tensor): Tensor => {
  checkArgument("not", "x", x, tensorKind);
  return apply("not", [x], {});
};

const arithmetic =
  (name: string, primitive: "add" | "sub" | "mul" | "max" | "min" | "mod") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const [x, y] = operands(name, a, b);
    return apply(primitive, [asNumbers(x), asNumbers(y)], {});
  };

export const add = arithmetic("add", "add");
export const sub = arithmetic("sub", "sub");
export const mul = arithmetic("mul", "mul");

/** The tensor beside a number, where that is one of integers or bools. */
const integersBeside = (a: TensorLike, b: TensorLike): { integers: Tensor; value: PlainNumber; first: boolean } | undefined => {
  const [x, value] = isPlain(a) ? [b, a] : [a, b];
  if (!(x instanceof Tensor) || isPlain(x) || !isPlain(value) || isFloat(x.dtype)) return undefined;
  return { integers: asNumbers(x), value, first: x === a };
};
const rangeOf = (integers: Tensor): readonly [lowest: number, highest: number] => integerRange(integers.dtype as "i32" | "u32");

/** Integers beside a number that none of them passes stay as they are, whether their dtype has that number or not. */
const extreme =
  (name: string, primitive: "max" | "min") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const mixed = integersBeside(a, b);
    if (mixed !== undefined) {
      const [lowest, highest] = rangeOf(mixed.integers);
      if (ask(mixed.value, (value) => (primitive === "max" ? value <= lowest : value >= highest))) return mixed.integers;
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

/** A function of two operands that were brought to one shape and dtype. */
const comparison =
  (name: string, compare: (x: Tensor, y: Tensor) => Tensor) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    compare(...operands(name, a, b));

const lessThan = (x: Tensor, y: Tensor): Tensor => apply("lt", [asNumbers(x), asNumbers(y)], {});
const sameAs = (x: Tensor, y: Tensor): Tensor => apply("eq", [x, y], {});

const everywhere = (x: Tensor, value: boolean): Tensor => full(x.shape, Number(value), { dtype: "bool" });

/** x < value for integers x and any number: x < ⌈value⌉, or the same answer everywhere where all of the dtype lies on one side. */
function integersLess(x: Tensor, value: PlainNumber): Tensor {
  const [lowest, highest] = rangeOf(x);
  if (!ask(value, (bound) => bound > lowest)) return everywhere(x, false);
  return ask(value, (bound) => bound > highest) ? everywhere(x, true) : lessThan(...operands("less", x, derive(value, Math.ceil)));
}

/** value < x for integers x and any number. */
function integersGreater(x: Tensor, value: PlainNumber): Tensor {
  const [lowest, highest] = rangeOf(x);
  if (!ask(value, (bound) => bound < highest)) return everywhere(x, false);
  return ask(value, (bound) => bound < lowest) ? everywhere(x, true) : lessThan(...operands("greater", derive(value, Math.floor), x));
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
const integersLessEqual: IntegerComparison = (x, value) =>
  integersLess(
    x,
    derive(value, (bound) => Math.floor(bound) + 1),
  );
const integersGreaterEqual: IntegerComparison = (x, value) =>
  integersGreater(
    x,
    derive(value, (bound) => Math.ceil(bound) - 1),
  );
const integersDiffer: IntegerComparison = (x, value) => not(integersEqual(x, value));

export const less = ordering("less", lessThan, integersLess, integersGreater);
export const greater = ordering("greater", (x, y) => lessThan(y, x), integersGreater, integersLess);
export const equal = ordering("equal", sameAs, integersEqual, integersEqual);
export const notEqual = ordering("notEqual", (x, y) => not(sameAs(x, y)), integersDiffer, integersDiffer);
/** a ≤ b as (a < b) ∨ (a = b), so that NaN compares false. */
export const lessEqual = ordering("lessEqual", (x, y) => or(lessThan(x, y), sameAs(x, y)), integersLessEqual, integersGreaterEqual);
export const greaterEqual = ordering("greaterEqual", (x, y) => or(lessThan(y, x), sameAs(y, x)), integersGreaterEqual, integersLessEqual);
export const and = comparison("and", (x, y) => apply("and", [x, y], {}));
export const or = comparison("or", (x, y) => apply("or", [x, y], {}));

/** condition ? a : b, elementwise; what is not taken has no influence. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  checkArgument("where", "condition", condition, tensorKind);
  const [x, y] = operands("where", a, b);
  const shape = broadcastShapes(condition.shape, x.shape, "where");
  return apply("where", [broadcastTo(condition, shape), broadcastTo(x, shape), broadcastTo(y, shape)], {});
}

/** The values in another dtype. */
export function cast(x: Tensor, dtype: DTypeName): Tensor {
  checkArgument("cast", "x", x, tensorKind);
  const to = readDType("cast", dtype);
  if (x instanceof WeakScalar && (to === "i32" || to === "u32") && ask(x, fitsIn[to])) return x.as(to);
  return x.dtype === to ? x : apply("cast", [x], { dtype: to });
}
/** The same 32 bits read as f32, i32 or u32. */
export function bitcast(x: Tensor, dtype: DTypeName): Tensor {
  checkArgument("bitcast", "x", x, tensorKind);
  const to = readDType("bitcast", dtype);
  return x.dtype === to ? x : apply("bitcast", [x], { dtype: to });
}
/**
 * x limited to low…high, either of which may be left out: low where x < low, high where x > high (and everywhere where low > high),
 * else x itself, NaN too. The derivative is 1 from bound to bound, both included. Integers stay integers between integral bounds;
 * a bound that their dtype does not have changes nothing where it limits nothing, and throws DtypeError where it does.
 */
export function clip(x: Tensor, low: TensorLike = Number.NEGATIVE_INFINITY, high: TensorLike = Number.POSITIVE_INFINITY): Tensor {
  checkArgument("clip", "x", x, tensorKind);
  for (const [name, bound] of Object.entries({ low, high })) {
    checkArgument("clip", name, bound, tensorLikeKind);
    if (Number.isNaN(bound)) throw new OptionError(`clip: ${name} is NaN, which is no bound`, { hint: "leave the bound out" });
  }
  const below = low === Number.NEGATIVE_INFINITY ? x : bounded(x, low, less, "max");
  return high === Number.POSITIVE_INFINITY ? below : bounded(below, high, greater, "min");
}

/** x, or the bound where x lies beyond it. */
function bounded(x: Tensor, bound: TensorLike, beyond: typeof less, limit: "max" | "min"): Tensor {
  return isFloat(x.dtype) || !isPlain(bound) ? where(beyond(x, bound), bound, x) : extreme("clip", limit)(x, bound);
}
/** Axes to reduce over: all when left out. */
export type Axes = number | readonly number[] | undefined;

const reduction =
  (name: string, primitive: "sum" | "maxReduce" | "minReduce" | "argmax" | "argmin") =>
  (x: Tensor, axes?: Axes, keepDims = false): Tensor => {
    checkArgument(name, "x", x, tensorKind);
    checkArgument(name, "keepDims", keepDims, flag);
    const list = normalizeAxes(axes, x.rank, name);
    const numbers = asNumbers(x);
    if (list.length === 0 && primitive !== "argmax" && primitive !== "argmin") return numbers;
    const result = apply(primitive, [numbers], { axes: list });
    return keepDims
      ? reshape(
          result,
          x.shape.map((extent, i) => (list.includes(i) ? 1 : extent)),
        )
      : result;
  };

export const sum = reduction("sum", "sum");
export const max = reduction("max", "maxReduce");
export const min = reduction("min", "minReduce");
/** Position (i32) of the first largest element, in row-major order over the reduced axes. */
export const argmax = reduction("argmax", "argmax");
export const argmin = reduction("argmin", "argmin");

/** The same elements under another shape; one extent may be −1. */
export function reshape(x: Tensor, shape: Shape | number): Tensor {
  checkArgument("reshape", "x", x, tensorKind);
  const wanted = typeof shape === "number" ? [shape] : shape;
  const open = Array.isArray(wanted) ? wanted.indexOf(-1) : -1;
  if (open < 0) checkShape(wanted, "reshape");
  else
    checkShape(
      wanted.filter((_, i) => i !== open),
      "reshape",
    );
  let target = wanted;
  if (open >= 0) {
    const rest = sizeOf(wanted.filter((_, i) => i !== open));
    if (rest === 0 || x.size % rest !== 0) throw new ShapeError(`reshape: ${show(x.shape)} does not fill ${show(wanted)}`);
    target = wanted.map((extent, i) => (i === open ? x.size / rest : extent));
  }
  return sameShape(target, x.shape) ? x : apply("reshape", [x], { shape: [...target] });
}

export function permute(x: Tensor, order: readonly number[]): Tensor {
  checkArgument("permute", "x", x, tensorKind);
  checkArgument("permute", "order", order, listOf(integer()));
  const axes = order.map((axis) => normalizeAxis(axis, x.rank, "permute"));
  return axes.every((axis, i) => axis === i) && axes.length === x.rank ? x : apply("permute", [x], { order: axes });
}

/** Swaps two axes, the last two unless said otherwise. */
export function transpose(x: Tensor, axis1 = -2, axis2 = -1): Tensor {
  checkArgument("transpose", "x", x, tensorKind);
  const a = normalizeAxis(axis1, x.rank, "transpose");
  const b = normalizeAxis(axis2, x.rank, "transpose");
  return permute(
    x,
    x.shape.map((_, i) => (i === a ? b : i === b ? a : i)),
  );
}

/** Repeats axes of extent 1 (and adds leading ones) until the shape is reached. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkArgument("expand", "x", x, tensorKind);
  checkShape(shape, "expand");
  if (sameShape(x.shape, shape)) return x;
  if (shape.length < x.rank) throw new ShapeError(`expand: ${show(x.shape)} does not expand to ${show(shape)}`);
  const padded = reshape(x, [...new Array<number>(shape.length - x.rank).fill(1), ...x.shape]);
  return sameShape(padded.shape, shape) ? padded : apply("expand", [padded], { shape: [...shape] });
}
export const expand = broadcastTo;

/** One entry per axis: a [start, stop, step?] range, or null for the whole axis. Negative positions count from the end. */
export type Range = readonly [start: number, stop?: number | null, step?: number] | null;

const isRange = (range: unknown): boolean =>
  range === null ||
  (Array.isArray(range) && range.length >= 1 && range.length <= 3 && range.every((at) => at == null || Number.isInteger(at)));
const rangesKind = listOf({ wanted: "[start, stop?, step?] in integers or null", fits: isRange });
const widthsKind = listOf({
  wanted: "[before, after] in integers",
  fits: (width) => Array.isArray(width) && width.length === 2 && width.every(Number.isInteger),
});

/**
 * The elements start, start + step, … < stop of each axis. Throws ShapeError for a range that reaches outside of its axis: nothing is
 * cut short.
 */
export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  checkArgument("slice", "x", x, tensorKind);
  checkArgument("slice", "ranges", ranges, rangesKind);
  if (ranges.length > x.rank) throw new ShapeError(`slice: ${ranges.length} ranges for ${show(x.shape)}`);
  const at = (position: number, extent: number): number => (position < 0 ? position + extent : position);
  const starts = x.shape.map((extent, i) => at(ranges[i]?.[0] ?? 0, extent));
  const stops = x.shape.map((extent, i) => at(ranges[i]?.[1] ?? extent, extent));
  const steps = x.shape.map((_, i) => ranges[i]?.[2] ?? 1);
  return apply("slice", [x], { starts, stops, steps });
}

/** `widths[i]` = [before, after] for each axis. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  checkArgument("pad", "x", x, tensorKind);
  checkArgument("pad", "widths", widths, widthsKind);
  checkArgument("pad", "value", value, number);
  return apply("pad", [x], { low: widths.map(([low]) => low), high: widths.map(([, high]) => high), value });
}

export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkArgument("concat", "tensors", tensors, listOf(tensorKind));
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("concat: no tensors");
  const along = normalizeAxis(axis, first.rank, "concat");
  return tensors.length === 1 ? first : apply("concat", tensors, { axis: along });
}

/** Tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  checkArgument("stack", "tensors", tensors, listOf(tensorKind));
  checkArgument("stack", "axis", axis, integer());
  return concat(
    tensors.map((t) => unsqueeze(t, axis)),
    axis,
  );
}

/** Consecutive parts of the given extents along an axis. */
export function split(x: Tensor, extents: readonly number[], axis = 0): Tensor[] {
  checkArgument("split", "x", x, tensorKind);
  checkArgument("split", "extents", extents, listOf(integer(0)));
  const along = normalizeAxis(axis, x.rank, "split");
  if (extents.reduce((a, b) => a + b, 0) !== x.shape[along])
    throw new ShapeError(`split: ${show(extents)} do not add up to axis ${along} of ${show(x.shape)}`);
  let start = 0;
  return extents.map((extent) => {
    const part = slice(
      x,
      x.shape.map((_, i) => (i === along ? [start, start + extent] : null)),
    );
    start += extent;
    return part;
  });
}

export function flip(x: Tensor, axes?: Axes): Tensor {
  checkArgument("flip", "x", x, tensorKind);
  return apply("flip", [x], { axes: normalizeAxes(axes, x.rank, "flip") });
}

/** Removes axes of extent 1: the listed ones, or all. */
export function squeeze(x: Tensor, axes?: Axes): Tensor {
  checkArgument("squeeze", "x", x, tensorKind);
  const list = axes === undefined ? x.shape.flatMap((extent, i) => (extent === 1 ? [i] : [])) : normalizeAxes(axes, x.rank, "squeeze");
  for (const axis of list) if (x.shape[axis] !== 1) throw new ShapeError(`squeeze: axis ${axis} of ${show(x.shape)} is not 1`);
  return reshape(
    x,
    x.shape.filter((_, i) => !list.includes(i)),
  );
}

/** Adds an axis of extent 1 at a position of the result. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  checkArgument("unsqueeze", "x", x, tensorKind);
  const at = normalizeAxis(axis, x.rank + 1, "unsqueeze");
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/**
 * Rows of x along `axis` (default 0) picked by an integer tensor, whose shape takes the place of that axis. An index outside of
 * 0…n − 1, negative ones included, gives NaN (0 for integers and bool), and no derivative.
 */
export function gather(x: Tensor, index: Tensor, axis = 0): Tensor {
  checkArgument("gather", "x", x, tensorKind);
  checkArgument("gather", "index", index, tensorKind);
  const along = normalizeAxis(axis, x.rank, "gather");
  if (along === 0) return apply("gather", [x, index], {});
  const others = x.shape.map((_, i) => i).filter((i) => i !== along);
  const picked = apply("gather", [permute(x, [along, ...others]), index], {});
  const order = [
    ...others.slice(0, along).map((_, i) => index.rank + i),
    ...index.shape.map((_, i) => i),
    ...others.slice(along).map((_, i) => index.rank + along + i),
  ];
  return permute(picked, order);
}
export const take = gather;

/** Sums rows of x into `size` bins: y[s] = Σ x[i] over index[i] = s. An index outside of 0…size − 1 adds nothing. */
export function scatterAdd(x: Tensor, index: Tensor, size: number): Tensor {
  checkArgument("scatterAdd", "x", x, tensorKind);
  checkArgument("scatterAdd", "index", index, tensorKind);
  checkArgument("scatterAdd", "size", size, integer(0));
  return apply("scatterAdd", [x, index], { size });
}

/** Rows ≤ columns − k kept, the rest 0. */
export const triu = (x: Tensor, k = 0): Tensor => triangle("triu", x, k, (diagonal) => greaterEqual(diagonal, k));
export const tril = (x: Tensor, k = 0): Tensor => triangle("tril", x, k, (diagonal) => lessEqual(diagonal, k));

function triangle(name: string, x: Tensor, k: number, keep: (diagonal: Tensor) => Tensor): Tensor {
  checkArgument(name, "x", x, tensorKind);
  checkArgument(name, "k", k, integer());
  if (x.rank < 2) throw new ShapeError(`${name}: a triangle needs two axes, not ${show(x.shape)}`);
  // Column − row cannot overflow, as row + k may.
  return where(keep(sub(iota(x.shape, -1), iota(x.shape, -2))), x, 0);
}

/**
 * Matrix product over the last two axes, leading axes broadcast: [.., m, k] · [.., k, n] → [.., m, n].
 * A vector is taken as a row on the left and as a column on the right, and that axis is dropped again.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  checkArgument("matmul", "a", a, tensorKind);
  checkArgument("matmul", "b", b, tensorKind);
  if (a.rank === 0 || b.rank === 0) throw new ShapeError("matmul: a scalar is no matrix", { hint: "use mul" });
  const common = promote(a.dtype, b.dtype);
  const dtype = isFloat(common) ? common : "f32";
  const x = cast(a.rank === 1 ? unsqueeze(a, 0) : a, dtype);
  const y = cast(b.rank === 1 ? unsqueeze(b, 1) : b, dtype);
  if (x.shape.at(-1) !== y.shape.at(-2)) {
    throw new ShapeError(
      `matmul: ${show(a.shape)} and ${show(b.shape)} do not chain: ${x.shape.at(-1)} columns meet ${y.shape.at(-2)} rows`,
    );
  }
  const batch = broadcastShapes(x.shape.slice(0, -2), y.shape.slice(0, -2), "matmul");
  let product: Tensor;
  if (y.rank === 2 && x.rank > 2) {
    // One matrix for every batch entry: the batch becomes more rows, so that one product serves all.
    const rows = reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape.at(-1) as number]);
    product = reshape(apply("dot", [rows, y], {}), [...x.shape.slice(0, -1), y.shape[1] as number]);
  } else {
    product = apply("dot", [broadcastTo(x, [...batch, ...x.shape.slice(-2)]), broadcastTo(y, [...batch, ...y.shape.slice(-2)])], {});
  }
  if (a.rank === 1) product = squeeze(product, -2);
  return b.rank === 1 ? squeeze(product, -1) : product;
}

/** x with no derivative: differentiation takes it as a constant. */
export function stopGradient(x: Tensor): Tensor {
  checkArgument("stopGradient", "x", x, tensorKind);
  return apply("stopGradient", [x], {});
}
