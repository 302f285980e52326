import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluateContexts } from "../../src/e2llm/evaluation.js";
import { type Backend, key, useBackend } from "../../src/index.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { evaluationTargets } from "../../src/nn/evaluation-targets.js";
import { generate } from "../../src/nn/generate.js";
import { Llama } from "../../src/nn/llama.js";
import { adamw } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, train } from "../../src/nn/training.js";
import { plainTables, randomBatch, tinyConfig } from "../nn/tiny.js";
import { type KernelLint, openKernelLint } from "../support/kernel-lint.js";
import { createRecordingBackend, type Recorded } from "../support/recording-backend.js";
import { programsOf } from "./targets.js";

/** Sizes at which rows are shared by workgroups, sums are done in two steps and operands are whole vectors. */
const larger: LlamaConfig = {
  ...tinyConfig,
  vocab_size: 640,
  hidden_size: 96,
  intermediate_size: 160,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 130,
  tie_word_embeddings: true,
};

/** The graphs of everything that is done with a model. */
async function graphsOf(config: LlamaConfig, time: number): Promise<readonly Recorded[]> {
  const { backend, recorded } = createRecordingBackend();
  const before: Backend | undefined = useBackend(backend);
  const init = (): Llama => new Llama(config, { key: key(1) });
  const optimizer = adamw();
  const trainStep = createTrainStep({ optimizer, loss: languageLoss });
  const batch = randomBatch(config, { batch: 2, time, seed: 1 });
  const common = { optimizer, schedule: warmupCosine({ warmup: 1, total: 2, peak: 0.01 }), steps: 1 };
  await train({ ...common, trainStep, model: init(), batches: () => batch });
  await train({ ...common, trainStep, model: init(), batches: () => [batch, batch] });

  const model = init();
  const tables = (length: number) => plainTables(length, config.head_dim);
  await generate({ model, prompt: [1, 2, 3], tokens: 3, tables, temperature: 0 });
  await model.forward(batch.inputs, batch.tables).data();
  const documents = [{ name: "one", tokens: Int32Array.from({ length: 4 * time }, (_, i) => i % config.vocab_size) }];
  const blocks = evaluationTargets({ documents, maxContext: 2 * time, targetLength: 4, count: 3 });
  await evaluateContexts({ model, documents, blocks, targetLength: 4, contexts: [time, 2 * time] });
  useBackend(before);
  return recorded;
}

describe("for every target, at default limits, the kernels compile that train, read, continue and evaluate", { timeout: 120_000 }, () => {
  let lint: KernelLint;
  beforeAll(async () => {
    lint = await openKernelLint();
  });
  afterAll(() => lint.close());

  it.each([
    ["a tiny Llama", tinyConfig, 9],
    ["a larger Llama", larger, 65],
  ] as const)("%s", async (_, config, time) => {
    const recorded = await graphsOf(config, time);
    expect(recorded.length).toBeGreaterThanOrEqual(6);
    expect(recorded.some(({ options }) => options.donated?.includes(true))).toBe(true);
    const before = lint.seen;
    const found: string[] = [];
    for (const { graph, options } of recorded) {
      for (const program of programsOf(graph, options)) {
        for (const problem of await lint.problems(program)) found.push(`${options.label}: ${problem}`);
      }
    }
    expect(found).toEqual([]);
    expect(lint.seen - before).toBeGreaterThan(100);
  });
});
