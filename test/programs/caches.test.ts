import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { ProgramCache } from "../../src/autograd/program-cache.js";
import type { DeviceBuffer, Executable } from "../../src/backend/backend.js";
import {
  type Backend,
  checkpoint,
  compile,
  customVjp,
  grad,
  memory,
  realize,
  scan,
  sync,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  withBackend,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { collectUntil } from "../support/garbage.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { createRecordingBackend } from "../support/recording-backend.js";

const zerosOf = (shape: readonly number[]) => hostTensor("f32", shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
afterEach(() => vi.restoreAllMocks());
const silence = () => vi.spyOn(console, "warn").mockImplementation(() => undefined);

describe.each(backends())("programs on $name", { timeout: 120_000 }, ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const onDevice = ["wasm", "webgpu"].includes(name);
  const programBytes = (): number => memory().byOwner["program"] ?? 0;

  it("of 200 lengths through one compiled function are the 32 of the last lengths, and the others give their memory back", async () => {
    const warn = silence();
    const f = compile((x: Tensor, n: Tensor) => x.mul(n).sum());
    const bytes: number[] = [];
    const numbers: number[] = [];
    await sync();
    const before = programBytes();
    for (let length = 1; length <= 200; length++) {
      const total = f(tensor(new Float32Array(length).fill(1)), 2);
      numbers.push(await total.item());
      await sync();
      bytes.push(programBytes() - before);
    }
    expect(numbers).toEqual(numbers.map((_, i) => 2 * (i + 1)));
    expect(f.traces).toBe(200);
    expect(bytes[199]).toBeLessThanOrEqual(1.25 * (bytes[31] as number));
    if (onDevice) expect(bytes[199]).toBeGreaterThan(0);
    // The last 32 are still there, the one before is not.
    for (let length = 169; length <= 200; length++) f(tensor(new Float32Array(length).fill(1)), 2);
    expect(f.traces).toBe(200);
    f(tensor(new Float32Array(168).fill(1)), 2);
    expect(f.traces).toBe(201);
    expect(warn.mock.calls.map(String)).toEqual([expect.stringMatching(/more than 32 signatures.*Pad arguments to a few lengths/)]);
  });

  it("give everything back once they are released, and do not run again", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(zerosOf([4]));
    const factors = builder.operation("expand", [builder.operation("reshape", [builder.scalar("f32", 3)], { shape: [1] })], { shape: [4] });
    const { graph } = builder.build([builder.operation("mul", [x, factors], {})]);
    await sync();
    const before = memory();
    const executable = backend.compile(graph, { label: "triple" });
    const input = backend.alloc("f32", 4, "test");
    backend.write(input, "f32", Float32Array.of(1, 2, 3, 4));
    const [result] = backend.run(executable, [input], [3]) as [DeviceBuffer];
    // What was started ends as it should.
    backend.release(executable);
    expect([...(await backend.read(result, "f32", 4))]).toEqual([3, 6, 9, 12]);
    expect(() => backend.run(executable, [input], [3])).toThrow(UsageError);
    expect(() => backend.run(executable, [input], [3])).toThrow("triple: the program was released");
    expect(() => backend.release(executable)).not.toThrow();
    for (const buffer of [input, result]) backend.free(buffer);
    await sync();
    expect(memory().byOwner).toEqual(before.byOwner);
    expect(memory().liveBuffers).toBe(before.liveBuffers);
    const again = backend.compile(graph);
    backend.release(again);
  });

  it("give everything back once nobody has them", async () => {
    const own = await create();
    useBackend(own);
    const run = async (): Promise<void> => {
      const f = compile((x: Tensor, n: Tensor) => x.mul(n).sum().sub(n));
      expect(await f(tensor([1, 2, 3, 4, 5]), 2).item()).toBe(28);
    };
    await run();
    await sync();
    if (onDevice) expect(programBytes()).toBeGreaterThan(0);
    expect(await collectUntil(() => programBytes() === 0)).toBe(true);
    useBackend(backend);
    await own.close();
  });

  it("refuse a donated buffer that is also another input, and leave both as they are", async () => {
    const builder = new GraphBuilder();
    const inputs = [builder.input(zerosOf([4])), builder.input(zerosOf([4])), builder.input(zerosOf([4]))];
    const [a, b, c] = inputs as [number, number, number];
    const { graph } = builder.build([builder.operation("add", [a, b], {}), builder.operation("sub", [b, c], {})]);
    const upload = (...values: number[]): DeviceBuffer => {
      const buffer = backend.alloc("f32", 4, "test");
      backend.write(buffer, "f32", Float32Array.from(values));
      return buffer;
    };
    const [one, other] = [upload(1, 2, 3, 4), upload(5, 6, 7, 8)];
    for (const donated of [
      [true, true, false],
      [true, false, false],
      [false, true, false],
      [true, true, true],
    ]) {
      const executable = backend.compile(graph, { donated, label: "twice" });
      expect(() => backend.run(executable, [one, one, other], [])).toThrow(UsageError);
      expect(() => backend.run(executable, [one, one, other], [])).toThrow(/twice: the buffer of input \d is donated and is also input \d/);
      backend.release(executable);
    }
    const shared = backend.compile(graph, { donated: [false, false, true] });
    const results = backend.run(shared, [one, one, other], []);
    expect(await Promise.all(results.map(async (result) => [...(await backend.read(result, "f32", 4))]))).toEqual([
      [2, 4, 6, 8],
      [-4, -4, -4, -4],
    ]);
    for (const buffer of [one, ...results]) backend.free(buffer);
    backend.release(shared);
  });
});

