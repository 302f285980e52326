import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import * as dg from "../../src/index.js";
import { compile, grad, type Tensor, tensor, useBackend } from "../../src/index.js";
import { thinned } from "../support/backends.js";
import { goldenF32, goldenF64 } from "../support/tolerances.js";

/** What test/golden/make_corners.py wrote, which says what the numbers are. */
type Written = number | "inf" | "-inf" | "nan";
interface Case {
  readonly name: string;
  readonly values: readonly Written[];
  readonly first: readonly (readonly Written[])[];
  readonly second: readonly (readonly Written[])[];
}
const golden = JSON.parse(readFileSync(new URL("operations/corners.json", import.meta.url), "utf8")) as {
  readonly points: Written[];
  readonly pairs: Written[];
  readonly rows: Written[][];
  readonly one: Case[];
  readonly two: Case[];
  readonly ofRows: Case[];
};
const read = (value: Written): number => (typeof value === "number" ? value : { inf: Infinity, "-inf": -Infinity, nan: NaN }[value]);

type Operation = (...args: Tensor[]) => Tensor;
const named = dg as unknown as Readonly<Record<string, Operation>>;
const byName = (names: string): Record<string, Operation> =>
  Object.fromEntries(
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, named[name] as Operation]),
  );
const of = (f: (x: Tensor) => Tensor): Operation => f as Operation;

const one: Readonly<Record<string, Operation>> = {
  ...byName(`exp log sin cos tanh erf sqrt abs sign floor sigmoid relu square rsqrt expm1 log1p exp2 log2 log10 tan asin acos atan sinh cosh
    asinh acosh atanh ceil trunc round recip silu gelu softplus logSigmoid mish leakyRelu`),
  elu: of((x) => dg.elu(x, 2)),
  ...Object.fromEntries([0, 1, 2, 3, -1, -2, 0.5, 2.5].map((p) => [`power ${p}`, of((x) => dg.pow(x, p))])),
  ...Object.fromEntries([0, 1, 2].map((b) => [`power of ${b}`, of((x) => dg.pow(b, x))])),
  clip: of((x) => dg.clip(x, 0, 1)),
  "clip from below": of((x) => dg.clip(x, 0)),
  "clip from above": of((x) => dg.clip(x, undefined, 1)),
  "clip to one": of((x) => dg.clip(x, 1, 1)),
  "clip to less than nothing": of((x) => dg.clip(x, 1, 0)),
  relu6: of((x) => dg.clip(x, 0, 6)),
  hardtanh: of((x) => dg.clip(x, -1, 1)),
  huber: of((x) => dg.huberLoss(x, dg.zerosLike(x), { reduction: "none" })),
  "smooth l1": of((x) => dg.smoothL1Loss(x, dg.zerosLike(x), { reduction: "none", beta: 2 })),
  l1: of((x) => dg.l1Loss(x, dg.zerosLike(x), { reduction: "none" })),
  "binary cross-entropy": of((x) => dg.binaryCrossEntropyWithLogits(x, dg.zerosLike(x), { reduction: "none" })),
};
const two: Readonly<Record<string, Operation>> = {
  ...byName("div pow maximum minimum mod atan2 hypot logAddExp"),
  klDiv: (x, t) => dg.klDiv(x as Tensor, dg.abs(t as Tensor), { reduction: "none" }),
  "clip to tensors": (x, b) => dg.clip(x as Tensor, b, dg.abs(b as Tensor)),
  "clip to equal tensors": (x, b) => dg.clip(x as Tensor, b, b),
  "clip to a tensor from below": (x, b) => dg.clip(x as Tensor, b),
  "clip to tensors that cross": (x, b) => dg.clip(x as Tensor, dg.abs(b as Tensor), b),
};
const first = (x: Tensor): Tensor => dg.slice(x, [null, [0, 1]]);
const weighted = (x: Tensor): Tensor => dg.mul(x, dg.tensor([1, 2, 3], { dtype: x.dtype }));
const classes = (x: Tensor): Tensor => dg.ones([x.shape[0] as number], { dtype: "i32" });
const ofRows: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(
    Object.entries(byName("sum mean prod max min variance std logSumExp median")).map(([name, f]) => [
      name,
      of((x) => (f as unknown as (x: Tensor, axis: number) => Tensor)(x, -1)),
    ]),
  ),
  ...byName("cumsum cumprod cummax cummin cumlogsumexp"),
  "variance, unbiased": of((x) => dg.variance(x, -1, { correction: 1 })),
  "std, unbiased": of((x) => dg.std(x, -1, { correction: 1 })),
  "variance of one": of((x) => dg.variance(first(x), -1)),
  "std of one": of((x) => dg.std(first(x), -1)),
  "logSumExp of one": of((x) => dg.logSumExp(first(x), -1)),
  ...Object.fromEntries([2, 1, 3, 1.5, 0.5, 0].map((ord) => [`norm ${ord}`, of((x) => dg.norm(x, -1, { ord }))])),
  "norm inf": of((x) => dg.norm(x, -1, { ord: Infinity })),
  "norm -inf": of((x) => dg.norm(x, -1, { ord: -Infinity })),
  softmax: of((x) => weighted(dg.softmax(x))),
  logSoftmax: of((x) => weighted(dg.logSoftmax(x))),
  sort: of((x) => weighted(dg.sort(x))),
  crossEntropy: of((x) => dg.crossEntropy(x, classes(x), { reduction: "none" })),
  "crossEntropy, smoothed": of((x) => dg.crossEntropy(x, classes(x), { reduction: "none", labelSmoothing: 0.3 })),
  nllLoss: of((x) => dg.nllLoss(x, classes(x), { reduction: "none" })),
  layerNorm: of((x) => dg.layerNorm(x, dg.tensor([1, 2, 3], { dtype: x.dtype }), dg.zeros([3], { dtype: x.dtype }))),
  cosineSimilarity: of((x) => dg.cosineSimilarity(x, dg.tensor([[1, 2, 3]], { dtype: x.dtype }))),
  "cosineSimilarity to nothing": of((x) => dg.cosineSimilarity(x, dg.zeros([1, 3], { dtype: x.dtype }))),
};

