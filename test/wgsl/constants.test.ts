import fc from "fast-check";
import { expect, it } from "vitest";
import { constant, Prelude } from "../../src/backend/webgpu/wgsl.js";

it("a constant in WGSL is the number that it stands for, and none that WGSL refuses because it lies beyond the largest f32", () => {
  const largest = Math.fround(3.4028234663852886e38);
  const holds = (value: number): void => {
    const text = constant(value, "f32", new Prelude());
    expect(text).toMatch(/^-?\d+(\.\d+)?(e[+-]?\d+)?f$/);
    const number = Number(text.slice(0, -1));
    expect(Math.fround(number)).toBe(value);
    expect(Math.abs(number)).toBeLessThanOrEqual(largest);
  };
  for (const value of [largest, -largest, 0, 1e-45, 1.1754943508222875e-38, 16777216, 0.1].map(Math.fround)) holds(value);
  fc.assert(
    fc.property(
      fc.float({ noNaN: true, noDefaultInfinity: true }).filter((x) => !Object.is(x, -0)),
      holds,
    ),
    { seed: 8, numRuns: 300 },
  );
});
