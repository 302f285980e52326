import { erf } from "mathjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normalCdf } from "../../src/autograd/distributions.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  bernoulli,
  categorical,
  checkGrads,
  choice,
  compile,
  exponential,
  gumbel,
  key,
  laplace,
  normal,
  OptionError,
  permutation,
  randn,
  ShapeError,
  split,
  type Tensor,
  type TensorLike,
  tensor,
  truncatedNormal,
  useBackend,
  vmap,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { chiSquareLimit, chiSquareOf } from "../support/chi-square.js";
import { numbersOf } from "../support/floats.js";
import { kolmogorovSmirnov, kolmogorovSmirnovLimit } from "../support/kolmogorov-smirnov.js";

const reference = createReferenceBackend();
beforeAll(() => {
  useBackend(reference);
});

const n = 10_000;
const phi = (x: number): number => 0.5 * (1 + erf(x / Math.SQRT2));
/** F of the normal distribution between two bounds. */
const between =
  (low: number, high: number) =>
  (x: number): number =>
    (normalCdf(x) - normalCdf(low)) / (normalCdf(high) - normalCdf(low));
/** How many of `draws` draws each outcome should have. */
const expectedOf = (draws: number, weights: Readonly<Record<string, number>>): Map<string, number> => {
  const total = Object.values(weights).reduce((a, b) => a + b, 0);
  return new Map(Object.entries(weights).map(([outcome, weight]) => [outcome, (draws * weight) / total]));
};
const rowsOf = async (t: Tensor): Promise<string[]> => ((await t.array()) as number[][]).map((row) => row.join());

describe("continuous distributions", () => {
  const table: readonly (readonly [name: string, draws: (k: Tensor) => Tensor, cdf: (x: number) => number])[] = [
    ["normal", (k) => normal(k, n), phi],
    ["normal of mean 3 and deviation 2", (k) => normal(k, [n], { mean: 3, std: 2 }), (x) => phi((x - 3) / 2)],
    ["exponential", (k) => exponential(k, n), (x) => -Math.expm1(-x)],
    ["gumbel", (k) => gumbel(k, n), (x) => Math.exp(-Math.exp(-x))],
    ["laplace", (k) => laplace(k, n), (x) => (x < 0 ? Math.exp(x) / 2 : 1 - Math.exp(-x) / 2)],
    ["truncated normal", (k) => truncatedNormal(k, n), between(-2, 2)],
    ["truncated normal on one side of 0", (k) => truncatedNormal(k, n, { low: 0.5, high: 1.25 }), between(0.5, 1.25)],
    // Mirrored, because 1 − Φ has no digits there.
    ["truncated normal in the upper tail", (k) => truncatedNormal(k, n, { low: 6, high: 9 }).neg(), between(-9, -6)],
    ["truncated normal in the lower tail", (k) => truncatedNormal(k, n, { low: -12, high: -10 }), between(-12, -10)],
    ["normal that is cut off nowhere", (k) => truncatedNormal(k, n, { low: -40, high: 40 }), phi],
  ];
  it.each(table)("%s has its distribution", async (_, draws, cdf) => {
    expect(kolmogorovSmirnov(await numbersOf(draws(key(21))), cdf)).toBeLessThan(kolmogorovSmirnovLimit);
  });

  it("normalCdf is what erf gives, and keeps its digits in the tail", () => {
    for (const x of [-2.7, -2.5, -2.4, -1, -0.1, 0, 0.3, 2, 4]) expect(normalCdf(x)).toBeCloseTo(phi(x), 13);
    // Φ(−10) and Φ(−5) by Abramowitz & Stegun, table 26.2.
    expect(normalCdf(-5) / 2.866515718791939e-7).toBeCloseTo(1, 12);
    expect(normalCdf(-10) / 7.619853024160527e-24).toBeCloseTo(1, 12);
  });

  it("truncated normal draws stay between their bounds, however near these are", async () => {
    for (const [low, high] of [
      [-2, 2],
      [0, 0.001],
      [3, 3.0001],
      [-12, -11.5],
      [12, 12.7],
    ] as const) {
      for (const z of await numbersOf(truncatedNormal(key(3), 500, { low, high }))) {
        expect(z >= Math.fround(low) && z <= Math.fround(high)).toBe(true);
      }
    }
  });

  it("normal and truncated normal are differentiated by mean and deviation, which broadcast", async () => {
    const [mean, std] = [tensor([[1], [2]]), tensor([0.5, 1, 2])];
    const drawn = normal(key(4), [2, 3], { mean, std });
    expect(await numbersOf(drawn)).toEqual(await numbersOf(randn(key(4), [2, 3]).mul(std).add(mean)));
    await checkGrads((m: Tensor, s: Tensor) => normal(key(4), [2, 3], { mean: m, std: s }), [mean, std]);
    await checkGrads((m: Tensor, s: Tensor) => truncatedNormal(key(4), [2, 3], { mean: m, std: s }), [mean, std]);
  });
});

