import fc from "fast-check";
import { checkArgument, checkOptions, finiteNumber, flag, integer, type OptionKinds, oneOf, optional } from "../arguments.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensor } from "../autograd/tensor.js";
import { OptionError } from "../errors.js";
import { type DType, isFloat, representable } from "../ir/dtype.js";
import { type Shape, sizeOf } from "../ir/shape.js";

export interface ShapeOptions {
  /** The fewest axes. Default 0. */
  readonly minRank?: number;
  /** The most axes. Default 4. */
  readonly maxRank?: number;
  /** The smallest extent. Default 0: a tensor without elements is one, too. */
  readonly minExtent?: number;
  /** The largest extent. Default 4. */
  readonly maxExtent?: number;
}

const shapeKinds: OptionKinds<ShapeOptions> = {
  minRank: optional(integer(0)),
  maxRank: optional(integer(0)),
  minExtent: optional(integer(0)),
  maxExtent: optional(integer(0)),
};

const extentsOf = (where: string, options: ShapeOptions): Required<ShapeOptions> => {
  checkOptions(where, options, shapeKinds);
  const all = { minRank: 0, maxRank: 4, minExtent: 0, maxExtent: 4, ...options };
  for (const [least, most] of [
    ["minRank", "maxRank"],
    ["minExtent", "maxExtent"],
  ] as const)
    if (all[least] > all[most]) throw new OptionError(`${where}: ${least} = ${all[least]} is above ${most} = ${all[most]}`);
  return all;
};

/** Shapes, few and small axes first; 1 is twice as likely as another extent, because it broadcasts. */
export function shapes(options: ShapeOptions = {}): fc.Arbitrary<number[]> {
  const { minRank, maxRank, minExtent, maxExtent } = extentsOf("shapes", options);
  const extents = fc.integer({ min: minExtent, max: maxExtent });
  const extent = minExtent <= 1 && maxExtent >= 1 ? fc.oneof({ arbitrary: extents, weight: 4 }, fc.constant(1)) : extents;
  return fc.array(extent, { minLength: minRank, maxLength: maxRank });
}

/** Two shapes that broadcast together: axes of one shape left out in front, or of extent 1, in either. */
export function broadcastPairs(options: ShapeOptions = {}): fc.Arbitrary<{ a: number[]; b: number[] }> {
  const { maxRank, minRank, minExtent, maxExtent } = extentsOf("broadcastPairs", options);
  const axis = fc.record({ extent: fc.integer({ min: minExtent, max: maxExtent }), left: fc.boolean(), right: fc.boolean() });
  return fc.array(axis, { minLength: minRank, maxLength: maxRank }).chain((axes) =>
    fc.record({
      a: fc.nat(axes.length).map((cut) => axes.slice(cut).map(({ extent, left }) => (left ? 1 : extent))),
      b: fc.nat(axes.length).map((cut) => axes.slice(cut).map(({ extent, right }) => (right ? 1 : extent))),
    }),
  );
}

/** One axis of a tensor of a rank of at least 1, from the front or, negative, from the end. */
export function axes(rank: number): fc.Arbitrary<number> {
  checkArgument("axes", "rank", rank, integer(1));
  return fc.integer({ min: -rank, max: rank - 1 });
}

/** Some different axes of a tensor of a rank, in any order, none of them or all among them. */
export function axisLists(rank: number): fc.Arbitrary<number[]> {
  checkArgument("axisLists", "rank", rank, integer(0));
  return fc.shuffledSubarray(Array.from({ length: rank }, (_, axis) => axis));
}

/** All axes of a tensor of a rank, in any order. */
export function permutations(rank: number): fc.Arbitrary<number[]> {
  checkArgument("permutations", "rank", rank, integer(0));
  const all = Array.from({ length: rank }, (_, axis) => axis);
  return fc.shuffledSubarray(all, { minLength: rank, maxLength: rank });
}

const allDtypes = ["f32", "f16", "bf16", "f64", "i32", "u32", "bool"] as const satisfies readonly DType[];

