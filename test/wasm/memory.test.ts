import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { OutOfMemoryError, UsageError } from "../../src/errors.js";
import { compile, matmul, realize, type Tensor, tensor, useBackend, zeros } from "../../src/index.js";
import { type Computation, compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";
import { internalsOf, memoryOf, piecesOf } from "../support/wasm-internals.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const MiB = 2 ** 20;
const elements = (bytes: number): number => bytes / 4;
const zerosOf = (shape: readonly number[]): HostTensor => hostTensor("f32", shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));

/** `count` outputs of one MiB each from a small input. */
function manyOutputs(count: number): Computation {
  const builder = new GraphBuilder();
  const x = builder.input(hostTensor("f32", [1], [2]));
  const spread = builder.operation("expand", [x], { shape: [elements(MiB)] });
  return builder.build(
    Array.from({ length: count }, (_, i) =>
      builder.operation("add", [spread, builder.operation("const", [], { value: i, shape: [elements(MiB)], dtype: "f32" })], {}),
    ),
  );
}

/** The sum of all of A·B, which needs scratch of 4 n² bytes for the product and little else. */
function largeScratch(n: number): Computation {
  const builder = new GraphBuilder();
  const product = builder.operation("dot", [builder.input(zerosOf([n, 1])), builder.input(zerosOf([1, n]))], { dtype: "f32" });
  const turned = builder.operation("dot", [product, builder.input(zerosOf([n, 1]))], { dtype: "f32" });
  return builder.build([turned, builder.operation("maxReduce", [product], { axes: [0, 1] })]);
}

