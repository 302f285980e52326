import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MathName } from "../../src/backend/wasm/math/index.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { applied } from "./vectors.js";

const edges = [0, 1, 2, 3, 7, 2 ** 16 - 1, 2 ** 16, 2 ** 24 + 1, 2 ** 31 - 2, 2 ** 31 - 1].flatMap((n) => [n, -n, ~n]);
const words = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.integer({ min: -100, max: 100 }),
  fc.constantFrom(...edges.map((n) => n | 0)),
);

/** Division by 0 is anything. */
const semantics: Readonly<Partial<Record<MathName, (a: number, b: number) => bigint>>> = {
  div_i32: (a, b) => BigInt(a) / BigInt(b),
  div_u32: (a, b) => BigInt(a >>> 0) / BigInt(b >>> 0),
  mod_i32: (a, b) => ((BigInt(a) % BigInt(b)) + BigInt(b)) % BigInt(b),
  mod_u32: (a, b) => BigInt(a >>> 0) % BigInt(b >>> 0),
};

describe.each(Object.entries(semantics) as [MathName, (a: number, b: number) => bigint][])("%s", (name, exact) => {
  const f = applied(name, 2);
  const [left, right] = f.inputs as [Int32Array, Int32Array];
  const agree = (pairs: readonly (readonly [number, number])[]): void => {
    pairs.forEach(([a, b], i) => {
      left[i] = a;
      right[i] = b;
    });
    f.run(pairs.length);
    pairs.forEach(([a, b], i) => {
      if (b === 0) return;
      const expected = Number(BigInt.asIntN(32, exact(a, b)));
      if (f.output[i] !== expected) expect([a, b, f.output[i]]).toEqual([a, b, expected]);
    });
  };

  it("agrees with big integers, modulo 2^32", () => {
    fc.assert(fc.property(fc.array(fc.tuple(words, words), { minLength: 1, maxLength: 64 }), agree), { numRuns: 500 });
  });

  it("agrees on every pair of edges and does not trap, by 0 and for −2^31/−1 neither", () => {
    const values = [...new Set(edges.map((n) => n | 0))];
    agree(values.flatMap((a) => values.map((b) => [a, b] as const)));
  });

  it("is exact where a quotient just misses a whole number", () => {
    const quotients = [1, 2, 3, 1000, 46341, 65535];
    agree(quotients.flatMap((q) => [3, 1000, 32749, 32767].flatMap((b) => [-1, 0, 1].map((by) => [q * b + by, b] as const))));
  });
});

describe("threefry", () => {
  it("is x₀ ⊕ x₁ of the host's Threefry-2x32 for the counter (0, c)", () => {
    const f = applied("threefry", 3);
    fc.assert(
      fc.property(fc.array(fc.tuple(words, words, words), { minLength: 1, maxLength: 16 }), (rows) => {
        rows.forEach((row, i) => row.forEach((word, k) => (f.inputs[k] as Int32Array).fill(word, i, i + 1)));
        f.run(rows.length);
        const expected = rows.map(([k0, k1, counter]) => threefry2x32(k0, k1, 0, counter)).map(([x0, x1]) => x0 ^ x1);
        expect([...f.output.subarray(0, rows.length)]).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });
});
