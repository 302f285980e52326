import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  argsort,
  bincount,
  DtypeError,
  grad,
  histogram,
  median,
  OptionError,
  quantile,
  ShapeError,
  searchsorted,
  sort,
  type Tensor,
  tensor,
  topK,
  unique,
  useBackend,
  zeros,
} from "../../src/index.js";
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

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** −, 0 or +, with NaN above all numbers. */
const compare = (a: number, b: number): number =>
  Number.isNaN(a) || Number.isNaN(b) ? Number(Number.isNaN(a)) - Number(Number.isNaN(b)) : Number(a > b) - Number(a < b);

/** The positions of values in order; of equal ones the earlier first. */
const orderOf = (values: readonly number[], descending = false): number[] =>
  values.map((_, i) => i).sort((i, j) => (descending ? -1 : 1) * compare(values[i] as number, values[j] as number) || i - j);

/** f of each line of an array along an axis. */
function alongEach(
  x: Plain,
  axis: number,
  extent: number,
  f: (line: number[]) => readonly number[],
  dtype: Plain["dtype"] = x.dtype,
): Plain {
  const shape = x.shape.map((n, i) => (i === axis ? extent : n));
  return tabulate(
    shape,
    (...at) => {
      const line = Array.from({ length: x.shape[axis] as number }, (_, i) => element(x, ...at.map((p, other) => (other === axis ? i : p))));
      return f(line)[at[axis] as number] as number;
    },
    dtype,
  );
}

const picked = (line: readonly number[], order: readonly number[]): number[] => order.map((i) => line[i] as number);

function ordering(x: Plain, axis: number, descending: boolean, smooth = true): CompositeCase[] {
  const [at, n] = [axis < 0 ? axis + x.shape.length : axis, x.shape.at(axis) as number];
  return [
    on(
      (t: Tensor) => sort(t, axis, { descending }),
      [x],
      alongEach(x, at, n, (line) => picked(line, orderOf(line, descending))),
      smooth,
    ),
    on(
      (t: Tensor) => argsort(t, axis, { descending }),
      [x],
      alongEach(x, at, n, (line) => orderOf(line, descending), "i32"),
      false,
    ),
  ];
}

/** Numbers of either sign, no two of them equal. */
const apart = (shape: readonly number[], seed: number): Plain => {
  const { data } = mixed(shape, seed);
  return { shape, data: data.map((x, i) => x + i / 1024) };
};
/** Whole numbers from −3 to 3, many of them equal. */
const tied = (shape: readonly number[], seed: number, dtype?: Plain["dtype"]): Plain => {
  const { data } = mixed(shape, seed);
  return { shape, data: data.map((x) => Math.round(x * 0.75)), ...(dtype === undefined ? {} : { dtype }) };
};

function linear(line: readonly number[], q: number): number {
  const inOrder = picked(line, orderOf(line));
  const place = q * (line.length - 1);
  const below = Math.floor(place);
  const part = place - below;
  return part === 0 ? (inOrder[below] as number) : (1 - part) * (inOrder[below] as number) + part * (inOrder[below + 1] as number);
}

const places = (sorted: readonly number[], values: readonly number[], side: "left" | "right"): number[] =>
  values.map((v) => sorted.filter((s) => (side === "left" ? compare(s, v) < 0 : compare(s, v) <= 0)).length);
const searching = (sorted: number[], values: number[], side: "left" | "right"): CompositeCase =>
  on(
    (s: Tensor, v: Tensor) => searchsorted(s, v, { side }),
    [
      { shape: [sorted.length], data: sorted },
      { shape: [values.length], data: values },
    ],
    indices(places(sorted, values, side)),
    false,
  );

const edges = [nan, 1, -inf, -0, inf, nan, 0, 1, -2, inf];