/**
 * Where a number of PyTorch's is not ours, by the function, what of it and the arguments. That PyTorch has NaN where we have a number is no
 * difference: it differentiates ∞ − ∞ and 0/0 where the result has a limit. Where the value is NaN derivatives are not compared.
 */
const different: Readonly<Record<string, string>> = {
  // By the formula below 0, as the first derivative in both.
  "elu: second derivative 0 at 0": "2",
  // ∂(aᵇ·ln a)/∂a where a < 0 and the logarithm has no value, and 0·∞.
  "pow: second derivative 0 at -inf; 0": "NaN",
  "pow: second derivative 0 at -2; 0": "NaN",
  "pow: second derivative 0 at -1; 0": "NaN",
  "pow: second derivative 0 at inf; 0": "NaN",
  // ∂(b·aᵇ⁻¹)/∂b + aᵇ·ln²a = 1/a + ln²a, where PyTorch takes the first derivative for 0 whatever b is.
  "pow: second derivative 1 at 1; 0": "1",
  "pow: second derivative 1 at 2; 0": `${0.5 + Math.LN2 ** 2}`,
};

describe.each([
  { name: "reference, in f64", create: async () => createReferenceBackend(), dtype: "f64", allowed: goldenF64, stride: 1 },
  { name: "wasm, in f32", create: () => createWasmBackend({ threads: 1 }), dtype: "f32", allowed: goldenF32, stride: 3 },
] as const)("zeros, infinities, bounds and ties have PyTorch's values and derivatives of orders 1 and 2 on $name:", (on) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await on.create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const side = (which: 0 | 1): Written[] => golden.pairs.flatMap((a) => golden.pairs.map((b) => (which === 0 ? a : b)));
  const groups = [
    { cases: golden.one, operations: one, args: [golden.points], shape: [golden.points.length] },
    { cases: golden.two, operations: two, args: [side(0), side(1)], shape: [golden.pairs.length ** 2] },
    { cases: golden.ofRows, operations: ofRows, args: [golden.rows.flat()], shape: [golden.rows.length, 3] },
  ];

  it.each(groups)("each function of $shape numbers", { timeout: 60_000 }, async ({ cases, operations, args, shape }) => {
    expect(cases.map(({ name }) => name).sort()).toEqual(Object.keys(operations).sort());
    const asked = thinned(cases, on.stride);
    const run = compile((inputs: Tensor[]) =>
      asked.map(({ name }) => {
        const f = operations[name] as Operation;
        const gradient = grad((all: Tensor[]) => dg.sum(f(...all)));
        const again = grad((all: Tensor[]) =>
          gradient(all)
            .map((g) => dg.sum(g))
            .reduce(dg.add),
        );
        return { values: f(...inputs), first: gradient(inputs), second: again(inputs) };
      }),
    );
    const found = run(args.map((list) => tensor(list.map(read), { shape, dtype: on.dtype })));
    const complaints: string[] = [];
    for (const [i, golden] of asked.entries()) {
      const places = shape[0] as number;
      const part = <T>(list: readonly T[], place: number): readonly T[] =>
        list.slice((place * list.length) / places, ((place + 1) * list.length) / places);
      const check = async (what: string, t: Tensor, expected: readonly Written[]): Promise<void> => {
        const numbers = await t.data();
        expected.map(read).forEach((value, k) => {
          const mine = numbers[k] as number;
          const place = Math.floor((k * places) / expected.length);
          const same = mine === value || Math.abs(mine - value) <= on.allowed * Math.max(1, Math.abs(value)) || Number.isNaN(value);
          if (same || (what !== "value" && part(golden.values, place).includes("nan"))) return;
          const entry = `${golden.name}: ${what} at ${args.map((list) => part(list, place)).join("; ")}`;
          if (String(mine) !== different[entry]) complaints.push(`"${entry}": "${mine}", // ${value}`);
        });
      };
      const { values, first, second } = found[i] as (typeof found)[number];
      await check("value", values, golden.values);
      for (const [a, t] of first.entries()) await check(`derivative ${a}`, t, golden.first[a] as readonly Written[]);
      for (const [a, t] of second.entries()) await check(`second derivative ${a}`, t, golden.second[a] as readonly Written[]);
    }
    expect(complaints).toEqual([]);
  });
});
