import { describe, expect, it } from "vitest";
import { type DawngradError, DtypeError, ShapeError } from "../../src/errors.js";
import type { DType } from "../../src/ir/dtype.js";
import { type Abstract, type PrimitiveName, type PrimitiveParams, primitiveRecord, primitives } from "../../src/ir/primitives.js";
import { samples } from "../support/samples.js";

interface Wrong<Params> {
  readonly operands: readonly Abstract[];
  readonly params: Params;
  readonly error: new (message: string) => DawngradError;
}

const t = (dtype: DType, ...shape: number[]): Abstract => ({ dtype, shape });
const x = t("f32", 2, 3);

const shapeError = <Params>(operands: readonly Abstract[], params: Params): Wrong<Params> => ({ operands, params, error: ShapeError });
const dtypeError = <Params>(operands: readonly Abstract[], params: Params): Wrong<Params> => ({ operands, params, error: DtypeError });

const missing = [shapeError([], {})];
const floats = [...missing, dtypeError([t("i32", 2)], {}), dtypeError([t("bool", 2)], {})];
const numbers = [...missing, dtypeError([t("bool", 2)], {})];
const pairs = [
  shapeError([x], {}),
  shapeError([x, t("f32", 3, 2)], {}),
  shapeError([x, t("f32", 3)], {}),
  dtypeError([x, t("i32", 2, 3)], {}),
];
const numberPairs = [...pairs, dtypeError([t("bool", 2), t("bool", 2)], {})];
const discretePairs = [...pairs, dtypeError([x, x], {})];

const sums = [
  shapeError([], { axes: [] }),
  shapeError([x], { axes: [2] }),
  shapeError([x], { axes: [-1] }),
  shapeError([x], { axes: [1, 0] }),
  shapeError([x], { axes: [1, 1] }),
  dtypeError([t("bool", 2)], { axes: [0] }),
];
const extremes = [...sums, shapeError([t("f32", 2, 0)], { axes: [1] })];

