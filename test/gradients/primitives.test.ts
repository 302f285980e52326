import { beforeAll, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { apply } from "../../src/autograd/tensor.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { bitcast, cast, equal, GradientError, grad, less, type Tensor, tensor, useBackend } from "../../src/index.js";
import { type PrimitiveName, type PrimitiveParams, primitives } from "../../src/ir/primitives.js";
import { distinct, floats } from "../support/floats.js";

/** A function that contains the primitive, and where to differentiate it. */
interface Case {
  readonly f: (...args: Tensor[]) => Tensor;
  readonly args: readonly Tensor[];
}

const direct = <P extends PrimitiveName>(primitive: P, params: PrimitiveParams[P], ...args: Tensor[]): Case => ({
  f: (...inputs) => apply(primitive, inputs, params),
  args,
});

/** x + what the primitive makes of x: differentiation must take the second part for a constant. */
const flat = (f: (x: Tensor) => Tensor, x = distinct([2, 3])): Case => ({ f: (at) => cast(f(at), "f64").sum().add(at.mul(at)), args: [x] });

const positive = (shape: readonly number[], seed = 1): Tensor => floats(shape, { low: 0.4, high: 2.5, seed });
const nonzero = (shape: readonly number[], seed = 1): Tensor => distinct(shape, seed);
const index = (values: number[], shape = [values.length]): Tensor => tensor(Int32Array.from(values), { shape });
const pair = (primitive: "add" | "sub" | "mul" | "div" | "pow" | "max" | "min" | "mod", a: Tensor, b: Tensor): Case[] => [
  direct(primitive, {}, a, b),
  // One tensor in both places, and one as a constant.
  { f: (x) => apply(primitive, [x, x.mul(0.9).add(0.2)], {}), args: [a] },
  { f: (x) => apply(primitive, [x, b], {}), args: [a] },
  { f: (x) => apply(primitive, [a, x], {}), args: [b] },
];
const reductions = (primitive: "sum" | "maxReduce" | "minReduce"): Case[] => [
  direct(primitive, { axes: [0] }, distinct([5])),
  direct(primitive, { axes: [1] }, distinct([2, 3, 2])),
  direct(primitive, { axes: [0, 2] }, distinct([2, 3, 2])),
  direct(primitive, { axes: [] }, distinct([2, 2])),
  direct(primitive, { axes: [0] }, distinct([2, 0])),
];
const x = floats([2, 3]);

const cases: { readonly [P in PrimitiveName]: readonly Case[] } = {
  neg: [direct("neg", {}, x)],
  exp: [direct("exp", {}, x), direct("exp", {}, floats([]))],
  log: [direct("log", {}, positive([2, 3]))],
  sin: [direct("sin", {}, x)],
  cos: [direct("cos", {}, x)],
  tanh: [direct("tanh", {}, x), direct("tanh", {}, floats([0, 2]))],
  erf: [direct("erf", {}, floats([4], { low: -3, high: 3 }))],
  sqrt: [direct("sqrt", {}, positive([2, 3]))],
  recip: [direct("recip", {}, positive([2, 3])), { f: (at) => apply("recip", [at.neg()], {}), args: [positive([3])] }],
  abs: [direct("abs", {}, nonzero([2, 3]))],
  sign: [flat((at) => apply("sign", [at], {}))],
  floor: [flat((at) => apply("floor", [at], {}))],
  not: [flat((at) => apply("not", [less(at, 0.02)], {}))],

  add: pair("add", x, floats([2, 3], { seed: 2 })),
  sub: pair("sub", x, floats([2, 3], { seed: 2 })),
  mul: pair("mul", x, floats([2, 3], { seed: 2 })),
  div: pair("div", x, positive([2, 3], 2)),
  pow: [
    ...pair("pow", positive([2, 3]), floats([2, 3], { seed: 2 })),
    { f: (at) => apply("pow", [at.neg(), floats([3], { low: 4, high: 4 })], {}), args: [positive([3])] },
  ],
  max: pair("max", nonzero([2, 3], 1), floats([2, 3], { seed: 2 })),
  min: pair("min", nonzero([2, 3], 1), floats([2, 3], { seed: 2 })),
  mod: pair("mod", floats([2, 3], { low: 3.1, high: 3.9 }), floats([2, 3], { low: 2.1, high: 2.9, seed: 2 })).concat(
    direct("mod", {}, floats([3], { low: -3.9, high: -3.1 }), floats([3], { low: 1.1, high: 1.4 })),
  ),
  lt: [flat((at) => apply("lt", [at, at.mul(2)], {}))],
  eq: [flat((at) => apply("eq", [at, at.mul(2)], {}))],
  and: [flat((at) => apply("and", [less(at, 0.02), less(at, -0.06)], {}))],
  or: [flat((at) => apply("or", [less(at, 0.02), less(at, -0.06)], {}))],

  where: [
    {
      f: (a, b) => apply("where", [less(floats([2, 3], { seed: 7 }), 0), a as Tensor, b as Tensor], {}),
      args: [x, floats([2, 3], { seed: 2 })],
    },
    { f: (a) => apply("where", [less(a as Tensor, 0), (a as Tensor).sin(), (a as Tensor).exp()], {}), args: [nonzero([2, 3])] },
  ],
  cast: [direct("cast", { dtype: "f64" }, x), { f: (at) => cast(cast(at as Tensor, "f32").mul(3), "f64").exp(), args: [x] }],
  // Its derivative is an error, checked below; as a constant it does no harm.
  bitcast: [
    {
      f: (at) =>
        cast(bitcast(tensor([1, 2]), "i32"), "f64")
          .mul(0)
          .add(at as Tensor),
      args: [floats([2])],
    },
  ],

  sum: reductions("sum").concat(direct("sum", { axes: [1] }, floats([2, 0]))),
  maxReduce: reductions("maxReduce").filter(({ args }) => args[0]?.shape[0] !== 0),
  minReduce: reductions("minReduce").filter(({ args }) => args[0]?.shape[0] !== 0),
  argmax: [flat((at) => apply("argmax", [at], { axes: [1] }))],
  argmin: [flat((at) => apply("argmin", [at], { axes: [0, 1] }))],

  reshape: [
    direct("reshape", { shape: [3, 2] }, x),
    direct("reshape", { shape: [] }, floats([1])),
    direct("reshape", { shape: [0] }, floats([2, 0])),
  ],
  permute: [direct("permute", { order: [2, 0, 1] }, floats([2, 3, 2])), direct("permute", { order: [] }, floats([]))],
  expand: [
    direct("expand", { shape: [2, 3] }, floats([2, 1])),
    direct("expand", { shape: [3, 2, 2] }, floats([1, 2, 1])),
    direct("expand", { shape: [0, 2] }, floats([1, 2])),
    direct("expand", { shape: [1, 1] }, floats([1, 1])),
  ],
  slice: [
    direct("slice", { starts: [1, 0], stops: [3, 2], steps: [1, 1] }, floats([4, 2])),
    direct("slice", { starts: [1], stops: [7], steps: [3] }, floats([7])),
    direct("slice", { starts: [0], stops: [8], steps: [3] }, floats([9])),
    direct("slice", { starts: [0, 1], stops: [5, 4], steps: [2, 3] }, floats([5, 6])),
    direct("slice", { starts: [2], stops: [2], steps: [1] }, floats([3])),
  ],
  pad: [direct("pad", { low: [1, 0], high: [0, 2], value: 3 }, x), direct("pad", { low: [2], high: [1], value: 0 }, floats([0]))],
  concat: [
    direct("concat", { axis: 1 }, x, floats([2, 1], { seed: 2 }), floats([2, 2], { seed: 3 })),
    direct("concat", { axis: 0 }, floats([0, 2]), floats([2, 2])),
    { f: (at) => apply("concat", [at as Tensor, at as Tensor], { axis: 0 }), args: [x] },
  ],
  flip: [direct("flip", { axes: [1] }, x), direct("flip", { axes: [0, 1] }, x)],

  dot: [
    direct("dot", { dtype: "f64" }, floats([2, 3]), floats([3, 4], { seed: 2 })),
    direct("dot", { dtype: "f64" }, floats([2, 2, 3]), floats([2, 3, 1], { seed: 2 })),
    direct("dot", { dtype: "f64" }, floats([2, 0]), floats([0, 2])),
    { f: (at) => apply("dot", [at as Tensor, at as Tensor], { dtype: "f64" }), args: [floats([3, 3])] },
  ],

  gather: [
    { f: (at) => apply("gather", [at as Tensor, index([2, 0, 2, 2], [2, 2])], {}), args: [floats([3, 2])] },
    { f: (at) => apply("gather", [at as Tensor, index([1], [])], {}), args: [floats([3])] },
    { f: (at) => apply("gather", [at as Tensor, index([])], {}), args: [floats([3])] },
  ],
  scatterAdd: [
    { f: (at) => apply("scatterAdd", [at as Tensor, index([1, 0, 1, 3])], { size: 4 }), args: [floats([4, 2])] },
    { f: (at) => apply("scatterAdd", [at as Tensor, index([-1, 0, 9, 1])], { size: 3 }), args: [floats([4])] },
    { f: (at) => apply("scatterAdd", [at as Tensor, index([1, 1, 0, 2], [2, 2])], { size: 3 }), args: [floats([2, 2, 2])] },
  ],

  iota: [flat(() => apply("iota", [], { shape: [2, 3], axis: 1, dtype: "f64" }))],
  const: [flat(() => apply("const", [], { value: 3, shape: [2, 3], dtype: "f64" }))],
  randomBits: [flat(() => cast(apply("randomBits", [tensor(Uint32Array.from([1, 2]))], { shape: [2, 3] }), "f64").mul(1e-9))],

  alias: [direct("alias", {}, x)],
  stopGradient: [
    {
      f: (at) =>
        apply("stopGradient", [tensor([2])], {})
          .mul(at as Tensor)
          .exp(),
      args: [floats([2])],
    },
  ],
};

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("derivatives of order 1 and 2 equal central differences for", () => {
  it.each(Object.keys(primitives) as PrimitiveName[])("%s", async (name) => {
    expect(cases[name].length).toBeGreaterThan(0);
    for (const { f, args } of cases[name]) await checkGrads(f, [...args], { order: 2, places: 12 });
  });
});

describe("what has no derivative", () => {
  it("is an error for bitcast", () => {
    expect(() => grad((at: Tensor) => cast(bitcast(cast(bitcast(at, "i32"), "f32"), "f32"), "f32").sum())(tensor([1]))).not.toThrow();
    expect(() => grad((at: Tensor) => apply("bitcast", [at], { dtype: "f32" }).sum())(tensor([1]))).toThrow(GradientError);
  });

  it("is zero for comparisons, whole numbers and positions, whatever depends on them", async () => {
    const steps = (at: Tensor): Tensor =>
      cast(less(at, 0.02), "f64")
        .add(at.floor())
        .add(at.sign())
        .add(cast(equal(at, 1), "f64"))
        .sum()
        .add(cast(at.argmax(0), "f64"));
    expect([...(await grad(steps)(distinct([5])).data())]).toEqual([0, 0, 0, 0, 0]);
  });
});