/** Dtypes: those named, or the four that every backend computes in. */
export const dtypes = (...named: readonly DType[]): fc.Arbitrary<DType> => {
  for (const name of named) checkArgument("dtypes", "a dtype", name, oneOf(...allDtypes));
  return fc.constantFrom(...(named.length > 0 ? named : (["f32", "i32", "u32", "bool"] as const)));
};

export interface ValueOptions {
  /** Default f32. */
  readonly dtype?: DType;
  /** The least value. Default −1.5, for integers −9, for u32 0. */
  readonly low?: number;
  /** The largest value. Default 1.5, for integers 9. */
  readonly high?: number;
  /**
   * Whether, beside values between `low` and `high`, those occur that computations stumble over: zeros of either sign, the smallest and the
   * largest numbers, integers that f32 does not hold, infinities and NaN. Default false.
   */
  readonly edges?: boolean;
}

const valueKinds: OptionKinds<ValueOptions> = {
  dtype: optional(oneOf(...allDtypes)),
  low: optional(finiteNumber),
  high: optional(finiteNumber),
  edges: optional(flag),
};

const { POSITIVE_INFINITY, NEGATIVE_INFINITY, NaN: notANumber } = Number;
const floatEdges = [0, -0, 1, -1, 0.5, 1e-30, -1e-38, 1e-45, 3e38, -3e38, POSITIVE_INFINITY, NEGATIVE_INFINITY, notANumber];
const edgesOf: { readonly [D in DType]: readonly number[] } = {
  f32: floatEdges,
  f16: [...floatEdges, 65504, 6e-8, 2048.5],
  bf16: [...floatEdges, 3.38e38, 257],
  f64: [...floatEdges, 1e-320, 1.7e308, 2 ** 53 + 2],
  i32: [0, 1, -1, 2 ** 24 + 1, 2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 1],
  u32: [0, 1, 2 ** 24 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1],
  bool: [0, 1],
};

/** Single values of a dtype that it holds exactly. Floats are spread over the range, and shrink towards 0. */
export function values(options: ValueOptions = {}): fc.Arbitrary<number> {
  checkOptions("values", options, valueKinds);
  const { dtype = "f32", edges = false } = options;
  const whole = !isFloat(dtype);
  const { low = dtype === "u32" || dtype === "bool" ? 0 : whole ? -9 : -1.5, high = dtype === "bool" ? 1 : whole ? 9 : 1.5 } = options;
  if (low > high) throw new OptionError(`values: low = ${low} is above high = ${high}`);
  const steps = 2 ** 16;
  // A grid through 0 where the range has it, whatever its ends.
  const inside = whole
    ? fc.integer({ min: Math.ceil(low), max: Math.floor(high) })
    : fc.integer({ min: 0, max: steps }).map((step) => representable(dtype, low + (step / steps) * (high - low)));
  const floats = whole ? inside : inside.filter((value) => value >= low && value <= high);
  return edges
    ? fc.oneof({ arbitrary: floats, weight: 3 }, fc.constantFrom(...edgesOf[dtype].map((v) => representable(dtype, v))))
    : floats;
}

/** Tensors of a shape, or of shapes of one's own, with values as {@link values} has them. */
export function tensors(shape: Shape | fc.Arbitrary<readonly number[]>, options: ValueOptions = {}): fc.Arbitrary<Tensor> {
  const each = values(options);
  const { dtype = "f32" } = options;
  const of = (extents: readonly number[]): fc.Arbitrary<Tensor> => {
    const length = sizeOf(extents);
    return fc.array(each, { minLength: length, maxLength: length, size: "max" }).map((data) => tensor(data, { shape: extents, dtype }));
  };
  if (!isArbitrary(shape)) checkArgument("tensors", "shape", shape, { wanted: "a shape or an arbitrary of shapes", fits: Array.isArray });
  return isArbitrary(shape) ? shape.chain(of) : of(shape);
}

const isArbitrary = (value: Shape | fc.Arbitrary<readonly number[]>): value is fc.Arbitrary<readonly number[]> =>
  typeof (value as Partial<fc.Arbitrary<readonly number[]>>).chain === "function";