/** Calls that each primitive must refuse. */
const wrong: { readonly [P in PrimitiveName]: readonly Wrong<PrimitiveParams[P]>[] } = {
  neg: numbers,
  exp: floats,
  log: floats,
  sin: floats,
  cos: floats,
  tanh: floats,
  erf: floats,
  sqrt: floats,
  recip: floats,
  abs: numbers,
  sign: numbers,
  floor: floats,
  not: [...missing, dtypeError([x], {})],
  add: numberPairs,
  sub: numberPairs,
  mul: numberPairs,
  div: numberPairs,
  pow: [...numberPairs, dtypeError([t("i32", 2), t("i32", 2)], {})],
  max: numberPairs,
  min: numberPairs,
  mod: numberPairs,
  lt: numberPairs,
  eq: pairs,
  and: discretePairs,
  or: discretePairs,
  where: [
    shapeError([t("bool", 2, 3), x], {}),
    shapeError([t("bool", 3), x, x], {}),
    shapeError([t("bool", 2, 3), x, t("f32", 3)], {}),
    dtypeError([x, x, x], {}),
    dtypeError([t("bool", 2, 3), x, t("i32", 2, 3)], {}),
  ],
  cast: [shapeError([], { dtype: "i32" })],
  bitcast: [shapeError([], { dtype: "i32" }), dtypeError([t("bool", 2)], { dtype: "i32" }), dtypeError([x], { dtype: "f16" })],
  sum: sums,
  maxReduce: extremes,
  minReduce: extremes,
  argmax: extremes,
  argmin: extremes,
  reshape: [
    shapeError([], { shape: [] }),
    shapeError([x], { shape: [5] }),
    shapeError([x], { shape: [-2, -3] }),
    shapeError([x], { shape: [1.5, 4] }),
  ],
  permute: [shapeError([x], { order: [0] }), shapeError([x], { order: [0, 0] }), shapeError([x], { order: [1, 2] })],
  expand: [shapeError([x], { shape: [2, 4] }), shapeError([x], { shape: [1, 2, 3] }), shapeError([t("f32", 1)], { shape: [-1] })],
  slice: [
    shapeError([x], { starts: [0], stops: [1], steps: [1] }),
    shapeError([x], { starts: [0, 0], stops: [3, 3], steps: [1, 1] }),
    shapeError([x], { starts: [-1, 0], stops: [2, 3], steps: [1, 1] }),
    shapeError([x], { starts: [2, 0], stops: [1, 3], steps: [1, 1] }),
    shapeError([x], { starts: [0, 0], stops: [2, 3], steps: [1, 0] }),
    shapeError([x], { starts: [0, 0], stops: [2, 3], steps: [1, -1] }),
    shapeError([x], { starts: [0, 0.5], stops: [2, 3], steps: [1, 1] }),
  ],
  pad: [
    shapeError([x], { low: [1], high: [1], value: 0 }),
    shapeError([x], { low: [0, -1], high: [0, 0], value: 0 }),
    shapeError([x], { low: [0, 0], high: [0, 0.5], value: 0 }),
  ],
  concat: [
    shapeError([], { axis: 0 }),
    shapeError([x, x], { axis: 2 }),
    shapeError([x, x], { axis: -1 }),
    shapeError([x, t("f32", 2, 4)], { axis: 0 }),
    shapeError([x, t("f32", 2)], { axis: 1 }),
    dtypeError([x, t("i32", 2, 3)], { axis: 0 }),
  ],
  flip: [shapeError([x], { axes: [2] }), shapeError([x], { axes: [-1] })],
  dot: [
    shapeError([x], { dtype: "f32" }),
    shapeError([x, x], { dtype: "f32" }),
    shapeError([t("f32", 3), t("f32", 3)], { dtype: "f32" }),
    shapeError([t("f32", 4, 2, 3), t("f32", 3, 2)], { dtype: "f32" }),
    shapeError([t("f32", 4, 2, 3), t("f32", 5, 3, 2)], { dtype: "f32" }),
    dtypeError([x, t("i32", 3, 2)], { dtype: "f32" }),
    dtypeError([t("i32", 2, 3), t("i32", 3, 2)], { dtype: "f32" }),
    dtypeError([x, t("f32", 3, 2)], { dtype: "i32" }),
  ],
  gather: [
    shapeError([x], {}),
    shapeError([t("f32"), t("i32", 2)], {}),
    dtypeError([x, t("f32", 2)], {}),
    dtypeError([x, t("bool", 2)], {}),
  ],
  scatterAdd: [
    shapeError([x], { size: 3 }),
    shapeError([x, t("i32", 3)], { size: 3 }),
    shapeError([x, t("i32", 2, 3, 1)], { size: 3 }),
    shapeError([x, t("i32", 2)], { size: -1 }),
    dtypeError([x, t("f32", 2)], { size: 3 }),
    dtypeError([t("bool", 2), t("i32", 2)], { size: 3 }),
  ],
  iota: [
    shapeError([], { shape: [3], axis: 1, dtype: "i32" }),
    shapeError([], { shape: [], axis: 0, dtype: "i32" }),
    shapeError([], { shape: [-1], axis: 0, dtype: "i32" }),
    dtypeError([], { shape: [3], axis: 0, dtype: "bool" }),
  ],
  const: [shapeError([], { value: 1, shape: [0.5], dtype: "f32" }), shapeError([], { value: 1, shape: [2 ** 30, 2 ** 30], dtype: "f32" })],
  randomBits: [
    shapeError([], { shape: [2] }),
    shapeError([t("i32", 2)], { shape: [2] }),
    shapeError([t("u32", 3)], { shape: [2] }),
    shapeError([t("u32", 2)], { shape: [2 ** 16, 2 ** 17] }),
  ],
  alias: missing,
  stopGradient: missing,
};

const names = Object.keys(primitives) as PrimitiveName[];

