import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  add,
  arange,
  type Backend,
  clip,
  compile,
  type DType,
  DtypeError,
  div,
  equal,
  foldIn,
  full,
  greater,
  greaterEqual,
  iota,
  key,
  less,
  lessEqual,
  matmul,
  maximum,
  minimum,
  mod,
  mul,
  notEqual,
  OptionError,
  pad,
  sub,
  type Tensor,
  type TensorLike,
  tensor,
  truncDiv,
  useBackend,
  where,
  zeros,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { numbersOf } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { type IntegerDType, integerRanges, literals } from "../support/random-integers.js";

const integerDTypes = Object.keys(integerRanges) as IntegerDType[];

/** Values of a dtype at and near its ends, at 2²⁴, where f32 begins to round, and near 0. */
const values = ([lowest, highest]: readonly [number, number]): number[] =>
  [lowest, lowest + 1, -7, -1, 0, 1, 2, 2 ** 24, 2 ** 24 + 1, 2 ** 31 - 1, highest - 1, highest].filter((x) => x >= lowest && x <= highest);

const comparisons: readonly (readonly [(a: Tensor | number, b: Tensor | number) => Tensor, (a: number, b: number) => boolean])[] = [
  [less, (a, b) => a < b],
  [lessEqual, (a, b) => a <= b],
  [greater, (a, b) => a > b],
  [greaterEqual, (a, b) => a >= b],
  [equal, (a, b) => a === b],
  [notEqual, (a, b) => a !== b],
];

