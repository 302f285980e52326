import { type DType, isInteger, representable } from "../../src/ir/dtype.js";
import type { PrimitiveName, PrimitiveParams } from "../../src/ir/primitives.js";
import { type Shape, sizeOf } from "../../src/ir/shape.js";
import { type HostTensor, hostTensor } from "./graphs.js";

/** An operand to be filled with values spread over [low, high]. */
export interface OperandSample {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly low: number;
  readonly high: number;
  /** Values are multiples of this, so that ties and whole numbers occur. */
  readonly step?: number;
}

/** One call, by its parameters alone, so that primitives with the same ones can share it. */
interface Call<Params> {
  readonly operands: readonly OperandSample[];
  readonly params: Params;
}

/** One call of a primitive that is valid and tame enough to compare across backends. */
export type Sample<P extends PrimitiveName> = Call<PrimitiveParams[P]>;

/** A uniform number in [0, 1) for each call; xorshift with Marsaglia's triple (13, 17, 5). */
export function uniformSource(seed: number): () => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Values for an operand, representable in its dtype; the same for the same seed. */
export function fill({ shape, dtype, low, high, step }: OperandSample, seed: number): HostTensor {
  const uniform = uniformSource(seed);
  const values = Array.from({ length: sizeOf(shape) }, () => {
    if (dtype === "bool") return uniform() < 0.5 ? 0 : 1;
    if (isInteger(dtype)) return low + Math.floor(uniform() * (high - low + 1));
    const value = low + uniform() * (high - low);
    return representable(dtype, step === undefined ? value : Math.round(value / step) * step);
  });
  return hostTensor(dtype, shape, values);
}

/** Ranks 0 to 5, sizes 0 and 1, primes, and one more and one less than the sizes of tiles and workgroups. */
const shapes: readonly Shape[] = [
  [],
  [0],
  [1],
  [7],
  [8],
  [9],
  [31, 1],
  [32],
  [33],
  [3, 0, 2],
  [1, 1, 1],
  [63],
  [64],
  [65],
  [127],
  [128],
  [129],
  [5, 13],
  [17, 3, 7],
  [2, 3, 4, 5],
  [2, 2, 3, 1, 4],
];
const fewShapes: readonly Shape[] = [[], [0], [1], [33], [5, 13], [2, 3, 4, 5]];
const shapesFor = (dtype: DType): readonly Shape[] => (dtype === "f32" ? shapes : fewShapes);

interface Domain {
  readonly low: number;
  readonly high: number;
  readonly step?: number;
}

const around0: Domain = { low: -2, high: 2 };
const coarse: Domain = { low: -3, high: 3, step: 0.5 };
const positive: Domain = { low: 0.25, high: 4 };

/** Where values of a dtype are drawn from unless a primitive asks for something else. */
function usual(dtype: DType): Domain {
  switch (dtype) {
    case "i32":
      return { low: -50, high: 50 };
    case "u32":
      return { low: 0, high: 100 };
    default:
      return around0;
  }
}

/** All of 32 bits, where wrap-around happens. */
const wide = (dtype: DType): Domain => (dtype === "i32" ? { low: -(2 ** 31), high: 2 ** 31 - 1 } : { low: 0, high: 2 ** 32 - 1 });

const numbers: readonly DType[] = ["f32", "i32", "u32"];
const everything: readonly DType[] = ["f32", "i32", "u32", "bool"];
const discrete: readonly DType[] = ["i32", "u32", "bool"];

const unary = (dtypes: readonly DType[], domain: (dtype: DType) => Domain): readonly Sample<"neg">[] =>
  dtypes.flatMap((dtype) => shapesFor(dtype).map((shape) => ({ operands: [{ shape, dtype, ...domain(dtype) }], params: {} })));

const unaryFloat = (domain: Domain): readonly Sample<"neg">[] => unary(["f32"], () => domain);

const binary = (dtypes: readonly DType[], left: (dtype: DType) => Domain, right = left): readonly Sample<"add">[] =>
  dtypes.flatMap((dtype) =>
    shapesFor(dtype).map((shape) => ({
      operands: [
        { shape, dtype, ...left(dtype) },
        { shape, dtype, ...right(dtype) },
      ],
      params: {},
    })),
  );

