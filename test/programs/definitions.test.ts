import { expect, it } from "vitest";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { useBackend } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, type StepInfo, train } from "../../src/nn/training.js";
import { randomBatch, tinyConfig, tinyLlama } from "../nn/tiny.js";

/** One layer, so that a kernel for each primitive is compiled in seconds on a software adapter. */
const config = { ...tinyConfig, num_hidden_layers: 1 };

async function fiveSteps(kernels: "auto" | "definitions"): Promise<{ infos: StepInfo[]; kernelCount: number }> {
  const backend = await createWebGpuBackend({ kernels });
  useBackend(backend);
  const infos: StepInfo[] = [];
  const optimizer = adamw();
  const trainStep = createTrainStep({ optimizer, loss: languageLoss });
  const batchOf = (step: number) => randomBatch(config, { batch: 2, time: 8, seed: step });
  const schedule = warmupCosine({ warmup: 2, total: 5, peak: 0.02 });
  const model = await tinyLlama(config);
  await train({ model, optimizer, trainStep, batches: batchOf, schedule, steps: 5, onStep: (info) => infos.push(info) });
  const fresh = await tinyLlama(config);
  const described = trainStep.explain(fresh, optimizer.init(fresh), batchOf(0), 0.01);
  useBackend(undefined);
  await backend.close();
  return { infos, kernelCount: Number(/(\d+) kernels/.exec(described)?.[1]) };
}

it("without any fusion and any hand-written kernel, training takes the same course", { timeout: 180_000 }, async () => {
  const [fused, plain] = [await fiveSteps("auto"), await fiveSteps("definitions")];
  expect(plain.kernelCount).toBeGreaterThan(2 * fused.kernelCount);
  expect(plain.infos).toHaveLength(5);
  plain.infos.forEach(({ loss, gradNorm }, step) => {
    const expected = fused.infos[step] as StepInfo;
    expect(Math.abs(loss / expected.loss - 1), `loss of step ${step}`).toBeLessThan(1e-4);
    expect(Math.abs(gradNorm / expected.gradNorm - 1), `norm of step ${step}`).toBeLessThan(1e-3);
  });
});