describe("categorical", () => {
  it("draws class c with probability softmax(logits)[c], along any axis", async () => {
    const logits = tensor([
      [0, 1, -1],
      [Number.NEGATIVE_INFINITY, 0, 2],
    ]);
    const weights = [
      [1, Math.E, Math.exp(-1)],
      [0, 1, Math.E ** 2],
    ];
    const drawn = (await categorical(key(5), logits, { shape: [4000, 2] }).array()) as number[][];
    const along0 = (await categorical(key(6), logits.transpose(), { axis: 0, shape: [4000, 2] }).array()) as number[][];
    for (const draws of [drawn, along0]) {
      for (const row of [0, 1]) {
        const seen = expectedOf(4000, Object.fromEntries((weights[row] as number[]).flatMap((w, c) => (w > 0 ? [[String(c), w]] : []))));
        expect(
          chiSquareOf(
            draws.map((at) => String(at[row])),
            seen,
          ),
        ).toBeLessThan(chiSquareLimit(seen.size - 1));
      }
    }
    expect(categorical(key(5), logits).shape).toEqual([2]);
    expect(categorical(key(5), logits, { axis: 0 }).shape).toEqual([3]);
    expect(categorical(key(5), tensor([0, 1])).shape).toEqual([]);
    expect(categorical(key(5), tensor([0, 1]), { shape: 3 }).dtype).toBe("i32");
  });
});

describe("permutation and choice", () => {
  const orders = ["0,1,2", "0,2,1", "1,0,2", "1,2,0", "2,0,1", "2,1,0"];
  const keys = (seed: number, count: number): Tensor => tensor(Uint32Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? seed : i)), { shape: [count, 2] }); // biome-ignore format: one line

  it("every order is equally likely", async () => {
    const drawn = await rowsOf(vmap((k: Tensor) => permutation(k, 3))(keys(1, 3000)));
    expect(chiSquareOf(drawn, expectedOf(3000, Object.fromEntries(orders.map((order) => [order, 1]))))).toBeLessThan(chiSquareLimit(5));
  });

  it("holds each entry once, for any count and any axis", async () => {
    for (const count of [0, 1, 2, 7, 300]) {
      const found = await numbersOf(permutation(key(8), count));
      expect([...found].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
      if (count > 2) expect(found).not.toEqual([...found].sort((a, b) => a - b));
    }
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const order = await numbersOf(permutation(key(9), 3));
    expect(await permutation(key(9), x, 1).array()).toEqual([order.map((i) => i + 1), order.map((i) => i + 4)]);
    expect(await permutation(key(9), x, -1).array()).toEqual(await permutation(key(9), x, 1).array());
    expect((await permutation(key(9), x).array()) as number[][]).toEqual(expect.arrayContaining([[1, 2, 3]]));
    await checkGrads((t: Tensor) => permutation(key(9), t, 1), [x], { order: 2 });
  });

  it("picks with replacement and without, with weights and without", async () => {
    const draws = 3000;
    const p = tensor([1, 0, 2, 5]);
    const uniform = (await numbersOf(choice(key(10), 4, [draws]))).map(String);
    expect(chiSquareOf(uniform, expectedOf(draws, { 0: 1, 1: 1, 2: 1, 3: 1 }))).toBeLessThan(chiSquareLimit(3));
    const weighted = (await numbersOf(choice(key(11), 4, [draws], { p }))).map(String);
    expect(chiSquareOf(weighted, expectedOf(draws, { 0: 1, 2: 2, 3: 5 }))).toBeLessThan(chiSquareLimit(2));
    const pairs = await rowsOf(vmap((k: Tensor) => choice(k, 3, [2], { replace: false }))(keys(2, draws)));
    const all = Object.fromEntries(orders.map((order) => [order.slice(0, 3), 1]));
    expect(chiSquareOf(pairs, expectedOf(draws, all))).toBeLessThan(chiSquareLimit(5));
    // First i by p[i]/8, then j by p[j]/(8 − p[i]).
    const ordered = { "0,2": 2 / 7, "0,3": 5 / 7, "2,0": 2 / 6, "2,3": 10 / 6, "3,0": 5 / 3, "3,2": 10 / 3 };
    const heavier = await rowsOf(vmap((k: Tensor) => choice(k, 4, [2], { replace: false, p }))(keys(3, draws)));
    expect(chiSquareOf(heavier, expectedOf(draws, ordered))).toBeLessThan(chiSquareLimit(5));
    expect((await numbersOf(choice(key(12), 4, [4], { replace: false, p }))).at(-1)).toBe(1);
  });

  it("takes rows of a tensor along an axis in the place of that axis", async () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const picked = choice(key(13), x, [2, 2], { axis: 1 });
    expect(picked.shape).toEqual([2, 2, 2]);
    const positions = await numbersOf(choice(key(13), 3, [2, 2]));
    expect(await numbersOf(picked)).toEqual([...positions.map((i) => i + 1), ...positions.map((i) => i + 4)]);
    expect(choice(key(13), x, 0).shape).toEqual([0, 3]);
    expect(choice(key(13), 0, 0).shape).toEqual([0]);
  });
});

