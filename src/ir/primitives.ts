import { DtypeError, ShapeError } from "../errors.js";
import { type DType, distinctIntegers, isFloat, isInteger, requireFits } from "./dtype.js";
import { checkShape, dropAxes, type Shape, sameShape, show, sizeOf } from "./shape.js";

/**
 * The vocabulary of every graph. All of dawngrad is written in these operations: composites are functions of them,
 * derivatives map them to each other, and a backend is complete when it lowers each of them.
 */

/** What is known of a value without computing it. */
export interface Abstract {
  readonly shape: Shape;
  readonly dtype: DType;
}

type None = Readonly<Record<never, never>>;

/** Static parameters of each primitive. */
export interface PrimitiveParams {
  // Elementwise, one operand.
  neg: None;
  exp: None;
  log: None;
  sin: None;
  cos: None;
  tanh: None;
  erf: None;
  sqrt: None;
  recip: None;
  abs: None;
  sign: None;
  floor: None;
  not: None;
  // Elementwise, two operands of one shape and dtype.
  add: None;
  sub: None;
  mul: None;
  div: None;
  pow: None;
  max: None;
  min: None;
  mod: None;
  lt: None;
  eq: None;
  and: None;
  or: None;
  // Elementwise, others.
  where: None;
  cast: { readonly dtype: DType };
  bitcast: { readonly dtype: DType };
  // Reductions: the listed axes vanish.
  sum: { readonly axes: readonly number[] };
  maxReduce: { readonly axes: readonly number[] };
  minReduce: { readonly axes: readonly number[] };
  argmax: { readonly axes: readonly number[] };
  argmin: { readonly axes: readonly number[] };
  // Movement: no arithmetic.
  reshape: { readonly shape: Shape };
  permute: { readonly order: readonly number[] };
  expand: { readonly shape: Shape };
  slice: { readonly starts: readonly number[]; readonly stops: readonly number[]; readonly steps: readonly number[] };
  pad: { readonly low: readonly number[]; readonly high: readonly number[]; readonly value: number };
  concat: { readonly axis: number };
  flip: { readonly axes: readonly number[] };
  // Contraction.
  dot: { readonly dtype: DType };
  // Index.
  gather: None;
  scatterAdd: { readonly size: number };
  // Sources.
  iota: { readonly shape: Shape; readonly axis: number; readonly dtype: DType };
  const: { readonly value: number; readonly shape: Shape; readonly dtype: DType };
  randomBits: { readonly shape: Shape };
  // Identities that differentiation looks at.
  alias: None;
  stopGradient: None;
}

export type PrimitiveName = keyof PrimitiveParams;
export type PrimitiveTag = "elementwise" | "reduce" | "movement" | "contract" | "index" | "source" | "identity";

export interface PrimitiveRecord<P extends PrimitiveName> {
  readonly tag: PrimitiveTag;
  /** What it computes, in one line. */
  readonly formula: string;
  /** Behaviour at NaN, infinities and other edges, where it is promised. */
  readonly edge?: string;
  /** Shape and dtype of the result; throws where the operands do not fit. */
  readonly infer: (operands: readonly Abstract[], params: PrimitiveParams[P]) => Abstract;
}

type Infer = (operands: readonly Abstract[]) => Abstract;

function operand(operands: readonly Abstract[], index: number, name: string): Abstract {
  const found = operands[index];
  if (found === undefined) throw new ShapeError(`${name}: operand ${index + 1} is missing`);
  return found;
}

/** What operands may be, each with a dtype of that kind to cast to. */
const castTo = {
  floats: "f32",
  integers: "i32",
  numbers: "f32",
  anything: "f32",
  bool: "bool",
  "bool or integers": "i32",
  "f32, i32 or u32": "f32",
} as const satisfies Readonly<Record<string, DType>>;
type Wanted = keyof typeof castTo;

function need(ok: boolean, name: string, dtype: DType, wanted: Wanted): void {
  if (!ok) throw new DtypeError(`${name} takes ${wanted}, not ${dtype}`, { hint: `cast first, for example x.cast("${castTo[wanted]}")` });
}

const unary =
  (name: string, accepts: (dtype: DType) => boolean, wanted: Wanted): Infer =>
  (operands) => {
    const x = operand(operands, 0, name);
    need(accepts(x.dtype), name, x.dtype, wanted);
    return x;
  };

const floatUnary = (name: string): Infer => unary(name, isFloat, "floats");
const numberUnary = (name: string): Infer => unary(name, (d) => d !== "bool", "numbers");

