import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, createTrainStep, languageLoss, languageWeight, sgd, type Tensor, tensor, useBackend } from "../../src/index.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { languageStep } from "../../src/nn/training.js";
import { backends } from "../support/backends.js";
import { distance, integers, plainTables, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

const config = { ...tinyConfig, num_hidden_layers: 1 };
const [B, T] = [6, 5];
const optimizer = sgd();
const maxNorm = Number.POSITIVE_INFINITY;

/** Rows of targets of which more and more are masked, the last rows wholly; weights that differ from row to row, if any. */
function rows(from: number, to: number, how: { masked: boolean; weighted: boolean }): LanguageBatch {
  const shape = [to - from, T];
  const slice = (all: Int32Array | Float32Array): Tensor => tensor(all.slice(from * T, to * T), { shape });
  const targets = integers(B * T, config.vocab_size, 8);
  if (how.masked) for (let i = 0; i < B * T; i++) if (i % T < Math.floor(i / T) + (i >= 4 * T ? T : 0)) targets[i] = -100;
  const weights = Float32Array.from({ length: B * T }, (_, i) => (Math.floor(i / T) === 1 ? 0 : (i % 7) / 2 + Math.floor(i / T)));
  return {
    inputs: slice(integers(B * T, config.vocab_size, 7)),
    targets: slice(targets),
    tables: plainTables(T, config.head_dim),
    ...(how.weighted ? { weights: slice(weights) } : {}),
  };
}

describe.each(backends())("micro-batches whose targets count differently on $name", ({ name, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  const whole = languageStep({ optimizer, maxNorm });
  const train = async (batch: LanguageBatch | LanguageBatch[], step = whole): Promise<{ parameters: number[]; loss: number }> => {
    const model = await tinyLlama(config, { seed: 4 });
    const [next, , metrics] = step(model, optimizer.init(model), batch, 0.5);
    const loss = await metrics.loss.item();
    return { parameters: [...(await valuesOf(next)).values()].flat(), loss };
  };
  const pieces = (how: { masked: boolean; weighted: boolean }): LanguageBatch[] => [rows(0, 2, how), rows(2, 4, how), rows(4, 6, how)];

  it.each([
    { masked: true, weighted: false },
    { masked: true, weighted: true },
  ])("train as the whole batch, with weights: $weighted", async (how) => {
    const expected = await train(rows(0, B, how));
    const cut = languageStep({ optimizer, maxNorm, microBatch: 1 });
    for (const found of [await train(pieces(how)), await train(rows(0, B, how), cut)]) {
      expect(Math.abs(found.loss - expected.loss)).toBeLessThan(1e-5);
      expect(distance(found.parameters, expected.parameters)).toBeLessThan(1e-5);
    }
  });

  if (name !== "reference") return;

  it("need to be told what they count", async () => {
    const how = { masked: false, weighted: true };
    const two = pieces(how).slice(0, 2);
    const expected = await train(rows(0, 4, how));
    const told = createTrainStep({ optimizer, maxNorm, loss: languageLoss, weight: languageWeight });
    expect(distance((await train(two, told)).parameters, expected.parameters)).toBeLessThan(1e-5);
    const untold = createTrainStep({ optimizer, maxNorm, loss: languageLoss });
    expect(distance((await train(two, untold)).parameters, expected.parameters)).toBeGreaterThan(1e-4);
  });

  it("in which nothing counts leave the parameters as they are", async () => {
    const nothing = { ...rows(0, 2, { masked: false, weighted: false }), weights: tensor(new Float32Array(2 * T), { shape: [2, T] }) };
    const found = await train([nothing, nothing]);
    expect(found.loss).toBeNaN();
    expect(found.parameters).toEqual([...(await valuesOf(await tinyLlama(config, { seed: 4 }))).values()].flat());
  });
});