describe("bernoulli of a tensor of probabilities", () => {
  it("is true as often as each says, and broadcasts", async () => {
    const p = tensor([0, 0.2, 0.7, 1, Number.NaN, 2, -1]);
    const drawn = (await bernoulli(key(14), [4000, 7], p).array()) as unknown as number[][];
    const counts = Array.from({ length: 7 }, (_, i) => drawn.filter((row) => Number(row[i])).length);
    expect([counts[0], counts[3], counts[4], counts[5], counts[6]]).toEqual([0, 4000, 0, 4000, 0]);
    for (const [i, chance] of [
      [1, 0.2],
      [2, 0.7],
    ] as const) {
      expect(Math.abs((counts[i] as number) / 4000 - chance)).toBeLessThan(4 * Math.sqrt((chance * (1 - chance)) / 4000));
    }
    const run = compile((k: Tensor, chance: TensorLike) => bernoulli(k, [8], chance));
    expect(await numbersOf(run(key(1), 1))).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
  });
});

describe("what cannot be drawn", () => {
  it("is refused with a typed error", () => {
    const k = key(0);
    for (const [low, high] of [
      [1, 1],
      [2, -2],
      [13, 20],
      [-30, -20],
      [0, Number.NaN],
    ] as const) {
      expect(() => truncatedNormal(k, 2, { low, high })).toThrow(OptionError);
    }
    expect(() => normal(k, 2, { std: -1 })).toThrow(OptionError);
    expect(() => normal(k, [2], { mean: tensor([[1], [2]]) })).toThrow(ShapeError);
    expect(() => bernoulli(k, [2], tensor([[1], [2]]))).toThrow(ShapeError);
    expect(() => categorical(k, tensor([[1, 2]]), { shape: [3] })).not.toThrow();
    expect(() => categorical(k, tensor([[1], [2]]), { shape: [3] })).toThrow(ShapeError);
    expect(() => categorical(k, tensor([]))).toThrow(ShapeError);
    expect(() => categorical(k, tensor(1))).toThrow(ShapeError);
    expect(() => permutation(k, tensor(1))).toThrow(ShapeError);
    expect(() => permutation(k, 2.5)).toThrow(OptionError);
    expect(() => choice(k, 0, 1)).toThrow(OptionError);
    expect(() => choice(k, 3, [2, 2], { replace: false })).toThrow(OptionError);
    expect(() => choice(k, 3, 2, { p: tensor([1, 2]) })).toThrow(ShapeError);
    expect(() => choice(k, 2, 2, { p: tensor([1, 2], { dtype: "i32" }) })).toThrow(ShapeError);
    expect(() => categorical(k, tensor([1, 2], { dtype: "i32" }))).toThrow(OptionError);
  });
});

describe.each(backends())("random draws on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => {
    useBackend(reference);
    await backend.close();
  });

  it("are those of the reference: discrete ones to the bit, the others to rounding", { timeout: 120_000 }, async () => {
    const draws = compile((k: Tensor) => {
      const [a, b, c, d, e, f, g, h] = split(k, 8) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
      const p = tensor([0.1, 0.5, 0.9, 0.3]);
      return {
        discrete: [
          permutation(a, 33),
          choice(b, 9, [17]),
          choice(c, 4, [3], { replace: false, p }),
          categorical(d, p, { shape: [40] }),
          bernoulli(e, [5, 4], p).cast("i32"),
        ],
        continuous: [exponential(f, 300), gumbel(g, 300), laplace(h, 300), truncatedNormal(a, 300), normal(b, 300)],
      };
    });
    const all = async (): Promise<{ discrete: number[][]; continuous: number[][] }> => {
      const { discrete, continuous } = draws(key(77));
      return { discrete: await Promise.all(discrete.map(numbersOf)), continuous: await Promise.all(continuous.map(numbersOf)) };
    };
    useBackend(reference);
    const expected = await all();
    useBackend(backend);
    const found = await all();
    expect(found.discrete).toEqual(expected.discrete);
    found.continuous.forEach((values, i) => {
      values.forEach((value, j) => {
        const wanted = expected.continuous[i]?.[j] as number;
        // Box and Muller's cosine is WGSL's, which is off by 2⁻¹¹ where it is worst.
        expect(Math.abs(value - wanted)).toBeLessThan((i === 4 ? 2 ** -8 : 2e-5) * Math.max(1, Math.abs(wanted)));
      });
    });
  });
});
