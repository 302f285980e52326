import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  all,
  any,
  checkGrads,
  countNonzero,
  cumlogsumexp,
  cummax,
  cummin,
  cumprod,
  cumsum,
  grad,
  norm,
  OptionError,
  prod,
  ShapeError,
  type Tensor,
  tensor,
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
import { transcendental } from "../support/tolerances.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** f of the elements over axes, in plain loops. */
function reduced(x: Plain, axes: readonly number[], f: (values: number[]) => number, dtype?: Plain["dtype"]): Plain {
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const over = axes.map((axis) => x.shape[axis] as number);
  const shape = kept.map((axis) => x.shape[axis] as number);
  return tabulate(
    shape,
    (...at) => {
      const values = tabulate(over, (...inner) =>
        element(x, ...x.shape.map((_, i) => (axes.includes(i) ? (inner[axes.indexOf(i)] as number) : (at[kept.indexOf(i)] as number)))),
      );
      return f([...values.data]);
    },
    dtype,
  );
}

/** f of the elements up to each along an axis. */
const runningOf = (x: Plain, axis: number, f: (values: number[]) => number, dtype?: Plain["dtype"]): Plain =>
  tabulate(
    x.shape,
    (...at) =>
      f(Array.from({ length: (at[axis] as number) + 1 }, (_, i) => element(x, ...at.map((place, other) => (other === axis ? i : place))))),
    dtype,
  );

const of = {
  sum: (values: number[]): number => values.reduce((a, b) => a + b, 0),
  prod: (values: number[]): number => values.reduce((a, b) => a * b, 1),
  max: (values: number[]): number => Math.max(...values),
  min: (values: number[]): number => Math.min(...values),
  count: (values: number[]): number => values.filter((x) => x !== 0).length,
  norm:
    (p: number) =>
    (values: number[]): number =>
      values.reduce((total, x) => total + Math.abs(x) ** p, 0) ** (1 / p),
  logSumExp: (values: number[]): number => {
    const largest = Math.max(...values);
    return Number.isFinite(largest) ? largest + Math.log(of.sum(values.map((x) => Math.exp(x - largest)))) : largest;
  },
};

/** Numbers ±½, ±1 and ±2, whose products are exact. */
const powers = (shape: readonly number[], seed = 1): Plain => {
  const { data } = mixed(shape, seed);
  return { shape, data: data.map((x, i) => (x < 0 ? -1 : 1) * 2 ** ((i % 3) - 1)) };
};
/** Numbers of either sign, none of them 0 and no two of one size. */
const distinct = (shape: readonly number[]): Plain => ({ shape, data: mixed(shape).data.map((x, i) => (x < 0 ? -1 : 1) * (i + 1)) });
const withZeros = (x: Plain, ...places: readonly number[]): Plain => ({ ...x, data: x.data.map((v, i) => (places.includes(i) ? 0 : v)) });
const i32 = (x: Plain): Plain => ({ ...x, data: x.data.map((v) => Math.round(v * 8)), dtype: "i32" });
const bools = (...data: number[]): Plain => ({ shape: [data.length], data, dtype: "bool" });
const roughly = (each: CompositeCase): CompositeCase => ({ ...each, relative: transcendental.relative });

const product = (x: Plain, axes: readonly number[], smooth = true): CompositeCase =>
  on((t: Tensor) => prod(t, axes), [x], reduced(x, axes, of.prod, x.dtype), smooth);
const length = (x: Plain, axes: readonly number[], ord: number, f = of.norm(ord)): CompositeCase =>
  roughly(on((t: Tensor) => norm(t, axes, { ord }), [x], reduced(x, axes, f)));
const run = (
  g: (x: Tensor, axis: number) => Tensor,
  f: (values: number[]) => number,
  x: Plain,
  axis: number,
  smooth = true,
): CompositeCase => on((t: Tensor) => g(t, axis), [x], runningOf(x, axis < 0 ? axis + x.shape.length : axis, f, x.dtype), smooth);

/** Lengths below, at and above the ends of blocks, and blocks of blocks. */
const lengths = [1, 9, 33, 1030];

