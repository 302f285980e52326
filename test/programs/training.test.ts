import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type Backend, memory, NonFiniteError, OptionError, UsageError, useBackend } from "../../src/index.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { copyTree } from "../../src/nn/module.js";
import { adamw } from "../../src/nn/optimizers.js";
import { constant, warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, type StepInfo, train } from "../../src/nn/training.js";
import { distance, randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { usedBackends } from "../support/backends.js";

const batchOf = (step: number): LanguageBatch => randomBatch(tinyConfig, { batch: 2, time: 8, seed: 100 + step });
const twentySteps = warmupCosine({ warmup: 4, total: 20, peak: 0.02, floor: 0.001 });

/** One program for all tests of a backend, because a software adapter takes long to compile one. */
const optimizer = adamw();
const trainStep = createTrainStep({ optimizer, loss: languageLoss });
const common = { optimizer, trainStep, batches: batchOf, schedule: twentySteps };

async function lossesOfTwentySteps(): Promise<StepInfo[]> {
  const seen: StepInfo[] = [];
  await train({ ...common, model: await tinyLlama(), steps: 20, onStep: (info) => seen.push(info) });
  return seen;
}

describe.each(usedBackends())("training on $name", { timeout: 180_000 }, ({ name, create }) => {
  /** The reference, which is slow, queues nothing and has no pools of buffers: what it keeps, it keeps from step to step. */
  const many = name.startsWith("reference") ? 50 : 200;
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  // First of all, because what other tests leave behind is given back whenever the collector comes by.
  it(`holds as much memory after ${many} steps as after 10`, async () => {
    const reports: { bytes: number; buffers: number }[] = [];
    const result = await train({
      ...common,
      model: await tinyLlama(),
      batches: (step) => batchOf(step % 7),
      steps: many + 3,
      schedule: warmupCosine({ warmup: 10, total: many + 3, peak: 0.01 }),
      onStep: () => {
        const { liveBytes, liveBuffers } = memory();
        reports.push({ bytes: liveBytes, buffers: liveBuffers });
      },
    });
    expect(result.step).toBe(many + 3);
    expect(reports).toHaveLength(many + 3);
    // The last steps are read when nothing is queued behind them; those before still have the queue that step 10 has.
    expect(reports[many - 1]).toEqual(reports[9]);
  });

  it("has the losses of the reference at each of 20 steps with a changing learning rate", async () => {
    const found = await lossesOfTwentySteps();
    useBackend(createReferenceBackend());
    const expected = await lossesOfTwentySteps();
    useBackend(backend);
    expect(found.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, step) => step));
    expect(found.map(({ lr }) => lr)).toEqual(found.map(({ step }) => twentySteps(step)));
    found.forEach(({ loss, gradNorm }, step) => {
      const truth = expected[step] as StepInfo;
      expect(Math.abs(loss / truth.loss - 1), `loss of step ${step}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / truth.gradNorm - 1), `norm of step ${step}`).toBeLessThan(1e-3);
    });
  });

  it("learns one batch by heart", async () => {
    const batch = batchOf(0);
    let last = Infinity;
    await train({
      ...common,
      model: await tinyLlama(),
      batches: () => batch,
      steps: 120,
      schedule: constant(0.02),
      onStep: ({ loss }) => {
        last = loss;
      },
    });
    expect(last).toBeLessThan(0.05);
  });

  it("traces its step once, although small tensors that are read move to the host", async () => {
    const first = await train({ ...common, model: await tinyLlama(), steps: 2 });
    const { traces } = trainStep;
    await valuesOf([first.model, first.optimizerState]);
    const infos: StepInfo[] = [];
    await train({ ...common, ...first, steps: 4, onStep: (info) => infos.push(info) });
    expect(trainStep.traces).toBe(traces);
    expect(infos.map(({ step }) => step)).toEqual([2, 3]);
  });

  it("leaves parameters bit-identical at learning rate 0", async () => {
    const before = await valuesOf(await tinyLlama());
    const { model } = await train({ ...common, model: await tinyLlama(), steps: 3, schedule: constant(0) });
    expect(await valuesOf(model)).toEqual(before);
  });

  it("averages micro-batches as one batch would", async () => {
    const whole = batchOf(5);
    const half = (row: number): LanguageBatch => ({
      inputs: whole.inputs.slice([[row, row + 1]]),
      targets: whole.targets.slice([[row, row + 1]]),
      tables: whole.tables,
    });
    const run = async (batch: LanguageBatch | readonly LanguageBatch[]) => {
      const infos: StepInfo[] = [];
      const { optimizerState } = await train({
        ...common,
        model: await tinyLlama(),
        batches: () => batch,
        steps: 1,
        schedule: constant(0.01),
        onStep: (info) => infos.push(info),
      });
      return { info: infos[0] as StepInfo, state: await valuesOf(optimizerState) };
    };
    const [one, two] = [await run(whole), await run([half(0), half(1)])];
    expect(two.info.loss).toBeCloseTo(one.info.loss, 5);
    expect(two.info.gradNorm).toBeCloseTo(one.info.gradNorm, 4);
    expect(two.info.tokens).toBe(one.info.tokens);
    for (const [path, values] of one.state) expect(distance(values, two.state.get(path) as number[]), path).toBeLessThan(1e-6);
  });

  it("trains to the same numbers whatever is kept, recomputed or cut", async () => {
    const run = async (options: { checkpoint?: boolean; microBatch?: number }) => {
      const losses: number[] = [];
      const model = await tinyLlama();
      const { trainStep: _, ...others } = common;
      const result = await train({ ...others, ...options, model, steps: 4, onStep: ({ loss }) => losses.push(loss) });
      return { losses, values: await valuesOf(result.model) };
    };
    const plain = await run({});
    const ways = [{ checkpoint: true }, { microBatch: 1 }, { checkpoint: true, microBatch: 1 }, { checkpoint: false, microBatch: 2 }];
    for (const way of ways) {
      const found = await run(way);
      expect(distance(found.losses, plain.losses), JSON.stringify(way)).toBeLessThan(1e-4);
      for (const [path, values] of plain.values) expect(distance(values, found.values.get(path) as number[]), path).toBeLessThan(1e-3);
    }
  });

  it("is told by its step alone how that computes", async () => {
    for (const given of [{ checkpoint: true }, { microBatch: 1 }])
      await expect(train({ ...common, ...given, trainStep, model: await tinyLlama(), steps: 1 })).rejects.toThrow(OptionError);
  });

  it("keeps what a step with a NaN would have destroyed, and names the step", async () => {
    const broken = (step: number, factor: number): LanguageBatch => {
      const batch = batchOf(step);
      return { ...batch, tables: { ...batch.tables, cos: batch.tables.cos.mul(factor) } };
    };
    let model = await tinyLlama();
    let state = optimizer.init(model);
    const step = async (factor: number) => {
      [model, state] = trainStep(model, state, broken(0, factor), 0.01);
      return { model: await valuesOf(model), state: await valuesOf(state) };
    };
    const sound = await step(1);
    for (const factor of [Number.NaN, Infinity]) expect(await step(factor)).toEqual(sound);
    expect(await step(1)).not.toEqual(sound);

    const seen: number[] = [];
    const failing = train({
      ...common,
      model: await tinyLlama(),
      batches: (at) => broken(at, at === 5 ? Number.NaN : 1),
      steps: 20,
      onStep: (info) => seen.push(info.step),
    });
    await expect(failing).rejects.toThrow(NonFiniteError);
    await expect(failing).rejects.toMatchObject({ step: 5 });
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  it("goes on from where it stopped as if it had not, to the bit", async () => {
    const whole = await train({ ...common, model: await tinyLlama(), steps: 10 });
    let asked = 0;
    const half = await train({ ...common, model: await tinyLlama(), steps: 10, shouldStop: () => asked++ === 5 });
    expect(half.step).toBe(5);
    const rest = await train({ ...common, ...half, startStep: half.step, steps: 10 });
    expect(rest.step).toBe(10);
    expect(await valuesOf(rest.model)).toEqual(await valuesOf(whole.model));
    expect(await valuesOf(rest.optimizerState)).toEqual(await valuesOf(whole.optimizerState));
  });

  it("saves after every saveEvery steps, with all numbers of those steps reported", async () => {
    const saved: [step: number, reported: number][] = [];
    let reported = 0;
    await train({
      ...common,
      model: await tinyLlama(),
      steps: 7,
      saveEvery: 3,
      onStep: () => reported++,
      onSave: async ({ model, step }) => {
        await valuesOf(model);
        saved.push([step, reported]);
      },
    });
    expect(saved).toEqual([
      [3, 3],
      [6, 6],
    ]);
  });

  it("trains two models on one device as it trains each alone", async () => {
    const lossesOf = async (seed: number): Promise<number[]> => {
      const losses: number[] = [];
      const model = await tinyLlama(tinyConfig, { seed });
      await train({ ...common, model, steps: 6, onStep: ({ loss }) => losses.push(loss) });
      return losses;
    };
    const alone = [await lossesOf(1), await lossesOf(2)];
    const together = await Promise.all([lossesOf(1), lossesOf(2)]);
    expect(together).toEqual(alone);
    expect(alone[0]).not.toEqual(alone[1]);
  });

  it("takes a model over: its old tensors name the call that has them, and a copy stays", async () => {
    const kept = await tinyLlama();
    const taken = copyTree(kept);
    await train({ ...common, model: taken, steps: 1 });
    await expect(taken.model.norm.weight.data()).rejects.toThrow(UsageError);
    await expect(taken.model.norm.weight.data()).rejects.toThrow(/trainStep\(\)/);
    expect(await valuesOf(kept)).toEqual(await valuesOf(await tinyLlama()));
  });
});
