import fc from "fast-check";
import { expm as mathExpm, norm as mathNorm, pinv as mathPinv, matrix } from "mathjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  checkGrads,
  compile,
  eye,
  grad,
  linalg,
  matmul,
  OptionError,
  ShapeError,
  type Tensor,
  tensor,
  useBackend,
  vmap,
} from "../../src/index.js";
import { floats, numbersOf } from "../support/floats.js";

const reference = createReferenceBackend();
beforeAll(() => {
  useBackend(reference);
});

const T = (a: Tensor): Tensor => a.transpose();
const rows = async (t: Tensor): Promise<number[][]> => (await t.array()) as number[][];
const apart = async (a: Tensor, b: Tensor): Promise<number> => {
  expect(a.shape).toEqual(b.shape);
  return (await numbersOf(a.sub(b).abs())).reduce((x, y) => Math.max(x, y), 0);
};
const sizes = fc.integer({ min: 1, max: 6 });
/** A matrix of rank min(m, n, rank). */
const ofRank = (m: number, n: number, rank: number, seed: number): Tensor =>
  matmul(floats([m, rank], { seed }), floats([rank, n], { seed: seed + 1 }));
const twice = { order: 2, places: 2 };
const infinity = Number.POSITIVE_INFINITY;

describe("pseudoinverses", () => {
  it("satisfy Penrose's equations for any shape and rank, and give ranks and least squares", async () => {
    const holds = fc.asyncProperty(sizes, sizes, fc.nat(3), fc.nat(999), async (m, n, rank, seed) => {
      const a = ofRank(m, n, rank, seed);
      const p = linalg.pinv(a, { rtol: 1e-10 });
      const scale = 1 + (await apart(p, p.mul(0))) ** 2;
      const [ap, pa] = [matmul(a, p), matmul(p, a)];
      expect(await apart(matmul(ap, a), a)).toBeLessThan(1e-12 * scale);
      expect(await apart(matmul(pa, p), p)).toBeLessThan(1e-12 * scale);
      expect(await apart(T(ap), ap)).toBeLessThan(1e-12 * scale);
      expect(await apart(T(pa), pa)).toBeLessThan(1e-12 * scale);
      expect(await linalg.matrixRank(a, { rtol: 1e-10 }).item()).toBe(Math.min(m, n, rank));
      // What is left of b is at right angles to all columns, and x lies in the space of rows.
      const b = floats([m], { seed: seed + 2 });
      const x = linalg.lstsq(a, b, { rtol: 1e-10 });
      expect(await apart(matmul(T(a), matmul(a, x).sub(b)), tensor(new Float64Array(n)))).toBeLessThan(1e-12 * scale);
      expect(await apart(matmul(pa, x), x)).toBeLessThan(1e-12 * scale);
    });
    await fc.assert(holds, { seed: 1, numRuns: 8 });
  });

  it("are those of mathjs", async () => {
    for (const [m, n] of [
      [3, 2],
      [2, 4],
      [3, 3],
    ] as const) {
      // biome-ignore format: one line
      const a = floats([m, n], { seed: m });
      expect(await apart(linalg.pinv(a), tensor(mathPinv(await rows(a)), { dtype: "f64" }))).toBeLessThan(1e-10);
    }
  });

  it("have derivatives, also where singular values are equal or the rank is kept short", async () => {
    const tall = floats([3, 2], { seed: 3 });
    const wide = floats([2, 2, 3], { seed: 4 });
    await checkGrads((a: Tensor) => linalg.pinv(a), [tall], twice);
    await checkGrads((a: Tensor) => linalg.pinv(a), [wide], twice);
    await checkGrads((a: Tensor) => linalg.pinv(a), [eye(2, { dtype: "f64" })], twice);
    await checkGrads((a: Tensor, b: Tensor) => linalg.lstsq(a, b), [tall, floats([3], { seed: 5 })], twice);
    // Of rank 2, whatever the factors are.
    await checkGrads((a: Tensor, b: Tensor) => linalg.pinv(matmul(a, b), { rtol: 1e-6 }), [floats([3, 2], { seed: 6 }), wide]);
  });
});

