import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { DtypeError, oneHot, ShapeError, type Tensor, takeAlongAxis, tensor, useBackend, zeros } from "../../src/index.js";
import {
  type CompositeCase,
  counted,
  element,
  indices,
  mixed,
  on,
  type Plain,
  tabulate,
  testComposites,
} from "../support/composite-cases.js";

const nan = Number.NaN;

/** y[…, i, …] = x[…, index[…, i, …], …] in plain loops, where extents of 1 are repeated. */
function taken(x: Plain, index: Plain, axis: number, missing = nan): Plain {
  const shape = x.shape.map((extent, i) => (i === axis ? (index.shape[i] as number) : extent === 1 ? (index.shape[i] as number) : extent));
  return tabulate(shape, (...at) => {
    const within = (plain: Plain, ...places: number[]): number => element(plain, ...places.map((p, i) => (plain.shape[i] === 1 ? 0 : p)));
    const picked = within(index, ...at);
    if (picked < 0 || picked >= (x.shape[axis] as number)) return missing;
    return within(x, ...at.map((p, i) => (i === axis ? picked : p)));
  });
}

const along = (x: Plain, index: Plain, axis: number, smooth = true): CompositeCase =>
  on((t: Tensor, at: Tensor) => takeAlongAxis(t, at, axis), [x, index], taken(x, index, axis < 0 ? axis + x.shape.length : axis), smooth);

testComposites("indexing", {
  takeAlongAxis: [
    along(mixed([3, 4]), indices([0, 0, 3, 1, 2, 2], [3, 2]), -1),
    along(mixed([3, 4]), indices([2, 0, 1, 2], [1, 4], "u32"), 0),
    along(mixed([2, 3, 2]), indices([2, 0, 1, 1, 0, 0, 2, 2], [2, 2, 2]), 1),
    // Extents of 1 are repeated, on either side.
    along(mixed([3, 4]), indices([0, 3], [1, 2]), 1),
    along(mixed([1, 4]), indices([0, 3, 2, 1, 1, 0], [3, 2]), 1),
    // What is not there.
    along(counted(2, 3), indices([-1, 3, 0, 2], [2, 2]), 1, false),
    along(counted(2, 3), indices([7, 0, 4294967295, 2], [2, 2], "u32"), 1, false),
    // Extents 0 and 1.
    along(counted(1), indices([0, 0]), 0),
    along(counted(2, 3), indices([], [2, 0]), 1, false),
    along(counted(2, 0), indices([], [2, 0]), 1, false),
    along(counted(2, 0), indices([0, 1], [2, 1]), 1, false),
  ],
  oneHot: [
    on((at: Tensor) => oneHot(at, 3), [indices([1, 3, -1, 0])], {
      shape: [4, 3],
      data: [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
      dtype: "f32",
    }),
  ],
});

describe("indexing", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const x = zeros([2, 3]);

  it("of integers and bool that are not there is 0", async () => {
    const index = tensor([[0, 5]], { dtype: "i32" });
    expect(await takeAlongAxis(tensor([[7, 8]], { dtype: "i32" }), index).array()).toEqual([[7, 0]]);
    expect(await takeAlongAxis(tensor([[true, true]]), index).array()).toEqual([[true, false]]);
  });

  it.each([
    ["an index of another rank", ShapeError, () => takeAlongAxis(x, tensor([0], { dtype: "i32" }))],
    ["an index that does not broadcast", ShapeError, () => takeAlongAxis(x, zeros([3, 1], { dtype: "i32" }))],
    ["an axis that is not there", ShapeError, () => takeAlongAxis(x, zeros([2, 1], { dtype: "i32" }), 2)],
    ["an index of floats", DtypeError, () => takeAlongAxis(x, zeros([2, 1]))],
    ["classes of floats", DtypeError, () => oneHot(x, 3)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));
});
