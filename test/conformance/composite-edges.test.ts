import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  attention,
  type Backend,
  clip,
  compile,
  concat,
  crossEntropy,
  cumlogsumexp,
  type DType,
  DtypeError,
  full,
  gather,
  grad,
  linspace,
  logAddExp,
  logSoftmax,
  logSumExp,
  maximum,
  minimum,
  OptionError,
  oneHot,
  pow,
  relu,
  ShapeError,
  scatterAdd,
  sigmoid,
  silu,
  softmax,
  split,
  type Tensor,
  takeAlongAxis,
  tensor,
  useBackend,
  variance,
  vmap,
  zeros,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { floats, numbersOf } from "../support/floats.js";
import { transcendental } from "../support/tolerances.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const derivative =
  (f: (x: Tensor) => Tensor) =>
  (x: Tensor): Tensor =>
    grad((at: Tensor) => f(at).sum())(x);
const i32 = (...values: number[]): Tensor => tensor(Int32Array.from(values));
/** The numbers of a tensor, with 0 for −0. */
const plain = async (t: Tensor): Promise<number[]> => (await numbersOf(t)).map((value) => value + 0);

/** σ, σ′, σ″ and those of x·σ(x), in f64. */
const logistic = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const slope = (x: number): number => logistic(x) * logistic(-x);
const curves = {
  sigmoid: { f: sigmoid, order: 0, value: logistic, scale: logistic },
  "sigmoid′": { f: sigmoid, order: 1, value: slope, scale: slope },
  "sigmoid″": { f: sigmoid, order: 2, value: (x: number) => slope(x) * (logistic(-x) - logistic(x)), scale: slope },
  silu: { f: silu, order: 0, value: (x: number) => x * logistic(x), scale: (x: number) => Math.abs(x) * logistic(x) },
  "silu′": { f: silu, order: 1, value: (x: number) => logistic(x) + x * slope(x), scale: (x: number) => (1 + Math.abs(x)) * logistic(x) },
  "silu″": {
    f: silu,
    order: 2,
    value: (x: number) => slope(x) * (2 + x * (logistic(-x) - logistic(x))),
    scale: (x: number) => (2 + Math.abs(x)) * slope(x),
  },
};