testComposites(
  "sorting",
  {
    sort: [
      // 9 and 33 are filled up to powers of two, whose elements must come last, after NaN and the largest numbers.
      ...[1, 2, 3, 8, 9, 33].flatMap((n, i) => ordering(apart([n], i + 1), 0, i % 2 === 1, n < 10)),
      ...ordering(tied([3, 17], 2), 1, false, false),
      ...ordering(tied([9, 2, 2], 3), 0, true, false),
      ...ordering(apart([2, 5, 2], 4), -2, false),
      ...ordering({ shape: [10], data: edges }, 0, false, false),
      ...ordering({ shape: [10], data: edges }, 0, true, false),
      ...ordering(tied([11], 5, "i32"), 0, true),
      ...ordering({ shape: [3], data: [2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 1], dtype: "i32" }, 0, false),
      ...ordering({ shape: [5], data: [2 ** 32 - 1, 0, 3, 2 ** 31, 2 ** 32 - 1], dtype: "u32" }, 0, true),
      ...ordering({ shape: [5], data: [1, 0, 1, 0, 0], dtype: "bool" }, 0, false),
      ...ordering({ shape: [2, 0], data: [] }, 1, false, false),
      ...ordering({ shape: [0, 3], data: [] }, 1, false, false),
    ],
    topK: [
      on(
        (t: Tensor) => topK(t, 2).values,
        [apart([3, 5], 1)],
        alongEach(apart([3, 5], 1), 1, 2, (line) => picked(line, orderOf(line, true))),
      ),
      on(
        (t: Tensor) => topK(t, 3, 0, { largest: false }).indices,
        [tied([7, 2], 6)],
        alongEach(tied([7, 2], 6), 0, 3, (line) => orderOf(line), "i32"),
        false,
      ),
      on((t: Tensor) => topK(t, 3).indices, [{ shape: [4], data: [1, nan, 3, 3] }], indices([1, 2, 3]), false),
      // Rows of several blocks, the last of which is filled up.
      ...(["f32", "i32"] as const).flatMap((dtype) =>
        [true, false].map((largest) =>
          on(
            (t: Tensor) => topK(t, 3, 1, { largest }).indices,
            [tied([2, 300], 7, dtype)],
            alongEach(tied([2, 300], 7, dtype), 1, 3, (line) => orderOf(line, largest), "i32"),
            false,
          ),
        ),
      ),
      on(
        (t: Tensor) => topK(t, 3).indices,
        [{ shape: [270], data: Array.from({ length: 270 }, (_, i) => (i === 100 ? 0 : -inf)) }],
        indices([100, 0, 1]),
        false,
      ),
      on(
        (t: Tensor) => topK(t, 2, 0, { largest: false }).indices,
        [{ shape: [270], data: Array.from({ length: 270 }, (_, i) => (i === 262 ? inf : nan)) }],
        indices([262, 0]),
        false,
      ),
      on((t: Tensor) => topK(t, 0).values, [counted(2, 3)], { shape: [2, 0], data: [] }, false),
      on((t: Tensor) => topK(t, 3).values, [counted(3)], { shape: [3], data: [3, 2, 1] }),
    ],
    "quantile and median": [
      on((t: Tensor) => median(t, 1), [apart([2, 5], 1)], {
        shape: [2],
        data: alongEach(apart([2, 5], 1), 1, 1, (line) => [linear(line, 0.5)]).data,
      }),
      on((t: Tensor) => median(t), [counted(2, 3)], { shape: [], data: [3.5] }),
      on(
        (t: Tensor) => quantile(t, [0, 0.25, 0.625, 1], 0, true),
        [apart([9, 2], 2)],
        tabulate([4, 1, 2], (q, _, column) =>
          linear(
            Array.from({ length: 9 }, (_, row) => element(apart([9, 2], 2), row, column)),
            [0, 0.25, 0.625, 1][q] as number,
          ),
        ),
      ),
      on((t: Tensor) => quantile(t, 0.5, [0, 2]), [counted(2, 2, 2)], { shape: [2], data: [3.5, 5.5] }),
      on((t: Tensor) => quantile(t, []), [counted(2)], { shape: [0], data: [] }, false),
      on((t: Tensor) => median(t, 1), [{ shape: [2, 3], data: [1, nan, 2, 3, inf, inf] }], { shape: [2], data: [nan, inf] }, false),
      on((t: Tensor) => median(t), [{ shape: [4], data: [-inf, 2, inf, inf] }], { shape: [], data: [inf] }, false),
      // Neither overflows nor leaves the place between the two.
      on((t: Tensor) => median(t), [{ shape: [2], data: [-3e38, 3e38] }], { shape: [], data: [0] }, false),
      on(
        (t: Tensor) => quantile(t, 0.3),
        [{ shape: [2], data: [0.1, 0.1].map(Math.fround) }],
        { shape: [], data: [Math.fround(0.1)] },
        false,
      ),
      on((t: Tensor) => median(t), [indices([4, 1, 2, 3])], { shape: [], data: [2.5], dtype: "f32" }),
    ],
    searching: [
      ...(["left", "right"] as const).flatMap((side) => [
        searching([1, 2, 2, 2, 5, 8, 8], [0, 1, 2, 3, 5, 8, 9], side),
        searching([-inf, -1, 0, inf, nan, nan], [nan, inf, -inf, -0, -5], side),
        searching([3], [2, 3, 4], side),
        searching([], [2], side),
        searching([1, 2], [], side),
      ]),
      on(
        (s: Tensor, v: Tensor) => searchsorted(s, v),
        [counted(2, 4), { shape: [2, 3], data: [0, 2.5, 9, 4, 6, 7] }],
        { ...indices([0, 2, 4, 0, 1, 2]), shape: [2, 3] },
        false,
      ),
      on(
        (s: Tensor, v: Tensor) => searchsorted(s, v),
        [indices([1, 3, 5]), { shape: [2, 2], data: [1, 2, 5, 6], dtype: "i32" }],
        { ...indices([0, 1, 2, 3]), shape: [2, 2] },
        false,
      ),
      on((t: Tensor) => bincount(t, 4), [indices([1, 3, 1, -1, 4, 0])], indices([1, 2, 0, 1])),
      on((t: Tensor, w: Tensor) => bincount(t, 3, w), [indices([1, 2, 1]), counted(3)], { shape: [3], data: [0, 4, 2] }),
      on(
        (t: Tensor) => histogram(t, 4, 0, 2).counts,
        [{ shape: [2, 4], data: [0, 0.5, 0.4, 2, 2.1, -0.1, nan, 1.9] }],
        indices([2, 1, 0, 2]),
        false,
      ),
      on((t: Tensor) => histogram(t, 2, -1, 1).edges, [counted(1)], { shape: [3], data: [-1, 0, 1] }, false),
    ],
  },
  { thin: true },
);