describe("norms", () => {
  it("are those of mathjs, and of singular values", async () => {
    const a = floats([2, 3, 4], { seed: 7 });
    const values = (f: (t: Tensor) => Tensor): Promise<number[]> => numbersOf(f(a));
    const each = (await a.array()) as number[][][];
    const s = await rows(linalg.svd(a)[1]);
    const columnSums = each.map((one) => [0, 1, 2, 3].map((j) => one.reduce((sum, row) => sum + Math.abs(row[j] as number), 0)));
    const rowSums = each.map((one) => one.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0)));
    const expected: readonly (readonly [linalg.MatrixNormOrder, (i: number) => number])[] = [
      ["fro", (i) => mathNorm(each[i] as number[][], "fro") as number],
      [1, (i) => mathNorm(each[i] as number[][], 1) as number],
      [infinity, (i) => mathNorm(each[i] as number[][], infinity) as number],
      [-1, (i) => Math.min(...(columnSums[i] as number[]))],
      [-infinity, (i) => Math.min(...(rowSums[i] as number[]))],
      [2, (i) => s[i]?.[0] as number],
      [-2, (i) => s[i]?.at(-1) as number],
      ["nuc", (i) => (s[i] as number[]).reduce((x, y) => x + y, 0)],
    ];
    for (const [order, value] of expected) {
      const found = await values((t) => linalg.matrixNorm(t, order));
      found.forEach((x, i) => {
        expect(x, String(order)).toBeCloseTo(value(i), 12);
      });
      expect(linalg.matrixNorm(a, order, true).shape).toEqual([2, 1, 1]);
    }
    const all = (t: Tensor): Tensor[] => expected.map(([order]) => linalg.matrixNorm(t, order));
    await checkGrads(all, [floats([3, 2], { seed: 7 })], twice);
  });

  it("neither overflow nor have a derivative of NaN at 0", async () => {
    expect(await linalg.matrixNorm(tensor([[3e30, 4e30]])).item()).toBeCloseTo(5e30, -25);
    expect(await linalg.matrixNorm(tensor([[infinity, 1]])).item()).toBe(infinity);
    expect(await linalg.matrixNorm(tensor([[Number.NaN, 1]])).item()).toBeNaN();
    expect(await numbersOf(grad((t: Tensor) => linalg.matrixNorm(t))(tensor([[0, 0]])))).toEqual([0, 0]);
    expect(await linalg.matrixNorm(floats([0, 3])).item()).toBe(0);
  });
});

describe("powers and the exponential", () => {
  it("matrixPower is a product of as many", async () => {
    const a = floats([2, 3, 3], { seed: 8 });
    const identity = eye(3, { dtype: "f64" }).expand([2, 3, 3]);
    let product = identity;
    for (let n = 0; n < 8; n++) {
      expect(await apart(linalg.matrixPower(a, n), product)).toBeLessThan(1e-10);
      expect(await apart(matmul(linalg.matrixPower(a, -n), product), identity)).toBeLessThan(1e-7);
      product = matmul(product, a);
    }
    await checkGrads((t: Tensor) => linalg.matrixPower(t, 5), [a], twice);
  });

  it("expm is that of mathjs, of small and of large matrices", async () => {
    for (const size of [1e-3, 1, 8]) {
      const a = floats([3, 3], { seed: 9 }).mul(size);
      const expected = tensor(mathExpm(matrix(await rows(a))).toArray() as number[][], { dtype: "f64" });
      expect((await apart(linalg.expm(a), expected)) / (await apart(expected, expected.mul(0)))).toBeLessThan(1e-11);
    }
    // Rotations, far from the beginning: e^[[0, −t], [t, 0]].
    const turn = tensor([[[0, -1], [1, 0]]], { dtype: "f64" }); // biome-ignore format: one line
    const [c, s] = [Math.cos(1000), Math.sin(1000)];
    expect(await apart(linalg.expm(turn.mul(1000)), tensor([[[c, -s], [s, c]]], { dtype: "f64" }))).toBeLessThan(1e-9); // biome-ignore format: one line
    await checkGrads((t: Tensor) => linalg.expm(t), [floats([2, 3, 3], { seed: 10 })], twice);
    await checkGrads((t: Tensor) => linalg.expm(t.mul(3)), [floats([2, 2], { seed: 10 })], { ...twice, relative: 1e-5 });
    expect((await numbersOf(linalg.expm(tensor([[-1e9]])))).every(Number.isNaN)).toBe(true);
    expect(linalg.expm(floats([2, 0, 0])).shape).toEqual([2, 0, 0]);
  });
});

