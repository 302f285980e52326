import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { useBackend } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, train } from "../../src/nn/training.js";
import { randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { graphRecipes } from "../support/arbitraries.js";
import { type Computation, compute, GraphBuilder } from "../support/graphs.js";
import { randomComputation } from "../support/random-graphs.js";
import { fill } from "../support/samples.js";
import { meet } from "../support/threads.js";

const optimizer = adamw();
const trainStep = createTrainStep({ optimizer, loss: languageLoss });

/** Losses, gradient norms, parameters and optimizer state of 20 steps with a changing learning rate. */
async function course(backend: Backend): Promise<unknown> {
  useBackend(backend);
  const infos: number[][] = [];
  const { model, optimizerState } = await train({
    model: await tinyLlama(),
    optimizer,
    trainStep,
    batches: (step) => randomBatch(tinyConfig, { batch: 2, time: 8, seed: 100 + step }),
    schedule: warmupCosine({ warmup: 4, total: 20, peak: 0.02, floor: 0.001 }),
    steps: 20,
    onStep: ({ loss, gradNorm, lr }) => infos.push([loss, gradNorm, lr]),
  });
  const values = [infos, await valuesOf(model), await valuesOf(optimizerState)];
  useBackend(undefined);
  return values;
}

/** Products, normalised rows, a long sum and a scatter, all of them large enough to be shared out. */
function largeComputation(): Computation {
  const builder = new GraphBuilder();
  const input = (shape: readonly number[], seed: number): number => builder.input(fill({ shape, dtype: "f32", low: -1, high: 1 }, seed));
  const [rows, columns] = [301, 203];
  const x = input([rows, columns], 1);
  const product = builder.operation("dot", [x, input([columns, 129], 2)], { dtype: "f32" });
  const largest = builder.operation("maxReduce", [product], { axes: [1] });
  const over = (v: number): number =>
    builder.operation("expand", [builder.operation("reshape", [v], { shape: [rows, 1] })], { shape: [rows, 129] });
  const weights = builder.operation("exp", [builder.operation("sub", [product, over(largest)], {})], {});
  const softmax = builder.operation("div", [weights, over(builder.operation("sum", [weights], { axes: [1] }))], {});
  const total = builder.operation("sum", [input([210, 997], 3)], { axes: [0, 1] });
  const columnSums = builder.operation("sum", [input([997, 210], 4)], { axes: [0] });
  const indices = builder.input(fill({ shape: [rows], dtype: "i32", low: 0, high: 6 }, 5));
  const scattered = builder.operation("scatterAdd", [softmax, indices], { size: 7 });
  return builder.build([softmax, total, columnSums, scattered]);
}

const setups = ([1, 2, 3, 5] as const).flatMap((threads) => (["auto", "finest"] as const).map((chunks) => ({ threads, chunks })));

describe("whatever the number of threads and the size of their chunks,", { timeout: 60_000 }, () => {
  const opened: { name: string; backend: Backend }[] = [];
  beforeAll(async () => {
    for (const setup of setups) {
      opened.push({ name: `${setup.threads} threads, ${setup.chunks}`, backend: await createWasmBackend({ ...setup, poison: true }) });
    }
  });
  afterAll(async () => {
    useBackend(undefined);
    await Promise.all(opened.map(({ backend }) => backend.close()));
  });

  async function expectSameEverywhere(values: (backend: Backend) => Promise<unknown>): Promise<void> {
    const [first, ...others] = opened as [(typeof opened)[number], ...typeof opened];
    const expected = await values(first.backend);
    for (const { name, backend } of others) {
      // A difference of whole models would take long to print.
      expect(isDeepStrictEqual(await values(backend), expected), name).toBe(true);
    }
  }

  it("training takes the same course, bit for bit", () => expectSameEverywhere(course));

  it("large products, rows, sums and scatters have the same bits, time after time", async () => {
    const computation = largeComputation();
    for (let round = 0; round < 3; round++) await expectSameEverywhere((backend) => compute(backend, computation));
  });

  it("sums down the columns of matrices of any width have the same bits", async () => {
    for (const width of [1, 3, 4, 5, 15, 16, 17, 32, 48, 64, 65]) {
      const builder = new GraphBuilder();
      const x = builder.input(fill({ shape: [19, width], dtype: "f32", low: -2, high: 2 }, width));
      const squares = builder.operation("mul", [x, x], {});
      const computation = builder.build([
        builder.operation("sum", [squares], { axes: [0] }),
        builder.operation("maxReduce", [squares], { axes: [0] }),
        builder.operation("argmin", [x], { axes: [0] }),
      ]);
      await expectSameEverywhere((backend) => compute(backend, computation));
    }
  });

  it("random graphs have the same bits", async () => {
    const property = fc.asyncProperty(graphRecipes, async (recipe) => {
      const { computation } = randomComputation(recipe);
      await expectSameEverywhere((backend) => compute(backend, computation));
    });
    await fc.assert(property, { seed: 7, numRuns: 25 });
  });

  it("and all threads do meet, in chunks of either size", async () => {
    const { graph, inputs } = largeComputation();
    for (const [i, { threads }] of setups.entries()) {
      if (threads === 1) continue;
      const { backend } = opened[i] as (typeof opened)[number];
      const buffers = inputs.map(({ dtype, data }): DeviceBuffer => {
        const buffer = backend.alloc(dtype, data.length, "test");
        backend.write(buffer, dtype, data);
        return buffer;
      });
      await meet(backend, backend.compile(graph), buffers, threads);
      for (const buffer of buffers) backend.free(buffer);
    }
  });
});
