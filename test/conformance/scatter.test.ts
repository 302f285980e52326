import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { type Backend, type DType, gather, grad, scan, scatterAdd, type Tensor, tensor, useBackend } from "../../src/index.js";
import { backendVariants, thinned } from "../support/backends.js";

interface Sum {
  readonly name: string;
  readonly bins: number;
  readonly entries: number;
  readonly columns: number;
  /** The bin of an entry. */
  readonly target: (entry: number) => number;
  readonly index?: "i32" | "u32";
  readonly dtype?: DType;
}

const sums: readonly Sum[] = [
  { name: "all entries in one bin", bins: 5, entries: 700, columns: 3, target: () => 3 },
  { name: "one bin, one column", bins: 1, entries: 523, columns: 1, target: () => 0 },
  { name: "one bin, many columns", bins: 1, entries: 31, columns: 1031, target: () => 0 },
  { name: "one entry", bins: 300, entries: 1, columns: 5, target: () => 299 },
  { name: "many more bins than entries", bins: 49_157, entries: 37, columns: 3, target: (e) => (e * 9973) % 49_157 },
  { name: "as many bins as a vocabulary has, one column", bins: 49_152, entries: 64, columns: 1, target: (e) => (e * 7919) % 49_152 },
  { name: "bins that are numbers out of range", bins: 11, entries: 257, columns: 7, target: (e) => (e % 17) - 3 },
  { name: "no bin in range", bins: 4, entries: 65, columns: 2, target: (e) => (e % 2 === 0 ? -1 - e : 2 ** 31 - 1 - e) },
  {
    name: "u32 bins, some beyond the largest i32",
    bins: 13,
    entries: 101,
    columns: 5,
    target: (e) => (e % 7 === 0 ? 2 ** 32 - 1 - e : e % 13),
    index: "u32",
  },
  { name: "primes all over", bins: 127, entries: 509, columns: 67, target: (e) => (e * e) % 131 },
  { name: "columns around a part of them", bins: 9, entries: 40, columns: 129, target: (e) => (e * 5) % 9 },
  { name: "halves", bins: 19, entries: 113, columns: 13, target: (e) => (e * 3) % 23, dtype: "f16" },
  { name: "integers", bins: 19, entries: 113, columns: 13, target: (e) => (e * 3) % 23, dtype: "i32" },
];

/** Small numbers whose sums every dtype holds. */
const smallNumber = (i: number): number => ((i * 37) % 13) - 6;

function inputsOf({ bins, entries, columns, target, index = "i32", dtype = "f32" }: Sum, seed = 0) {
  const targets = Array.from({ length: entries }, (_, e) => target(e));
  const values = Array.from({ length: entries * columns }, (_, i) => smallNumber(i + seed));
  const expected = new Float64Array(bins * columns);
  targets.forEach((bin, e) => {
    if (bin >= 0 && bin < bins)
      for (let c = 0; c < columns; c++)
        expected[bin * columns + c] = (expected[bin * columns + c] as number) + (values[e * columns + c] as number);
  });
  const at = tensor(index === "u32" ? Uint32Array.from(targets) : Int32Array.from(targets));
  return { x: tensor(Float32Array.from(values), { shape: [entries, columns] }).cast(dtype), at, expected };
}

/** The number of the first element that differs, with both. */
function firstDifference(found: ArrayLike<number>, expected: ArrayLike<number>): unknown {
  if (found.length !== expected.length) return [found.length, expected.length];
  for (let i = 0; i < expected.length; i++) if (found[i] !== expected[i]) return { i, found: found[i], expected: expected[i] };
  return undefined;
}

const variants = backendVariants().filter(({ name }) => !name.startsWith("reference"));

describe.each(variants)("sums into bins on $name", ({ name, create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(() => backend.close());
  // By definition each bin looks at each entry.
  const here = sums.filter(({ bins, entries }) => !name.includes("definition") || bins * entries < 1e6);

  it.each(thinned(here, Math.min(4, stride)))("$name", async (sum) => {
    if (sum.dtype !== undefined && !backend.info.dtypes.has(sum.dtype)) expect(sum.dtype).toBe("f16");
    else {
      const { x, at, expected } = inputsOf(sum);
      expect(firstDifference(await scatterAdd(x, at, sum.bins).data(), expected)).toBeUndefined();
    }
  });

  it("of values that are computed on the way, in each step of a scan", async () => {
    const sum = sums.find((each) => each.name === "primes all over") as Sum;
    const { at, expected } = inputsOf({ ...sum, columns: 3 });
    const { x } = inputsOf({ ...sum, columns: 3 });
    const [, ys] = scan((none: null, factor: Tensor) => [none, scatterAdd(x.mul(factor), at, sum.bins)], null, tensor([1, 2, -4]));
    expect(
      firstDifference(
        await ys.data(),
        [1, 2, -4].flatMap((factor) => [...expected].map((each) => each * factor)),
      ),
    ).toBeUndefined();
  });

  it("are the gradient of an embedding of 49,152 rows", async () => {
    if (name.includes("definition")) return expect(here.length).toBeGreaterThan(0);
    const [V, C] = [49_152, 4];
    const tokens = Int32Array.from({ length: 96 }, (_, i) => (i % 4 === 0 ? 7 : (i * 7919) % V));
    const weights = Float32Array.from({ length: 96 * C }, (_, i) => smallNumber(i));
    const expected = new Float64Array(V * C);
    tokens.forEach((token, i) => {
      for (let c = 0; c < C; c++) expected[token * C + c] = (expected[token * C + c] as number) + (weights[i * C + c] as number);
    });
    const loss = (w: Tensor): Tensor =>
      gather(w, tensor(tokens))
        .mul(tensor(weights, { shape: [96, C] }))
        .sum();
    const slopes = grad(loss)(tensor(new Float32Array(V * C), { shape: [V, C] }));
    expect(firstDifference(await slopes.data(), expected)).toBeUndefined();
  });
});

describe("sums into bins on threads", () => {
  it("have the same bits on any number of them, time after time", async () => {
    const [bins, entries, columns] = [301, 4001, 70];
    const values = Float32Array.from({ length: entries * columns }, (_, i) => Math.sin(i) * 10 ** (i % 7));
    const targets = Int32Array.from({ length: entries }, (_, e) => (e % 3 === 0 ? 17 : (e * e) % 311));
    let first: ArrayLike<number> | undefined;
    for (const options of [{ threads: 1 }, { threads: 2 }, { threads: 3, chunks: "finest" }] as const) {
      const backend = await createWasmBackend(options);
      useBackend(backend);
      for (let time = 0; time < 2; time++) {
        const found = await scatterAdd(tensor(values, { shape: [entries, columns] }), tensor(targets), bins).data();
        first ??= found;
        expect(firstDifference(found, first)).toBeUndefined();
      }
      await backend.close();
    }
    useBackend(undefined);
  });
});