/** What a call threw, or its result. */
function attempt<P extends PrimitiveName>(name: P, operands: readonly Abstract[], params: PrimitiveParams[P]): unknown {
  try {
    return primitiveRecord(name).infer(operands, params);
  } catch (error) {
    return error;
  }
}

function checkRefusals<P extends PrimitiveName>(name: P): void {
  const calls: readonly Wrong<PrimitiveParams[P]>[] = wrong[name];
  for (const { operands, params, error } of calls) {
    expect(attempt(name, operands, params), `${name}(${JSON.stringify(operands)}, ${JSON.stringify(params)})`).toBeInstanceOf(error);
  }
}

describe("operands that do not fit are refused with a ShapeError or a DtypeError by", () => {
  it.each(names)("%s", (name) => {
    expect(wrong[name].length).toBeGreaterThan(0);
    checkRefusals(name);
  });
});

describe("a refusal", () => {
  it("names the operation and what was found", () => {
    expect(attempt("add", [x, t("f32", 3)], {})).toHaveProperty("message", "add: shapes [2, 3] and [3] differ");
    expect(attempt("exp", [t("i32", 2)], {})).toHaveProperty("message", "exp takes floats, not i32");
    expect(attempt("reshape", [x], { shape: [5] })).toHaveProperty("message", "reshape: [2, 3] has 6 elements and [5] has 5");
  });

  it("says what to do", () => {
    expect(attempt("exp", [t("i32", 2)], {})).toHaveProperty("hint", 'cast first, for example x.cast("f32")');
    expect(attempt("expand", [x], { shape: [2, 4] })).toHaveProperty("hint", "only axes of extent 1 can be repeated");
  });
});

describe("inference", () => {
  it("gives the shape and dtype of the result", () => {
    const infer = <P extends PrimitiveName>(name: P, operands: readonly Abstract[], params: PrimitiveParams[P]): Abstract =>
      primitiveRecord(name).infer(operands, params);
    expect(infer("lt", [x, x], {})).toEqual(t("bool", 2, 3));
    expect(infer("where", [t("bool", 2, 3), x, x], {})).toEqual(x);
    expect(infer("argmax", [t("f32", 2, 3, 4)], { axes: [0, 2] })).toEqual(t("i32", 3));
    expect(infer("sum", [t("f32", 2, 0)], { axes: [1] })).toEqual(t("f32", 2));
    expect(infer("permute", [t("f32", 2, 3, 4)], { order: [2, 0, 1] })).toEqual(t("f32", 4, 2, 3));
    expect(infer("slice", [t("f32", 9)], { starts: [1], stops: [8], steps: [3] })).toEqual(t("f32", 3));
    expect(infer("pad", [x], { low: [1, 0], high: [0, 2], value: 0 })).toEqual(t("f32", 3, 5));
    expect(infer("concat", [x, t("f32", 2, 4)], { axis: 1 })).toEqual(t("f32", 2, 7));
    expect(infer("dot", [t("f32", 5, 2, 3), t("f32", 5, 3, 4)], { dtype: "f32" })).toEqual(t("f32", 5, 2, 4));
    expect(infer("dot", [t("f32", 2, 3), t("bf16", 3, 4)], { dtype: "f16" })).toEqual(t("f16", 2, 4));
    expect(infer("gather", [t("f32", 9, 4), t("u32", 2, 3)], {})).toEqual(t("f32", 2, 3, 4));
    expect(infer("scatterAdd", [t("f32", 2, 3, 4), t("i32", 2, 3)], { size: 9 })).toEqual(t("f32", 9, 4));
    expect(infer("bitcast", [x], { dtype: "u32" })).toEqual(t("u32", 2, 3));
    expect(infer("randomBits", [t("u32", 2)], { shape: [7] })).toEqual(t("u32", 7));
  });

  it.each(names)("accepts every sample of %s", (name) => {
    for (const { operands, params } of samples[name]) expect(attempt(name, operands, params)).not.toBeInstanceOf(Error);
  });
});