testComposites(
  "reductions",
  {
    prod: [
      product(powers([2, 3, 4]), [1]),
      product(powers([2, 3, 4]), [0, 2]),
      product(powers([5]), [0]),
      product(powers([1, 1]), [0, 1]),
      // One factor of 0, two, and three.
      product(withZeros(powers([6]), 2), [0]),
      product(withZeros(powers([6]), 2, 5), [0]),
      product(withZeros(powers([7]), 0, 1, 6), [0]),
      product({ shape: [2, 0], data: [] }, [1], false),
      product({ shape: [0, 2], data: [] }, [1], false),
      product({ shape: [], data: [3] }, []),
      product(i32(mixed([5])), [0]),
      on((t: Tensor) => prod(t, 1, true), [powers([2, 9])], { ...reduced(powers([2, 9]), [1], of.prod), shape: [2, 1] }),
      on((t: Tensor) => prod(t), [bools(1, 1, 0)], { shape: [], data: [0], dtype: "i32" }),
      on((t: Tensor) => prod(t), [{ shape: [3], data: [2, nan, 0] }], { shape: [], data: [nan] }, false),
      on((t: Tensor) => prod(t), [{ shape: [2], data: [-inf, 2] }], { shape: [], data: [-inf] }, false),
    ],
    norm: [
      ...[1, 2, 3, 0.5].map((p) => length(distinct([2, 3, 2]), [0, 2], p)),
      length(distinct([2, 5]), [1], inf, (values) => of.max(values.map(Math.abs))),
      length(distinct([2, 5]), [1], -inf, (values) => of.min(values.map(Math.abs))),
      length(withZeros(distinct([5]), 1), [0], 4),
      // The squares of these are no f32.
      { ...length({ shape: [3], data: [1e30, -2e30, 2e30] }, [0], 2, () => 3e30), smooth: false },
      { ...length({ shape: [2], data: [3e-30, 4e-30] }, [0], 2, () => 5e-30), smooth: false },
      { ...length({ shape: [2], data: [-inf, 4] }, [0], 2), smooth: false },
      { ...length({ shape: [2], data: [nan, 4] }, [0], 3), smooth: false },
      { ...length({ shape: [2], data: [0, 0] }, [0], 2), smooth: false },
      ...[1, 2, 3].map((p) => ({ ...length({ shape: [2, 0], data: [] }, [1], p), smooth: false })),
      on((t: Tensor) => norm(t, undefined, { ord: 0 }), [{ shape: [2, 2], data: [1, 0, nan, -3] }], { shape: [], data: [3] }, false),
      roughly(on((t: Tensor) => norm(t, -1, { keepDims: true }), [counted(2, 2)], { shape: [2, 1], data: [Math.sqrt(5), 5] })),
      roughly(on((t: Tensor) => norm(t), [indices([3, -4])], { shape: [], data: [5], dtype: "f32" })),
    ],
    "any, all and countNonzero": [
      on((t: Tensor) => any(t, 1), [withZeros(counted(2, 3), 3, 4, 5)], { shape: [2], data: [1, 0], dtype: "bool" }, false),
      on((t: Tensor) => all(t, 1), [withZeros(counted(2, 3), 3)], { shape: [2], data: [1, 0], dtype: "bool" }, false),
      on((t: Tensor) => countNonzero(t, 0), [withZeros(counted(2, 3), 3)], { shape: [3], data: [1, 2, 2], dtype: "i32" }, false),
      on((t: Tensor) => any(t, 0, true), [bools(0, 0)], { shape: [1], data: [0], dtype: "bool" }, false),
      on((t: Tensor) => all(t), [bools(1, 1)], { shape: [], data: [1], dtype: "bool" }, false),
      on((t: Tensor) => all(t), [{ shape: [2], data: [nan, -1] }], { shape: [], data: [1], dtype: "bool" }, false),
      on((t: Tensor) => any(t, 1), [{ shape: [2, 0], data: [] }], { shape: [2], data: [0, 0], dtype: "bool" }, false),
      on((t: Tensor) => all(t, 1), [{ shape: [2, 0], data: [] }], { shape: [2], data: [1, 1], dtype: "bool" }, false),
    ],
    cumsum: [
      ...lengths.map((n) => run(cumsum, of.sum, mixed([n]), 0, n < 20 || n === 33)),
      run(cumsum, of.sum, mixed([2, 3, 4]), 1),
      run(cumsum, of.sum, mixed([40, 2]), -2),
      run(cumsum, of.sum, i32(mixed([40])), -1),
      run(cumsum, of.sum, { shape: [3, 0], data: [] }, 1, false),
      run(cumsum, of.sum, { shape: [0, 3], data: [] }, 1, false),
      // What comes later has no influence.
      run(cumsum, of.sum, { shape: [6], data: [1, -2, inf, 3, -inf, nan] }, 0, false),
      on((t: Tensor) => cumsum(t), [bools(1, 0, 1)], { shape: [3], data: [1, 1, 2], dtype: "i32" }),
      on((t: Tensor) => cumsum(t, -1, { reverse: true }), [counted(2, 3)], { shape: [2, 3], data: [6, 5, 3, 15, 11, 6] }),
    ],
    cumprod: [
      ...lengths.map((n) => run(cumprod, of.prod, powers([n]), 0, n < 20)),
      run(cumprod, of.prod, powers([2, 3, 4]), 1),
      run(cumprod, of.prod, withZeros(powers([11]), 2), 0),
      run(cumprod, of.prod, withZeros(powers([11]), 2, 9), 0),
      run(cumprod, of.prod, i32(mixed([4])), 0),
      run(cumprod, of.prod, { shape: [3], data: [2, nan, 0] }, 0, false),
      run(cumprod, of.prod, { shape: [0], data: [] }, 0, false),
      on((t: Tensor) => cumprod(t, 0, { reverse: true }), [counted(3)], { shape: [3], data: [6, 6, 3] }),
    ],
    "cummax and cummin": [
      ...[1, 33].flatMap((n) => [run(cummax, of.max, mixed([n]), 0, n < 20), run(cummin, of.min, mixed([n]), 0, n === 33)]),
      run(cummax, of.max, mixed([2, 3, 4]), 1),
      run(cummin, of.min, mixed([40, 2]), -2),
      run(cummax, of.max, i32(mixed([40])), 0),
      run(cummin, of.min, { shape: [3], data: [7, 2 ** 32 - 1, 3], dtype: "u32" }, 0),
      run(cummax, of.max, { shape: [5], data: [-inf, -1, nan, 3, inf] }, 0, false),
      run(cummin, of.min, { shape: [4], data: [inf, 1, -inf, nan] }, 0, false),
      run(cummax, of.max, { shape: [2, 0], data: [] }, 1, false),
    ],
    cumlogsumexp: [
      ...lengths.map((n) =>
        roughly(run(cumlogsumexp, of.logSumExp, { shape: [n], data: mixed([n]).data.map((x) => x + 9) }, 0, n < 20 || n === 33)),
      ),
      roughly(run(cumlogsumexp, of.logSumExp, counted(2, 3, 2), 1)),
      roughly(run(cumlogsumexp, of.logSumExp, { shape: [4], data: [1000, 1001, -1000, 1002] }, 0, false)),
      roughly(run(cumlogsumexp, of.logSumExp, { shape: [5], data: [-inf, -inf, 1, inf, 2] }, 0, false)),
      roughly(on((t: Tensor) => cumlogsumexp(t), [indices([2, 2])], { shape: [2], data: [2, 2 + Math.LN2], dtype: "f32" })),
    ],
  },
  { thin: true },
);