describe.each(backends())("integers beside plain numbers on $name", ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => backend.close());
  const numRuns = name === "webgpu" ? 25 : 150;

  it("compare as the numbers themselves do, whichever stands first", { timeout: 60_000 }, async () => {
    const holds = fc.asyncProperty(fc.constantFrom(...integerDTypes), literals, async (dtype, literal) => {
      const known = values(integerRanges[dtype]);
      const x = tensor(known, { dtype });
      for (const [compare, right] of comparisons) {
        expect(await numbersOf(compare(x, literal))).toEqual(known.map((value) => Number(right(value, literal))));
        expect(await numbersOf(compare(literal, x))).toEqual(known.map((value) => Number(right(literal, value))));
      }
    });
    await fc.assert(holds, { seed: fuzzSeed(3), numRuns });
  });

  it("compare in the same way where the number is an argument of a compiled function", { timeout: 60_000 }, async () => {
    const compiled = comparisons.map(
      ([compare, right]) => [compile((x: Tensor, literal: TensorLike) => compare(x, literal)), right] as const,
    );
    const holds = fc.asyncProperty(fc.constantFrom(...integerDTypes), literals, async (dtype, literal) => {
      const known = values(integerRanges[dtype]);
      for (const [compare, right] of compiled) {
        const found = await numbersOf(compare(tensor(known, { dtype }), literal));
        expect(found).toEqual(known.map((value) => Number(right(value, literal))));
      }
    });
    await fc.assert(holds, { seed: fuzzSeed(6), numRuns: name === "webgpu" ? 15 : 60 });
  });

  it("are clipped to the right integers, or refused where there is none", { timeout: 60_000 }, async () => {
    const whole = literals.map((literal) => (Number.isFinite(literal) ? Math.round(literal) : literal)).filter((x) => !Number.isNaN(x));
    const holds = fc.asyncProperty(fc.constantFrom(...integerDTypes), whole, whole, async (dtype, low, high) => {
      const [lowest, highest] = integerRanges[dtype];
      const known = values(integerRanges[dtype]);
      const x = tensor(known, { dtype });
      const limited = (limit: (x: number) => number): number[] => known.map(limit);
      const held = (list: readonly number[]): boolean => list.every((value) => value >= lowest && value <= highest);
      const cases: readonly (readonly [() => Tensor, number[], readonly number[]])[] = [
        [() => maximum(x, low), limited((value) => Math.max(value, low)), [low]],
        [() => minimum(high, x), limited((value) => Math.min(value, high)), [high]],
        [() => clip(x, low, high), limited((value) => Math.min(Math.max(value, low), high)), [low, high]],
      ];
      for (const [found, right, bounds] of cases) {
        if (held(right) && held(limited((value) => Math.max(value, low)))) {
          const result = found();
          expect(result.dtype).toBe(dtype);
          expect(await numbersOf(result)).toEqual(right.map((value) => value + 0));
        } else if (bounds.every(Number.isFinite) && !held(right)) expect(found).toThrow(DtypeError);
      }
    });
    await fc.assert(holds, { seed: fuzzSeed(4), numRuns });
  });

  it("give what integer arithmetic gives, or refuse a number that their dtype does not have", { timeout: 60_000 }, async () => {
    const holds = fc.asyncProperty(fc.constantFrom(...integerDTypes), literals.map(Math.round), async (dtype, literal) => {
      fc.pre(Number.isFinite(literal));
      const [lowest, highest] = integerRanges[dtype];
      const known = values(integerRanges[dtype]);
      const x = tensor(known, { dtype });
      const wrapped = (value: bigint): number => Number(dtype === "i32" ? BigInt.asIntN(32, value) : BigInt.asUintN(32, value));
      const operations = [
        [add, (a: bigint, b: bigint) => a + b],
        [sub, (a: bigint, b: bigint) => a - b],
        [mul, (a: bigint, b: bigint) => a * b],
      ] as const;
      for (const [operate, right] of operations) {
        if (literal < lowest || literal > highest) expect(() => operate(x, literal)).toThrow(DtypeError);
        else expect(await numbersOf(operate(x, literal))).toEqual(known.map((value) => wrapped(right(BigInt(value), BigInt(literal)))));
      }
    });
    await fc.assert(holds, { seed: fuzzSeed(5), numRuns });
  });

  it("become f32 beside fractions, and where they are divided", async () => {
    const x = tensor([-7, 0, 5], { dtype: "i32" });
    expect(await numbersOf(x.add(0.5))).toEqual([-6.5, 0.5, 5.5]);
    expect(await numbersOf(x.clip(-0.5, 4.5))).toEqual([-0.5, 0, 4.5]);
    expect((await numbersOf(div(x, 4e9)))[2]).toBeCloseTo(1.25e-9, 15);
    expect(await numbersOf(x.pow(2))).toEqual([49, 0, 25]);
    expect(await numbersOf(tensor([true, false]).less(2 ** 40))).toEqual([1, 1]);
    expect(await numbersOf(tensor([true, false]).equal(1))).toEqual([1, 0]);
  });

  it("of triangles and of positions do not overflow", async () => {
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    for (const k of [2 ** 31 - 1, 2 ** 40]) {
      expect(await numbersOf(x.tril(k))).toEqual([1, 2, 3, 4]);
      expect(await numbersOf(x.triu(k))).toEqual([0, 0, 0, 0]);
      expect(await numbersOf(x.tril(-k))).toEqual([0, 0, 0, 0]);
      expect(await numbersOf(x.triu(-k))).toEqual([1, 2, 3, 4]);
    }
    expect(await numbersOf(zeros([0, 0]).tril())).toEqual([]);
    expect(await numbersOf(matmul(zeros([2, 3, 0]), zeros([0, 1])))).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe("a number that an integer dtype or bool does not have is refused", () => {
  const outside: Readonly<Record<"i32" | "u32" | "bool", readonly number[]>> = {
    i32: [3e9, 2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN, Number.POSITIVE_INFINITY],
    u32: [-1, 2 ** 32, 1e300, 1.5, Number.NaN, Number.NEGATIVE_INFINITY],
    bool: [2, -1, 0.5, 256, Number.NaN],
  };
  const calls = (dtype: DType, value: number): readonly (readonly [string, () => Tensor])[] => {
    const x = zeros([2], { dtype });
    return [
      ["tensor of a list", () => tensor([0, value], { dtype })],
      ["tensor of a number", () => tensor(value, { dtype })],
      ["tensor of a typed array", () => tensor(Float64Array.from([value]), { dtype })],
      ["full", () => full([2], value, { dtype })],
      ["full of nothing", () => full([0], value, { dtype })],
      ["pad", () => pad(x, [[1, 1]], value)],
    ];
  };
  it.each(Object.keys(outside) as (keyof typeof outside)[])("%s", (dtype) => {
    for (const value of outside[dtype]) {
      for (const [name, call] of calls(dtype, value)) {
        expect(call, `${name} ${value}`).toThrow(DtypeError);
        expect(call, `${name} ${value}`).toThrow(`${value} is no ${dtype}`);
      }
    }
  });

  it("in arithmetic, choices and counts", () => {
    const x = tensor([1, 2], { dtype: "i32" });
    const calls = [
      () => x.add(3e9),
      () => mod(x, 2 ** 31),
      () => truncDiv(-3e9, x),
      () => where(x.less(2), x, 3e9),
      () => x.and(2 ** 32 - 1),
      () => x.clip(3e9, 4e9),
      () => tensor([1], { dtype: "u32" }).sub(-1),
      () => tensor(Int32Array.of(-1), { dtype: "u32" }),
      () => tensor(Uint32Array.of(2 ** 32 - 1), { dtype: "i32" }),
      () => arange(2050, { dtype: "f16" }),
      () => arange(258, { dtype: "bf16" }),
      () => iota([1, 2 ** 31 + 1], 1),
    ];
    for (const call of calls) expect(call, String(call)).toThrow(DtypeError);
    expect(() => x.clip(Number.NaN, 1)).toThrow(OptionError);
    expect(() => foldIn(key(0), 2 ** 32 - 1)).toThrow(OptionError);
  });

  it("and the message says what fits and what to do", () => {
    let found: unknown;
    try {
      tensor([1], { dtype: "i32" }).add(3e9);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(DtypeError);
    expect((found as DtypeError).message).toBe("add: 3000000000 is no i32, which holds the integers from -2147483648 to 2147483647");
    expect((found as DtypeError).hint).toContain("float dtype");
  });

  it("while what the dtype has is kept", async () => {
    useBackend(createReferenceBackend());
    expect(await numbersOf(tensor([-(2 ** 31), 2 ** 31 - 1], { dtype: "i32" }))).toEqual([-(2 ** 31), 2 ** 31 - 1]);
    expect(await numbersOf(tensor([0, 2 ** 32 - 1], { dtype: "u32" }))).toEqual([0, 2 ** 32 - 1]);
    expect(await numbersOf(tensor([true, false]))).toEqual([1, 0]);
    expect(await numbersOf(tensor(Uint8Array.of(0, 1), { dtype: "bool" }))).toEqual([0, 1]);
    const words = Uint32Array.of(7, 2 ** 32 - 1);
    const kept = tensor(words);
    words[0] = 9;
    expect(await numbersOf(kept)).toEqual([7, 2 ** 32 - 1]);
    expect(() => tensor(BigInt64Array.of(1n) as unknown as Int32Array, { dtype: "i32" })).toThrow(DtypeError);
    expect(arange(2049, { dtype: "f16" }).shape).toEqual([2049]);
  });
});