describe("a wasm backend that may hold 8 MiB", () => {
  let backend: Backend;
  beforeEach(async () => {
    backend = await createWasmBackend({ threads: 2, chunks: "finest", maximumBytes: 8 * MiB });
  });
  afterEach(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const counts = () => {
    const { liveBytes, liveBuffers, byOwner } = backend.memory();
    return { liveBytes, liveBuffers, byOwner };
  };
  const failureOf = (act: () => unknown): OutOfMemoryError => {
    try {
      act();
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
      return error as OutOfMemoryError;
    }
    throw new Error("memory was enough");
  };

  it("holds nothing of a run that did not fit, not even what was uploaded for it", () => {
    useBackend(backend);
    const rows = 1 << 18;
    const squares = compile((x: Tensor, y: Tensor) => matmul(x, y), { donate: [0] });
    const fail = (): void => {
      const [x, y] = [tensor(new Float32Array(rows), { shape: [rows, 1] }), tensor(new Float32Array(64), { shape: [1, 64] })];
      failureOf(() => squares(x, y));
    };
    fail();
    const before = counts();
    for (let i = 0; i < 5; i++) fail();
    expect(counts()).toEqual(before);
  });
  async function stillWorks(): Promise<void> {
    const results = await compute(backend, manyOutputs(2));
    expect(results.map(({ data }) => [data[0], data[data.length - 1]])).toEqual([
      [2, 2],
      [3, 3],
    ]);
  }

  it("refuses a buffer beyond that, and says how much was asked for and who holds what", async () => {
    const held = ["model", "model", "batch"].map((owner) => backend.alloc("f32", elements(2 * MiB), owner));
    const before = counts();
    const error = failureOf(() => backend.alloc("f32", elements(3 * MiB), "batch"));
    expect(error.requestedBytes).toBe(3 * MiB);
    expect(error.liveBytes).toEqual({ model: 4 * MiB, batch: 2 * MiB });
    expect(error.hint).not.toBe("");
    expect(counts()).toEqual(before);
    for (const buffer of held) backend.free(buffer);
    await stillWorks();
    expect(counts().byOwner).toEqual({ program: expect.any(Number) });
  });

  it("refuses one tensor that is larger than everything, before it looks for room", () => {
    const error = failureOf(() => backend.alloc("f32", elements(64 * MiB), "model"));
    expect(error).toMatchObject({ requestedBytes: 64 * MiB, liveBytes: {} });
  });

  it("refuses a run whose outputs do not fit, and gives back the ones that it had made", async () => {
    const { graph, inputs } = manyOutputs(9);
    const program = backend.compile(graph);
    const input = backend.alloc("f32", 1, "test");
    backend.write(input, "f32", (inputs[0] as HostTensor).data);
    failureOf(() => backend.run(program, [input], []));
    const before = counts();
    expect(before.byOwner["value"]).toBeUndefined();
    const error = failureOf(() => backend.run(program, [input], []));
    expect(error.requestedBytes).toBe(MiB);
    expect(error.liveBytes["value"]).toBeGreaterThanOrEqual(5 * MiB);
    expect(counts()).toEqual(before);
    backend.free(input);
    await stillWorks();
  });

  it("refuses a run whose scratch does not fit, and keeps the inputs that were to be donated", async () => {
    const { graph, inputs } = largeScratch(1400);
    const program = backend.compile(graph, { donated: [true, true, true] });
    const buffers = inputs.map(({ data }) => {
      const buffer = backend.alloc("f32", data.length, "test");
      backend.write(buffer, "f32", data);
      return buffer;
    });
    const room = backend.alloc("f32", elements(2 * MiB), "room");
    failureOf(() => backend.run(program, buffers, []));
    const before = counts();
    expect(failureOf(() => backend.run(program, buffers, [])).requestedBytes).toBeGreaterThan(7 * MiB);
    expect(counts()).toEqual(before);
    for (const buffer of [...buffers, room]) backend.free(buffer);
    await stillWorks();
  });

  it("runs again what did not fit, once there is room", async () => {
    const room = backend.alloc("f32", elements(5 * MiB), "room");
    const computation = manyOutputs(4);
    const program = backend.compile(computation.graph);
    const input = backend.alloc("f32", 1, "test");
    backend.write(input, "f32", (computation.inputs[0] as HostTensor).data);
    failureOf(() => backend.run(program, [input], []));
    backend.free(room);
    const results = backend.run(program, [input], []);
    expect(await Promise.all(results.map(async (result) => (await backend.read(result, "f32", 1))[0]))).toEqual([2, 3, 4, 5]);
    for (const buffer of [...results, input]) backend.free(buffer);
  });

  it("lets a program with donation go on where a copy of its state would not fit", async () => {
    useBackend(backend);
    const step = compile((state: Tensor, by: Tensor) => state.add(by), { donate: [0] });
    let state = step(tensor(new Float32Array(elements(3 * MiB))), 1);
    const room = backend.alloc("f32", elements(2 * MiB), "room");
    for (let i = 0; i < 20; i++) state = step(state, 0.5);
    expect([...(await state.data())].slice(-1)).toEqual([11]);
    backend.free(room);
  });

  it("leaves tensors usable after an operation on them did not fit", async () => {
    useBackend(backend);
    const x = zeros([elements(2 * MiB)]).add(1);
    await realize(x);
    const tooMuch = [1, 2, 3, 4].map((n) => x.mul(n));
    await expect(realize(...tooMuch)).rejects.toThrow(OutOfMemoryError);
    expect(await x.sum().item()).toBe(elements(2 * MiB));
  });
});

describe("a wasm backend", () => {
  let backend: Backend;
  beforeEach(async () => {
    backend = await createWasmBackend({ threads: 3, chunks: "finest", poison: true });
  });
  afterEach(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const upload = (values: readonly number[]): DeviceBuffer => {
    const buffer = backend.alloc("f32", values.length, "test");
    backend.write(buffer, "f32", Float32Array.from(values));
    return buffer;
  };
  const download = async (buffer: DeviceBuffer | undefined): Promise<number[]> => [
    ...(await backend.read(buffer as DeviceBuffer, "f32", 4)),
  ];
  /** Two states that are updated in place, each from both. */
  function twoStates(): Computation["graph"] {
    const builder = new GraphBuilder();
    const [a, b] = [builder.input(zerosOf([4])), builder.input(zerosOf([4]))];
    return builder.build([builder.operation("add", [a, b], {}), builder.operation("sub", [a, b], {})]).graph;
  }

  it("writes results into donated buffers, and frees donated buffers that no result takes over", async () => {
    const builder = new GraphBuilder();
    const [a, b] = [builder.input(zerosOf([4])), builder.input(zerosOf([4]))];
    const { graph } = builder.build([builder.operation("add", [a, b], {})]);
    const program = backend.compile(graph, { donated: [true, true] });
    const given = [upload([1, 2, 3, 4]), upload([10, 20, 30, 40])];
    const [result] = backend.run(program, given, []);
    expect(given).toContain(result);
    expect(await download(result)).toEqual([11, 22, 33, 44]);
    for (const buffer of given) if (buffer !== result) expect(() => backend.free(buffer)).toThrow(UsageError);
    expect(backend.memory().byOwner["test"]).toBeUndefined();
    backend.free(result as DeviceBuffer);
  });

  it("is neither given buffers nor programs of another one", async () => {
    const other = await createWasmBackend({ threads: 2 });
    const program = backend.compile(twoStates());
    const own = upload([1, 2, 3, 4]);
    const foreign = other.alloc("f32", 4, "test");
    expect(() => backend.run(program, [own, foreign], [])).toThrow(UsageError);
    expect(() => other.run(program, [foreign, foreign], [])).toThrow(/another backend/);
    expect(() => backend.free(foreign)).toThrow(/another backend/);
    await expect(backend.read(foreign, "f32", 4)).rejects.toThrow(UsageError);
    backend.free(own);
    await other.close();
  });

  it("holds the same after 10 and after 600 steps that make and drop tensors of many sizes", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(zerosOf([100]));
    const program = backend.compile(builder.build([builder.operation("exp", [x], {}), builder.operation("tanh", [x], {})]).graph);
    const input = upload(new Array<number>(100).fill(1));
    const reports: unknown[] = [];
    for (let step = 1; step <= 600; step++) {
      const extra = [3, 500, 70_000, 12].map((length) => backend.alloc("f32", length * (1 + (step % 5)), "batch"));
      const results = backend.run(program, [input], []);
      for (const held of [...extra, ...results]) backend.free(held);
      if (step % 10 === 0) reports.push(backend.memory());
    }
    expect(reports.at(-1)).toEqual(reports[0]);
    backend.free(input);
  });

  it("grows by what small tensors take, and by no second scratch, when they come to lie in the place of the first", async () => {
    const { graph } = largeScratch(2048);
    const program = backend.compile(graph);
    const inputs = Array.from({ length: graph.inputCount }, () => upload(Array(2048).fill(0)));
    const kept: DeviceBuffer[] = [];
    const run = (): void => {
      kept.push(...backend.run(program, inputs, []));
    };
    const held = (): number => backend.memory().liveBytes + backend.memory().idleBytes;
    run();
    const before = held();
    expect(before).toBeGreaterThan(16 * MiB);
    for (let step = 0; step < 8; step++) {
      kept.push(backend.alloc("f32", 10_000, "batch"));
      run();
    }
    expect(held() - before).toBeLessThan(8 * MiB);
    for (const buffer of [...inputs, ...kept]) backend.free(buffer);
  });

  it("gives the memory of a program back once nobody has the program", async () => {
    const input = upload([1, 2, 3, 4]);
    const runFresh = (value: number): void => {
      const builder = new GraphBuilder();
      const x = builder.input(zerosOf([4]));
      const y = builder.operation("mul", [x, builder.operation("const", [], { value, shape: [4], dtype: "f32" })], {});
      const [result] = backend.run(backend.compile(builder.build([y]).graph), [input], []);
      backend.free(result as DeviceBuffer);
    };
    for (let i = 0; i < 40; i++) runFresh(i);
    const full = backend.memory().byOwner["program"] as number;
    for (let i = 0; i < 100 && (backend.memory().byOwner["program"] ?? 0) > full / 10; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(backend.memory().byOwner["program"] ?? 0).toBeLessThanOrEqual(full / 10);
    backend.free(input);
  });

  it("keeps the memory of a program that is gone for as long as a worker is inside of a run", async () => {
    const input = upload([1, 2, 3, 4]);
    const runFresh = (): void => {
      const builder = new GraphBuilder();
      const y = builder.operation("neg", [builder.input(zerosOf([4]))], {});
      backend.free(backend.run(backend.compile(builder.build([y]).graph), [input], [])[0] as DeviceBuffer);
    };
    runFresh();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const words = new Int32Array(memoryOf(backend).buffer);
    const held = backend.memory().byOwner["program"];
    // As if a worker had joined and were slow.
    Atomics.add(words, control.joined, 1);
    for (let i = 0; i < 10; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(backend.memory().byOwner["program"]).toBe(held);
    }
    Atomics.sub(words, control.joined, 1);
    runFresh();
    expect(backend.memory().byOwner["program"]).toBe(held);
    backend.free(input);
  });

  it("loads programs into memory that it has only just grown by, on all threads", async () => {
    const input = upload([1, 2, 3, 4]);
    for (let round = 1; round <= 20; round++) {
      const builder = new GraphBuilder();
      const x = builder.input(zerosOf([4]));
      const wide = builder.operation("expand", [builder.operation("reshape", [x], { shape: [1, 4] })], { shape: [2000, 4] });
      const factor = builder.operation("const", [], { value: round, shape: [2000, 4], dtype: "f32" });
      const program = backend.compile(builder.build([builder.operation("mul", [wide, factor], {})]).graph);
      const { heap } = internalsOf(backend);
      const mem = memoryOf(backend);
      const filled: DeviceBuffer[] = [];
      const before = mem.buffer.byteLength;
      for (let bytes = 2 ** 26; bytes >= 64; bytes /= 2) {
        while (piecesOf(heap).some((piece) => piece.bytes >= bytes)) filled.push(heap.take(bytes, "filler"));
      }
      expect(mem.buffer.byteLength).toBe(before);
      const [result] = backend.run(program, [input], []);
      expect(mem.buffer.byteLength).toBeGreaterThan(before);
      expect([...(await backend.read(result as DeviceBuffer, "f32", 8000))].slice(-4)).toEqual([round, 2 * round, 3 * round, 4 * round]);
      // What stays taken makes the next round grow as well.
      backend.free(result as DeviceBuffer);
    }
    backend.free(input);
  });
});

describe("addresses beyond 2 GiB", () => {
  it("are computed with as well as small ones, on the calling thread and on others", { timeout: 30_000 }, async () => {
    const backend = await createWasmBackend({ threads: 2, chunks: "finest" });
    // Nobody touches these pages, so no machine has to have them.
    const low = backend.alloc("f32", 2 ** 29 - 2 ** 20, "test");
    const builder = new GraphBuilder();
    const a = builder.input(
      hostTensor(
        "f32",
        [40, 30],
        Float32Array.from({ length: 1200 }, (_, i) => i % 7),
      ),
    );
    const b = builder.input(
      hostTensor(
        "f32",
        [30, 20],
        Float32Array.from({ length: 600 }, (_, i) => i % 5),
      ),
    );
    const product = builder.operation("dot", [a, b], { dtype: "f32" });
    const computation = builder.build([product, builder.operation("sum", [builder.operation("exp", [product], {})], { axes: [1] })]);
    const high = backend.alloc("f32", 2 ** 23, "test");
    expect((high as unknown as { address: number }).address).toBeGreaterThan(2 ** 31 - 2 ** 23);
    const results = await compute(backend, computation);
    const other = await createWasmBackend({ threads: 1 });
    expect(results).toEqual(await compute(other, computation));
    for (const held of [low, high]) backend.free(held);
    await Promise.all([backend.close(), other.close()]);
  });

  it("are places of tensors of more than 2 GiB: rows are read, found by number and multiplied wherever they are", async () => {
    const backend = await createWasmBackend({ threads: 2, chunks: "finest" });
    const [rows, columns] = [3 * 2 ** 18, 1024];
    const wanted = [0, 400_000, 700_000, rows - 1];
    const rowOf = (row: number): Float32Array => Float32Array.from({ length: columns }, (_, i) => row / 1000 + (i % 9));
    const builder = new GraphBuilder();
    // All but a few pages are never touched.
    const x = builder.input({ shape: [rows, columns], dtype: "f32", data: new Float32Array(0) });
    const places = builder.input(hostTensor("i32", [4], Int32Array.from(wanted)));
    const weights = builder.input(hostTensor("f32", [columns, 2], new Float32Array(2 * columns).fill(0.5)));
    const last = builder.operation("slice", [x], { starts: [rows - 2, 0], stops: [rows, columns], steps: [1, 1] });
    const found = builder.operation("gather", [x, places], {});
    const product = builder.operation("dot", [last, weights], { dtype: "f32" });
    const { graph, inputs } = builder.build([last, found, product, builder.operation("sum", [last], { axes: [1] })]);
    const buffers = inputs.map(({ shape, dtype, data }) => {
      const buffer = backend.alloc(
        dtype,
        shape.reduce((a, b) => a * b, 1),
        "test",
      );
      if (data.length > 0) backend.write(buffer, dtype, data);
      return buffer;
    });
    for (const row of wanted) backend.write(buffers[0] as DeviceBuffer, "f32", rowOf(row), row * columns);
    const results = backend.run(backend.compile(graph), buffers, []);
    const [ends, picked, products, sums] = await Promise.all(
      [2 * columns, 4 * columns, 4, 2].map((length, i) => backend.read(results[i] as DeviceBuffer, "f32", length)),
    );
    const total = rowOf(rows - 1).reduce((a, b) => a + b, 0);
    expect(ends).toEqual(Float32Array.from([...new Float32Array(columns), ...rowOf(rows - 1)]));
    expect(picked).toEqual(Float32Array.from(wanted.flatMap((row) => [...rowOf(row)])));
    expect(Array.from(products as Float32Array, (value) => value / total)).toEqual([0, 0, expect.closeTo(0.5, 5), expect.closeTo(0.5, 5)]);
    expect(Array.from(sums as Float32Array, (value) => value / total)).toEqual([0, expect.closeTo(1, 5)]);
    await backend.close();
  });
});