describe("in double precision", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const f64 = (...values: number[]): Tensor => tensor(Float64Array.from(values));
  const slopes = async (f: (x: Tensor) => Tensor, x: Tensor): Promise<unknown> => grad((at: Tensor) => f(at).sum())(x).array();

  it("the second derivative of a product with two factors of 0 is the product of the others", async () => {
    const x = f64(2, 0, 3, 0, 5);
    await checkGrads((at: Tensor) => prod(at), [x], { order: 3 });
    const mixedSlope = await grad((at: Tensor) =>
      grad((a: Tensor) => prod(a))(at)
        .slice([[1, 2]])
        .sum(),
    )(x).array();
    expect(mixedSlope).toEqual([0, 0, 0, 30, 0]);
  });

  it("norms have the derivative 0 at 0, and so have those of it", async () => {
    for (const ord of [1, 2, 3, 0.5, inf, 0]) {
      expect(await slopes((x) => norm(x, undefined, { ord }), f64(0, 0)), String(ord)).toEqual([0, 0]);
    }
    const second = grad((at: Tensor) => grad((x: Tensor) => norm(x))(at).sum())(f64(0, 0));
    expect(await second.array()).toEqual([0, 0]);
    expect(await slopes((x) => norm(x, undefined, { ord: inf }), f64(2, -2, 1))).toEqual([0.5, -0.5, 0]);
    expect(await slopes((x) => norm(x, undefined, { ord: 3 }), f64(0, 2))).toEqual([0, 1]);
  });

  it("the last of equal elements has the derivative of a running extreme, one for each element from there on", async () => {
    expect(await slopes((x) => cummax(x), f64(1, 1, 0, 2, 2))).toEqual([1, 2, 0, 1, 1]);
    expect(await slopes((x) => cummin(x), f64(1, 1, 2, 0))).toEqual([1, 2, 0, 1]);
    expect(await slopes((x) => cummax(x, 0, { reverse: true }), f64(1, 2, 2))).toEqual([0, 2, 1]);
  });

  it("running sums of exponentials pass derivatives to what is −∞ only where nothing else is there", async () => {
    expect(await slopes((x) => cumlogsumexp(x), f64(-inf, -inf, 0, 0))).toEqual([1.5, 0.5, 1.5, 0.5]);
  });

  it.each(["f16", "bf16", "f32", "f64"] as const)("results of %s are %s", (dtype) => {
    const x = zeros([2, 3], { dtype });
    for (const f of [prod, norm, cumsum, cumprod, cummax, cummin, cumlogsumexp]) expect(f(x).dtype).toBe(dtype);
  });

  it.each([
    ["an axis that is not there", ShapeError, () => prod(zeros([2]), 1)],
    ["an axis twice", ShapeError, () => norm(zeros([2, 2]), [0, -2])],
    ["the largest of none", ShapeError, () => norm(zeros([2, 0]), 1, { ord: inf })],
    ["a negative order", OptionError, () => norm(zeros([2]), 0, { ord: -1 })],
    ["an order that is no number", OptionError, () => norm(zeros([2]), 0, { ord: nan })],
    ["a running sum of a scalar", ShapeError, () => cumsum(zeros([]))],
    ["a running sum along two axes", OptionError, () => cumsum(zeros([2, 2]), [0, 1] as never)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));
});
