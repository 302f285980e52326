import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Compiler } from "../../src/backend/webgpu/pipelines.js";
import { WorkQueue } from "../../src/backend/webgpu/work-queue.js";
import { fuzzSeed } from "../support/fuzz.js";

describe("a queue of work", () => {
  it("does everything in the order in which it was added, whatever is ready first", async () => {
    const item = fc.record({ turns: fc.option(fc.nat(5), { nil: undefined }), nested: fc.boolean(), pause: fc.nat(2) });
    const property = fc.asyncProperty(fc.array(item, { maxLength: 20 }), async (items) => {
      const queue = new WorkQueue();
      const [done, expected]: string[][] = [[], []];
      for (const [i, { turns, nested, pause }] of items.entries()) {
        const later = async (): Promise<void> => {
          for (let turn = 0; turn < (turns ?? 0); turn++) await null;
        };
        const idle = queue.idle;
        queue.add(
          () => {
            done?.push(`${i}`);
            if (nested) queue.add(() => done?.push(`${i} nested`));
          },
          turns === undefined ? undefined : later(),
        );
        expected?.push(`${i}`, ...(nested ? [`${i} nested`] : []));
        if (idle && turns === undefined) expect(done).toEqual(expected);
        for (let turn = 0; turn < pause; turn++) await null;
      }
      await queue.settled();
      expect(done).toEqual(expected);
      expect(queue.idle).toBe(true);
    });
    await fc.assert(property, { seed: fuzzSeed(72), numRuns: 200 });
  });
});

describe("a compiler of pipelines", () => {
  it("compiles many side by side, but no more at once than are of use, and each of them", async () => {
    let [running, most] = [0, 0];
    const finish: (() => void)[] = [];
    const gpu = {
      pushErrorScope: () => undefined,
      popErrorScope: () => Promise.resolve(null),
      createShaderModule: ({ code }: GPUShaderModuleDescriptor) => ({ code, getCompilationInfo: () => Promise.resolve({ messages: [] }) }),
      createComputePipelineAsync: ({ label }: GPUComputePipelineDescriptor) => {
        most = Math.max(most, ++running);
        return new Promise((resolve, reject) => {
          finish.push(() => {
            running--;
            if (label?.startsWith("bad")) reject(new Error("refused by the driver"));
            else resolve({ label });
          });
        });
      },
    };
    const compiler = new Compiler(gpu as unknown as GPUDevice, (promise) => promise);
    const pipelines = Array.from({ length: 50 }, (_, i) => compiler.compile(`${i % 7 === 3 ? "bad" : "good"} ${i}`, "", "auto"));
    const all = Promise.all(pipelines.map(({ making }) => making));
    let waiting = true;
    void all.then(() => {
      waiting = false;
    });
    while (waiting) {
      finish.pop()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(most).toBe(16);
    pipelines.forEach(({ gpu: made, error, making }, i) => {
      expect(making).toBeUndefined();
      if (i % 7 === 3) expect(error?.message).toBe(`the pipeline "bad ${i}" was refused: refused by the driver`);
      else expect(made).toEqual({ label: `good ${i}` });
    });
  });
});
