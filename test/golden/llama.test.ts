import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, tensor, useBackend, valueAndGrad } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { languageLoss, type StepInfo, train } from "../../src/nn/training.js";
import { distance, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";
import { goldenLlama, goldenModel, goldenTables, goldenWeights } from "./llama-fixture.js";

const golden = goldenLlama();
const [batch, time] = golden.shape;
const batchOfGolden = () => ({
  inputs: tensor(new Int32Array(golden.inputs), { shape: [batch, time] }),
  targets: tensor(new Int32Array(golden.targets), { shape: [batch, time] }),
  tables: goldenTables(time),
});

describe.each(backends())("a Llama of Hugging Face transformers on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("has its logits", async () => {
    const { inputs, tables } = batchOfGolden();
    expect(distance(await goldenModel().forward(inputs, tables).data(), golden.logits)).toBeLessThan(2e-5);
  });

  it("has its loss and the gradient of every parameter", async () => {
    const [loss, grads] = valueAndGrad(languageLoss)(goldenModel(), batchOfGolden());
    expect(Math.abs((await loss.item()) / golden.loss - 1)).toBeLessThan(2e-6);
    const found = await valuesOf(grads);
    expect([...found.keys()].sort()).toEqual([...goldenWeights().keys()].sort());
    for (const [path, values] of found) {
      expect(Math.abs(Math.hypot(...values) / (golden.gradNorms[path] as number) - 1), path).toBeLessThan(2e-5);
    }
    for (const [path, expected] of Object.entries(golden.gradients)) {
      expect(distance((found.get(path) as number[]).slice(0, expected.length), expected), path).toBeLessThan(2e-5);
    }
  });

  it("trains as PyTorch's AdamW trains it, with clipping and a changing learning rate", async () => {
    const { steps, maxNorm, ...options } = golden.training;
    const seen: StepInfo[] = [];
    await train({
      model: goldenModel(),
      optimizer: adamw(options),
      batches: batchOfGolden,
      steps: steps.length,
      schedule: (step) => steps[step]?.lr as number,
      maxNorm,
      onStep: (info) => seen.push(info),
    });
    steps.forEach(({ loss, gradNorm }, step) => {
      expect(Math.abs((seen[step] as StepInfo).loss / loss - 1), `loss of step ${step}`).toBeLessThan(1e-4);
      expect(Math.abs((seen[step] as StepInfo).gradNorm / gradNorm - 1), `norm of step ${step}`).toBeLessThan(1e-3);
    });
  });
});
