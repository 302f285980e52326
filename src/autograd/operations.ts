import { ShapeError } from "../errors.js";
import { type DType, isFloat, isHalf, promote, representable } from "./dtype.js";
import { broadcastShapes, normalizeAxes, normalizeAxis, type Shape, sameShape, show, sizeOf } from "./shape.js";
import { apply, Tensor } from "./tensor.js";

/**
 * The primitives as functions that broadcast, promote dtypes and take plain numbers. Everything that users call is made
 * of these; nothing below this file broadcasts.
 */

/** A tensor, or a number that takes the dtype of what it meets. */
export type TensorLike = Tensor | number;

/** The same value everywhere; `shape` defaults to a scalar. */
export function full(shape: Shape, value: number, options: { dtype?: DType } = {}): Tensor {
  const dtype = options.dtype ?? "f32";
  // A number beside a half keeps its digits; a tensor of halves does not.
  return broadcastTo(apply("const", [], { value: isHalf(dtype) ? representable(dtype, value) : value, shape: [], dtype }), shape);
}
export const zeros = (shape: Shape, options: { dtype?: DType } = {}): Tensor => full(shape, 0, options);
export const ones = (shape: Shape, options: { dtype?: DType } = {}): Tensor => full(shape, 1, options);
export const zerosLike = (x: Tensor): Tensor => zeros(x.shape, { dtype: x.dtype });
export const onesLike = (x: Tensor): Tensor => ones(x.shape, { dtype: x.dtype });
/** 0, 1, … n − 1 as i32, or as another dtype. */
export const arange = (n: number, options: { dtype?: DType } = {}): Tensor => iota([n], 0, options);
/** The coordinate along `axis` at each place of `shape`; i32 unless said otherwise. */
export const iota = (shape: Shape, axis: number, options: { dtype?: DType } = {}): Tensor =>
  apply("iota", [], { shape, axis: normalizeAxis(axis, shape.length, "iota"), dtype: options.dtype ?? "i32" });
/** The n × n identity matrix. */
export const eye = (n: number, options: { dtype?: DType } = {}): Tensor =>
  cast(equal(iota([n, n], 0), iota([n, n], 1)), options.dtype ?? "f32");
/** `count` values from start to stop, both included. */
export const linspace = (start: number, stop: number, count: number): Tensor =>
  add(mul(arange(count, { dtype: "f32" }), count > 1 ? (stop - start) / (count - 1) : 0), start);

/** The dtype that a plain number takes next to a tensor: the tensor's own, or f32 where that could not hold it. */
function literal(value: number, beside: DType): Tensor {
  const dtype = isFloat(beside) ? beside : Number.isInteger(value) ? (beside === "bool" ? "i32" : beside) : "f32";
  return apply("const", [], { value, shape: [], dtype });
}

function operands(name: string, a: TensorLike, b: TensorLike): [Tensor, Tensor] {
  let x = a instanceof Tensor ? a : literal(a, b instanceof Tensor ? b.dtype : "f32");
  let y = b instanceof Tensor ? b : literal(b, x.dtype);
  const dtype = promote(x.dtype, y.dtype);
  x = cast(x, dtype);
  y = cast(y, dtype);
  if (sameShape(x.shape, y.shape)) return [x, y];
  const shape = broadcastShapes(x.shape, y.shape, name);
  return [broadcastTo(x, shape), broadcastTo(y, shape)];
}

const asTensor = (x: TensorLike): Tensor => (x instanceof Tensor ? x : literal(x, "f32"));
const asFloat = (x: TensorLike): Tensor => {
  const t = asTensor(x);
  return isFloat(t.dtype) ? t : cast(t, "f32");
};
const asNumbers = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "i32") : x);

export const neg = (x: TensorLike): Tensor => apply("neg", [asNumbers(asTensor(x))], {});
export const exp = (x: TensorLike): Tensor => apply("exp", [asFloat(x)], {});
export const log = (x: TensorLike): Tensor => apply("log", [asFloat(x)], {});
export const sin = (x: TensorLike): Tensor => apply("sin", [asFloat(x)], {});
export const cos = (x: TensorLike): Tensor => apply("cos", [asFloat(x)], {});
export const tanh = (x: TensorLike): Tensor => apply("tanh", [asFloat(x)], {});
export const erf = (x: TensorLike): Tensor => apply("erf", [asFloat(x)], {});
export const sqrt = (x: TensorLike): Tensor => apply("sqrt", [asFloat(x)], {});
export const recip = (x: TensorLike): Tensor => apply("recip", [asFloat(x)], {});
export const abs = (x: TensorLike): Tensor => apply("abs", [asNumbers(asTensor(x))], {});
export const sign = (x: TensorLike): Tensor => apply("sign", [asNumbers(asTensor(x))], {});
export const floor = (x: TensorLike): Tensor => {
  const t = asTensor(x);
  return isFloat(t.dtype) ? apply("floor", [t], {}) : t;
};
export const not = (x: Tensor): Tensor => apply("not", [x], {});

