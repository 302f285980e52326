import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  eye,
  gainOf,
  type Initializer,
  kaimingNormal,
  kaimingUniform,
  key,
  matmul,
  orthogonal,
  ShapeError,
  transpose,
  useBackend,
  xavierNormal,
  xavierUniform,
} from "../../src/index.js";

beforeAll(() => useBackend(createReferenceBackend()));
afterAll(() => useBackend(undefined));

const k = key(3);

describe("initialisers", () => {
  it("gains are those of PyTorch", () => {
    const names = ["linear", "sigmoid", "tanh", "relu", "leakyRelu", "selu"] as const;
    expect(names.map((name) => gainOf(name))).toEqual([1, 1, 5 / 3, Math.SQRT2, Math.sqrt(2 / 1.0001), 0.75]);
    expect(gainOf("leakyRelu", { slope: Math.sqrt(5) })).toBeCloseTo(Math.sqrt(1 / 3), 12);
  });

  // 30 outputs of 20 inputs with windows of 4: fans are 80 and 120.
  const shape = [30, 20, 2, 2];
  it.each<[name: string, make: Initializer, std: number, uniform: boolean]>([
    ["xavierUniform", xavierUniform, Math.sqrt(2 / 200), true],
    ["xavierUniform with a gain", (...to) => xavierUniform(...to, { gain: 3 }), 3 * Math.sqrt(2 / 200), true],
    ["xavierNormal", xavierNormal, Math.sqrt(2 / 200), false],
    ["kaimingUniform", kaimingUniform, Math.sqrt(2 / 80), true],
    ["kaimingUniform by outputs", (...to) => kaimingUniform(...to, { mode: "fanOut", nonlinearity: "linear" }), Math.sqrt(1 / 120), true],
    ["kaimingNormal", (...to) => kaimingNormal(...to, { nonlinearity: "tanh" }), 5 / 3 / Math.sqrt(80), false],
    ["kaimingNormal of a leak", (...to) => kaimingNormal(...to, { nonlinearity: "leakyRelu", slope: 1 }), Math.sqrt(1 / 80), false],
  ])("%s has its spread and its range", async (_, make, std, uniform) => {
    const values = [...(await make(k, shape).data())];
    const of = (f: (x: number) => number): number => values.reduce((sum, x) => sum + f(x), 0) / values.length;
    // Means and variances of 2400 draws, within five of their own standard deviations.
    expect(Math.abs(of((x) => x))).toBeLessThan((5 * std) / Math.sqrt(2400));
    expect(Math.abs(of((x) => x * x) / std ** 2 - 1)).toBeLessThan(5 * Math.sqrt((uniform ? 0.8 : 2) / 2400));
    const largest = Math.max(...values.map(Math.abs)) / std;
    if (uniform) expect([largest <= Math.sqrt(3) + 1e-6, largest > 1.72]).toEqual([true, true]);
    else expect(largest).toBeGreaterThan(2.5);
  });

  it("orthogonal rows or columns are orthonormal to the precision of f32", async () => {
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    for (const [rows, columns] of [
      [5, 5],
      [3, 7],
      [8, 2],
      [1, 4],
    ] as const) {
      const q = orthogonal(key(rows), [rows, columns], { gain: 2 });
      const gram = rows > columns ? matmul(transpose(q), q) : matmul(q, transpose(q));
      const gap = gram
        .sub(eye(Math.min(rows, columns)).mul(4))
        .abs()
        .max();
      expect(await gap.item()).toBeLessThan(4e-6);
    }
    expect(orthogonal(k, [4, 3, 2]).shape).toEqual([4, 3, 2]);
    useBackend(createReferenceBackend());
    await backend.close();
  });

  it("an orthogonal matrix of two is a turn by any angle, with or without a flip", async () => {
    // Means over 200 keys of the first column and of the determinant, each within five standard deviations of 0.
    const [sums, keys] = [[0, 0, 0], 200];
    for (let i = 0; i < keys; i++) {
      const [[a, b], [c, d]] = (await orthogonal(key(i), [2, 2]).array()) as [[number, number], [number, number]];
      for (const [j, value] of [a, c, a * d - b * c].entries()) sums[j] = (sums[j] as number) + value;
    }
    for (const sum of sums) expect(Math.abs(sum) / keys).toBeLessThan(5 / Math.sqrt(keys));
  });

  it("are pure functions of the key, and take shapes without elements", async () => {
    const makers: readonly Initializer[] = [xavierUniform, xavierNormal, kaimingUniform, kaimingNormal, orthogonal];
    for (const make of makers) {
      expect(await make(k, [2, 3]).data()).toEqual(await make(k, [2, 3]).data());
      expect(await make(key(4), [2, 3]).data()).not.toEqual(await make(k, [2, 3]).data());
      expect([make(k, [0, 3]).shape, make(k, [3, 0]).shape]).toEqual([
        [0, 3],
        [3, 0],
      ]);
      expect(() => make(k, [3])).toThrow(ShapeError);
    }
    expect(() => kaimingNormal(k, [3])).toThrow("kaimingNormal: [3] has no fans");
  });
});
