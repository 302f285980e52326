import { erf } from "mathjs";
import type { Abstract, PrimitiveName, PrimitiveParams } from "../../src/ir/primitives.js";
import { dropAxes, type Shape } from "../../src/ir/shape.js";
import type { HostTensor } from "./graphs.js";
import { coordinates, positionOf } from "./views.js";

type Coordinate = readonly number[];

/**
 * What a primitive is: the value of its result at one coordinate. Slow and literal, so that it can be checked against the
 * formulas of the primitive table by reading; it knows neither strides nor loops over memory.
 */
type Definition<Params> = (
  operands: readonly [HostTensor, HostTensor, HostTensor, ...HostTensor[]],
  params: Params,
  result: Abstract,
) => (c: Coordinate) => number;

const at = (x: HostTensor, c: Coordinate): number => x.data[positionOf(x.shape, c)] as number;

const unary =
  (f: (x: number) => number): Definition<unknown> =>
  ([x]) =>
  (c) =>
    f(at(x, c));

const binary =
  (f: (a: number, b: number) => number): Definition<unknown> =>
  ([a, b]) =>
  (c) =>
    f(at(a, c), at(b, c));

/** Arithmetic on integers without a limit; storing the result wraps it around. */
const arithmetic =
  (float: (a: number, b: number) => number, integer: (a: bigint, b: bigint) => bigint): Definition<unknown> =>
  ([a, b], _, { dtype }) =>
  (c) =>
    dtype === "f32" ? float(at(a, c), at(b, c)) : Number(BigInt.asIntN(32, integer(BigInt(at(a, c)), BigInt(at(b, c)))));

/** The elements that are reduced into coordinate c, in row-major order. */
const reduced =
  (combine: (values: readonly number[]) => number): Definition<PrimitiveParams["sum"]> =>
  ([x], { axes }) =>
  (c) => {
    const inner = [...coordinates(axes.map((axis) => x.shape[axis] as number))];
    return combine(inner.map((i) => at(x, interleave(x.shape, axes, c, i))));
  };

/** The coordinate whose entries along `axes` are those of `inside`, in order, and elsewhere those of `outside`. */
function interleave(shape: Shape, axes: readonly number[], outside: Coordinate, inside: Coordinate): number[] {
  const kept = dropAxes(
    shape.map((_, axis) => axis),
    axes,
  );
  return shape.map((_, axis) => (axes.includes(axis) ? inside[axes.indexOf(axis)] : outside[kept.indexOf(axis)]) as number);
}

const saturating = { i32: [-2147483648, 2147483647], u32: [0, 4294967295] } as const;
const bitView = { f32: Float32Array, i32: Int32Array, u32: Uint32Array } as const;