describe("in double precision", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const f64 = (...values: number[]): Tensor => tensor(Float64Array.from(values));

  it("derivatives of equal elements go to the places that they were sorted to", async () => {
    const slopes = grad((x: Tensor) =>
      sort(x)
        .mul(f64(1, 2, 3, 4))
        .sum(),
    )(f64(2, 1, 2, 1));
    expect(await slopes.array()).toEqual([3, 1, 4, 2]);
    expect(await grad((x: Tensor) => median(x))(f64(7, 3, 3, 1)).array()).toEqual([0, 0.5, 0.5, 0]);
    expect(await grad((x: Tensor) => topK(x, 1).values.sum())(f64(3, 3)).array()).toEqual([1, 0]);
  });

  it("the values that occur are found with how often and where", async () => {
    const x = tensor([
      [3, nan, -0],
      [0, 3, nan],
    ]);
    const { values, counts, inverse } = await unique(x, { counts: true, inverse: true });
    expect(await values.array()).toEqual([0, 3, nan]);
    expect(await counts.array()).toEqual([2, 2, 2]);
    expect(await inverse.array()).toEqual([
      [1, 2, 0],
      [0, 1, 2],
    ]);
    expect([values.dtype, counts.dtype, inverse.dtype]).toEqual(["f32", "i32", "i32"]);
    const ofBools = await unique(tensor([true, false, true]));
    expect([ofBools.values.dtype, await ofBools.values.array(), Object.keys(ofBools)]).toEqual(["bool", [false, true], ["values"]]);
    expect((await unique(zeros([0], { dtype: "u32" }), { counts: true })).counts.shape).toEqual([0]);
  });

  it.each(["f16", "bf16", "f32", "f64"] as const)("order of %s", (dtype) => {
    const x = zeros([2, 3], { dtype });
    expect([sort(x), topK(x, 2).values, median(x), quantile(x, [0.5])].map((t) => t.dtype)).toEqual([dtype, dtype, dtype, dtype]);
    expect([argsort(x), topK(x, 2).indices, searchsorted(x, x)].map((t) => t.dtype)).toEqual(["i32", "i32", "i32"]);
  });

  it.each([
    ["an axis that is not there", ShapeError, () => sort(zeros([2]), 1)],
    ["a scalar", ShapeError, () => argsort(zeros([]))],
    ["more than there are", OptionError, () => topK(zeros([2]), 3)],
    ["a share above 1", OptionError, () => quantile(zeros([2]), [0.5, 1.5])],
    ["the middle of none", ShapeError, () => median(zeros([2, 0]), 1)],
    ["rows of values that are not those of what is sorted", ShapeError, () => searchsorted(zeros([2, 3]), zeros([3, 3]))],
    ["a side that is none", OptionError, () => searchsorted(zeros([2]), zeros([2]), { side: "middle" as never })],
    ["floats to count", DtypeError, () => bincount(zeros([2]), 3)],
    ["weights of another shape", ShapeError, () => bincount(zeros([2], { dtype: "i32" }), 3, zeros([3]))],
    ["parts of nothing", OptionError, () => histogram(zeros([2]), 3, 1, 1)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));
});