const arithmetic = binary(numbers, (dtype) => (dtype === "f32" ? around0 : wide(dtype)));
const compared = (dtypes: readonly DType[]): readonly Sample<"add">[] =>
  binary(dtypes, (dtype) => (dtype === "f32" ? coarse : { low: 0, high: 4 }));
const nonZero = (dtype: DType): Domain => (dtype === "f32" ? positive : { low: 1, high: 9 });

/** Shapes with axes to reduce: inner, outer, middle, several, all, none, and rows around the size of a workgroup. */
const reductions: readonly { shape: Shape; axes: readonly number[] }[] = [
  { shape: [], axes: [] },
  { shape: [5], axes: [] },
  { shape: [1], axes: [0] },
  { shape: [7, 0], axes: [0] },
  ...[7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257].map((n) => ({ shape: [3, n], axes: [1] })),
  { shape: [1031], axes: [0] },
  { shape: [65, 9], axes: [0] },
  { shape: [4, 33, 5], axes: [1] },
  { shape: [4, 9, 5], axes: [0, 2] },
  { shape: [2, 3, 4, 5], axes: [1, 2] },
  { shape: [2, 3, 4, 5], axes: [0, 1, 2, 3] },
  // Rows that are taken in blocks, rows that are cut into pieces, and what is left over of them.
  { shape: [65, 1201], axes: [1] },
  { shape: [1201, 65], axes: [0] },
  { shape: [10_007], axes: [0] },
  { shape: [3, 4099, 2], axes: [0, 1] },
];

const reduced = (dtypes: readonly DType[], domain: (dtype: DType) => Domain): readonly Sample<"sum">[] =>
  dtypes.flatMap((dtype) =>
    reductions
      .filter((_, i) => dtype === "f32" || i % 3 === 0)
      .map(({ shape, axes }) => ({ operands: [{ shape, dtype, ...domain(dtype) }], params: { axes } })),
  );

const ties = (dtype: DType): Domain => (dtype === "f32" ? coarse : usual(dtype));

/** One sample for each dtype of a movement of a tensor of this shape. */
const moved = <P extends PrimitiveName>(shape: Shape, params: PrimitiveParams[P]): readonly Sample<P>[] =>
  everything.map((dtype) => ({ operands: [{ shape, dtype, ...usual(dtype) }], params }));

const pads = (shape: Shape, low: readonly number[], high: readonly number[]): readonly Sample<"pad">[] =>
  everything.map((dtype, i) => ({ operands: [{ shape, dtype, ...usual(dtype) }], params: { low, high, value: i % 2 } }));

const concats = (axis: number, ...parts: readonly Shape[]): readonly Sample<"concat">[] =>
  everything.map((dtype) => ({ operands: parts.map((shape) => ({ shape, dtype, ...usual(dtype) })), params: { axis } }));

const product = (batch: Shape, m: number, k: number, n: number): Sample<"dot"> => ({
  operands: [
    { shape: [...batch, m, k], dtype: "f32", ...around0 },
    { shape: [...batch, k, n], dtype: "f32", ...around0 },
  ],
  params: { dtype: "f32" },
});

const looked = (x: Shape, index: Shape, indexDtype: DType = "i32"): readonly Sample<"gather">[] =>
  everything.map((dtype) => ({
    operands: [
      { shape: x, dtype, ...usual(dtype) },
      { shape: index, dtype: indexDtype, low: indexDtype === "i32" ? -1 : 0, high: x[0] as number },
    ],
    params: {},
  }));

const scattered = (index: Shape, rest: Shape, size: number, indexDtype: DType = "i32"): readonly Sample<"scatterAdd">[] =>
  numbers.map((dtype) => ({
    operands: [
      { shape: [...index, ...rest], dtype, ...usual(dtype) },
      { shape: index, dtype: indexDtype, low: indexDtype === "i32" ? -1 : 0, high: size },
    ],
    params: { size },
  }));

const casts = everything.flatMap((from) =>
  everything.flatMap((dtype) =>
    fewShapes.map((shape) => ({
      // Integers up to 2²⁴ are what f32 holds exactly; u32 takes no negative float.
      operands: [{ shape, dtype: from, ...(from === "u32" || dtype === "u32" ? { low: 0, high: 9.75 } : { low: -9.75, high: 9.75 }) }],
      params: { dtype },
    })),
  ),
);