const binary =
  (name: string, accepts: (dtype: DType) => boolean, wanted: Wanted, result?: DType): Infer =>
  (operands) => {
    const a = operand(operands, 0, name);
    const b = operand(operands, 1, name);
    if (!sameShape(a.shape, b.shape)) throw new ShapeError(`${name}: shapes ${show(a.shape)} and ${show(b.shape)} differ`);
    if (a.dtype !== b.dtype) throw new DtypeError(`${name}: dtypes ${a.dtype} and ${b.dtype} differ`, { hint: "cast one of them" });
    need(accepts(a.dtype), name, a.dtype, wanted);
    return { shape: a.shape, dtype: result ?? a.dtype };
  };

const numberBinary = (name: string): Infer => binary(name, (d) => d !== "bool", "numbers");
const anyBinary = (name: string, result?: DType): Infer => binary(name, () => true, "anything", result);

/** What to do about reductions of nothing that have no value. */
export const noElements = "reduce over axes that have elements; sums over none are 0";

const reduce =
  (name: string, result?: DType) =>
  (operands: readonly Abstract[], { axes }: { axes: readonly number[] }): Abstract => {
    const x = operand(operands, 0, name);
    need(x.dtype !== "bool", name, x.dtype, "numbers");
    if (axes.some((axis, i) => axis < 0 || axis >= x.shape.length || (i > 0 && axis <= (axes[i - 1] as number)))) {
      throw new ShapeError(`${name}: ${show(axes)} are no ascending axes of ${show(x.shape)}`);
    }
    if (name !== "sum" && axes.some((axis) => x.shape[axis] === 0)) {
      throw new ShapeError(`${name.replace("Reduce", "")} of an empty axis has no value (shape ${show(x.shape)}, axes ${show(axes)})`, {
        hint: noElements,
      });
    }
    return { shape: dropAxes(x.shape, axes), dtype: result ?? x.dtype };
  };

function sameRank(name: string, x: Abstract, ...lists: (readonly unknown[])[]): void {
  if (lists.some((list) => list.length !== x.shape.length)) {
    throw new ShapeError(`${name}: one entry per axis of ${show(x.shape)} is needed`, {
      hint: "axes that stay as they are have an entry too",
    });
  }
}

