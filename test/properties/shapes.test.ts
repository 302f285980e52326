import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { arange, concat, ShapeError, split, type Tensor, tensor, useBackend } from "../../src/index.js";
import { broadcastPairs, smallShapes } from "../support/arbitraries.js";
import { numbersOf } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { coordinates, positionOf } from "../support/views.js";

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, extent) => n * extent, 1);
/** 0, 1, 2, … so that every element says where it was. */
const counting = (shape: readonly number[]): Tensor => arange(sizeOf(shape)).reshape(shape);
const same = async (found: Tensor, expected: Tensor): Promise<void> => {
  expect(found.shape).toEqual(expected.shape);
  expect(await numbersOf(found)).toEqual(await numbersOf(expected));
};

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("broadcasting", () => {
  law(
    "broadcasting is NumPy’s",
    "Two shapes are aligned at their last axes, and an extent of 1 is repeated; every result element comes from the pair of elements that the rule names.",
    async () => {
      const holds = fc.asyncProperty(broadcastPairs, async ({ a, b }) => {
        const rank = Math.max(a.length, b.length);
        const [wideA, wideB] = [a, b].map((s) => [...new Array<number>(rank - s.length).fill(1), ...s]) as [number[], number[]];
        const shape = wideA.map((extent, i) => (extent === 1 ? (wideB[i] as number) : extent));
        const found = counting(a).mul(1000).add(counting(b));
        expect(found.shape).toEqual(shape);
        const at = (wide: number[], c: readonly number[]): number =>
          positionOf(
            wide,
            c.map((i, axis) => (wide[axis] === 1 ? 0 : i)),
          );
        expect(await numbersOf(found)).toEqual([...coordinates(shape)].map((c) => at(wideA, c) * 1000 + at(wideB, c)));
      });
      await fc.assert(holds, { seed: fuzzSeed(1), numRuns: 100 });
    },
  );

  it("is refused at once where two extents differ and neither is 1", () => {
    const differing = fc.tuple(fc.integer({ min: 2, max: 5 }), fc.integer({ min: 2, max: 5 })).filter(([m, n]) => m !== n);
    fc.assert(
      fc.property(differing, fc.nat(2), ([m, n], tail) => {
        const ones = new Array<number>(tail).fill(1);
        expect(() => counting([m, ...ones]).add(counting([n, ...ones]))).toThrow(ShapeError);
      }),
    );
  });
});

describe("round trips give back every element:", () => {
  const shapesWithSeed = fc.record({ shape: smallShapes, a: fc.nat(1000), b: fc.nat(1000) });
  const holdsFor = (back: (x: Tensor, a: number, b: number) => Tensor): Promise<void> =>
    fc.assert(
      fc.asyncProperty(shapesWithSeed, async ({ shape, a, b }) => {
        const x = counting(shape);
        await same(back(x, a, b), x);
      }),
      { seed: fuzzSeed(2), numRuns: 50 },
    );

  it("reshape", () => holdsFor((x) => x.reshape([1, x.size]).reshape(x.shape)));
  it("permute and its inverse", () =>
    holdsFor((x, a) => {
      const order = x.shape.map((_, i) => i);
      order.sort((i, j) => ((i * 7 + a) % 5) - ((j * 7 + a) % 5));
      return x.permute(order).permute(order.map((_, i) => order.indexOf(i)));
    }));
  it("flip twice", () => holdsFor((x) => x.flip().flip()));
  it("pad and slice", () =>
    holdsFor((x, a, b) =>
      x
        .pad(
          x.shape.map(() => [a % 3, b % 3]),
          7,
        )
        .slice(x.shape.map((extent) => [a % 3, (a % 3) + extent])),
    ));
  it("split and concat", () =>
    holdsFor((x, a, b) => {
      if (x.rank === 0) return x;
      const axis = a % x.rank;
      const extent = x.shape[axis] as number;
      const cut = b % (extent + 1);
      return concat(split(x, [cut, extent - cut], axis), axis);
    }));
  it("unsqueeze and squeeze", () => holdsFor((x, a) => x.unsqueeze(a % (x.rank + 1)).squeeze(a % (x.rank + 1))));
  it("every other element and the rest, put together", () =>
    holdsFor((x) => {
      if (x.rank === 0 || (x.shape[0] as number) % 2 === 1) return x;
      const [even, odd] = [x.slice([[0, null, 2]]), x.slice([[Math.min(1, x.shape[0] as number), null, 2]])];
      return concat([even.unsqueeze(1), odd.unsqueeze(1)], 1).reshape(x.shape);
    }));

  it("nested arrays", async () => {
    const holds = fc.asyncProperty(
      smallShapes.filter((shape) => !shape.includes(0)),
      async (shape) => {
        const x = counting(shape);
        await same(tensor(await x.array(), { dtype: "i32" }), x);
      },
    );
    await fc.assert(holds, { seed: fuzzSeed(30), numRuns: 30 });
  });
});

describe("reductions", () => {
  law("reductions nest", "Reducing some axes and then the others is reducing all of them: Σᵢ Σⱼ = Σᵢⱼ.", async () => {
    const holds = fc.asyncProperty(smallShapes, fc.nat(15), async (shape, mask) => {
      const x = counting(shape);
      const some = shape.flatMap((_, i) => ((mask >> i) & 1 ? [i] : []));
      await same(x.sum(some).sum(), x.sum());
      const ordered = [...(await numbersOf(x))];
      expect(await x.sum().item()).toBe(ordered.reduce((a, b) => a + b, 0));
      if (!shape.includes(0)) await same(x.max(some).max(), x.max());
      if (!shape.includes(0)) await same(x.min(some, true).min(), x.min());
    });
    await fc.assert(holds, { seed: fuzzSeed(3), numRuns: 50 });
  });
});
