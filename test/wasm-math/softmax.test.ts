import { describe, expect, it } from "vitest";
import { bitsOf, everyBits, valuesAt, worstError } from "./floats.js";
import { applied, forms } from "./vectors.js";

describe.each(forms)("the exponential of numbers that are not positive, $form", ({ fused }) => {
  const f = applied("exp_negative", 1, fused);
  const smallest = Math.log(2 ** -126);

  it("is within 1.01 ulp as long as the result is a normal number", () => {
    // Negative floats grow in magnitude with their bits, so this runs from −0 to the logarithm of the smallest normal number.
    const [from, to] = [bitsOf(-0), bitsOf(Math.fround(smallest)) - 1];
    const worst = worstError(f, Math.exp, everyBits(f, from, to, 509));
    expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(1.01);
  });

  it("is at most the smallest normal number below, and then exactly 0", () => {
    const results = valuesAt(f, [-87.4, -87.9, -88, -104, -1e30, -3.4e38, Number.NEGATIVE_INFINITY]) as number[];
    for (const result of results) expect(result >= 0 && result <= 2 ** -126).toBe(true);
    expect(results.slice(2)).toEqual([0, 0, 0, 0, 0]);
  });

  it("is 1 at zero and NaN at NaN", () => {
    expect(valuesAt(f, [0, -0, Number.NaN])).toEqual([1, 1, Number.NaN]);
  });
});

describe.each(forms)("the exponential of numbers that are not positive, small results included, $form", ({ fused }) => {
  const f = applied("exp_not_positive", 1, fused);

  it("is within 1.01 ulp for all of them", () => {
    const worst = worstError(f, Math.exp, everyBits(f, bitsOf(-0), bitsOf(Number.NEGATIVE_INFINITY) + 1, 509));
    expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(1.01);
  });

  it("is within the same bound where results lose their bits one by one", () => {
    const worst = worstError(f, Math.exp, everyBits(f, bitsOf(-87), bitsOf(-104.5), 17));
    expect(worst.error, `at ${worst.at}`).toBeLessThanOrEqual(1.01);
  });

  it("has the values of the exponential at zero, at the end of its range and at NaN", () => {
    const results = valuesAt(f, [0, -0, -103.5, -104, -3.4e38, Number.NEGATIVE_INFINITY, Number.NaN]);
    expect(results).toEqual([1, 1, 2 ** -149, 0, 0, 0, Number.NaN]);
  });
});
