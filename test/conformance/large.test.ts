import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { backends } from "../support/backends.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";

/** More rows than WebGPU dispatches along one axis by default (65,535). */
const rows = 65_537;

/** Results so simple that they are known without computing them, at sizes where one dispatch axis does not reach. */
describe.each(backends())("$name reaches beyond 65,535 workgroups in", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  const single = async (builder: GraphBuilder, node: number): Promise<HostTensor> =>
    (await compute(backend, builder.build([node])))[0] as HostTensor;

  /** The first element that is not what it should be, and its position. */
  const firstWrong = ({ data }: HostTensor, expected: (i: number) => number): readonly number[] | undefined => {
    for (let i = 0; i < data.length; i++) if (data[i] !== expected(i)) return [i, data[i] as number];
    return undefined;
  };

  it("elementwise operations", async () => {
    const builder = new GraphBuilder();
    const length = 64 * rows;
    const x = builder.input(
      hostTensor(
        "i32",
        [length],
        Int32Array.from({ length }, (_, i) => i),
      ),
    );
    expect(firstWrong(await single(builder, builder.operation("neg", [x], {})), (i) => (i === 0 ? 0 : -i))).toBeUndefined();
  });

  it("rows", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(
      hostTensor(
        "f32",
        [rows, 3],
        Float32Array.from({ length: 3 * rows }, (_, i) => i % 1024),
      ),
    );
    const expected = (i: number): number => ((3 * i) % 1024) + ((3 * i + 1) % 1024) + ((3 * i + 2) % 1024);
    expect(firstWrong(await single(builder, builder.operation("sum", [x], { axes: [1] })), expected)).toBeUndefined();
  });

  it("columns", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(
      hostTensor(
        "f32",
        [3, rows],
        Float32Array.from({ length: 3 * rows }, (_, i) => i % rows),
      ),
    );
    expect(firstWrong(await single(builder, builder.operation("sum", [x], { axes: [0] })), (i) => 3 * i)).toBeUndefined();
  });

  it("one long sum", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("i32", [16 * rows], new Int32Array(16 * rows).fill(3)));
    expect(firstWrong(await single(builder, builder.operation("sum", [x], { axes: [0] })), () => 48 * rows)).toBeUndefined();
  });

  it("batches of matrices", async () => {
    const builder = new GraphBuilder();
    const a = builder.input(
      hostTensor(
        "f32",
        [rows, 1, 2],
        Float32Array.from({ length: 2 * rows }, (_, i) => i % 512),
      ),
    );
    const b = builder.input(hostTensor("f32", [rows, 2, 1], new Float32Array(2 * rows).fill(2)));
    const expected = (i: number): number => 2 * ((2 * i) % 512) + 2 * ((2 * i + 1) % 512);
    expect(firstWrong(await single(builder, builder.operation("dot", [a, b], { dtype: "f32" })), expected)).toBeUndefined();
  });

  it("tall and wide matrices", async () => {
    for (const [m, n] of [
      [rows * 8, 1],
      [1, rows * 8],
    ] as const) {
      const builder = new GraphBuilder();
      const a = builder.input(
        hostTensor(
          "f32",
          [m, 2],
          Float32Array.from({ length: 2 * m }, (_, i) => (i >> 1) % 512),
        ),
      );
      const b = builder.input(
        hostTensor(
          "f32",
          [2, n],
          Float32Array.from({ length: 2 * n }, (_, i) => 1 + ((i % n) % 64)),
        ),
      );
      const expected = (i: number): number => 2 * (Math.floor(i / n) % 512) * (1 + ((i % n) % 64));
      expect(
        firstWrong(await single(builder, builder.operation("dot", [a, b], { dtype: "f32" })), expected),
        `${m} × ${n}`,
      ).toBeUndefined();
    }
  });

  it("products that go on with each of four million elements", async () => {
    const builder = new GraphBuilder();
    const n = 2048;
    const matrix = (shape: readonly number[], f: (i: number) => number): number =>
      builder.input(
        hostTensor(
          "f32",
          shape,
          Float32Array.from({ length: (shape[0] as number) * (shape[1] as number) }, (_, i) => f(i)),
        ),
      );
    const a = matrix([n, 2], (i) => (i >> 1) % 64);
    const b = matrix([2, n], (i) => (i % n) % 32);
    const product = builder.operation("dot", [a, b], { dtype: "f32" });
    const sum = builder.operation("add", [matrix([n, n], (i) => i % 1009), product], {});
    const expected = (i: number): number => (i % 1009) + 2 * (Math.floor(i / n) % 64) * ((i % n) % 32);
    expect(firstWrong(await single(builder, sum), expected)).toBeUndefined();
  });

  it("gathered rows, and rows that are scattered to as many", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(
      hostTensor(
        "f32",
        [rows, 2],
        Float32Array.from({ length: 2 * rows }, (_, i) => i),
      ),
    );
    const reversed = builder.input(
      hostTensor(
        "i32",
        [rows],
        Int32Array.from({ length: rows }, (_, i) => rows - 1 - i),
      ),
    );
    const expected = (i: number): number => 2 * (rows - 1 - (i >> 1)) + (i % 2);
    expect(firstWrong(await single(builder, builder.operation("gather", [x, reversed], {})), expected)).toBeUndefined();
    const targets = [0, 65_534, 65_535, 65_536, 7, 65_536, 1, 0];
    const values = builder.input(
      hostTensor(
        "f32",
        [8, 2],
        Float32Array.from({ length: 16 }, (_, i) => 1 + i),
      ),
    );
    const scattered = builder.operation("scatterAdd", [values, builder.input(hostTensor("i32", [8], targets))], { size: rows });
    const sum = (i: number): number =>
      targets.reduce((total, target, entry) => (target === i >> 1 ? total + 1 + 2 * entry + (i % 2) : total), 0);
    expect(firstWrong(await single(builder, scattered), sum)).toBeUndefined();
  });

  it("random bits, each from its own counter", async () => {
    const builder = new GraphBuilder();
    const key = builder.input(hostTensor("u32", [2], [7, 9]));
    const { data } = await single(builder, builder.operation("randomBits", [key], { shape: [64 * rows] }));
    for (let i = 0; i < data.length; i += 9973) {
      const [x0, x1] = threefry2x32(7, 9, 0, i);
      expect(data[i]).toBe((x0 ^ x1) >>> 0);
    }
  });
});
