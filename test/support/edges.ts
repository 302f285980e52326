import type { DType } from "../../src/ir/dtype.js";
import type { PrimitiveName, PrimitiveParams } from "../../src/ir/primitives.js";
import { type HostTensor, hostTensor } from "./graphs.js";
import { exact, type Tolerance, transcendental } from "./tolerances.js";

/** A call whose result is known by heart: special values, and what the primitive table promises at its edges. */
interface Edge<Params> {
  readonly operands: readonly HostTensor[];
  readonly params: Params;
  /** Row-major; NaN, infinities and the sign of zero count. */
  readonly expected: readonly number[];
  readonly tolerance: Tolerance;
}

type Edges = { readonly [P in PrimitiveName]?: readonly Edge<PrimitiveParams[P]>[] };

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const vector = (dtype: DType, values: readonly number[]): HostTensor => hostTensor(dtype, [values.length], values);
const f32 = (...values: number[]): HostTensor => vector("f32", values);
const i32 = (...values: number[]): HostTensor => vector("i32", values);
const u32 = (...values: number[]): HostTensor => vector("u32", values);
const bool = (...values: number[]): HostTensor => vector("bool", values);

const call = (operands: readonly HostTensor[], expected: readonly number[], tolerance = exact): Edge<PrimitiveParams["add"]> => ({
  operands,
  params: {},
  expected,
  tolerance,
});

const along = (x: HostTensor, axes: readonly number[], expected: readonly number[]): Edge<{ axes: readonly number[] }> => ({
  operands: [x],
  params: { axes },
  expected,
  tolerance: exact,
});

const cast = (x: HostTensor, dtype: DType, expected: readonly number[]): Edge<{ dtype: DType }> => ({
  operands: [x],
  params: { dtype },
  expected,
  tolerance: exact,
});

/** Rows of zeros with one NaN each, first, last and in between. */
const rowsWithNaN = hostTensor(
  "f32",
  [4, 130],
  Array.from({ length: 4 * 130 }, (_, i) => ([0, 130 + 129, 2 * 130 + 65, 3 * 130 + 64].includes(i) ? nan : 0)),
);

const special = [nan, inf, -inf, -0, 0, 3.4e38, -1e30, 1.5].map(Math.fround);
const moving = (expected: readonly number[]): { operands: readonly HostTensor[]; expected: readonly number[]; tolerance: Tolerance } => ({
  operands: [f32(...special)],
  expected,
  tolerance: exact,
});

const [f1e30, f3e38, f01] = [1e30, 3e38, 0.1].map(Math.fround) as [number, number, number];

