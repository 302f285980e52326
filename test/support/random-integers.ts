import fc from "fast-check";
import {
  abs,
  add,
  and,
  clip,
  concat,
  DtypeError,
  equal,
  gather,
  greater,
  greaterEqual,
  less,
  lessEqual,
  max,
  maximum,
  min,
  minimum,
  mod,
  mul,
  neg,
  not,
  notEqual,
  or,
  sub,
  sum,
  type Tensor,
  type TensorLike,
  tensor,
  truncDiv,
  where,
} from "../../src/index.js";

/** Programs of integers from end to end of their dtype and of plain numbers beyond it, with what exact arithmetic makes of them. */

export type IntegerDType = "i32" | "u32";
export const integerRanges: Readonly<Record<IntegerDType, readonly [lowest: number, highest: number]>> = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
};

/** Numbers around the ends of both dtypes, fractions between, and what is no integer of either. */
export const literals = fc.oneof(
  fc.constantFrom(0, 3e9, -3e9, 1e300, -1e300, 0.5, -0.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  fc
    .tuple(fc.constantFrom(-(2 ** 32), -(2 ** 31), 0, 2 ** 24, 2 ** 31, 2 ** 32), fc.integer({ min: -6, max: 6 }))
    .map(([end, half]) => end + half / 2),
  fc.double({ min: -5e9, max: 5e9, noNaN: true }),
);

/** Any integer of a dtype, those at and near its ends, at 2²⁴ (where f32 begins to round) and at 0 more often. */
export const integers = (dtype: IntegerDType): fc.Arbitrary<number> => {
  const [lowest, highest] = integerRanges[dtype];
  const near = [lowest, highest, 0, 2 ** 24, 2 ** 31].flatMap((end) => [end - 2, end - 1, end, end + 1, end + 2]);
  return fc.oneof(
    fc.constantFrom(...near.filter((value) => value >= lowest && value <= highest)),
    fc.integer({ min: lowest, max: highest }),
    fc.integer({ min: Math.max(lowest, -9), max: 9 }),
  );
};

const length = 5;
const step = fc.record({ operation: fc.nat(10_000), a: fc.nat(10_000), b: fc.nat(10_000), low: literals, high: literals });

export const integerRecipes = fc.constantFrom<IntegerDType>("i32", "u32").chain((dtype) =>
  fc.record({
    dtype: fc.constant(dtype),
    inputs: fc.array(fc.array(integers(dtype), { minLength: length, maxLength: length }), { minLength: 2, maxLength: 2 }),
    steps: fc.array(step, { minLength: 1, maxLength: 6 }),
  }),
);
export type IntegerRecipe = typeof integerRecipes extends fc.Arbitrary<infer Recipe> ? Recipe : never;

/** A way to make a vector of integers from two others and two plain numbers, and what each element must be. */
interface Operation {
  readonly apply: (a: Tensor, b: Tensor, low: number, high: number) => Tensor;
  /** Exact, and wrapped afterwards; undefined where a plain number must be refused. */
  readonly exact: (a: readonly bigint[], b: readonly bigint[], low: number, high: number, range: readonly [number, number]) => Exact;
}
type Exact = readonly bigint[] | undefined;

const both = (apply: (a: Tensor, b: Tensor) => Tensor, exact: (a: bigint, b: bigint) => bigint): Operation => ({
  apply: (a, b) => apply(a, b),
  exact: (a, b) => a.map((x, i) => exact(x, b[i] as bigint)),
});
const one = (apply: (a: Tensor) => Tensor, exact: (a: bigint) => bigint): Operation => ({ apply, exact: (a) => a.map(exact) });
/** Whole vectors to vectors of the same length. */
const whole = (apply: (a: Tensor, b: Tensor) => Tensor, exact: (a: readonly bigint[], b: readonly bigint[]) => bigint[]): Operation => ({
  apply: (a, b) => apply(a, b),
  exact,
});

const has = ([lowest, highest]: readonly [number, number], value: number): boolean => value >= lowest && value <= highest;
const bitsOf = (value: bigint): bigint => BigInt.asUintN(32, value);

/** Arithmetic with a plain number, which the dtype must have. */
const withNumber = (
  apply: (a: TensorLike, b: TensorLike) => Tensor,
  exact: (a: bigint, b: bigint) => bigint,
  divides = false,
): Operation => ({
  apply: (a, _, low) => apply(a, rounded(low, divides)),
  exact: (a, _, low, __, range) => {
    const value = rounded(low, divides);
    return has(range, value) ? a.map((x) => exact(x, BigInt(value))) : undefined;
  },
});
/** A finite integer near a number, and none near 0 for divisors. */
function rounded(value: number, divides: boolean): number {
  const integer = Number.isFinite(value) ? Math.round(value) + 0 : 7;
  return divides && Math.abs(integer) < 2 ? 3 : integer;
}

/** b where a comparison of a with a plain number holds, a elsewhere. */
const compared = (
  apply: (a: TensorLike, b: TensorLike) => Tensor,
  exact: (a: number, b: number) => boolean,
  numberFirst: boolean,
): Operation => ({
  apply: (a, b, low) => where(numberFirst ? apply(low, a) : apply(a, low), b, a),
  exact: (a, b, low) => a.map((x, i) => ((numberFirst ? exact(low, Number(x)) : exact(Number(x), low)) ? (b[i] as bigint) : x)),
});

/** A bound that is no NaN and no fraction. */
const bound = (value: number): number => (Number.isNaN(value) ? 0 : Number.isFinite(value) ? Math.round(value) + 0 : value);
const limited =
  (limit: (x: number, low: number, high: number) => number): Operation["exact"] =>
  (a, _, low, high, range) => {
    const results = a.map((x) => limit(Number(x), bound(low), bound(high)));
    return results.every((value) => has(range, value)) ? results.map(BigInt) : undefined;
  };

const largest = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smallest = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const size = (a: bigint): bigint => (a < 0n ? -a : a);

const operations: readonly Operation[] = [
  both(add, (a, b) => a + b),
  both(sub, (a, b) => a - b),
  both(mul, (a, b) => a * b),
  both(maximum, largest),
  both(minimum, smallest),
  both(and, (a, b) => bitsOf(a) & bitsOf(b)),
  both(or, (a, b) => bitsOf(a) | bitsOf(b)),
  both((a, b) => where(less(a, b), a, b), smallest),
  both(
    (a, b) => where(equal(a, b), add(a, 1), b),
    (a, b) => (a === b ? a + 1n : b),
  ),
  one(neg, (a) => -a),
  one(abs, size),
  one(not, (a) => ~a),
  one(
    (a) => a.cast(a.dtype === "i32" ? "u32" : "i32").cast(a.dtype),
    (a) => a,
  ),
  withNumber(add, (a, b) => a + b),
  withNumber(sub, (a, b) => a - b),
  withNumber(
    (a, b) => sub(b, a),
    (a, b) => b - a,
  ),
  withNumber(mul, (a, b) => a * b),
  withNumber(mod, (a, b) => ((a % b) + b) % b, true),
  withNumber(truncDiv, (a, b) => a / b, true),
  ...[false, true].flatMap((numberFirst) => [
    compared(less, (a, b) => a < b, numberFirst),
    compared(lessEqual, (a, b) => a <= b, numberFirst),
    compared(greater, (a, b) => a > b, numberFirst),
    compared(greaterEqual, (a, b) => a >= b, numberFirst),
    compared(equal, (a, b) => a === b, numberFirst),
    compared(notEqual, (a, b) => a !== b, numberFirst),
  ]),
  {
    apply: (a, _, low) => maximum(Number.isFinite(low) ? bound(low) : 0, a),
    exact: (...args) => limited((x, low) => Math.max(x, Number.isFinite(low) ? low : 0))(...args),
  },
  {
    apply: (a, _, low) => minimum(a, Number.isFinite(low) ? bound(low) : 0),
    exact: (...args) => limited((x, low) => Math.min(x, Number.isFinite(low) ? low : 0))(...args),
  },
  whole(
    (a, b) => add(sum(a, 0, true), b),
    (a, b) => b.map((x) => a.reduce((total, y) => total + y, x)),
  ),
  whole(
    (a, b) => sub(max(a), min(b).add(b)),
    (a, b) => b.map((x) => a.reduce(largest) - (b.reduce(smallest) + x)),
  ),
  whole(
    (a, b) => concat([a.slice([[2]]), b.slice([[0, 2]])]),
    (a, b) => [...a.slice(2), ...b.slice(0, 2)],
  ),
  whole(
    (a, b) => gather(a, mod(b, length).cast("i32")).flip(),
    (a, b) => b.map((x) => a[Number(((x % 5n) + 5n) % 5n)] as bigint).reverse(),
  ),
  {
    apply: (a, _, low, high) => clip(a, closed(low), closed(high)),
    exact: (a, _, low, high, range) => {
      const [bottom, top] = [closed(low), closed(high)];
      // Both bounds in turn: what lies between them must be of the dtype as well.
      const raised = a.map((x) => Math.max(Number(x), bottom));
      const limits = [...raised, ...raised.map((x) => Math.min(x, top))];
      return limits.every((value) => has(range, value)) ? raised.map((x) => BigInt(Math.min(x, top))) : undefined;
    },
  },
];
/** A bound that may lie anywhere, but is finite. */
const closed = (value: number): number => (Number.isFinite(value) ? bound(value) : 2 ** 31 - 1);

export interface IntegerProgram {
  /** Its two inputs and the vectors made of them, in order. Throws where a plain number is taken that should be refused. */
  readonly run: (a: Tensor, b: Tensor) => Tensor[];
  readonly inputs: readonly [Tensor, Tensor];
  /** What the vectors must be. */
  readonly expected: readonly (readonly number[])[];
}

export function integerProgram({ dtype, inputs, steps }: IntegerRecipe): IntegerProgram {
  const range = integerRanges[dtype];
  const wrapped = (value: bigint): bigint => (dtype === "i32" ? BigInt.asIntN(32, value) : BigInt.asUintN(32, value));
  const [first, second] = inputs as [number[], number[]];
  const exact: (readonly bigint[])[] = [first.map(BigInt), second.map(BigInt)];
  const makers: ((known: readonly Tensor[]) => Tensor)[] = [];
  const refusals: ((known: readonly Tensor[]) => void)[] = [];
  for (const { operation, a, b, low, high } of steps) {
    const chosen = operations[operation % operations.length] as Operation;
    const [left, right] = [a % exact.length, b % exact.length];
    const values = chosen.exact(exact[left] as bigint[], exact[right] as bigint[], low, high, range);
    const apply = (known: readonly Tensor[]): Tensor => chosen.apply(known[left] as Tensor, known[right] as Tensor, low, high);
    if (values === undefined)
      refusals.push((known) => mustRefuse(() => apply(known), `${operations.indexOf(chosen)} with ${low}, ${high}`));
    else {
      exact.push(values.map(wrapped));
      makers.push(apply);
    }
  }
  return {
    run: (x, y) => {
      const known = [x, y];
      for (const make of makers) known.push(make(known));
      for (const refuse of refusals) refuse(known);
      return known;
    },
    inputs: [tensor(first, { dtype }), tensor(second, { dtype })],
    expected: exact.map((values) => values.map(Number)),
  };
}

function mustRefuse(call: () => Tensor, what: string): void {
  try {
    call();
  } catch (error) {
    if (error instanceof DtypeError) return;
    throw error;
  }
  throw new Error(`operation ${what} was not refused`);
}
