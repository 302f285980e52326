import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  compile,
  DtypeError,
  maskedFill,
  OptionError,
  oneHot,
  putAlongAxis,
  ShapeError,
  scatter,
  scatterAdd,
  setAt,
  type Tensor,
  takeAlongAxis,
  tensor,
  useBackend,
  zeros,
} from "../../src/index.js";
import {
  type CompositeCase,
  coordinatesOf,
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

/** x with values at places, one after another, so that the last one stands. */
function written(x: Plain, puts: readonly (readonly [at: readonly number[], value: number])[]): Plain {
  const result = { ...x, data: [...x.data] };
  for (const [at, value] of puts) {
    const place = x.shape.reduce((sum, extent, axis) => sum * extent + (at[axis] as number), 0);
    if (at.every((p, axis) => p >= 0 && p < (x.shape[axis] as number))) result.data[place] = value;
  }
  return result;
}

const repeated = (plain: Plain, shape: readonly number[]): Plain =>
  tabulate(shape, (...at) =>
    element(plain, ...plain.shape.map((extent, i) => (extent === 1 ? 0 : (at[i + at.length - plain.shape.length] as number)))),
  );

function put(x: Plain, index: Plain, values: Plain, axis: number, smooth = true): CompositeCase {
  const shape = x.shape.map((extent, i) => (i === axis ? (index.shape[i] as number) : extent));
  const [all, given] = [repeated(index, shape), repeated(values, shape)];
  const puts = coordinatesOf(shape).map((at) => [at.map((p, i) => (i === axis ? element(all, ...at) : p)), element(given, ...at)] as const);
  return on((t: Tensor, at: Tensor, v: Tensor) => putAlongAxis(t, at, v, axis), [x, index, values], written(x, puts), smooth);
}

/** Rows in the places that an index names along an axis. */
function scattered(x: Plain, index: Plain, values: Plain, axis: number): CompositeCase {
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)];
  const shape = [...before, ...index.shape, ...after];
  const given = repeated(values, shape);
  const puts = coordinatesOf(shape).map((at) => {
    const named = element(index, ...at.slice(axis, axis + index.shape.length));
    return [[...at.slice(0, axis), named, ...at.slice(axis + index.shape.length)], element(given, ...at)] as const;
  });
  return on((t: Tensor, at: Tensor, v: Tensor) => scatter(t, at, v, axis), [x, index, values], written(x, puts));
}

/** Sums into bins along an axis, element by element. */
function summed(x: Plain, index: Plain, size: number, axis: number, smooth = true): CompositeCase {
  const from = axis < 0 ? axis + x.shape.length : axis;
  const [before, after] = [x.shape.slice(0, from), x.shape.slice(from + index.shape.length)];
  const sums = new Map<string, number>();
  for (const at of coordinatesOf(x.shape)) {
    const bin = element(index, ...at.slice(from, from + index.shape.length));
    const place = [...at.slice(0, from), bin, ...at.slice(from + index.shape.length)].join();
    sums.set(place, (sums.get(place) ?? 0) + element(x, ...at));
  }
  const expected = tabulate([...before, size, ...after], (...at) => sums.get(at.join()) ?? 0);
  return on((t: Tensor, at: Tensor) => scatterAdd(t, at, size, axis), [x, index], expected, smooth);
}

const x = mixed([3, 4]);

testComposites(
  "indexing",
  {
    putAlongAxis: [
      put(x, indices([0, 3, 3, 1, 2, 0], [3, 2]), mixed([3, 2], 2), 1),
      // Of several for one place the last stands.
      put(x, indices([2, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 3], [3, 4]), mixed([3, 4], 2), 1),
      put(x, indices([1, 1, 1, 0, 0, 1, 2, 2], [2, 4]), mixed([4], 2), 0, false),
      put(counted(9), indices([...Array(21).keys()].map((i) => (i * i) % 7)), counted(21), 0, false),
      put(counted(2, 3), indices([-1, 3, 0, 2], [2, 2]), counted(2, 2), 1),
      put(counted(2, 3), indices([7, 0], [2, 1], "u32"), counted(), 1, false),
      put(counted(2, 3), indices([], [2, 0]), counted(2, 0), 1, false),
      put(counted(2, 0), indices([0, 0], [2, 1]), counted(2, 1), 1, false),
    ],
    scatterAdd: [
      summed(x, indices([1, 0, 1]), 2, 0),
      summed(x, indices([1, 0, 1, 4, -1].slice(0, 4)), 3, -1),
      summed(mixed([2, 3, 2]), indices([2, 0, 2], [3], "u32"), 3, 1),
      summed(mixed([2, 3, 2, 2]), indices([0, 1, 1, 0, 2, 5], [3, 2]), 3, 1),
      summed(mixed([2, 3]), indices([4], []), 5, 2 - 1, false),
      summed(counted(2, 0), indices([], [0]), 3, 1, false),
      summed(counted(2, 3), indices([0, 0, 0]), 0, 1, false),
    ],
    scatter: [
      scattered(x, indices([2, 0]), mixed([2, 4], 2), 0),
      scattered(x, indices([2, 0, 2, 2, 0, 1], [2, 3]), mixed([2, 3, 4], 2), 0),
      scattered(x, indices([3, 1, -1, 4, 3]), mixed([3, 5], 2), 1),
      scattered(x, indices([1], []), mixed([4], 2), 0),
      scattered(mixed([2, 3, 2]), indices([1, 1], [2], "u32"), mixed([1], 2), 1),
    ],
    maskedFill: [
      on((t: Tensor) => maskedFill(t, t.greater(0.01), -1), [x], { ...x, data: x.data.map((v) => (v > 0.01 ? -1 : v)) }),
      on(
        (t: Tensor, v: Tensor) => t.maskedFill(tensor([true, false, false, true]), v),
        [x, mixed([3, 1], 2)],
        tabulate([3, 4], (i, j) => (j % 3 === 0 ? element(mixed([3, 1], 2), i, 0) : element(x, i, j))),
      ),
      on((t: Tensor) => t.maskedFill(t.less(3), 9), [{ ...counted(4), dtype: "i32" }], { shape: [4], data: [9, 9, 3, 4], dtype: "i32" }),
    ],
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
  },
  { thin: true, linear: true },
);