export const definitions: { readonly [P in PrimitiveName]: Definition<PrimitiveParams[P]> } = {
  neg: unary((x) => 0 - x),
  exp: unary((x) => Math.E ** x),
  log: unary((x) => Math.log2(x) * Math.LN2),
  sin: unary((x) => Math.cos(x - Math.PI / 2)),
  cos: unary((x) => Math.sin(x + Math.PI / 2)),
  tanh: unary((x) => Math.sinh(x) / Math.cosh(x)),
  erf: unary((x) => erf(x)),
  sqrt: unary((x) => x ** 0.5),
  recip: unary((x) => x ** -1),
  abs: unary((x) => (x < 0 ? -x : x)),
  sign: unary((x) => Number(x > 0) - Number(x < 0)),
  floor: unary((x) => Math.trunc(x) - Number(x < Math.trunc(x))),
  not: ([x]) => (x.dtype === "bool" ? (c) => Number(at(x, c) === 0) : (c) => -1 - at(x, c)),

  add: arithmetic(
    (a, b) => a + b,
    (a, b) => a + b,
  ),
  sub: arithmetic(
    (a, b) => a - b,
    (a, b) => a - b,
  ),
  mul: arithmetic(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  div: arithmetic(
    (a, b) => a / b,
    (a, b) => a / b,
  ),
  pow: binary((a, b) => Math.exp(b * Math.log(a))),
  max: binary((a, b) => [a, b].sort((x, y) => y - x)[0] as number),
  min: binary((a, b) => [a, b].sort((x, y) => x - y)[0] as number),
  mod: binary((a, b) => a - b * Math.floor(a / b)),
  lt: binary((a, b) => Number(a < b)),
  eq: binary((a, b) => Number(a === b)),
  and: binary((a, b) => Number(BigInt(a) & BigInt(b))),
  or: binary((a, b) => Number(BigInt(a) | BigInt(b))),

  where:
    ([condition, a, b]) =>
    (c) =>
      at(condition, c) === 1 ? at(a, c) : at(b, c),
  cast:
    ([x], { dtype }) =>
    (c) => {
      const value = at(x, c);
      if (dtype === "bool") return Number(value !== 0);
      if (x.dtype !== "f32" || (dtype !== "i32" && dtype !== "u32")) return value;
      const [low, high] = saturating[dtype];
      return value < low ? low : value > high ? high : Math.trunc(value);
    },
  bitcast:
    ([x], { dtype }) =>
    (c) =>
      new bitView[dtype as "f32"](new bitView[x.dtype as "f32"]([at(x, c)]).buffer)[0] as number,

  sum: reduced((values) => values.reduce((a, b) => a + b, 0)),
  maxReduce: reduced((values) => Math.max(...values)),
  minReduce: reduced((values) => Math.min(...values)),
  argmax: reduced((values) => values.indexOf(Math.max(...values))),
  argmin: reduced((values) => values.indexOf(Math.min(...values))),

  reshape:
    ([x], _, { shape }) =>
    (c) =>
      x.data[positionOf(shape, c)] as number,
  permute:
    ([x], { order }) =>
    (c) => {
      const from: number[] = [];
      order.forEach((axis, i) => {
        from[axis] = c[i] as number;
      });
      return at(x, from);
    },
  expand:
    ([x]) =>
    (c) =>
      at(
        x,
        c.map((i, axis) => (x.shape[axis] === 1 ? 0 : i)),
      ),
  slice:
    ([x], { starts, steps }) =>
    (c) =>
      at(
        x,
        c.map((i, axis) => (starts[axis] as number) + i * (steps[axis] as number)),
      ),
  pad:
    ([x], { low, value }) =>
    (c) => {
      const from = c.map((i, axis) => i - (low[axis] as number));
      return from.every((i, axis) => i >= 0 && i < (x.shape[axis] as number)) ? at(x, from) : value;
    },
  concat: (operands, { axis }) => {
    const owners = operands.flatMap((x) => Array.from({ length: x.shape[axis] as number }, (_, i) => [x, i] as const));
    return (c) => {
      const [x, i] = owners[c[axis] as number] as readonly [HostTensor, number];
      return at(
        x,
        c.map((n, k) => (k === axis ? i : n)),
      );
    };
  },
  flip:
    ([x], { axes }) =>
    (c) =>
      at(
        x,
        c.map((i, axis) => (axes.includes(axis) ? (x.shape[axis] as number) - 1 - i : i)),
      ),

  dot: ([a, b]) => {
    const k = Array.from({ length: a.shape[a.shape.length - 1] as number }, (_, i) => i);
    return (c) => {
      const [batch, m, n] = [c.slice(0, -2), c[c.length - 2] as number, c[c.length - 1] as number];
      return k.reduce((total, l) => total + at(a, [...batch, m, l]) * at(b, [...batch, l, n]), 0);
    };
  },

  gather:
    ([x, index]) =>
    (c) => {
      const row = at(index, c.slice(0, index.shape.length));
      if (row < 0 || row >= (x.shape[0] as number)) return x.dtype === "f32" ? Number.NaN : 0;
      return at(x, [row, ...c.slice(index.shape.length)]);
    },
  scatterAdd: ([x, index]) => {
    const places = [...coordinates(index.shape)];
    return ([s, ...rest]) => places.filter((i) => at(index, i) === s).reduce((total, i) => total + at(x, [...i, ...rest]), 0);
  },

  iota:
    (_, { axis }) =>
    (c) =>
      c[axis] as number,
  const:
    (_, { value }) =>
    () =>
      value,
  randomBits:
    ([key], _, { shape }) =>
    (c) =>
      threefry(key.data as Uint32Array, positionOf(shape, c)),

  alias: unary((x) => x),
  stopGradient: unary((x) => x),
};

/**
 * x₀ ⊕ x₁ of Threefry-2x32 with 20 rounds of the counter (0, i), in integers without a limit: Salmon et al., "Parallel
 * Random Numbers: As Easy as 1, 2, 3" (SC 2011).
 */
function threefry(key: Uint32Array, i: number): number {
  const wrap = (x: bigint): bigint => BigInt.asUintN(32, x);
  const [k0, k1] = [BigInt(key[0] as number), BigInt(key[1] as number)];
  const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bdan];
  const rotations = [13n, 15n, 26n, 6n, 17n, 29n, 16n, 24n];
  let [x, y] = [wrap(k0), wrap(BigInt(i) + k1)];
  for (let round = 0; round < 20; round++) {
    const r = rotations[round % 8] as bigint;
    x = wrap(x + y);
    y = wrap((y << r) | (y >> (32n - r))) ^ x;
    if (round % 4 === 3) {
      const injection = (round + 1) / 4;
      x = wrap(x + (keys[injection % 3] as bigint));
      y = wrap(y + (keys[(injection + 1) % 3] as bigint) + BigInt(injection));
    }
  }
  return Number(x ^ y);
}
