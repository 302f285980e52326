import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import type { Executable, MemoryReport } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { memory, useBackend } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, train } from "../../src/nn/training.js";
import { randomBatch, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { memoryOf, participants } from "../support/wasm-internals.js";

const config = {
  ...tinyConfig,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  intermediate_size: 16,
};
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

const steps = 5000;
const MiB = 2 ** 20;

it("5,000 training steps on two threads take as much memory as 500", { timeout: 120_000 }, async () => {
  const backend = await createWasmBackend({ threads: 2, chunks: "finest" });
  useBackend(backend);
  const programs: Executable[] = [];
  const compile = backend.compile.bind(backend);
  backend.compile = (graph, options) => {
    const program = compile(graph, options);
    if (options?.label === "trainStep") programs.push(program);
    return program;
  };
  const batches = [0, 1, 2, 3, 4, 5, 6].map((seed) => randomBatch(config, { batch: 1, time: 6, seed }));
  const optimizer = adamw();
  const trainStep = createTrainStep({ optimizer, loss: languageLoss });
  const seen = new Map<number, { report: MemoryReport; bytes: number; heap: number; outside: number }>();
  const losses: number[] = [];
  let meetings = 0;
  await train({
    model: await tinyLlama(config),
    optimizer,
    trainStep,
    batches: (step) => batches[step % batches.length] as (typeof batches)[number],
    // The last steps of a run are reported when nothing is queued behind them.
    steps: steps + 5,
    schedule: warmupCosine({ warmup: 10, total: steps, peak: 0.01, floor: 0.0001 }),
    onStep: ({ step, loss }) => {
      losses.push(loss);
      if (programs[0] !== undefined && participants(backend, programs[0]) > 1) meetings++;
      if (step === 500 || step === steps) {
        collectGarbage();
        const { rss, heapTotal, heapUsed } = process.memoryUsage();
        // The heap of JavaScript is enlarged by steps of some 20 MiB, whose pages stay resident; what lives in it must not grow.
        seen.set(step, {
          report: memory(),
          bytes: memoryOf(backend).buffer.byteLength,
          heap: heapUsed,
          outside: rss - heapTotal,
        });
      }
    },
  });
  useBackend(undefined);
  const [early, late] = [seen.get(500), seen.get(steps)];
  expect(early).toBeDefined();
  expect(late?.report).toEqual(early?.report);
  expect(late?.bytes).toBe(early?.bytes);
  expect((late?.heap ?? Infinity) - (early?.heap ?? 0)).toBeLessThan(2 * MiB);
  expect((late?.outside ?? Infinity) - (early?.outside ?? 0)).toBeLessThan(48 * MiB);
  expect(programs).toHaveLength(1);
  expect(meetings).toBeGreaterThan(100);
  // It has learned the seven batches by heart, and nothing else would tell a step that was lost.
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(Math.max(...losses.slice(-7))).toBeLessThan(0.2 * (losses[0] as number));
  await backend.close();
});
