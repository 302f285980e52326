import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MathName } from "../../src/backend/wasm/math/index.js";
import { asFloats, floatOf, ulps, valuesAt } from "./floats.js";
import { type Applied, applied, forms } from "./vectors.js";

const operandsOf: Readonly<Record<MathName, number>> = {
  exp: 1,
  exp_not_positive: 1,
  exp_negative: 1,
  log: 1,
  sin: 1,
  cos: 1,
  tanh: 1,
  erf: 1,
  pow: 2,
  mod_f32: 2,
  div_i32: 2,
  div_u32: 2,
  mod_i32: 2,
  mod_u32: 2,
  threefry: 3,
  half_to_float: 1,
  float_to_half: 1,
  bfloat_to_float: 1,
  float_to_bfloat: 1,
};

/** Any bits, often those of a float of usual size. */
const bits = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc
    .float({ noDefaultInfinity: true, noNaN: true, min: -100, max: 100 })
    .map((x) => new Int32Array(Float32Array.of(x).buffer)[0] as number),
  fc.constantFrom(0, -(2 ** 31), 0x7f800000, 0x7fc00000, 1, -1, 0x3f800000, 0x7f7fffff),
);
const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
const vectors = (x: fc.Arbitrary<number>): fc.Arbitrary<number[]> => fc.array(x, { minLength: 1, maxLength: 32 });

/** Bit patterns, with every NaN the same. */
const outputBits = (f: Applied, count: number, asFloat: boolean): number[] =>
  [...f.output.subarray(0, count)].map((word) => (asFloat && Number.isNaN(floatOf(word)) ? 0x7fc00000 : word));

const functions = Object.entries(operandsOf) as [MathName, number][];
const both = functions.flatMap(([name, operands]) => forms.map((form) => ({ name, operands, ...form })));

describe.each(both)("$name $form", ({ name, operands, fused }) => {
  const f = applied(name, operands, fused);
  const rows = fc.array(fc.tuple(...Array.from({ length: operands }, () => bits)), { minLength: 4, maxLength: 4 });
  const run = (lanes: readonly (readonly number[])[]): number[] => {
    lanes.forEach((row, i) => row.forEach((word, k) => (f.inputs[k] as Int32Array).fill(word, i, i + 1)));
    f.run(lanes.length);
    return outputBits(f, lanes.length, !/^(div|mod)_[iu]|threefry|^float_to/.test(name));
  };

  it("gives the same bits for the same operands in any lane, whatever is beside them", () => {
    fc.assert(
      fc.property(rows, fc.integer({ min: 0, max: 3 }), (lanes, turn) => {
        const [together, turned] = [run(lanes), run([...lanes.slice(turn), ...lanes.slice(0, turn)])];
        expect(turned).toEqual([...together.slice(turn), ...together.slice(0, turn)]);
        lanes.forEach((row, i) => expect(run([row, row, row, row])).toEqual(Array(4).fill(together[i])));
      }),
      { numRuns: 300 },
    );
  });
});

describe.each(forms)("symmetries $form", ({ fused }) => {
  it.each(["sin", "tanh", "erf"] as const)("%s(−x) is −%s(x) bit for bit", (name) => {
    const f = applied(name, 1, fused);
    fc.assert(
      fc.property(vectors(finite), (x) => {
        const negated = valuesAt(
          f,
          x.map((value) => -value),
        );
        expect(negated).toEqual(valuesAt(f, x).map((value) => -value));
      }),
    );
  });

  it("cos(−x) is cos(x) bit for bit", () => {
    const f = applied("cos", 1, fused);
    fc.assert(
      fc.property(vectors(finite), (x) => {
        const negated = valuesAt(
          f,
          x.map((value) => -value),
        );
        expect(negated).toEqual(valuesAt(f, x));
      }),
    );
  });
});

describe.each(forms)("order $form", ({ fused }) => {
  it("exp of the next number is at most one ulp smaller", () => {
    const f = applied("exp", 1, fused);
    const start = fc.float({ min: -105, max: 90, noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(start, (x) => {
        const word = new Int32Array(Float32Array.of(x).buffer)[0] as number;
        const words = Array.from({ length: 64 }, (_, i) => word + i).filter((each) => !Number.isNaN(floatOf(each)));
        const y = valuesAt(
          f,
          words.map(floatOf).sort((a, b) => a - b),
        );
        for (let i = 1; i < y.length; i++) {
          const [before, after] = [y[i - 1] as number, y[i] as number];
          expect(after >= before || ulps(after, before) <= 1).toBe(true);
        }
      }),
    );
  });

  it.each(["tanh", "erf", "sin", "cos"] as const)("|%s| is at most 1", (name) => {
    const f = applied(name, 1, fused);
    for (let from = -(2 ** 31); from < 2 ** 31; from += 2 ** 16 * 65521) {
      const input = f.inputs[0] as Int32Array;
      for (let i = 0; i < input.length; i++) input[i] = from + i * 65521;
      f.run(input.length);
      expect(asFloats(f.output).every((y) => !(Math.abs(y) > 1))).toBe(true);
    }
  });
});