describe("indexing", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const x = zeros([2, 3]);
  const i32 = (...data: number[]): Tensor => tensor(data, { dtype: "i32" });

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
    ["placing where x would have to be repeated", ShapeError, () => putAlongAxis(zeros([1, 3]), zeros([2, 1], { dtype: "i32" }), 1)],
    ["an index that is not in x from an axis on", ShapeError, () => scatterAdd(zeros([2, 3]), i32(0, 1), 2, 1)],
    ["bins along an axis that is not there", ShapeError, () => scatterAdd(zeros([2, 3]), i32(0, 1), 2, 2)],
    ["placing values that do not broadcast", ShapeError, () => scatter(x, i32(0, 1), zeros([3]).reshape([3, 1]))],
    ["placing values of more axes", ShapeError, () => scatter(x, i32(0), zeros([1, 1, 3]))],
    ["placing fractions among integers", DtypeError, () => scatter(x.cast("i32"), i32(0), 0.5)],
    ["placing by floats", DtypeError, () => scatter(x, zeros([1]), 0)],
    ["a mask of numbers", DtypeError, () => maskedFill(x, x, 0)],
    ["a mask larger than x", ShapeError, () => maskedFill(x, zeros([2, 2, 3]).equal(0), 0)],
    ["a value larger than x", ShapeError, () => maskedFill(x, x.equal(0), zeros([2, 2, 3]))],
    ["more indices than axes", ShapeError, () => x.at(0, 0, 0)],
    ["an index beyond the end", ShapeError, () => x.at(2)],
    ["an index before the beginning", ShapeError, () => x.at(0, -4)],
    ["an index into nothing", ShapeError, () => zeros([0]).at(0)],
    ["a range beyond the end", ShapeError, () => x.at([0, 3])],
    ["two ellipses", ShapeError, () => x.at("...", "...")],
    ["indices that do not broadcast", ShapeError, () => x.at(i32(0, 1), i32(0, 1, 2))],
    ["a mask for an index", DtypeError, () => x.at(x.greater(0))],
    ["an index of fractions", OptionError, () => x.at(0.5)],
    ["other words", OptionError, () => x.at(":" as "...")],
    ["values for other places", ShapeError, () => setAt(x, [0], zeros([2, 3]))],
    ["classes of floats", DtypeError, () => oneHot(x, 3)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));

  it("takes a number of a compiled function as the number that it is, from the end where it is negative", async () => {
    const rows = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    let traces = 0;
    const f = compile((t: Tensor, n: Tensor) => {
      traces++;
      return t.at([], n);
    });
    const found: unknown[] = [];
    for (const n of [0, 2, -1, -3, 3]) found.push(await f(rows, n).array());
    expect(found).toEqual([
      [1, 4],
      [3, 6],
      [3, 6],
      [1, 4],
      [nan, nan],
    ]);
    expect(traces).toBe(1);
    expect(() => f(rows, 0.5)).toThrow(DtypeError);
  });

  it("sets what it takes", async () => {
    const rows = zeros([2, 3]);
    expect(await rows.setAt([[], [null, null, -1]], tensor([1, 2, 3])).array()).toEqual([
      [3, 2, 1],
      [3, 2, 1],
    ]);
    expect(await rows.setAt([1, i32(2, 0, 2, 5)], tensor([1, 2, 3, 4])).array()).toEqual([
      [0, 0, 0],
      [2, 0, 3],
    ]);
    expect(await rows.setAt(["...", -1], 7).array()).toEqual([
      [0, 0, 7],
      [0, 0, 7],
    ]);
  });
});
