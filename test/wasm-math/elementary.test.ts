import { erf as erfOf } from "mathjs";
import { describe, expect, it } from "vitest";
import { bitsOf, everyBits, valuesAt, worstError } from "./floats.js";
import { applied, forms } from "./vectors.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const tiny = 2 ** -149;
const largest = (2 - 2 ** -23) * 2 ** 127;

interface Facts {
  readonly name: "exp" | "log" | "sin" | "cos" | "tanh" | "erf";
  readonly exact: (x: number) => number;
  /** The largest error in ulp that the documentation of the function states. */
  readonly bound: number;
  /** Distance of the bit patterns tried. */
  readonly step: number;
  /** Where branches meet, thresholds lie or the worst errors are. */
  readonly critical: readonly number[];
  readonly special: readonly (readonly [x: number, y: number])[];
}

const multiples = (of: number, counts: readonly number[]): number[] => counts.flatMap((n) => [n * of, -n * of]);
const quarters = multiples(Math.PI / 2, [0.5, 1, 1.5, 2, 3, 4, 5, 100, 1e3, 12345, 1e5, 1e6, 2 ** 20, 2 ** 21, 1e7, 1e9, 1e20, 1e38]);
/** A number whose distance from a multiple of π/2, 1.6e-9, is about the smallest there is in single precision. */
const nearestToQuarter = 16367173 * 2 ** 72;

const facts: readonly Facts[] = [
  {
    name: "exp",
    exact: Math.exp,
    bound: 1.01,
    step: 1021,
    critical: [
      ...multiples(Math.LN2, [0, 0.5, 1, 1.5, 2, 10.5, 64, 126, 127, 127.5, 128, 149, 150]),
      26.720590591430664,
      88.72284,
      -87.33655,
      -103.97208,
      89,
      -104,
    ],
    special: [
      [nan, nan],
      [inf, inf],
      [-inf, 0],
      [0, 1],
      [-0, 1],
      [tiny, 1],
      [-tiny, 1],
      [largest, inf],
      [-largest, 0],
      [88.73, inf],
      [-104, 0],
      [-103.5, tiny],
    ],
  },
  {
    name: "log",
    exact: Math.log,
    bound: 0.85,
    step: 1021,
    critical: [1, Math.SQRT1_2, Math.SQRT2, 2, 0.5, 2 ** -126, 2 ** -127, 1.4133185148239136, Math.E],
    special: [
      [nan, nan],
      [inf, inf],
      [-inf, nan],
      [0, -inf],
      [-0, -inf],
      [1, 0],
      [-1, nan],
      [-tiny, nan],
      [-largest, nan],
      [tiny, Math.fround(Math.log(tiny))],
    ],
  },
  {
    name: "sin",
    exact: Math.sin,
    bound: 1.6,
    step: 1021,
    critical: [...quarters, 2 ** 21, -(2 ** 21), nearestToQuarter, 2100.902099609375, 2.6469911972938512e31, 148745471655936],
    special: [
      [nan, nan],
      [inf, nan],
      [-inf, nan],
      [0, 0],
      [-0, -0],
      [tiny, tiny],
      [-tiny, -tiny],
    ],
  },
  {
    name: "cos",
    exact: Math.cos,
    bound: 1.6,
    step: 1021,
    critical: [...quarters, 2 ** 21, -(2 ** 21), nearestToQuarter, 2100.902099609375, 2.6469911972938512e31, 148745471655936],
    special: [
      [nan, nan],
      [inf, nan],
      [-inf, nan],
      [0, 1],
      [-0, 1],
      [tiny, 1],
      [-tiny, 1],
    ],
  },
  {
    name: "tanh",
    exact: Math.tanh,
    bound: 2.5,
    step: 1021,
    critical: [0, ...multiples(Math.LN2 / 4, [1, 3, 5, 7, 9, 13, 25, 51]), 4.505944728851318, 9.01, 9.25, -9.25],
    special: [
      [nan, nan],
      [inf, 1],
      [-inf, -1],
      [0, 0],
      [-0, -0],
      [tiny, tiny],
      [-tiny, -tiny],
      [largest, 1],
      [-largest, -1],
    ],
  },
  {
    name: "erf",
    exact: (x) => erfOf(x),
    bound: 1.32,
    step: 16 * 1021,
    critical: [0, 1, -1, 1.068364143371582, 3.83, 3.95, -3.95],
    special: [
      [nan, nan],
      [inf, 1],
      [-inf, -1],
      [0, 0],
      [-0, -0],
      [tiny, tiny],
      [-tiny, -tiny],
      [largest, 1],
      [-largest, -1],
    ],
  },
];

const both = facts.flatMap((fact) => forms.map((form) => ({ ...fact, ...form })));

describe.each(both)("$name $form", ({ name, exact, bound, step, critical, special, fused }) => {
  const f = applied(name, 1, fused);

  it(`is within ${bound} ulp on a grid over all 2^32 bit patterns`, () => {
    const worst = worstError(f, exact, everyBits(f, -(2 ** 31), 2 ** 31, step));
    expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(bound);
  });

  it("is within the same bound next to its critical points", () => {
    for (const x of critical) {
      const center = bitsOf(x);
      const worst = worstError(f, exact, everyBits(f, center - 2000, center + 2001, 1));
      expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(bound);
    }
  });

  it("has the right special values, sign of zero included", () => {
    const results = valuesAt(
      f,
      special.map(([x]) => x),
    );
    expect(results).toEqual(special.map(([, y]) => y));
  });
});