const arithmetic =
  (name: "add" | "sub" | "mul" | "max" | "min" | "mod") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const [x, y] = operands(name, a, b);
    return apply(name, [asNumbers(x), asNumbers(y)], {});
  };

export const add = arithmetic("add");
export const sub = arithmetic("sub");
export const mul = arithmetic("mul");
export const maximum = arithmetic("max");
export const minimum = arithmetic("min");
/** a − b·⌊a/b⌋, with the sign of b. */
export const mod = arithmetic("mod");
/** a / b as floats; integers are cast to f32 first. */
export const div = (a: TensorLike, b: TensorLike): Tensor => {
  const [x, y] = operands("div", a, b);
  return apply("div", [asFloat(x), asFloat(y)], {});
};
/** Quotient of integers, truncated toward 0. */
export const truncDiv = (a: TensorLike, b: TensorLike): Tensor => {
  const [x, y] = operands("truncDiv", a, b);
  return apply("div", [x, y], {});
};
/** aᵇ; small integral numbers b become products. */
export const pow = (a: TensorLike, b: TensorLike): Tensor => {
  if (typeof b === "number" && a instanceof Tensor && isFloat(a.dtype)) {
    if (b === 1) return a;
    if (b === 2) return mul(a, a);
    if (b === 3) return mul(mul(a, a), a);
    if (b === 0.5) return sqrt(a);
    if (b === -1) return recip(a);
  }
  const [x, y] = operands("pow", a, b);
  return apply("pow", [asFloat(x), asFloat(y)], {});
};

const comparison =
  (name: "lt" | "eq") =>
  (a: TensorLike, b: TensorLike): Tensor => {
    const [x, y] = operands(name, a, b);
    return apply(name, name === "lt" ? [asNumbers(x), asNumbers(y)] : [x, y], {});
  };

export const less = comparison("lt");
export const equal = comparison("eq");
export const greater = (a: TensorLike, b: TensorLike): Tensor => less(b, a);
export const notEqual = (a: TensorLike, b: TensorLike): Tensor => not(equal(a, b));
/** a ≤ b as (a < b) ∨ (a = b), so that NaN compares false. */
export const lessEqual = (a: TensorLike, b: TensorLike): Tensor => or(less(a, b), equal(a, b));
export const greaterEqual = (a: TensorLike, b: TensorLike): Tensor => lessEqual(b, a);
export const and = (a: TensorLike, b: TensorLike): Tensor => apply("and", operands("and", a, b), {});
export const or = (a: TensorLike, b: TensorLike): Tensor => apply("or", operands("or", a, b), {});

/** condition ? a : b, elementwise; what is not taken has no influence. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  const [x, y] = operands("where", a, b);
  const shape = broadcastShapes(condition.shape, x.shape, "where");
  return apply("where", [broadcastTo(condition, shape), broadcastTo(x, shape), broadcastTo(y, shape)], {});
}

export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : apply("cast", [x], { dtype }));
/** The same 32 bits read as f32, i32 or u32. */
export const bitcast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : apply("bitcast", [x], { dtype }));
/** x limited to low…high. */
export const clip = (x: Tensor, low: number, high: number): Tensor => minimum(maximum(x, low), high);

/** Axes to reduce over: all when left out. */
export type Axes = number | readonly number[] | undefined;

const reduction =
  (name: "sum" | "maxReduce" | "minReduce" | "argmax" | "argmin") =>
  (x: Tensor, axes?: Axes, keepDims = false): Tensor => {
    const list = normalizeAxes(axes, x.rank, name);
    const numbers = asNumbers(x);
    if (list.length === 0 && name !== "argmax" && name !== "argmin") return numbers;
    const result = apply(name, [numbers], { axes: list });
    return keepDims
      ? reshape(
          result,
          x.shape.map((extent, i) => (list.includes(i) ? 1 : extent)),
        )
      : result;
  };

export const sum = reduction("sum");
export const max = reduction("maxReduce");
export const min = reduction("minReduce");
/** Position (i32) of the first largest element, in row-major order over the reduced axes. */
export const argmax = reduction("argmax");
export const argmin = reduction("argmin");

/** The same elements under another shape; one extent may be −1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const open = shape.indexOf(-1);
  let target = shape;
  if (open >= 0) {
    const rest = sizeOf(shape.filter((_, i) => i !== open));
    if (rest === 0 || x.size % rest !== 0) throw new ShapeError(`reshape: ${show(x.shape)} does not fill ${show(shape)}`);
    target = shape.map((extent, i) => (i === open ? x.size / rest : extent));
  }
  return sameShape(target, x.shape) ? x : apply("reshape", [x], { shape: [...target] });
}

export function permute(x: Tensor, order: readonly number[]): Tensor {
  const axes = order.map((axis) => normalizeAxis(axis, x.rank, "permute"));
  return axes.every((axis, i) => axis === i) && axes.length === x.rank ? x : apply("permute", [x], { order: axes });
}

/** Swaps two axes, the last two unless said otherwise. */
export function transpose(x: Tensor, axis1 = -2, axis2 = -1): Tensor {
  const a = normalizeAxis(axis1, x.rank, "transpose");
  const b = normalizeAxis(axis2, x.rank, "transpose");
  return permute(
    x,
    x.shape.map((_, i) => (i === a ? b : i === b ? a : i)),
  );
}

