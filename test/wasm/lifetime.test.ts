import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ChildResult, type CompiledSources, compileSources, runModule } from "../support/compiled.js";

let sources: CompiledSources;
beforeAll(async () => {
  sources = await compileSources();
});
afterAll(() => sources.remove());

/** What the scripts share: a small product with its gradient on a backend of `threads` threads, and a count of what runs. */
const prelude = `
  import { existsSync, readdirSync } from "node:fs";
  import { createRequire, syncBuiltinESMExports } from "node:module";
  import { createWasmBackend } from "./backend/wasm/index.js";
  import { grad, init, realize, tensor, useBackend } from "./index.js";
  const threads = createRequire(import.meta.url)("node:worker_threads");
  const workers = [];
  const { Worker } = threads;
  threads.Worker = class extends Worker { constructor(...args) { super(...args); workers.push(this); } };
  syncBuiltinESMExports();
  /** Workers that have not ended. */
  const alive = () => workers.filter(({ threadId }) => threadId !== -1).length;
  /** Threads of this process, as the system counts them; 0 where it does not say. */
  const tasks = () => (existsSync("/proc/self/task") ? readdirSync("/proc/self/task").length : 0);
  const x = () => tensor(Float32Array.from({ length: 65536 }, (_, i) => i % 10), { shape: [256, 256] });
  const work = async () => (await grad((y) => y.matmul(y).square().sum())(x()).data())[1];
`;

const run = (text: string, options?: { readonly seconds?: number }): Promise<ChildResult> => runModule(sources, prelude + text, options);
/** The lines of a script that ended well. */
async function lines(text: string): Promise<string[]> {
  const { code, signal, stdout, stderr } = await run(text);
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: "" });
  return stdout.trimEnd().split("\n");
}

describe("a process with a wasm backend", { timeout: 60_000 }, () => {
  it("leaves by itself and at once when close() is forgotten", async () => {
    const [value, left] = await lines(`
      await init({ backend: "wasm", threads: 4 });
      console.log(await work());
      const from = Date.now();
      process.on("exit", () => console.log(Date.now() - from));`);
    expect(Number.isFinite(Number(value))).toBe(true);
    expect(Number(left)).toBeLessThan(2000);
  });

  it("leaves at once when close() is forgotten before anything ran, and by process.exit()", async () => {
    const from = Date.now();
    await lines('await init({ backend: "wasm", threads: 4 }); console.log("started");');
    const { code } = await run('await init({ backend: "wasm", threads: 4 }); await work(); process.exit(3);');
    expect(code).toBe(3);
    expect(Date.now() - from).toBeLessThan(15_000);
  });

  it("leaves at once with an exit code when the user's code throws", async () => {
    const { code, stderr } = await run('await init({ backend: "wasm", threads: 4 }); await work(); throw new Error("mistake");');
    expect(code).toBe(1);
    expect(stderr).toContain("mistake");
  });

  it("has no worker left after close(), neither by Node's count nor by the system's", async () => {
    const [before, started, after] = await lines(`
      const first = await createWasmBackend({ threads: 2 });
      useBackend(first); await work(); await first.close();
      const before = tasks();
      const backend = await createWasmBackend({ threads: 5, chunks: "finest" });
      useBackend(backend); await work();
      const started = [alive(), tasks()];
      await backend.close();
      console.log(before); console.log(started.join()); console.log([alive(), tasks()].join());`);
    const base = Number(before);
    expect(started).toBe(`4,${base === 0 ? 0 : base + 4}`);
    expect(after).toBe(`0,${base}`);
  });

  it("opens and closes twenty backends without growth of threads, at once after they started or after work", async () => {
    const found = await lines(`
      const counts = [];
      for (let i = 0; i < 20; i++) {
        const backend = await createWasmBackend({ threads: 3, chunks: "finest" });
        useBackend(backend);
        if (i % 2 === 1) await work();
        await backend.close();
        counts.push(tasks());
        if (alive() !== 0) console.log("still alive after", i);
      }
      console.log(counts[19] <= counts[1]);`);
    expect(found).toEqual(["true"]);
  });

  it("closes twice, and refuses use after that without a crash", async () => {
    const found = await lines(`
      const backend = await createWasmBackend({ threads: 3 });
      useBackend(backend);
      const t = x().add(1);
      await realize(t);
      const buffer = backend.alloc("f32", 4, "test");
      const failure = async (act) => { try { await act(); return "nothing"; } catch (error) { return error.name; } };
      await Promise.all([backend.close(), backend.close()]);
      await backend.close();
      const graph = { nodes: [{ kind: "input", input: 0, shape: [4], dtype: "f32" }], outputs: [0], inputCount: 1, scalarCount: 0 };
      console.log(await failure(() => t.data()));
      console.log(await failure(() => t.add(1).data()));
      console.log(await failure(() => backend.alloc("f32", 4, "test")));
      console.log(await failure(() => backend.write(buffer, "f32", new Float32Array(4))));
      console.log(await failure(() => backend.read(buffer, "f32", 4)));
      console.log(await failure(() => backend.compile(graph)));
      console.log(await failure(() => backend.sync()));
      backend.free(buffer);
      t.dispose();`);
    expect(found).toEqual(new Array(7).fill("UsageError"));
  });

  it("gives what was asked for before close() also after it", async () => {
    const [value] = await lines(`
      const backend = await createWasmBackend({ threads: 3 });
      useBackend(backend);
      const t = x().mul(2);
      const pending = t.data();
      await backend.close();
      console.log((await pending)[9]);`);
    expect(value).toBe("18");
  });

  it("computes on two backends side by side", async () => {
    const found = await lines(`
      const [a, b] = [await createWasmBackend({ threads: 2, chunks: "finest" }), await createWasmBackend({ threads: 3, chunks: "finest" })];
      const found = [];
      for (let i = 0; i < 6; i++) { useBackend(i % 2 === 0 ? a : b); found.push(await work()); }
      await a.close();
      useBackend(b);
      found.push(await work());
      await b.close();
      console.log(new Set(found).size, found.length, alive());`);
    expect(found).toEqual(["1 7 0"]);
  });

  it("computes in a worker of its own, which ends with or without close()", async () => {
    const found = await lines(`
      const source = (end) => \`
        import("\${new URL("./index.js", import.meta.url)}").then(async ({ grad, init, tensor }) => {
          const backend = await init({ backend: "wasm", threads: 3 });
          const x = tensor(Float32Array.from({ length: 65536 }, (_, i) => i % 10), { shape: [256, 256] });
          const value = (await grad((y) => y.matmul(y).square().sum())(x).data())[1];
          require("node:worker_threads").parentPort.postMessage([backend.info.adapter, value]);
          \${end}
        });\`;
      const outcome = (end) => new Promise((resolve, reject) => {
        const worker = new Worker(source(end), { eval: true });
        let message;
        worker.on("message", (value) => { message = value; });
        worker.on("error", reject);
        worker.on("exit", (code) => resolve([...message, code]));
      });
      await init({ backend: "wasm", threads: 1 });
      const wanted = await work();
      for (const end of ["await backend.close();", "", "process.exit(5);"]) {
        const [adapter, value, code] = await outcome(end);
        console.log(adapter.includes("3 threads"), value === wanted, code);
      }`);
    expect(found).toEqual(["true true 0", "true true 0", "true true 5"]);
  });
});