describe.each(backends())("composites at their edges on $name:", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => backend.close());

  it("sigmoid and silu keep their digits far below 0, and so do two derivatives", { timeout: 60_000 }, async () => {
    const xs = Array.from({ length: 216 }, (_, i) => (i - 172) / 2); // −86 … 21.5
    for (const [name, { f, order, value, scale }] of Object.entries(curves)) {
      let g: (x: Tensor) => Tensor = f;
      for (let i = 0; i < order; i++) g = derivative(g);
      const found = await numbersOf(g(tensor(xs)));
      for (const [i, x] of xs.entries()) {
        const error = Math.abs((found[i] as number) - value(x));
        expect(error, `${name}(${x}) = ${found[i]}, not ${value(x)}`).toBeLessThanOrEqual(transcendental.relative * scale(x) + 1e-38);
      }
    }
    const far = await numbersOf(sigmoid(tensor([-inf, -1000, -100, 100, inf, nan])));
    expect(far.slice(0, 2)).toEqual([0, 0]);
    expect(Math.abs((far[2] as number) - 3.72e-44)).toBeLessThan(1e-43);
    expect(far.slice(3)).toEqual([1, 1, nan]);
    for (const f of [sigmoid, silu]) expect((await numbersOf(derivative(f)(tensor([-1000, 1000])))).every(Number.isFinite)).toBe(true);
    expect(await numbersOf(sigmoid(tensor([0, 1], { dtype: "u32" })))).toEqual([0.5, expect.closeTo(logistic(1), 5)]);
  });

  it("relu, clip, maximum and minimum have the derivatives of PyTorch where they bend", async () => {
    const x = tensor([-2, -1, -0, 0, 1, 2]);
    expect(await plain(relu(tensor([-1, -0, 0, 3, inf, -inf, nan])))).toEqual([0, 0, 0, 3, inf, 0, nan]);
    expect(await plain(derivative(relu)(x))).toEqual([0, 0, 0, 0, 1, 1]);
    expect(await plain(clip(tensor([-2, 0, 2, nan, inf]), -1, 1))).toEqual([-1, 0, 1, nan, 1]);
    expect(await plain(derivative((at) => clip(at, -1, 1))(x))).toEqual([0, 0, 1, 1, 0, 0]);
    expect(await plain(derivative((at) => clip(at, tensor(-1), tensor(1)))(x))).toEqual([0, 0.5, 1, 1, 0.5, 0]);
    expect(await plain(derivative((at) => clip(at, tensor(1), tensor(1)))(x))).toEqual([0, 0, 0, 0, 1, 0]);
    expect(await plain(clip(x, 1, -1))).toEqual([-1, -1, -1, -1, -1, -1]);
    expect(await plain(clip(x, tensor(1), tensor(-1)))).toEqual([-1, -1, -1, -1, -1, -1]);
    expect(await plain(clip(tensor([-1, 1]), tensor([nan, 0]), tensor([2, nan])))).toEqual([nan, nan]);
    expect(await plain(derivative((at) => maximum(at, 0))(x))).toEqual([0, 0, 0.5, 0.5, 1, 1]);
    expect(await plain(derivative((at) => minimum(0, at))(x))).toEqual([1, 1, 0.5, 0.5, 0, 0]);
  });

  it("sums of exponentials take infinities for what they are", async () => {
    const rows = tensor([
      [-inf, -inf],
      [-inf, 0],
      [inf, 0],
      [inf, -inf],
      [nan, 0],
      [-3e38, -3e38],
      [3e38, 0],
    ]);
    const found = await numbersOf(logSumExp(rows, 1));
    expect(found.slice(0, 5)).toEqual([-inf, 0, inf, inf, nan]);
    expect(found.slice(5).map((x) => x / 3e38)).toEqual([expect.closeTo(-1, 5), expect.closeTo(1, 5)]);
    const open = tensor([-inf, 1, -inf, 1]);
    for (const [f, expected] of [
      [(x: Tensor) => softmax(x), [0, 0.5, 0, 0.5]],
      [(x: Tensor) => logSoftmax(x).exp(), [0, 0.5, 0, 0.5]],
      [derivative((x) => logSumExp(x)), [0, 0.5, 0, 0.5]],
      [derivative((x) => logSoftmax(x).slice([[1, 2]])), [0, 0.5, 0, -0.5]],
      [derivative(derivative((x) => logSumExp(x).mul(3))), [0, 0, 0, 0]],
    ] as const) {
      expect(await plain(f(open))).toEqual(expected.map((value) => expect.closeTo(value, 5)));
    }
    expect(await numbersOf(softmax(full([2], -inf)))).toEqual([nan, nan]);
  });

  it("derivatives of sums of exponentials are their limits where elements are infinite: the largest share 1", async () => {
    const rows = tensor([
      [inf, 0, 1],
      [inf, inf, -inf],
      [-inf, -inf, -inf],
      [-inf, 2, 2],
    ]);
    const wanted = [
      [1, 0, 0],
      [0.5, 0.5, 0],
      [1 / 3, 1 / 3, 1 / 3],
      [0, 0.5, 0.5],
    ];
    const close = (all: number[][]): unknown[][] => all.map((row) => row.map((value) => expect.closeTo(value, 6)));
    const none = wanted.map((row) => row.map(() => 0));
    const first = derivative((x) => logSumExp(x, 1));
    expect(await first(rows).array()).toEqual(close(wanted));
    // p·(w − Σ p·w) for a cotangent w.
    const w = [3, 1, 2];
    const turned = wanted.map((p) => p.map((x, i) => x * ((w[i] as number) - p.reduce((sum, q, j) => sum + q * (w[j] as number), 0))));
    expect(await derivative((x) => first(x).mul(tensor(w)))(rows).array()).toEqual(close(turned));
    expect(
      await compile(derivative((x) => logSumExp(x, 0)))(rows.transpose())
        .transpose()
        .array(),
    ).toEqual(close(wanted));
    expect(await vmap(derivative((x) => logSumExp(x)))(rows).array()).toEqual(close(wanted));
    expect(await vmap(derivative(derivative((x) => logSumExp(x))))(rows).array()).toEqual(close(none));
    expect(
      await derivative((x) => crossEntropy(x, zeros([2], { dtype: "i32" })))(
        tensor([
          [inf, 0],
          [0, inf],
        ]),
      ).array(),
    ).toEqual([
      [0, 0],
      [-0.5, 0.5],
    ]);
    expect(await derivative((x) => cumlogsumexp(x))(rows).array()).toEqual(
      close([
        [3, 0, 0],
        [2, 1, 0],
        [1 + 1 / 2 + 1 / 3, 1 / 2 + 1 / 3, 1 / 3],
        [1, 1 + 0.5, 0.5],
      ]),
    );
    for (const [a, b] of [
      [inf, inf],
      [-inf, -inf],
    ] as const) {
      expect(await plain(derivative((x) => logAddExp(x, b))(tensor([a, 0])))).toEqual([0.5, a === inf ? 0 : 1]);
    }
  });

  it("queries that see no key attend to nothing, and no derivative passes them", { timeout: 60_000 }, async () => {
    const dtypes = (["f32", "f16", "bf16"] as const).filter((dtype) => backend.info.dtypes.has(dtype));
    const [q, k, v] = [floats([1, 2, 3, 4]), floats([1, 1, 5, 4], { seed: 2 }), floats([1, 1, 5, 4], { seed: 3 })];
    /** Some queries see some keys, and query 0 of every head sees none. */
    const cases = [
      { mask: tensor([[false], [true], [true]]) },
      { mask: tensor([[false], [true], [true]]), causal: true },
      { causal: true, offset: -1 },
      { causal: true, offset: tensor(Int32Array.of(-1), { shape: [] }) },
    ];
    const as = (x: Tensor, dtype: DType): Tensor => x.cast("f32").cast(dtype);
    for (const dtype of dtypes) {
      const inputs = [q, k, v].map((x) =>
        tensor(Float32Array.from((x.source as { data: Float64Array }).data), { shape: x.shape, dtype }),
      ) as [Tensor, Tensor, Tensor];
      for (const options of cases) {
        const y = attention(...inputs, options).cast("f32");
        expect(await plain(y.slice([null, null, [0, 1]]))).toEqual(new Array(8).fill(0));
        const weights = floats(y.shape, { seed: 4, dtype: "f32" });
        const loss = (at: [Tensor, Tensor, Tensor]): Tensor =>
          attention(...at, options)
            .cast("f32")
            .mul(weights)
            .sum();
        const grads = grad(loss)(inputs);
        for (const g of grads) expect((await numbersOf(g.cast("f32"))).every(Number.isFinite)).toBe(true);
        expect(await plain(grads[0].cast("f32").slice([null, null, [0, 1]]))).toEqual(new Array(8).fill(0));
        // The other queries are what they are without it, and so are the derivatives by keys and values.
        const others = (at: [Tensor, Tensor, Tensor]): Tensor =>
          attention(at[0].slice([null, null, [1, 3]]), at[1], at[2], {
            ...("mask" in options ? { mask: tensor([[true], [true]]) } : {}),
            ...(options.causal ? { causal: true, offset: "offset" in options ? 0 : 3 } : {}),
          })
            .cast("f32")
            .mul(weights.slice([null, null, [1, 3]]))
            .sum();
        const expected = grad(others)(inputs);
        const tolerance = dtype === "f32" ? 1e-5 : 0.05;
        for (const i of [0, 1, 2] as const) {
          const [a, b] = [await numbersOf(grads[i].cast("f32")), await numbersOf(expected[i].cast("f32"))];
          for (const [j, value] of b.entries()) expect(Math.abs((a[j] as number) - value)).toBeLessThanOrEqual(tolerance);
        }
      }
      const nobody = { mask: zeros([1], { dtype: "bool" }) };
      const dead = grad((at: [Tensor, Tensor, Tensor]) =>
        attention(...at, nobody)
          .cast("f32")
          .sum(),
      )(inputs);
      for (const g of dead) expect(new Set(await plain(as(g, "f32")))).toEqual(new Set([0]));
    }
    const without = grad((at: Tensor) => attention(at, zeros([1, 1, 0, 4]), zeros([1, 1, 0, 4])).sum())(zeros([1, 2, 3, 4]));
    expect(new Set(await plain(without))).toEqual(new Set([0]));
    expect(() => attention(q, k, v, { mask: full([1], 1) })).toThrow(DtypeError);
  });

  it("cross-entropy leaves out what is ignored, and is NaN for classes that do not exist", async () => {
    const logits = floats([4, 3], { dtype: "f32" });
    const losses = (targets: Tensor, options = {}): Tensor => crossEntropy(logits, targets, { reduction: "none", ...options });
    const all = await numbersOf(losses(i32(2, 1, 0, 1)));
    const some = await numbersOf(losses(i32(2, -100, 0, -100)));
    expect(some).toEqual([all[0], 0, all[2], 0]);
    expect(await crossEntropy(logits, i32(2, -100, 0, -100)).item()).toBeCloseTo(((all[0] as number) + (all[2] as number)) / 2, 5);
    expect(await numbersOf(losses(i32(2, 1, 0, 1), { ignoreIndex: 1 }))).toEqual([all[0], 0, all[2], 0]);
    for (const wrong of [3, -1, -101, 2 ** 31 - 1, -(2 ** 31)]) {
      const found = await numbersOf(losses(i32(2, wrong, 0, 1)));
      expect(found).toEqual([all[0], nan, all[2], all[3]]);
      expect(await crossEntropy(logits, i32(2, wrong, 0, 1)).item()).toBe(nan);
      const slopes = await numbersOf(grad((x: Tensor) => crossEntropy(x, i32(2, wrong, 0, 1)))(logits));
      expect(slopes.map(Number.isNaN)).toEqual(Array.from({ length: 12 }, (_, i) => i >= 3 && i < 6));
    }
    expect((await numbersOf(losses(tensor(Uint32Array.of(2, 2 ** 32 - 100, 0, 1))))).map(Number.isNaN)).toEqual([
      false,
      true,
      false,
      false,
    ]);
    const slopes = await numbersOf(grad((x: Tensor) => crossEntropy(x, i32(2, -100, 0, -100)))(logits));
    expect([...slopes.slice(3, 6), ...slopes.slice(9)].map((x) => x + 0)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(slopes.every(Number.isFinite)).toBe(true);
    const none = i32(-100, -100, -100, -100);
    expect(await crossEntropy(logits, none).item()).toBe(nan);
    expect(await crossEntropy(logits, none, { reduction: "sum" }).item()).toBe(0);
    expect(new Set(await plain(grad((x: Tensor) => crossEntropy(x, none))(logits)))).toEqual(new Set([0]));
  });

  it("a range of equal steps ends at its end and never turns back", async () => {
    for (const [start, stop, count] of [
      [0, 1, 50],
      [0.1, 0.7, 7],
      [5, -3, 33],
      [1e6, 1e6 + 1, 100],
      [-3e38, 3e38, 5],
      [1e-40, 3, 4],
      [0, 1, 1001],
      [-1, 2, 2],
    ] as const) {
      const found = await numbersOf(linspace(start, stop, count));
      expect(found.length).toBe(count);
      // Devices may take subnormal numbers for 0.
      for (const [end, wanted] of [
        [found[0], start],
        [found.at(-1), stop],
      ] as const) {
        expect(Math.abs(Math.fround(end as number) - Math.fround(wanted))).toBeLessThan(2 ** -126);
      }
      const step = (stop - start) / (count - 1);
      for (const [i, value] of found.entries()) {
        const error = Math.abs(value - (start + i * step));
        expect(error).toBeLessThanOrEqual(2 ** -22 * Math.max(Math.abs(start), Math.abs(stop)));
        if (i > 0) expect(Math.sign(step) * (value - (found[i - 1] as number))).toBeGreaterThanOrEqual(0);
      }
    }
    expect(await numbersOf(linspace(4, 9, 1))).toEqual([4]);
    expect(await numbersOf(linspace(4, 9, 0))).toEqual([]);
    expect(() => linspace(0, inf, 3)).toThrow(OptionError);
    expect(() => linspace(0, 1e39, 3)).toThrow(OptionError);
  });

  it("indices outside of an axis take nothing from it and add nothing to it", async () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    for (const wrong of [-1, 3, 2 ** 31 - 1, -(2 ** 31)]) {
      expect(await numbersOf(gather(x, i32(0, wrong), 1))).toEqual([1, nan, 4, nan]);
      expect(
        await numbersOf(
          takeAlongAxis(
            x,
            tensor(
              [
                [0, wrong],
                [2, 1],
              ],
              { dtype: "i32" },
            ),
          ),
        ),
      ).toEqual([1, nan, 6, 5]);
      expect(
        await numbersOf(
          takeAlongAxis(
            x.cast("i32"),
            tensor(
              [
                [0, wrong],
                [2, 1],
              ],
              { dtype: "i32" },
            ),
          ),
        ),
      ).toEqual([1, 0, 6, 5]);
      expect(await numbersOf(oneHot(i32(1, wrong), 3))).toEqual([0, 1, 0, 0, 0, 0]);
      expect(await numbersOf(scatterAdd(tensor([1, 2]), i32(1, wrong), 3))).toEqual([0, 1, 0]);
      const slopes = derivative((at) =>
        takeAlongAxis(
          at,
          tensor(
            [
              [0, wrong],
              [2, 1],
            ],
            { dtype: "i32" },
          ),
        ),
      );
      expect(await plain(slopes(x))).toEqual([1, 0, 0, 0, 1, 1]);
      expect(await plain(derivative((at) => gather(at, i32(0, wrong), 1))(x))).toEqual([1, 0, 0, 1, 0, 0]);
    }
    expect(() => oneHot(tensor([1]), 3)).toThrow(DtypeError);
    expect(() => takeAlongAxis(x, i32(0))).toThrow(ShapeError);
    expect(() => takeAlongAxis(x, tensor([[0], [1]]))).toThrow(DtypeError);
  });

  it("powers of integers are floats, and negative exponents are no exception", async () => {
    const found = await numbersOf(pow(i32(2, -2, 0, 3), i32(-1, 3, 0, 2)));
    expect(found.map((x) => Math.round(x * 1e5) / 1e5)).toEqual([0.5, -8, 1, 9]);
  });
});