describe("edges", () => {
  it("of nothing, and what is refused", async () => {
    expect(linalg.pinv(floats([2, 3, 0])).shape).toEqual([2, 0, 3]);
    expect(await numbersOf(linalg.matrixRank(floats([2, 3, 0])))).toEqual([0, 0]);
    expect(await numbersOf(linalg.lstsq(floats([0, 2]), floats([0])))).toEqual([0, 0]);
    expect((await numbersOf(linalg.pinv(tensor([[Number.NaN, 1]])))).every(Number.isNaN)).toBe(true);
    expect(linalg.pinv(tensor([[1, 2]]).cast("f16")).dtype).toBe("f16");
    expect(linalg.matrixRank(tensor([[1, 2]])).dtype).toBe("i32");
    const wide = tensor([[1, 2]]);
    expect(() => linalg.lstsq(wide, tensor([1, 2]))).toThrow(ShapeError);
    expect(() => linalg.expm(wide)).toThrow(ShapeError);
    expect(() => linalg.matrixPower(wide, 2)).toThrow(ShapeError);
    expect(() => linalg.matrixPower(eye(2), 0.5)).toThrow(OptionError);
    expect(() => linalg.matrixNorm(wide, 3)).toThrow(OptionError);
    expect(() => linalg.pinv(wide, { rtol: -1 })).toThrow(OptionError);
  });
});

describe("on wasm", () => {
  let wasm: Backend;
  beforeAll(async () => {
    wasm = await createWasmBackend({ threads: 2, poison: true });
  });
  afterAll(async () => {
    useBackend(reference);
    await wasm.close();
  });

  it("these functions and their gradients give what the reference gives, also for each example of a vmap", async () => {
    const all = (a: Tensor, b: Tensor): Tensor[] => {
      const sum = (x: Tensor): Tensor =>
        linalg.pinv(x).sum().add(linalg.expm(matmul(x, T(x))).sum()).add(linalg.matrixNorm(x, "nuc").sum()); // biome-ignore format: one line
      return [linalg.pinv(a), linalg.lstsq(a, b), linalg.matrixNorm(a, 2), linalg.expm(matmul(a, T(a))), grad(sum)(a)];
    };
    const [a, b] = [floats([3, 4, 2], { seed: 11, dtype: "f32" }), floats([4], { seed: 12, dtype: "f32" })];
    useBackend(reference);
    const expected = await Promise.all(all(a, b).map(numbersOf));
    useBackend(wasm);
    for (const run of [compile(all), compile(vmap(all, { inAxes: [0, null] }))]) {
      const found = await Promise.all(run(a, b).map(numbersOf));
      expected.forEach((values, i) => {
        const scale = Math.max(...values.map(Math.abs));
        values.forEach((value, j) => {
          expect(Math.abs((found[i]?.[j] as number) - value) / scale, `result ${i} at ${j}`).toBeLessThan(1e-4);
        });
      });
    }
  });
});