const bits: readonly DType[] = ["f32", "i32", "u32"];

/** Calls to try of every primitive; one that has none does not compile. */
export const samples: { readonly [P in PrimitiveName]: readonly Sample<P>[] } = {
  neg: unary(numbers, usual),
  exp: unaryFloat({ low: -10, high: 10 }),
  log: unaryFloat({ low: 0.01, high: 20 }),
  sin: unaryFloat({ low: -3, high: 3 }),
  cos: unaryFloat({ low: -3, high: 3 }),
  tanh: unaryFloat({ low: -4, high: 4 }),
  erf: unaryFloat({ low: -4, high: 4 }),
  sqrt: unaryFloat({ low: 0, high: 9 }),
  recip: unaryFloat(positive),
  abs: unary(numbers, usual),
  sign: unary(numbers, (dtype) => (dtype === "f32" ? coarse : { low: dtype === "i32" ? -1 : 0, high: 1 })),
  floor: unaryFloat(coarse),
  not: unary(discrete, (dtype) => wide(dtype)),

  add: arithmetic,
  sub: arithmetic,
  mul: arithmetic,
  div: binary(numbers, usual, nonZero),
  pow: binary(
    ["f32"],
    () => positive,
    () => around0,
  ),
  max: compared(numbers),
  min: compared(numbers),
  mod: [
    ...binary(numbers, usual, nonZero),
    // Whole multiples, where a quotient that is a little too small would give the divisor instead of 0.
    ...binary(
      ["f32", "i32"],
      () => ({ low: -12, high: 12, step: 1 }),
      (dtype) => ({ low: dtype === "f32" ? 3 : -5, high: dtype === "f32" ? 7 : -1, step: 1 }),
    ),
  ],
  lt: compared(numbers),
  eq: compared(everything),
  and: binary(discrete, wide),
  or: binary(discrete, wide),

  where: everything.flatMap((dtype) =>
    shapesFor(dtype).map((shape) => ({
      operands: [
        { shape, dtype: "bool" as const, low: 0, high: 1 },
        { shape, dtype, ...usual(dtype) },
        { shape, dtype, ...usual(dtype) },
      ],
      params: {},
    })),
  ),
  cast: casts,
  bitcast: bits.flatMap((from) =>
    bits.flatMap((dtype) =>
      fewShapes.map((shape) => ({
        // As bits, these integers are normal f32 numbers from 1 to 2.
        operands: [{ shape, dtype: from, ...(from === "f32" ? around0 : { low: 0x3f800000, high: 0x3fffffff }) }],
        params: { dtype },
      })),
    ),
  ),

  sum: [
    ...reduced(numbers, usual),
    { operands: [{ shape: [3, 0, 2], dtype: "f32", ...around0 }], params: { axes: [1] } },
    { operands: [{ shape: [0], dtype: "i32", ...around0 }], params: { axes: [0] } },
    { operands: [{ shape: [40], dtype: "i32", ...wide("i32") }], params: { axes: [0] } },
  ],
  maxReduce: reduced(numbers, usual),
  minReduce: reduced(numbers, usual),
  argmax: reduced(numbers, ties),
  argmin: reduced(numbers, ties),

  reshape: [
    ...moved<"reshape">([2, 3, 4], { shape: [4, 6] }),
    ...moved<"reshape">([1, 1], { shape: [] }),
    ...moved<"reshape">([], { shape: [1, 1] }),
    ...moved<"reshape">([0, 3], { shape: [5, 0] }),
    ...moved<"reshape">([33, 2], { shape: [2, 3, 11] }),
  ],
  permute: [
    ...moved<"permute">([2, 3, 4], { order: [2, 0, 1] }),
    ...moved<"permute">([33, 65], { order: [1, 0] }),
    ...moved<"permute">([], { order: [] }),
    ...moved<"permute">([0, 2], { order: [1, 0] }),
    ...moved<"permute">([2, 3, 1, 4, 2], { order: [4, 2, 0, 3, 1] }),
  ],
  expand: [
    ...moved<"expand">([1, 3, 1], { shape: [4, 3, 5] }),
    ...moved<"expand">([1], { shape: [129] }),
    ...moved<"expand">([1, 2], { shape: [0, 2] }),
    ...moved<"expand">([], { shape: [] }),
    ...moved<"expand">([3, 1], { shape: [3, 65] }),
  ],
  slice: [
    ...moved<"slice">([9, 8], { starts: [1, 2], stops: [8, 7], steps: [1, 2] }),
    ...moved<"slice">([129], { starts: [1], stops: [129], steps: [3] }),
    ...moved<"slice">([4, 5], { starts: [2, 5], stops: [4, 5], steps: [1, 1] }),
    ...moved<"slice">([], { starts: [], stops: [], steps: [] }),
    ...moved<"slice">([2, 3, 33], { starts: [0, 1, 31], stops: [2, 2, 33], steps: [1, 1, 1] }),
  ],
  pad: [
    ...pads([5, 6], [1, 0], [2, 3]),
    ...pads([33], [31], [1]),
    ...pads([0, 2], [1, 1], [1, 0]),
    ...pads([], [], []),
    ...pads([2, 1, 3], [0, 2, 1], [0, 0, 4]),
  ],
  concat: [
    ...concats(0, [2, 3], [1, 3], [4, 3]),
    ...concats(1, [5, 7], [5, 0], [5, 9]),
    ...concats(0, [33]),
    ...concats(2, [2, 3, 1], [2, 3, 64]),
    ...concats(0, [1], [2], [3], [4], [5], [6], [7], [8], [9], [10]),
  ],
  flip: [
    ...moved<"flip">([5, 6], { axes: [1] }),
    ...moved<"flip">([2, 3, 4], { axes: [0, 2] }),
    ...moved<"flip">([129], { axes: [0] }),
    ...moved<"flip">([0, 3], { axes: [0, 1] }),
    ...moved<"flip">([4], { axes: [] }),
  ],

  dot: [
    product([], 1, 1, 1),
    product([], 0, 3, 4),
    product([], 3, 0, 4),
    product([], 3, 4, 0),
    product([0], 2, 3, 4),
    product([], 1, 65, 33),
    product([], 33, 65, 1),
    product([], 1, 1, 129),
    product([], 7, 8, 9),
    product([], 8, 8, 8),
    product([], 9, 7, 8),
    product([], 31, 32, 33),
    product([], 32, 32, 32),
    product([], 33, 31, 32),
    product([], 63, 64, 65),
    product([], 64, 64, 64),
    product([], 65, 63, 64),
    product([], 127, 128, 129),
    product([], 128, 128, 128),
    product([], 129, 127, 128),
    product([], 5, 1031, 7),
    product([2], 17, 13, 11),
    product([2, 3], 8, 9, 16),
    product([3, 1], 33, 8, 65),
  ],

  gather: [
    ...looked([5, 3], [7]),
    ...looked([33], [2, 3]),
    ...looked([4, 2, 3], []),
    ...looked([129, 65], [9], "u32"),
    ...looked([3, 2], [0]),
    ...looked([3, 0], [4]),
  ],
  scatterAdd: [
    ...scattered([7], [3], 5),
    ...scattered([2, 3], [], 4),
    ...scattered([129], [33], 9, "u32"),
    ...scattered([1201], [3], 2),
    ...scattered([0], [2], 3),
    ...scattered([4], [2], 0),
    ...scattered([], [5], 2),
  ],

  iota: numbers.flatMap((dtype) => [
    { operands: [], params: { shape: [129], axis: 0, dtype } },
    { operands: [], params: { shape: [3, 4, 5], axis: 1, dtype } },
    { operands: [], params: { shape: [33, 2], axis: 0, dtype } },
    { operands: [], params: { shape: [2, 0], axis: 0, dtype } },
  ]),
  const: everything.flatMap((dtype) => [
    { operands: [], params: { value: 1, shape: [], dtype } },
    { operands: [], params: { value: 0, shape: [65], dtype } },
    { operands: [], params: { value: dtype === "f32" ? -0.375 : 1, shape: [2, 0, 3], dtype } },
    { operands: [], params: { value: dtype === "f32" ? -1e30 : dtype === "i32" ? -7 : 1, shape: [3, 5], dtype } },
  ]),
  randomBits: [[], [1], [33], [5, 13], [0], [129]].map((shape) => ({
    operands: [{ shape: [2], dtype: "u32", ...wide("u32") }],
    params: { shape },
  })),

  alias: unary(everything, usual),
  stopGradient: unary(everything, usual),
};