/** Repeats axes of extent 1 (and adds leading ones) until the shape is reached. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  if (shape.length < x.rank) throw new ShapeError(`expand: ${show(x.shape)} does not expand to ${show(shape)}`);
  const padded = reshape(x, [...new Array<number>(shape.length - x.rank).fill(1), ...x.shape]);
  return sameShape(padded.shape, shape) ? padded : apply("expand", [padded], { shape: [...shape] });
}
export const expand = broadcastTo;

/** One entry per axis: a [start, stop, step?] range, or null for the whole axis. Negative positions count from the end. */
export type Range = readonly [start: number, stop?: number | null, step?: number] | null;

export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  if (ranges.length > x.rank) throw new ShapeError(`slice: ${ranges.length} ranges for ${show(x.shape)}`);
  const at = (position: number, extent: number): number => (position < 0 ? position + extent : position);
  const starts = x.shape.map((extent, i) => at(ranges[i]?.[0] ?? 0, extent));
  const stops = x.shape.map((extent, i) => at(ranges[i]?.[1] ?? extent, extent));
  const steps = x.shape.map((_, i) => ranges[i]?.[2] ?? 1);
  return apply("slice", [x], { starts, stops, steps });
}

/** `widths[i]` = [before, after] for each axis. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  return apply("pad", [x], { low: widths.map(([low]) => low), high: widths.map(([, high]) => high), value });
}

export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("concat: no tensors");
  return tensors.length === 1 ? first : apply("concat", tensors, { axis: normalizeAxis(axis, first.rank, "concat") });
}

/** Tensors of one shape along a new axis. */
export const stack = (tensors: readonly Tensor[], axis = 0): Tensor =>
  concat(
    tensors.map((t) => unsqueeze(t, axis)),
    axis,
  );

/** Consecutive parts of the given extents along an axis. */
export function split(x: Tensor, extents: readonly number[], axis = 0): Tensor[] {
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

export const flip = (x: Tensor, axes?: Axes): Tensor => apply("flip", [x], { axes: normalizeAxes(axes, x.rank, "flip") });

/** Removes axes of extent 1: the listed ones, or all. */
export function squeeze(x: Tensor, axes?: Axes): Tensor {
  const list = axes === undefined ? x.shape.flatMap((extent, i) => (extent === 1 ? [i] : [])) : normalizeAxes(axes, x.rank, "squeeze");
  for (const axis of list) if (x.shape[axis] !== 1) throw new ShapeError(`squeeze: axis ${axis} of ${show(x.shape)} is not 1`);
  return reshape(
    x,
    x.shape.filter((_, i) => !list.includes(i)),
  );
}

/** Adds an axis of extent 1 at a position of the result. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const at = normalizeAxis(axis, x.rank + 1, "unsqueeze");
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/** Rows of x along `axis` (default 0) picked by an integer tensor, whose shape takes the place of that axis. */
export function gather(x: Tensor, index: Tensor, axis = 0): Tensor {
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

/** Sums rows of x into `size` bins: y[s] = Σ x[i] over index[i] = s. */
export const scatterAdd = (x: Tensor, index: Tensor, size: number): Tensor => apply("scatterAdd", [x, index], { size });

/** Rows ≤ columns − k kept, the rest 0. */
export const triu = (x: Tensor, k = 0): Tensor => triangle(x, (row, column) => lessEqual(add(row, k), column));
export const tril = (x: Tensor, k = 0): Tensor => triangle(x, (row, column) => lessEqual(column, add(row, k)));

function triangle(x: Tensor, keep: (row: Tensor, column: Tensor) => Tensor): Tensor {
  if (x.rank < 2) throw new ShapeError(`a triangle needs two axes, not ${show(x.shape)}`);
  return where(keep(iota(x.shape, -2), iota(x.shape, -1)), x, 0);
}

/**
 * Matrix product over the last two axes, leading axes broadcast: [.., m, k] · [.., k, n] → [.., m, n].
 * A vector is taken as a row on the left and as a column on the right, and that axis is dropped again.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
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
    const rows = reshape(x, [-1, x.shape.at(-1) as number]);
    product = reshape(apply("dot", [rows, y], {}), [...x.shape.slice(0, -1), y.shape[1] as number]);
  } else {
    product = apply("dot", [broadcastTo(x, [...batch, ...x.shape.slice(-2)]), broadcastTo(y, [...batch, ...y.shape.slice(-2)])], {});
  }
  if (a.rank === 1) product = squeeze(product, -2);
  return b.rank === 1 ? squeeze(product, -1) : product;
}

/** x with no derivative: differentiation takes it as a constant. */
export const stopGradient = (x: Tensor): Tensor => apply("stopGradient", [x], {});
