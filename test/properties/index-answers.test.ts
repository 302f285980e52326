import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flatten, literal, substitute, unflatten, variable } from "../../src/ir/index-expression.js";
import { fuzzSeed } from "../support/fuzz.js";

describe("places that were asked for before", () => {
  it("are not confused with those of a variable of the same name and another extent", () => {
    const extents = fc.integer({ min: 1, max: 12 });
    const property = fc.property(extents, extents, extents, (rows, columns, extent) => {
      const shape = [rows, columns];
      const size = Math.min(extent, rows * columns);
      const coordinates = unflatten(variable("o", size), shape);
      for (let o = 0; o < size; o++) {
        const at = coordinates.map((index) => substitute(index, new Map([["o", literal(o)]])).constant);
        expect(at).toEqual([Math.floor(o / columns), o % columns]);
      }
      const flat = flatten(coordinates, shape);
      expect([flat.low, flat.high]).toEqual([0, size - 1]);
    });
    fc.assert(property, { seed: fuzzSeed(52), numRuns: 500 });
  });

  it("may be changed by who asked", () => {
    const ask = () => unflatten(variable("o", 6), [2, 3]);
    const [first, ...others] = ask();
    ask().shift();
    expect(ask()).toEqual([first, ...others]);
  });
});
