import { describe, expect, it } from "vitest";
import { uniformSource } from "../support/samples.js";
import { asFloats, floatOf, ulps, valuesAt, worstError } from "./floats.js";
import { applied, CHUNK } from "./vectors.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** IEEE 754's pow; Math.pow has NaN for 1 to the power of NaN, and for ±1 to that of ±∞. */
function exact(a: number, b: number): number {
  return a === 1 || (Math.abs(a) === 1 && Math.abs(b) === inf) ? 1 : a ** b;
}

/** A remainder with the sign of the divisor, as the reference backend has it. */
function modulo(a: number, b: number): number {
  const remainder = a % b;
  return remainder !== 0 && remainder < 0 !== b < 0 ? remainder + b : remainder;
}

const special = [
  ...[nan, inf, -inf, 0, -0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 1.5, -1.5, 101, 100, 1e9],
  ...[2 ** 24, 2 ** 24 - 1, 2 ** 24 + 2, -(2 ** 24), 1 - 2 ** -24, 1 + 2 ** -23, -1 - 2 ** -23],
  ...[2 ** -149, -(2 ** -149), 2 ** -126, 1e38, -1e38],
].map(Math.fround);
const pairs = special.flatMap((a) => special.map((b) => [a, b] as const));

/** Pairs of operands by the ways in which a power can go wrong. */
const families: Readonly<Record<string, (u: () => number) => readonly [number, number]>> = {
  "any bits": (u) => [floatOf(u() * 2 ** 32), floatOf(u() * 2 ** 32)],
  "results of any size": (u) => {
    const a = Math.fround(Math.exp(180 * u() - 90));
    return [a, (105 * (2 * u() - 1)) / Math.abs(Math.log(a))];
  },
  "bases next to 1": (u) => {
    const a = Math.fround(1 + (u() - 0.5) * 2 ** (-22 * u()));
    return [a, (105 * (2 * u() - 1)) / Math.abs(Math.log(a) || 1)];
  },
  "small numbers": (u) => [4 * u(), 8 * u() - 4],
  "negative bases and whole exponents": (u) => [-200 * u(), Math.round(60 * u() - 30)],
};

describe("pow", () => {
  const f = applied("pow", 2);
  const [a, b] = f.inputs.map(asFloats) as [Float32Array, Float32Array];

  it.each(Object.entries(families))("is within 0.52 ulp: %s", (_, draw) => {
    const uniform = uniformSource(1);
    const worst = worstError(f, exact, (chunk) => {
      for (let i = 0; i < CHUNK; i++) [a[i], b[i]] = draw(uniform) as [number, number];
      return chunk < 6 ? CHUNK : 0;
    });
    expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(0.52);
  });

  it("has the special values of IEEE 754, sign of zero included", () => {
    const results = valuesAt(
      f,
      pairs.map(([x]) => x),
      pairs.map(([, y]) => y),
    );
    pairs.forEach(([x, y], i) => {
      const expected = Math.fround(exact(x, y));
      const result = results[i] as number;
      const rounded = Number.isFinite(expected) && expected !== 0 && ulps(result, exact(x, y)) <= 0.52;
      if (!rounded) expect([x, y, result]).toEqual([x, y, expected]);
    });
  });
});

describe("mod_f32", () => {
  const f = applied("mod_f32", 2);
  const agree = (operands: readonly (readonly [number, number])[]): void => {
    const results = valuesAt(
      f,
      operands.map(([x]) => x),
      operands.map(([, y]) => y),
    );
    operands.forEach(([x, y], i) => {
      const expected = Math.fround(modulo(Math.fround(x), Math.fround(y)));
      if (!Object.is(results[i], expected)) expect([x, y, results[i]]).toEqual([x, y, expected]);
    });
  };

  it("is the exact remainder for any two floats, its sum with the divisor rounded once", () => {
    const uniform = uniformSource(2);
    for (let round = 0; round < 4; round++) {
      agree(Array.from({ length: CHUNK }, () => [floatOf(uniform() * 2 ** 32), floatOf(uniform() * 2 ** 32)]));
      agree(Array.from({ length: CHUNK }, () => [100 * uniform() - 50, 10 * uniform() - 5]));
      agree(Array.from({ length: CHUNK }, () => [Math.round(1e6 * uniform()), Math.round(100 * uniform() - 50)]));
    }
  });

  it("has the special values of the reference backend, sign of zero included", () => agree(pairs));
});
