import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.js";
import { UsageError } from "../../src/errors.js";
import { backends } from "../support/backends.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";

const f32 = (...values: number[]): HostTensor => hostTensor("f32", [values.length], values);

/** What every backend owes its callers beside correct arithmetic. */
describe.each(backends())("on $name", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  const upload = ({ dtype, data }: HostTensor): DeviceBuffer => {
    const buffer = backend.alloc(dtype, data.length, "test");
    backend.write(buffer, dtype, data);
    return buffer;
  };
  const download = async (buffer: DeviceBuffer | undefined, length: number): Promise<number[]> =>
    Array.from(await backend.read(buffer as DeviceBuffer, "f32", length));

  it("a buffer gives back what was written to it, in every dtype", async () => {
    for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
      const values =
        dtype === "f32" ? [1.5, -2, 3e38] : dtype === "i32" ? [-(2 ** 31), 7, -1] : dtype === "u32" ? [2 ** 32 - 1, 0, 7] : [1, 0, 1];
      const written = hostTensor(dtype, [3], values);
      const buffer = upload(written);
      expect(await backend.read(buffer, dtype, 3)).toEqual(written.data);
      expect(await backend.read(buffer, dtype, 2)).toEqual(written.data.slice(0, 2));
      backend.free(buffer);
    }
  });

  it("a tensor without elements can be written, computed with and read", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [0, 3], []));
    const [result] = await compute(backend, builder.build([builder.operation("exp", [x], {})]));
    expect(result?.data.length).toBe(0);
  });

  it("a scalar is data: one program follows it from run to run", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(f32(1, 2));
    const rate = builder.operation("expand", [builder.operation("reshape", [builder.scalar("f32", 0)], { shape: [1] })], { shape: [2] });
    const program = backend.compile(builder.build([builder.operation("mul", [x, rate], {})]).graph);
    const buffer = upload(f32(1, 2));
    const results = [0.5, -3, 1e-3].map((scalar) => backend.run(program, [buffer], [scalar])[0] as DeviceBuffer);
    const found = await Promise.all(results.map((result) => download(result, 2)));
    expect(found).toEqual([
      [0.5, 1],
      [-3, -6],
      [Math.fround(1e-3), Math.fround(2e-3)],
    ]);
    for (const held of [...results, buffer]) backend.free(held);
  });

  it("integer and bool scalars arrive as what they are", async () => {
    const builder = new GraphBuilder();
    const i = builder.scalar("i32", -7);
    const u = builder.scalar("u32", 2 ** 32 - 1);
    const b = builder.scalar("bool", 1);
    const outputs = [builder.operation("neg", [i], {}), builder.operation("alias", [u], {}), builder.operation("not", [b], {})];
    const found = await compute(backend, builder.build(outputs));
    expect(found.map(({ data }) => Array.from(data))).toEqual([[7], [2 ** 32 - 1], [0]]);
  });

  it("an output that is an input, or another output, is a buffer of its own", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(f32(1, 2));
    const y = builder.operation("neg", [x], {});
    const program = backend.compile(builder.build([x, y, y, x]).graph);
    const buffer = upload(f32(1, 2));
    const results = backend.run(program, [buffer], []);
    expect(new Set([buffer, ...results].map(({ id }) => id)).size).toBe(5);
    backend.write(buffer, "f32", new Float32Array([9, 9]));
    backend.free(results[1] as DeviceBuffer);
    expect(await download(results[0], 2)).toEqual([1, 2]);
    expect(await download(results[2], 2)).toEqual([-1, -2]);
    expect(await download(results[3], 2)).toEqual([1, 2]);
    for (const held of [buffer, ...results.filter((_, i) => i !== 1)]) backend.free(held);
  });

  it("outputs of one program include sources and scalars", async () => {
    const builder = new GraphBuilder();
    const counted = builder.operation("iota", [], { shape: [3], axis: 0, dtype: "f32" });
    const filled = builder.operation("const", [], { value: 2.5, shape: [2], dtype: "f32" });
    const found = await compute(backend, builder.build([counted, filled, builder.scalar("f32", 4)]));
    expect(found.map(({ data }) => Array.from(data))).toEqual([[0, 1, 2], [2.5, 2.5], [4]]);
  });

  it("a run sees its inputs as they were when it was started", async () => {
    const builder = new GraphBuilder();
    const program = backend.compile(builder.build([builder.operation("neg", [builder.input(f32(0, 0))], {})]).graph);
    const buffer = upload(f32(1, 2));
    const [first] = backend.run(program, [buffer], []);
    backend.write(buffer, "f32", new Float32Array([3, 4]));
    const [second] = backend.run(program, [buffer], []);
    backend.free(buffer);
    expect([await download(first, 2), await download(second, 2)]).toEqual([
      [-1, -2],
      [-3, -4],
    ]);
    for (const held of [first, second]) backend.free(held as DeviceBuffer);
  });

  it("one buffer may be several inputs, unless one of them is donated", async () => {
    const builder = new GraphBuilder();
    const [a, b] = [builder.input(f32(0, 0)), builder.input(f32(0, 0))];
    const { graph } = builder.build([builder.operation("add", [a, b], {}), builder.operation("mul", [a, b], {})]);
    const buffer = upload(f32(3, 4));
    const donating = backend.compile(graph, { donated: [true, false] });
    expect(() => backend.run(donating, [buffer, buffer], [])).toThrow(UsageError);
    const results = backend.run(backend.compile(graph), [buffer, buffer], []);
    expect([await download(results[0], 2), await download(results[1], 2)]).toEqual([
      [6, 8],
      [9, 16],
    ]);
    for (const held of [buffer, ...results]) backend.free(held);
  });

  it("results are the same whether inputs are donated or not, however often they are used", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [2, 2], [1, 2, 3, 4]));
    const y = builder.input(hostTensor("f32", [2, 2], [5, 6, 7, 8]));
    const turned = builder.operation("permute", [x], { order: [1, 0] });
    const outputs = [
      builder.operation("add", [turned, y], {}),
      builder.operation("mul", [x, y], {}),
      builder.operation("dot", [x, turned], { dtype: "f32" }),
      turned,
    ];
    const computation = builder.build(outputs);
    const plain = await compute(backend, computation);
    const donated = await compute(backend, computation, { donated: [true, true] });
    expect(donated).toEqual(plain);
    expect(plain.map(({ data }) => Array.from(data))).toEqual([
      [6, 9, 9, 12],
      [5, 12, 21, 32],
      [5, 11, 11, 25],
      [1, 3, 2, 4],
    ]);
  });

  it("a state that is donated from step to step takes the same memory after 3 steps and after 30", async () => {
    const builder = new GraphBuilder();
    const state = builder.input(hostTensor("f32", [1000], new Float32Array(1000)));
    const one = builder.operation("const", [], { value: 1, shape: [1000], dtype: "f32" });
    const program = backend.compile(builder.build([builder.operation("add", [state, one], {})]).graph, { donated: [true] });
    let buffer = upload(hostTensor("f32", [1000], new Float32Array(1000)));
    const live: number[][] = [];
    for (let step = 1; step <= 30; step++) {
      buffer = backend.run(program, [buffer], [])[0] as DeviceBuffer;
      const { liveBytes, liveBuffers } = backend.memory();
      if (step === 3 || step === 30) live.push([liveBytes, liveBuffers]);
    }
    expect(live[1]).toEqual(live[0]);
    expect(await download(buffer, 2)).toEqual([30, 30]);
    backend.free(buffer);
  });

  it("the same program on the same inputs gives the same bits", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(
      hostTensor(
        "f32",
        [37, 41],
        Float32Array.from({ length: 37 * 41 }, (_, i) => Math.sin(i)),
      ),
    );
    const turned = builder.operation("permute", [x], { order: [1, 0] });
    const computation = builder.build([
      builder.operation("dot", [x, turned], { dtype: "f32" }),
      builder.operation("sum", [x], { axes: [0, 1] }),
    ]);
    expect(await compute(backend, computation)).toEqual(await compute(backend, computation));
  });

  it("a program describes itself, and memory is reported by owner", () => {
    const builder = new GraphBuilder();
    const text = backend.compile(builder.build([builder.operation("tanh", [builder.input(f32(1))], {})]).graph).describe();
    expect(text.length).toBeGreaterThan(0);
    const buffer = backend.alloc("f32", 100, "somebody");
    expect(backend.memory().byOwner["somebody"]).toBeGreaterThanOrEqual(400);
    backend.free(buffer);
    expect(backend.memory().byOwner["somebody"] ?? 0).toBe(0);
  });
});
