import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer, Executable } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { DeviceError, DeviceLostError, UsageError } from "../../src/errors.js";
import { type Computation, GraphBuilder, hostTensor } from "../support/graphs.js";
import { ended, lateWorker, meet, recordWorkers, within } from "../support/threads.js";
import { internalsOf, memoryOf } from "../support/wasm-internals.js";

const size = 65_536;

/** x², one kernel of many chunks. */
function squares(): Computation {
  const builder = new GraphBuilder();
  const x = builder.input(
    hostTensor(
      "f32",
      [size],
      Float32Array.from({ length: size }, (_, i) => i % 1000),
    ),
  );
  return builder.build([builder.operation("mul", [x, x], {})]);
}

const moduleOf = (body: string): Uint8Array =>
  Uint8Array.from(Buffer.from(`0061736d0100000001080160047f7f7f7f000302010007060102${body}`, "hex"));
/** Modules whose only kernel, `k0`, traps or never returns. */
const trap = moduleOf("6b3000000a05010300000b");
const endless = moduleOf("6b3000000a0901070003400c000b0b");
const nonsense = new Uint8Array(8);

describe("the wasm backend when a worker", { timeout: 30_000 }, () => {
  let backend: Backend;
  let workers: readonly Worker[];
  let program: Executable;
  let input: DeviceBuffer;
  const { graph, inputs } = squares();
  beforeEach(async () => {
    const recorded = recordWorkers();
    backend = await createWasmBackend({ threads: 3, chunks: "finest" });
    recorded.stop();
    workers = recorded.workers;
    program = backend.compile(graph);
    input = backend.alloc("f32", size, "test");
    backend.write(input, "f32", inputs[0]?.data ?? new Float32Array(0));
  });
  afterEach(async () => {
    await within(10, backend.close());
    expect(workers.map(ended)).toEqual([true, true]);
  });

  const run = (): DeviceBuffer => backend.run(program, [input], [])[0] as DeviceBuffer;
  /** What goes wrong in a number of runs with pauses, in which workers come to join. */
  async function failureOf(act: () => unknown): Promise<Error> {
    for (let i = 0; i < 500; i++) {
      try {
        act();
      } catch (error) {
        return error as Error;
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    throw new Error("nothing went wrong");
  }
  /** Gives the workers other code than the calling thread has. */
  function plant(module: Uint8Array): void {
    const loaded = internalsOf(backend).load(program);
    new Uint8Array(memoryOf(backend).buffer).set(module, loaded.moduleAddress);
    Object.assign(loaded, { moduleBytes: module.length });
  }
  const right = async (buffer: DeviceBuffer): Promise<void> => {
    const found = await backend.read(buffer, "f32", size);
    expect([found[3], found[999], found[size - 1]]).toEqual([9, 998_001, ((size - 1) % 1000) ** 2]);
  };

  it("is ended from outside: the next run, read and sync say which one ended", async () => {
    await meet(backend, program, [input], 3);
    const held = run();
    await (workers[1] as Worker).terminate();
    await new Promise((resolve) => setImmediate(resolve));
    expect(run).toThrow(DeviceLostError);
    expect(run).toThrow(/worker thread 2 of the wasm backend ended/);
    await expect(backend.read(held, "f32", 1)).rejects.toThrow(DeviceLostError);
    await expect(backend.sync()).rejects.toThrow(/worker thread 2/);
    backend.free(held);
  });

  it("throws outside of every kernel: the error is named and kept as the cause", async () => {
    (workers[0] as Worker).emit("error", new RangeError("out of stack"));
    expect(run).toThrow(/worker thread 1 of the wasm backend ended: out of stack/);
    await expect(backend.sync()).rejects.toMatchObject({ cause: expect.any(RangeError) });
  });

  it("ends between runs: the run that follows at once still finishes right", async () => {
    await meet(backend, program, [input], 3);
    // Until all of them sleep.
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const worker of workers) void worker.terminate();
    const buffer = run();
    const found = new Float32Array(memoryOf(backend).buffer, (buffer as unknown as { address: number }).address, size);
    expect([found[3], found[999]]).toEqual([9, 998_001]);
    expect(await failureOf(run)).toBeInstanceOf(DeviceLostError);
  });

  it("cannot compile a program: fails with the compiler's words, now and later", async () => {
    plant(nonsense);
    const failure = await failureOf(run);
    expect(failure).toBeInstanceOf(DeviceError);
    expect(failure.message).toMatch(/worker thread: CompileError/);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(run).toThrow(/CompileError/);
    await expect(backend.sync()).rejects.toThrow(/CompileError/);
    await expect(backend.read(input, "f32", 1)).rejects.toThrow(/CompileError/);
  });

  it("traps in the middle of a kernel: the run fails with the trap's name, and other programs go on", async () => {
    plant(trap);
    const failure = await failureOf(run);
    expect(failure).toBeInstanceOf(DeviceError);
    expect(failure.message).toMatch(/RuntimeError: unreachable/);
    await backend.sync();
    const other = backend.compile(graph);
    await meet(backend, other, [input], 3);
    await right(backend.run(other, [input], [])[0] as DeviceBuffer);
  });

  it("never comes back from a kernel: is lost once patience ends, and does not hang", async () => {
    internalsOf(backend).pool.patience = 500;
    plant(endless);
    const failure = await failureOf(run);
    expect(failure).toBeInstanceOf(DeviceLostError);
    expect(failure.message).toMatch(/in the middle of a kernel/);
    await expect(backend.sync()).rejects.toThrow(DeviceLostError);
  });

  it("traps, as the calling thread does: the run fails, its memory comes back, and the next one is right", async () => {
    await meet(backend, program, [input], 3);
    const before = backend.memory().liveBytes;
    const words = new Int32Array(memoryOf(backend).buffer);
    const table = internalsOf(backend).load(program).stepsAddress / 4 + 1;
    const place = words[table] as number;
    // The step's table lies where there is no memory.
    words[table] = -64;
    expect(run).toThrow(DeviceError);
    expect(run).toThrow(/RuntimeError/);
    await backend.sync();
    expect(backend.memory().liveBytes).toBe(before);
    words[table] = place;
    await right(run());
  });

  it("leaves a note about its failure before it ends: the note is what one is told", async () => {
    const words = new Int32Array(memoryOf(backend).buffer);
    const note = "RuntimeError: integer overflow";
    words.set([note.length, ...Array.from(note, (letter) => letter.charCodeAt(0))], control.message);
    Atomics.store(words, control.failed, 1);
    (workers[0] as Worker).emit("error", new Error("it left"));
    await expect(backend.sync()).rejects.toThrow(/worker thread: RuntimeError: integer overflow/);
    expect(run).toThrow(DeviceError);
  });

  it("is slow because the whole machine slept: is not given up", async () => {
    const { now } = Date;
    await lateWorker(backend, 450);
    // Each look at the clock finds an hour gone, as after the lid of a laptop was closed.
    let hours = 0;
    Date.now = () => now() + 3_600_000 * hours++;
    try {
      await right(run());
    } finally {
      Date.now = now;
    }
    expect(hours).toBeGreaterThan(3);
  });

  it("ends: other backends go on, and take neither programs nor buffers of the lost one", async () => {
    const other = await createWasmBackend({ threads: 2, chunks: "finest" });
    await (workers[0] as Worker).terminate();
    expect(await failureOf(run)).toBeInstanceOf(DeviceLostError);
    const own = other.alloc("f32", 4, "test");
    other.write(own, "f32", new Float32Array([1, 2, 3, 4]));
    expect(() => other.run(program, [own], [])).toThrow(UsageError);
    expect(() => other.run(other.compile(graph), [input], [])).toThrow(UsageError);
    await other.sync();
    expect([...(await other.read(own, "f32", 4))]).toEqual([1, 2, 3, 4]);
    await within(10, other.close());
  });
});
