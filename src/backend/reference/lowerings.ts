import type { OperationNode } from "../../ir/graph.js";
import type { PrimitiveName, PrimitiveParams } from "../../ir/primitives.js";
import { type Shape, sizeOf, stridesOf } from "../../ir/shape.js";
import { threefry2x32 } from "../../ir/threefry.js";
import { dot } from "./contract.js";
import { caster, map, modulo, power, reinterpret, zip } from "./elementwise.js";
import { erf } from "./erf.js";
import { gather, scatterAdd } from "./indexing.js";
import { copyView, whole } from "./movement.js";
import { fold, position, sum } from "./reduce.js";
import type { Data, Value } from "./values.js";

/** Computes one primitive: fills `y`, which begins as zeros, from the operands. */
type Lowering<P extends PrimitiveName> = (y: Value, operands: Operands, params: PrimitiveParams[P]) => void;

/** At least as many operands as the primitive's `infer` has checked for. */
type Operands = readonly [Value, Value, Value, ...Value[]];

const unary =
  (f: (x: number) => number): Lowering<PrimitiveName> =>
  (y, [x]) =>
    map(y.data, x, f);

const binary =
  (f: (a: number, b: number) => number): Lowering<PrimitiveName> =>
  (y, [a, b]) =>
    zip(y.data, a, b, f);

/** A binary operation that needs a rule of its own for integers, where the wrap-around of the store is not enough. */
const binaryWithInteger =
  (float: (a: number, b: number) => number, integer: (a: number, b: number) => number): Lowering<PrimitiveName> =>
  (y, [a, b]) =>
    zip(y.data, a, b, y.data instanceof Float64Array ? float : integer);

const identity: Lowering<PrimitiveName> = (y, [x]) => y.data.set(x.data);

/** The value of each primitive in plain loops; nothing is fused and every result is in row-major order. */
const lowerings: { readonly [P in PrimitiveName]: Lowering<P> } = {
  neg: unary((x) => -x),
  exp: unary(Math.exp),
  log: unary(Math.log),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  tanh: unary(Math.tanh),
  erf: unary(erf),
  sqrt: unary(Math.sqrt),
  recip: unary((x) => 1 / x),
  abs: unary(Math.abs),
  sign: unary(Math.sign),
  floor: unary(Math.floor),
  not: (y, [x]) => map(y.data, x, x.dtype === "bool" ? (v) => 1 - v : (v) => ~v),

  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binaryWithInteger((a, b) => a * b, Math.imul),
  div: binaryWithInteger(
    (a, b) => a / b,
    (a, b) => Math.trunc(a / b),
  ),
  pow: binary(power),
  max: binary(Math.max),
  min: binary(Math.min),
  mod: binary(modulo),
  lt: binary((a, b) => (a < b ? 1 : 0)),
  eq: binary((a, b) => (a === b ? 1 : 0)),
  and: binary((a, b) => a & b),
  or: binary((a, b) => a | b),

  where: (y, [condition, a, b]) => {
    for (let i = 0; i < y.data.length; i++) y.data[i] = (condition.data[i] ? a : b).data[i] as number;
  },
  cast: (y, [x], { dtype }) => map(y.data, x, caster(x.dtype, dtype)),
  bitcast: (y, [x], { dtype }) => reinterpret(y.data, x, dtype),

  sum: (y, [x], { axes }) => sum(y.data, x, axes),
  maxReduce: (y, [x], { axes }) => fold(y.data, x, axes, Math.max),
  minReduce: (y, [x], { axes }) => fold(y.data, x, axes, Math.min),
  argmax: (y, [x], { axes }) => position(y.data, x, axes, (next, best) => next > best),
  argmin: (y, [x], { axes }) => position(y.data, x, axes, (next, best) => next < best),

  reshape: identity,
  permute: (y, [x], { order }) => {
    const strides = stridesOf(x.shape);
    const permuted = order.map((axis) => strides[axis] as number);
    copyView(whole(y.data, y.shape), { data: x.data, offset: 0, strides: permuted }, y.shape);
  },
  expand: (y, [x]) => {
    const repeated = stridesOf(x.shape).map((stride, axis) => (x.shape[axis] === 1 ? 0 : stride));
    copyView(whole(y.data, y.shape), { data: x.data, offset: 0, strides: repeated }, y.shape);
  },
  slice: (y, [x], { starts, steps }) => {
    const strides = stridesOf(x.shape);
    const view = { data: x.data, offset: inner(starts, strides), strides: strides.map((stride, axis) => stride * (steps[axis] as number)) };
    copyView(whole(y.data, y.shape), view, y.shape);
  },
  pad: (y, [x], { low, value }) => {
    fill(y, value);
    const strides = stridesOf(y.shape);
    copyView({ data: y.data, offset: inner(low, strides), strides }, whole(x.data, x.shape), x.shape);
  },
  concat: (y, operands, { axis }) => {
    const strides = stridesOf(y.shape);
    let start = 0;
    for (const x of operands) {
      copyView({ data: y.data, offset: start * (strides[axis] as number), strides }, whole(x.data, x.shape), x.shape);
      start += x.shape[axis] as number;
    }
  },
  flip: (y, [x], { axes }) => {
    const strides = stridesOf(x.shape);
    const last = axes.map((axis) => ((x.shape[axis] as number) - 1) * (strides[axis] as number));
    const reversed = strides.map((stride, axis) => (axes.includes(axis) ? -stride : stride));
    copyView(whole(y.data, y.shape), { data: x.data, offset: last.reduce((a, b) => a + b, 0), strides: reversed }, y.shape);
  },

  dot: (y, [a, b]) => dot(y.data, a, b),

  gather: (y, [x, index]) => gather(y.data, x, index),
  scatterAdd: (y, [x, index], { size }) => scatterAdd(y.data, x, index, size),

  iota: (y, _, { axis }) => {
    const stride = sizeOf(y.shape.slice(axis + 1));
    const extent = y.shape[axis] as number;
    for (let i = 0; i < y.data.length; i++) y.data[i] = Math.floor(i / stride) % extent;
  },
  const: (y, _, { value }) => fill(y, value),
  randomBits: (y, [key]) => {
    const [k0, k1] = key.data as unknown as [number, number];
    for (let i = 0; i < y.data.length; i++) {
      const [x0, x1] = threefry2x32(k0, k1, 0, i);
      y.data[i] = x0 ^ x1;
    }
  },

  alias: identity,
  stopGradient: identity,
};

const fill = (y: Value, value: number): Data => y.data.fill(y.dtype === "bool" ? Number(value !== 0) : value);

/** Σ coordinate[i] · strides[i] */
const inner = (coordinate: Shape, strides: readonly number[]): number =>
  coordinate.reduce((total, c, axis) => total + c * (strides[axis] as number), 0);

/** Fills `y` with the value of an operation. */
export function lower<P extends PrimitiveName>(node: OperationNode<P>, y: Value, operands: readonly Value[]): void {
  const lowering: Lowering<P> = lowerings[node.primitive];
  lowering(y, operands as Operands, node.params);
}