export const edges: Edges = {
  exp: [call([f32(1000, -1000, 89, -104, inf, -inf, 0, nan)], [inf, 0, inf, 0, inf, 0, 1, nan])],
  log: [call([f32(0, -0, -1, -inf, inf, nan, 1)], [-inf, -inf, nan, nan, inf, nan, 0])],
  tanh: [call([f32(50, -50, 100, -100, 1e30, -1e30, 3e38, inf, -inf)], [1, -1, 1, -1, 1, -1, 1, 1, -1], transcendental)],
  erf: [call([f32(0, 0.5, -0.5, 6, -6, 30, 1e30)], [0, 0.5204998778130465, -0.5204998778130465, 1, -1, 1, 1], transcendental)],
  abs: [call([f32(-0, nan, -inf, -1.5)], [0, nan, inf, 1.5]), call([i32(-5, 5)], [5, 5])],
  floor: [
    call([f32(-0, nan, inf, -inf)], [-0, nan, inf, -inf]),
    call([f32(-0.5, 0.5, -3, 1e20, -1e20, 2.9999998)], [-1, 0, -3, Math.fround(1e20), -Math.fround(1e20), 2]),
  ],
  sign: [
    call([f32(-0.25, 0, 1e30, nan, inf, -inf)], [-1, 0, 1, nan, 1, -1]),
    call([i32(-(2 ** 31), 0, 9)], [-1, 0, 1]),
    call([u32(2 ** 32 - 1, 0)], [1, 0]),
  ],
  not: [call([bool(0, 1)], [1, 0]), call([i32(0, -1, 5)], [-1, 0, -6]), call([u32(0, 2 ** 32 - 1)], [2 ** 32 - 1, 0])],
  neg: [
    call([i32(5, -(2 ** 31))], [-5, -(2 ** 31)]),
    call([u32(1, 0)], [2 ** 32 - 1, 0]),
    call([f32(1e30, -inf)], [-Math.fround(1e30), inf]),
  ],

  add: [call([i32(2 ** 31 - 1, -5), i32(1, 2)], [-(2 ** 31), -3]), call([u32(2 ** 32 - 1), u32(2)], [1])],
  sub: [call([i32(-(2 ** 31)), i32(1)], [2 ** 31 - 1]), call([u32(0), u32(1)], [2 ** 32 - 1])],
  mul: [
    call([i32(65537, -(2 ** 31), 123456789), i32(65537, -1, 987654321)], [131073, -(2 ** 31), -67153019]),
    call([u32(2 ** 32 - 1), u32(2 ** 32 - 1)], [1]),
  ],
  div: [call([i32(-7, 7, -7, 6), i32(2, -2, -2, 3)], [-3, -3, 3, 2]), call([u32(2 ** 32 - 1, 7), u32(2, 2 ** 31)], [2 ** 31 - 1, 0])],
  pow: [
    call(
      [f32(-2, -2, -2, -2, 0, 5, -3, 0, 1, 4, -1, -1), f32(3, 2, -1, 0.5, 0, 0, 0, 2, 7.5, 0.5, 101, 100)],
      [-8, 4, -0.5, nan, 1, 1, 1, 0, 1, 2, -1, 1],
      transcendental,
    ),
    // IEEE 754: nothing but a NaN to the power of something makes a NaN, and 1 and the power 0 not even then.
    call([f32(1, 1, 1, -1, -1, nan, nan, nan), f32(inf, -inf, nan, inf, -inf, 0, -0, 1)], [1, 1, 1, 1, 1, 1, 1, nan]),
    call([f32(2, 2, 0.5, 0.5, -2, -0.5, 3), f32(inf, -inf, inf, -inf, inf, -inf, nan)], [inf, 0, 0, inf, inf, inf, nan]),
    call([f32(0, 0, -0, -0, -0, 0, 0), f32(-1, -0.5, -1, -2, 3, 3, inf)], [inf, inf, -inf, inf, -0, 0, 0]),
    call([f32(inf, inf, -inf, -inf, -inf, -inf), f32(2, -2, 3, 2, -3, 0.5)], [inf, 0, -inf, inf, -0, inf]),
  ],
  max: [call([f32(nan, 1, nan, inf, -inf, -1e30), f32(1, nan, nan, 1, 1, -inf)], [nan, nan, nan, inf, 1, -Math.fround(1e30)])],
  min: [call([f32(nan, 1, nan, inf, -inf, 1e30), f32(1, nan, nan, 1, 1, inf)], [nan, nan, nan, 1, -inf, Math.fround(1e30)])],
  mod: [
    call([i32(-7, 7, -7, 7, 6), i32(3, -3, -3, 3, -3)], [2, -2, -1, 1, 0]),
    call([u32(2 ** 32 - 1), u32(10)], [5]),
    call([f32(-7, 7, -7, 7, 5.5), f32(3, -3, -3, 3, 2)], [2, -2, -1, 1, 1.5], transcendental),
    // Exact however large the quotient, and with the sign of the divisor.
    call(
      [f32(123456792, 16777216, 1e30, -1e30, 3e38, 5), f32(7, 3, 7, 7, 1.5, 0.1)],
      [123456792 % 7, 1, f1e30 % 7, 7 - (f1e30 % 7), f3e38 % 1.5, 5 % f01],
    ),
    call([f32(5, -5, 5, -5, 0, 1e-30), f32(inf, inf, -inf, -inf, inf, 1)], [5, inf, -inf, -5, 0, Math.fround(1e-30)]),
    call([f32(inf, -inf, nan, 1, 1, 0, inf), f32(3, 3, 3, nan, 0, 0, inf)], [nan, nan, nan, nan, nan, nan, nan]),
  ],
  lt: [
    call([f32(nan, 1, nan, nan, inf), f32(1, nan, nan, inf, nan)], [0, 0, 0, 0, 0]),
    call([u32(2 ** 32 - 1, 1), u32(1, 2 ** 32 - 1)], [0, 1]),
    call([f32(-inf, inf, 1), f32(-1e30, 1e30, inf)], [1, 0, 1]),
  ],
  eq: [
    call([f32(nan, 1, nan, inf), f32(1, nan, nan, nan)], [0, 0, 0, 0]),
    call([u32(2 ** 32 - 1), u32(2 ** 32 - 1)], [1]),
    call([f32(-0, 1, inf), f32(0, 1, inf)], [1, 1, 1]),
    call([bool(0, 1), bool(0, 0)], [1, 0]),
  ],
  and: [call([i32(-1, 12), i32(7, 10)], [7, 8]), call([bool(1, 1), bool(0, 1)], [0, 1]), call([u32(2 ** 32 - 1), u32(2 ** 31)], [2 ** 31])],
  or: [call([i32(-8, 12), i32(7, 10)], [-1, 14]), call([bool(1, 0), bool(0, 0)], [1, 0]), call([u32(2 ** 31), u32(1)], [2 ** 31 + 1])],

  where: [
    call([bool(1, 0, 1, 0, 1, 0), f32(1, nan, inf, 2, nan, 3), f32(nan, 2, -inf, inf, 4, nan)], [1, 2, inf, inf, nan, nan]),
    call([bool(1, 0), i32(2 ** 31 - 1, 1), i32(0, -(2 ** 31))], [2 ** 31 - 1, -(2 ** 31)]),
  ],
  cast: [
    cast(f32(1.9, -1.9, 3e9, -3e9, 2147483648, inf, -inf, 1e30, 2147483520), "i32", [
      1,
      -1,
      2 ** 31 - 1,
      -(2 ** 31),
      2 ** 31 - 1,
      2 ** 31 - 1,
      -(2 ** 31),
      2 ** 31 - 1,
      2147483520,
    ]),
    cast(f32(1.9, -5, 5e9, 4294967040, inf, -inf), "u32", [1, 0, 2 ** 32 - 1, 4294967040, 2 ** 32 - 1, 0]),
    cast(f32(nan, nan), "i32", [0, 0]),
    cast(f32(nan, -1), "u32", [0, 0]),
    cast(f32(0, -0, 0.25, -3, inf, -inf, nan), "bool", [0, 0, 1, 1, 1, 1, 1]),
    cast(i32(0, -1, 256), "bool", [0, 1, 1]),
    cast(i32(-1, 5), "u32", [2 ** 32 - 1, 5]),
    cast(u32(2 ** 32 - 1, 5), "i32", [-1, 5]),
    cast(u32(2 ** 31, 3), "f32", [2 ** 31, 3]),
    cast(bool(0, 1), "f32", [0, 1]),
  ],
  bitcast: [
    cast(f32(1, -0, inf, 0.1), "i32", [0x3f800000, -(2 ** 31), 0x7f800000, 0x3dcccccd]),
    cast(u32(0x3f800000, 0x80000000, 0xff800000, 0x7fc00000), "f32", [1, -0, -inf, nan]),
    cast(i32(-1), "u32", [2 ** 32 - 1]),
  ],

  sum: [
    along(hostTensor("f32", [2, 0], []), [1], [0, 0]),
    along(hostTensor("i32", [0], []), [0], [0]),
    along(i32(2 ** 31 - 1, 1, 5), [0], [-(2 ** 31) + 5]),
    along(u32(2 ** 32 - 1, 2), [0], [1]),
  ],
  maxReduce: [
    along(rowsWithNaN, [1], [nan, nan, nan, nan]),
    along(hostTensor("f32", [3, 2], [nan, 1, 2, nan, -inf, -inf]), [1], [nan, nan, -inf]),
    along(hostTensor("f32", [2, 2], [inf, nan, 1, -1e30]), [0], [inf, nan]),
    along(u32(1, 2 ** 32 - 1), [0], [2 ** 32 - 1]),
    along(i32(-5, -(2 ** 31)), [0], [-5]),
  ],
  minReduce: [
    along(rowsWithNaN, [1], [nan, nan, nan, nan]),
    along(hostTensor("f32", [3, 2], [nan, 1, 2, nan, inf, inf]), [1], [nan, nan, inf]),
    along(u32(2 ** 32 - 1, 1), [0], [1]),
    along(i32(-5, 2 ** 31 - 1), [0], [-5]),
  ],
  argmax: [
    along(rowsWithNaN, [1], [0, 129, 65, 64]),
    along(hostTensor("f32", [4, 3], [1, nan, nan, nan, inf, nan, inf, 2, nan, -inf, -inf, -inf]), [1], [1, 0, 2, 0]),
    along(hostTensor("f32", [3, 5], [0, nan, 1, 2, -inf, 5, nan, nan, 1, -inf, nan, 0, 1, 3, -inf]), [0], [2, 0, 1, 2, 0]),
    along(f32(1, 3, 3, 2), [0], [1]),
    along(hostTensor("f32", [2, 3], [-inf, -1e30, -inf, 0, 0, 0]), [1], [1, 0]),
  ],
  argmin: [
    along(rowsWithNaN, [1], [0, 129, 65, 64]),
    along(hostTensor("f32", [4, 3], [1, nan, nan, nan, -inf, nan, -inf, 2, nan, inf, inf, inf]), [1], [1, 0, 2, 0]),
    along(f32(4, 1, 2, 1), [0], [1]),
    along(hostTensor("i32", [2, 2], [5, 5, 7, -7]), [0, 1], [3]),
  ],

  reshape: [{ ...moving(special), params: { shape: [2, 4] } }],
  slice: [{ ...moving([nan, -inf, 0, Math.fround(-1e30)]), params: { starts: [0], stops: [8], steps: [2] } }],
  flip: [{ ...moving([...special].reverse()), params: { axes: [0] } }],
  pad: [nan, inf, -0].map((value) => ({ ...moving([...special, value]), params: { low: [0], high: [1], value } })),
  alias: [{ ...moving(special), params: {} }],
  stopGradient: [{ ...moving(special), params: {} }],
  const: [nan, inf, -inf, -0, Math.fround(-1e30)].map((value) => ({
    operands: [],
    params: { value, shape: [3], dtype: "f32" as const },
    expected: [value, value, value],
    tolerance: exact,
  })),

  gather: [
    call([f32(1, 2, 3), i32(-1, 0, 2, 3, 2 ** 31 - 1, -(2 ** 31))], [nan, 1, 3, nan, nan, nan]),
    call([i32(1, 2, 3), u32(1, 3, 2 ** 32 - 1)], [2, 0, 0]),
    call([bool(1, 1), i32(-7, 1)], [0, 1]),
    call([hostTensor("f32", [0, 2], []), i32(0)], [nan, nan]),
  ],
  scatterAdd: [
    {
      operands: [f32(1, 2, 4, 8, 16, 32), i32(-1, 0, 2, 3, 0, -(2 ** 31))],
      params: { size: 3 },
      expected: [18, 0, 4],
      tolerance: exact,
    },
    { operands: [i32(1, 2), u32(2 ** 32 - 1, 1)], params: { size: 2 }, expected: [0, 2], tolerance: exact },
    { operands: [i32(2 ** 31 - 1, 1), i32(0, 0)], params: { size: 1 }, expected: [-(2 ** 31)], tolerance: exact },
  ],

  // The first word pair that Random123 lists for Threefry-2x32-20: key 0, counter 0 gives 6b200159 99ba4efe.
  randomBits: [{ operands: [u32(0, 0)], params: { shape: [1] }, expected: [(0x6b200159 ^ 0x99ba4efe) >>> 0], tolerance: exact }],
};