it.each(["f16", "bf16", "f32", "f64"] as const)("composites of %s are %s", (dtype) => {
  const x = zeros([2, 3], { dtype });
  const heads = zeros([1, 1, 2, 2], { dtype });
  const results = {
    sigmoid: sigmoid(x),
    silu: silu(x),
    relu: relu(x),
    clip: clip(x, -0.5, 1e30),
    softmax: softmax(x),
    logSoftmax: logSoftmax(x),
    logSumExp: logSumExp(x),
    std: x.std(),
    losses: crossEntropy(x, i32(0, 1), { reduction: "none" }),
    loss: crossEntropy(x, i32(0, 1)),
    taken: takeAlongAxis(x, tensor([[0], [1]], { dtype: "i32" })),
    attention: attention(heads, heads, heads, { causal: true, offset: -1 }),
    "sigmoid′": derivative(sigmoid)(x),
    "clip′": derivative((at) => clip(at, 0, 1))(x),
    "power′": derivative((at) => pow(at, 2.5))(x),
  };
  for (const [name, result] of Object.entries(results)) expect(result.dtype, name).toBe(dtype);
});

describe("shapes that have no meaning are refused:", () => {
  const x = zeros([2, 3]);
  const calls: Readonly<Record<string, () => unknown>> = {
    "parts of negative extent": () => split(x, [-1, 3]),
    "two open extents": () => x.reshape([-1, -1]),
    "an open extent beside a 0": () => zeros([0, 3]).reshape([0, -1]),
    "an axis of one tensor alone that is not there": () => concat([x], 2),
    "a slice that begins before the start": () => x.slice([[-3]]),
    "a slice that ends before it begins": () => x.slice([[1, 0]]),
    "a slice without steps": () => x.slice([[0, 2, 0]]),
    "a correction that leaves nothing to divide by": () => variance(x, 0, { correction: 2 }),
  };
  it.each(Object.keys(calls))("%s", (name) => {
    let found: unknown;
    try {
      calls[name]?.();
    } catch (error) {
      found = error;
    }
    expect([ShapeError, OptionError].some((kind) => found instanceof kind)).toBe(true);
  });
});
