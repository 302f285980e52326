import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer, Executable } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { GraphBuilder, hostTensor } from "../support/graphs.js";
import { lateWorker, meet } from "../support/threads.js";
import { internalsOf, memoryOf } from "../support/wasm-internals.js";

const size = 65_536;

describe("the threads of a wasm backend", { timeout: 30_000 }, () => {
  let backend: Backend;
  let program: Executable;
  let input: DeviceBuffer;
  let words: Int32Array;
  /** Where the chunks are counted that threads have asked for. */
  let taken: number;
  beforeEach(async () => {
    backend = await createWasmBackend({ threads: 3, chunks: "finest" });
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [size], new Float32Array(size)));
    program = backend.compile(builder.build([builder.operation("exp", [x], {})]).graph);
    input = backend.alloc("f32", size, "test");
    backend.write(input, "f32", new Float32Array(size));
    await meet(backend, program, [input], 3);
    words = new Int32Array(memoryOf(backend).buffer);
    taken = internalsOf(backend).load(program).countersAddress / 4;
    // Until all of them sleep.
    await new Promise((resolve) => setTimeout(resolve, 50));
  });
  afterEach(() => backend.close());

  const run = (): void => backend.run(program, [input], []).forEach((buffer) => void backend.free(buffer));

  it("do not begin a run while one of them is still inside of the one before", async () => {
    const before = Atomics.load(words, taken);
    expect(before).toBeGreaterThan(0);
    const late = await lateWorker(backend, 150, taken);
    const from = performance.now();
    // Its counters are zeroed for each run.
    run();
    expect(performance.now() - from).toBeGreaterThan(100);
    expect(await late.seen()).toBe(before);
  });

  it("leave a run alone that was over before they woke", async () => {
    Atomics.store(words, taken, 0);
    Atomics.add(words, control.epoch, 1);
    Atomics.notify(words, control.epoch);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(Atomics.load(words, taken)).toBe(0);
    expect(Atomics.load(words, control.joined)).toBe(0);
  });

  it("sleep between runs: an idle backend takes no processor time", async () => {
    run();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { user, system } = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 400));
    const spent = process.cpuUsage();
    expect((spent.user + spent.system - user - system) / 1000).toBeLessThan(150);
  });

  it("are not woken for work that is too small to share, unless chunks are the finest", async () => {
    const other = await createWasmBackend({ threads: 3 });
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [100], new Float32Array(100)));
    const { graph } = builder.build([builder.operation("exp", [x], {})]);
    const epochOf = (which: Backend): number => new Int32Array(memoryOf(which).buffer)[control.epoch] as number;
    for (const [which, woken] of [
      [other, 0],
      [backend, 1],
    ] as const) {
      const buffer = which.alloc("f32", 100, "test");
      const before = epochOf(which);
      for (const result of which.run(which.compile(graph), [buffer], [])) which.free(result);
      expect(epochOf(which) - before).toBe(woken);
      which.free(buffer);
    }
    await other.close();
  });
});