describe("a compiled function", () => {
  it("keeps as many programs as it is told to, and says once that there are more", async () => {
    const warn = silence();
    const { backend } = createRecordingBackend();
    const released: Executable[] = [];
    backend.release = (executable) => void released.push(executable);
    await withBackend(backend, async () => {
      const f = compile((x: Tensor, power: number) => x.pow(power), { static: [1], maxPrograms: 3, name: "power" });
      for (const power of [1, 2, 3, 1, 1, 2]) f(tensor([1]), power);
      expect([f.traces, released.length, warn.mock.calls.length]).toEqual([3, 0, 0]);
      f(tensor([1]), 4);
      expect([f.traces, released.length, warn.mock.calls.length]).toEqual([4, 1, 1]);
      expect(warn.mock.calls[0]?.[0]).toMatch(/power was called with more than 3 signatures/);
      // The one used longest ago went: 3.
      for (const power of [1, 2, 4]) f(tensor([1]), power);
      expect(f.traces).toBe(4);
      f(tensor([1]), 3);
      expect([f.traces, released.length, warn.mock.calls.length]).toEqual([5, 2, 1]);
      const g = compile((x: Tensor, n: Tensor) => x.pow(n), { maxPrograms: 2 });
      // One signature, and a program for each way in which the trace decided by the number.
      for (const n of [1, 2, 3, 0.5, 1, 2, 3]) g(tensor([1]), n);
      expect(released.length - 2).toBe(g.traces - 2);
    });
  });

  it("keeps nothing of its trace alive", async () => {
    const traced: WeakRef<Tensor>[] = [];
    const seen = (x: Tensor): Tensor => {
      traced.push(new WeakRef(x));
      return x;
    };
    const cube = customVjp(
      (x: Tensor) => seen(x).pow(3),
      (x: Tensor) => [seen(x).pow(3), seen(x.square())] as const,
      (square: Tensor, ct: Tensor) => [seen(seen(square).mul(3)).mul(seen(ct))],
    );
    const loss = (x: Tensor, n: Tensor): Tensor => {
      const [sum] = scan((carry: Tensor, row: Tensor) => [seen(seen(carry).add(seen(row).mul(n))), null], seen(tensor([0, 0]).mul(1)), x);
      return seen(checkpoint((y: Tensor) => seen(cube(seen(y)).exp()))(seen(sum.mul(x.less(n).sum()))).sum());
    };
    const f = compile((x: Tensor, n: Tensor) => ({ list: [seen(grad(loss)(seen(x), seen(n)))], x: seen(x).add(1), n }));
    const { backend } = createRecordingBackend();
    withBackend(
      backend,
      () =>
        void f(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          2,
        ),
    );
    expect(traced.length).toBeGreaterThan(10);
    expect(await collectUntil(() => traced.every((ref) => ref.deref() === undefined))).toBe(true);
    withBackend(
      backend,
      () =>
        void f(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          2,
        ),
    );
    expect(f.traces).toBe(1);
  });
});

describe("a program cache", () => {
  const executable = (id: number): Executable => ({
    graph: { nodes: [], outputs: [], inputCount: id, scalarCount: 0 },
    describe: () => "",
  });

  it("evicts what was used longest ago, of one signature or of several", () => {
    const { backend } = createRecordingBackend();
    const released: number[] = [];
    backend.release = ({ graph }) => void released.push(graph.inputCount);
    const cache = new ProgramCache<{ executable: Executable }>(backend, 3);
    const id = (n: number) => (program: { executable: Executable }) => program.executable.graph.inputCount === n;
    for (const n of [1, 2, 3]) expect(cache.add(n < 3 ? "a" : "b", { executable: executable(n) })).toBe(false);
    expect(cache.find("a", id(1))?.executable.graph.inputCount).toBe(1);
    expect(cache.add("b", { executable: executable(4) })).toBe(true);
    expect([released, cache.size]).toEqual([[2], 3]);
    expect(cache.find("a", id(2))).toBeUndefined();
    expect(cache.find("a")?.executable.graph.inputCount).toBe(1);
    for (const n of [5, 6]) cache.add("c", { executable: executable(n) });
    expect(released).toEqual([2, 3, 4]);
    expect(cache.find("b")).toBeUndefined();
  });
});

describe("realize", () => {
  it("keeps 512 programs of each backend", async () => {
    const { backend, recorded } = createRecordingBackend();
    let released = 0;
    backend.release = () => void released++;
    for (let n = 1; n <= 600; n++) await withBackend(backend, () => realize(tensor(new Float32Array(n)).mul(tensor(new Float32Array(n)))));
    expect([recorded.length, released]).toEqual([600, 88]);
  });
});