export const primitives = {
  neg: { tag: "elementwise", formula: "−x", infer: numberUnary("neg") },
  exp: { tag: "elementwise", formula: "eˣ", edge: "overflow gives +∞, underflow 0; NaN stays NaN", infer: floatUnary("exp") },
  log: {
    tag: "elementwise",
    formula: "ln x",
    edge: "±0 gives −∞, numbers below 0 and NaN give NaN, +∞ gives +∞",
    infer: floatUnary("log"),
  },
  sin: { tag: "elementwise", formula: "sin x", edge: "WebGPU is only accurate on [−π, π]", infer: floatUnary("sin") },
  cos: { tag: "elementwise", formula: "cos x", edge: "WebGPU is only accurate on [−π, π]", infer: floatUnary("cos") },
  tanh: { tag: "elementwise", formula: "(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)", edge: "±1 for large |x|, never NaN", infer: floatUnary("tanh") },
  erf: { tag: "elementwise", formula: "2/√π ∫₀ˣ e^(−t²) dt", infer: floatUnary("erf") },
  sqrt: { tag: "elementwise", formula: "√x", infer: floatUnary("sqrt") },
  recip: { tag: "elementwise", formula: "1/x", infer: floatUnary("recip") },
  abs: { tag: "elementwise", formula: "|x|", edge: "|−0| = 0, NaN stays NaN", infer: numberUnary("abs") },
  sign: { tag: "elementwise", formula: "−1, 0 or 1", edge: "NaN if x is NaN", infer: numberUnary("sign") },
  floor: { tag: "elementwise", formula: "largest integer ≤ x", edge: "−0, NaN and ±∞ stay as they are", infer: floatUnary("floor") },
  not: { tag: "elementwise", formula: "¬x; bitwise on integers", infer: unary("not", (d) => !isFloat(d), "bool or integers") },

  add: { tag: "elementwise", formula: "a + b; integers wrap", infer: numberBinary("add") },
  sub: { tag: "elementwise", formula: "a − b; integers wrap", infer: numberBinary("sub") },
  mul: { tag: "elementwise", formula: "a · b; integers wrap", infer: numberBinary("mul") },
  div: {
    tag: "elementwise",
    formula: "a / b; integers truncate toward 0",
    edge: "integer division by 0 is not specified",
    infer: numberBinary("div"),
  },
  pow: {
    tag: "elementwise",
    formula: "aᵇ",
    edge: "IEEE 754: a⁰ = 1ᵇ = 1 even with NaN, (−1)^±∞ = 1, a finite a < 0 needs an integral b, else NaN",
    infer: binary("pow", isFloat, "floats"),
  },
  max: { tag: "elementwise", formula: "larger of a and b", edge: "NaN if either is NaN", infer: numberBinary("max") },
  min: { tag: "elementwise", formula: "smaller of a and b", edge: "NaN if either is NaN", infer: numberBinary("min") },
  mod: {
    tag: "elementwise",
    formula: "a − b·⌊a/b⌋, with the sign of b",
    edge: "floats: exact; a mod ±∞ is a or ±∞, a mod 0 and ±∞ mod b are NaN; integers mod 0 are not specified",
    infer: numberBinary("mod"),
  },
  lt: {
    tag: "elementwise",
    formula: "a < b",
    edge: "false if either is NaN",
    infer: (x) => numberBinary("lt")(x) && anyBinary("lt", "bool")(x),
  },
  eq: { tag: "elementwise", formula: "a = b", edge: "−0 = 0; false if either is NaN", infer: anyBinary("eq", "bool") },
  and: { tag: "elementwise", formula: "a ∧ b; bitwise on integers", infer: binary("and", (d) => !isFloat(d), "bool or integers") },
  or: { tag: "elementwise", formula: "a ∨ b; bitwise on integers", infer: binary("or", (d) => !isFloat(d), "bool or integers") },

  where: {
    tag: "elementwise",
    formula: "condition ? a : b",
    edge: "the branch not taken has no influence, NaN included",
    infer: (operands) => {
      const condition = operand(operands, 0, "where");
      need(condition.dtype === "bool", "the condition of where", condition.dtype, "bool");
      const result = anyBinary("where")(operands.slice(1));
      if (!sameShape(condition.shape, result.shape)) {
        throw new ShapeError(`where: the condition ${show(condition.shape)} and the branches ${show(result.shape)} differ`);
      }
      return result;
    },
  },
  cast: {
    tag: "elementwise",
    formula: "x as another dtype; floats truncate toward 0, bool is x ≠ 0",
    edge: "floats outside of the integer range saturate; NaN is 0 as an integer and true as a bool",
    infer: (operands, { dtype }) => ({ shape: operand(operands, 0, "cast").shape, dtype }),
  },
  bitcast: {
    tag: "elementwise",
    formula: "the same 32 bits read as f32, i32 or u32",
    infer: (operands, { dtype }) => {
      const x = operand(operands, 0, "bitcast");
      const wide = (d: DType): boolean => d === "f32" || isInteger(d);
      need(wide(x.dtype), "bitcast", x.dtype, "f32, i32 or u32");
      need(wide(dtype), "bitcast", dtype, "f32, i32 or u32");
      return { shape: x.shape, dtype };
    },
  },

  sum: { tag: "reduce", formula: "Σ over axes", edge: "0 for an empty axis", infer: reduce("sum") },
  maxReduce: { tag: "reduce", formula: "largest over axes", edge: "NaN if any is NaN", infer: reduce("maxReduce") },
  minReduce: { tag: "reduce", formula: "smallest over axes", edge: "NaN if any is NaN", infer: reduce("minReduce") },
  argmax: {
    tag: "reduce",
    formula: "row-major position of the first largest over axes",
    edge: "that of the first NaN if there is one",
    infer: reduce("argmax", "i32"),
  },
  argmin: {
    tag: "reduce",
    formula: "row-major position of the first smallest over axes",
    edge: "that of the first NaN if there is one",
    infer: reduce("argmin", "i32"),
  },

  reshape: {
    tag: "movement",
    formula: "the same elements in row-major order under another shape",
    infer: (operands, { shape }) => {
      const x = operand(operands, 0, "reshape");
      checkShape(shape, "reshape");
      if (sizeOf(shape) !== sizeOf(x.shape)) {
        throw new ShapeError(`reshape: ${show(x.shape)} has ${sizeOf(x.shape)} elements and ${show(shape)} has ${sizeOf(shape)}`, {
          hint: "the product of the extents stays; one extent may be -1, which takes what is left",
        });
      }
      return { shape, dtype: x.dtype };
    },
  },
  permute: {
    tag: "movement",
    formula: "axis i of the result is axis order[i] of x",
    infer: (operands, { order }) => {
      const x = operand(operands, 0, "permute");
      if (order.length !== x.shape.length || [...order].sort((a, b) => a - b).some((axis, i) => axis !== i)) {
        throw new ShapeError(`permute: ${show(order)} does not list every axis of ${show(x.shape)} once`, {
          hint: `list ${x.shape.length === 0 ? "none: []" : `${x.shape.map((_, i) => i).join(", ")} in another order`}`,
        });
      }
      return { shape: order.map((axis) => x.shape[axis] as number), dtype: x.dtype };
    },
  },
  expand: {
    tag: "movement",
    formula: "axes of extent 1 repeated",
    infer: (operands, { shape }) => {
      const x = operand(operands, 0, "expand");
      checkShape(shape, "expand");
      if (shape.length !== x.shape.length || x.shape.some((extent, i) => extent !== shape[i] && extent !== 1)) {
        throw new ShapeError(`expand: ${show(x.shape)} does not expand to ${show(shape)}`, {
          hint: "only axes of extent 1 can be repeated",
        });
      }
      return { shape, dtype: x.dtype };
    },
  },
  slice: {
    tag: "movement",
    formula: "starts[i], starts[i] + steps[i], … < stops[i] along each axis",
    infer: (operands, { starts, stops, steps }) => {
      const x = operand(operands, 0, "slice");
      sameRank("slice", x, starts, stops, steps);
      const shape = x.shape.map((extent, i) => {
        const [start, stop, step] = [starts[i] as number, stops[i] as number, steps[i] as number];
        if (!(Number.isInteger(start) && Number.isInteger(stop) && Number.isInteger(step) && step >= 1)) {
          throw new ShapeError(`slice: ${start}:${stop}:${step} is no range`, { hint: "steps are integers other than 0" });
        }
        if (start < 0 || stop > extent || start > stop) {
          throw new ShapeError(`slice: ${start}:${stop} reaches outside of axis ${i} of ${show(x.shape)}`, {
            hint: `the axis has the places 0 … ${extent - 1}`,
          });
        }
        return Math.ceil((stop - start) / step);
      });
      return { shape, dtype: x.dtype };
    },
  },
  pad: {
    tag: "movement",
    formula: "low[i] values before and high[i] after along each axis",
    infer: (operands, { low, high, value }) => {
      const x = operand(operands, 0, "pad");
      requireFits("pad", x.dtype, value);
      sameRank("pad", x, low, high);
      if ([...low, ...high].some((n) => !Number.isInteger(n) || n < 0)) {
        throw new ShapeError(`pad: ${show(low)} and ${show(high)} must be non-negative integers`, { hint: "use slice to remove elements" });
      }
      return { shape: x.shape.map((extent, i) => extent + (low[i] as number) + (high[i] as number)), dtype: x.dtype };
    },
  },
  concat: {
    tag: "movement",
    formula: "operands one after another along an axis",
    infer: (operands, { axis }) => {
      const first = operand(operands, 0, "concat");
      if (axis < 0 || axis >= first.shape.length)
        throw new ShapeError(`concat: ${show(first.shape)} has no axis ${axis}`, { hint: "stack makes a new axis" });
      let extent = 0;
      for (const x of operands) {
        if (x.dtype !== first.dtype) throw new DtypeError(`concat: dtypes ${first.dtype} and ${x.dtype} differ`);
        if (!sameShape(dropAxes(x.shape, [axis]), dropAxes(first.shape, [axis])) || x.shape.length !== first.shape.length) {
          throw new ShapeError(`concat: ${show(first.shape)} and ${show(x.shape)} differ outside of axis ${axis}`, {
            hint: "all other extents must be the same; stack makes a new axis",
          });
        }
        extent += x.shape[axis] as number;
      }
      return { shape: first.shape.map((n, i) => (i === axis ? extent : n)), dtype: first.dtype };
    },
  },
  flip: {
    tag: "movement",
    formula: "the listed axes in reverse order",
    infer: (operands, { axes }) => {
      const x = operand(operands, 0, "flip");
      if (axes.some((axis) => axis < 0 || axis >= x.shape.length))
        throw new ShapeError(`flip: ${show(axes)} are no axes of ${show(x.shape)}`);
      return x;
    },
  },

  dot: {
    tag: "contract",
    formula: "c[…, m, n] = Σₖ a[…, m, k] · b[…, k, n]",
    edge: "operands are floats of any dtype; sums are taken in f32 at least, and rounded once where the result is a half",
    infer: (operands, { dtype }) => {
      const a = operand(operands, 0, "dot");
      const b = operand(operands, 1, "dot");
      const rank = a.shape.length;
      if (
        rank < 2 ||
        b.shape.length !== rank ||
        !sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2)) ||
        a.shape[rank - 1] !== b.shape[rank - 2]
      ) {
        throw new ShapeError(`dot: ${show(a.shape)} and ${show(b.shape)} are not […, m, k] and […, k, n]`);
      }
      for (const given of [a.dtype, b.dtype]) need(isFloat(given), "dot", given, "floats");
      if (!isFloat(dtype)) throw new DtypeError(`dot: its result is a float, not ${dtype}`, { hint: "cast the result" });
      return { shape: [...a.shape.slice(0, -1), b.shape[rank - 1] as number], dtype };
    },
  },

  gather: {
    tag: "index",
    formula: "y[i…, r…] = x[index[i…], r…]",
    edge: "an index outside of 0…n−1 gives NaN, or 0 for integers",
    infer: (operands) => {
      const x = operand(operands, 0, "gather");
      const index = operand(operands, 1, "gather");
      if (x.shape.length === 0) throw new ShapeError("gather: a scalar has no axis to gather from");
      need(isInteger(index.dtype), "the index of gather", index.dtype, "integers");
      return { shape: [...index.shape, ...x.shape.slice(1)], dtype: x.dtype };
    },
  },
  scatterAdd: {
    tag: "index",
    formula: "y[s, r…] = Σ over i… with index[i…] = s of x[i…, r…], s < size",
    edge: "an index outside of 0…size−1 adds nothing; sums in a fixed order",
    infer: (operands, { size }) => {
      const x = operand(operands, 0, "scatterAdd");
      const index = operand(operands, 1, "scatterAdd");
      need(isInteger(index.dtype), "the index of scatterAdd", index.dtype, "integers");
      need(x.dtype !== "bool", "scatterAdd", x.dtype, "numbers");
      const rank = index.shape.length;
      if (!sameShape(x.shape.slice(0, rank), index.shape)) {
        throw new ShapeError(`scatterAdd: ${show(x.shape)} does not begin with the shape ${show(index.shape)} of the index`, {
          hint: "x is […index.shape, …rest]: one row for each index",
        });
      }
      checkShape([size], "scatterAdd");
      return { shape: [size, ...x.shape.slice(rank)], dtype: x.dtype };
    },
  },

  iota: {
    tag: "source",
    formula: "y[…] = the coordinate along axis",
    infer: (_, { shape, axis, dtype }) => {
      checkShape(shape, "iota");
      if (axis < 0 || axis >= shape.length) throw new ShapeError(`iota: ${show(shape)} has no axis ${axis}`);
      need(dtype !== "bool", "iota", dtype, "numbers");
      if ((shape[axis] as number) > distinctIntegers(dtype)) {
        throw new DtypeError(`iota: ${dtype} cannot tell the coordinates 0 to ${(shape[axis] as number) - 1} apart`, {
          hint: "count in i32, u32 or f32",
        });
      }
      return { shape, dtype };
    },
  },
  const: {
    tag: "source",
    formula: "the same value everywhere",
    infer: (_, { shape, dtype }) => {
      checkShape(shape, "const");
      return { shape, dtype };
    },
  },
  randomBits: {
    tag: "source",
    formula: "y[i] = x₀ ⊕ x₁ with (x₀, x₁) = Threefry-2x32(key, (0, i)), i the row-major position",
    infer: (operands, { shape }) => {
      const key = operand(operands, 0, "randomBits");
      if (key.dtype !== "u32" || !sameShape(key.shape, [2])) {
        throw new ShapeError(`randomBits: a key is u32 of shape [2], not ${key.dtype} of ${show(key.shape)}`, {
          hint: "make one with key(seed)",
        });
      }
      checkShape(shape, "randomBits");
      if (sizeOf(shape) > 2 ** 32) throw new ShapeError("randomBits: more than 2³² values from one key");
      return { shape, dtype: "u32" };
    },
  },

  alias: { tag: "identity", formula: "x, as a new variable to differentiate by", infer: unary("alias", () => true, "anything") },
  stopGradient: {
    tag: "identity",
    formula: "x, taken as a constant by differentiation",
    infer: unary("stopGradient", () => true, "anything"),
  },
} satisfies { [P in PrimitiveName]: PrimitiveRecord<P> };

/** The primitives of one family. */
export type PrimitivesWithTag<T extends PrimitiveTag> = {
  [P in PrimitiveName]: (typeof primitives)[P]["tag"] extends T ? P : never;
}[PrimitiveName];

/** The record of a primitive, typed by its name. */
export const primitiveRecord = <P extends PrimitiveName>(name: P): PrimitiveRecord<P> => primitives[name] as unknown as PrimitiveRecord<P>;
