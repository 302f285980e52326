import { describe, expect, it } from "vitest";
import { type DrawnRow, plainPositions, type RowRequest, rowSource, stackRows } from "../../../src/e2llm/positions/index.js";
import { ropeFrequencies } from "../../../src/e2llm/schedules.js";
import { OptionError, ShapeError } from "../../../src/errors.js";

const frequencies = ropeFrequencies({ type: "default" }, { headDim: 4, theta: 100 });
const request = { batch: 4, length: 5, step: 3 };

/** Positions from a random place on. */
const draw = ({ length, random }: RowRequest): DrawnRow<{ from: number }> => {
  const from = random().below(1000);
  return { positions: Array.from({ length }, (_, i) => from + i), draw: { from } };
};

describe("a source of rows", () => {
  it("draws once per step, or once per sample, whose first row is that of the step", () => {
    const perStep = rowSource({ draw })(request);
    const perSample = rowSource({ draw, granularity: "sample" })(request);
    expect([perStep.rows, perStep.numerators.length, perSample.rows, perSample.numerators.length]).toEqual([1, 5, 4, 20]);
    expect(perSample.draws[0]).toEqual(perStep.draws[0]);
    expect(new Set(perSample.draws.map(({ from }) => from)).size).toBe(4);
  });

  it("is a pure function of seed, step and row, whatever was asked before", () => {
    const source = rowSource({ draw, seed: 7, granularity: "sample" });
    const steps = [0, 1, 2].map((step) => source({ ...request, step }));
    expect([2, 1, 0].map((step) => source({ ...request, step })).reverse()).toEqual(steps);
    expect(source({ ...request, batch: 2, step: 1 }).draws).toEqual(steps[1]?.draws.slice(0, 2));
    expect(rowSource({ draw, seed: 8, granularity: "sample" })(request)).not.toEqual(source(request));
  });

  it("gives streams that go on where they were left, and do not depend on each other", () => {
    const values = (reads: (request: RowRequest) => number[]): number[] => {
      let found: number[] = [];
      const source = rowSource({
        draw(row) {
          found = reads(row);
          return { positions: new Int32Array(row.length), draw: {} };
        },
      });
      source(request);
      return found;
    };
    const [first, second, other] = values(({ random }) => [random().word(), random().word(), random(1).word()]);
    expect(new Set([first, second, other]).size).toBe(3);
    expect(values(({ random }) => [random(1).word(), random(0).word(), random().word()])).toEqual([other, first, second]);
  });

  it("passes scales and frequencies on", () => {
    const source = rowSource({ draw: (row) => ({ ...draw(row), scale: 3, frequencies }), granularity: "sample" });
    const { denominators, frequencies: own } = source({ ...request, batch: 2 });
    expect([denominators, own]).toEqual([Int32Array.of(3, 3), [frequencies, frequencies]]);
  });

  it("refuses rows and requests that are none, saying what was expected", () => {
    const rowsOf = (row: object) => () => rowSource({ draw: () => row as DrawnRow })(request);
    expect(rowsOf({ positions: [0, 1, 2], draw: {} })).toThrow(ShapeError);
    expect(rowsOf({ positions: [0, 1, 2], draw: {} })).toThrow(/5 tokens, found 3/);
    for (const wrong of [0.5, 2 ** 31, Number.NaN]) expect(rowsOf({ positions: [0, 1, wrong, 3, 4], draw: {} })).toThrow(OptionError);
    for (const scale of [0, 1.5, -1, 2 ** 31]) expect(rowsOf({ positions: [0, 1, 2, 3, 4], scale, draw: {} })).toThrow(OptionError);
    expect(rowsOf({ positions: [0, 1, 2, 3, 4] })).toThrow(/draw is missing/);
    expect(rowsOf({ draw: {} })).toThrow(/positions is missing/);
    expect(() => rowSource({ draw: () => undefined as never })(request)).toThrow(OptionError);
    for (const change of [{ batch: 0 }, { length: -1 }, { step: 1.5 }])
      expect(() => rowSource({ draw })({ ...request, ...change })).toThrow(OptionError);
    expect(() => rowSource({ draw, seed: -1 })).toThrow(OptionError);
    expect(() => rowSource({ draw, granularity: "token" as never })).toThrow(OptionError);
  });
});

describe("stacked rows", () => {
  it("have one length, and frequencies of their own all or none", () => {
    expect(() => stackRows(2, (row) => plainPositions({ length: 3 + row }))).toThrow(ShapeError);
    const one = plainPositions({ length: 3 });
    expect(() => stackRows(2, (row) => (row === 0 ? one : { ...one, frequencies: [frequencies] }))).toThrow(OptionError);
    expect(stackRows(2, () => ({ ...one, frequencies: [frequencies] })).frequencies).toHaveLength(2);
  });
});
