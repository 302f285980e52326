import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { compareVariants, comparisonRows, comparisonTokens } from "../../src/e2llm/comparison.js";
import { evaluateContexts, slidingWindowPerplexity } from "../../src/e2llm/evaluation.js";
import { plainPositions } from "../../src/e2llm/positions/index.js";
import { automaticScale, readingSchedules, readingTables } from "../../src/e2llm/reading.js";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import { type Backend, crossEntropy, mapTensors, OptionError, tensor, useBackend, zerosLike } from "../../src/index.js";
import { ropeTensors } from "../../src/nn/batch.js";
import { evaluationTargets } from "../../src/nn/evaluation-targets.js";
import type { Llama } from "../../src/nn/llama.js";
import { integers, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const window = 8;
const config = { ...tinyConfig, num_hidden_layers: 1, max_position_embeddings: window };
const documents = [1, 2].map((seed) => ({ name: `document ${seed}`, tokens: integers(120, config.vocab_size, seed) }));
const contexts = [8, 16, 32];
const targetLength = 4;
const blocks = evaluationTargets({ documents, targetLength, maxContext: 32, count: 7 });
const common = { documents, blocks, targetLength, batch: 3 };
const text = documents[0]?.tokens as Int32Array;

/** A model that cannot look back: the projections out of its attention are 0. */
const blind = (model: Llama): Llama => mapTensors(model, (t, path) => (path.endsWith("o_proj.weight") ? zerosLike(t) : t));

const plainTables = (length: number) =>
  ropeTables(plainPositions({ length }), ropeFrequencies({ type: "default" }, { headDim: config.head_dim, theta: config.rope_theta }));

/** Mean loss of predicting tokens[from] … tokens[to − 1], each from everything before it, in one pass. */
async function directLoss(model: Llama, tokens: Int32Array, from = 1, to = tokens.length): Promise<number> {
  const inputs = tensor(tokens.slice(0, to - 1), { shape: [1, to - 1] });
  const targets = tensor(tokens.slice(1, to), { shape: [1, to - 1] });
  const logits = model.forward(inputs, ropeTensors(plainTables(to - 1)));
  const losses = [...(await crossEntropy(logits, targets, { reduction: "none" }).data())].slice(from - 1);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

describe.each(backends())("evaluation on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("of a model whose logits are all equal is ln V at every context", async () => {
    const model = mapTensors(await tinyLlama(config), (t, path) => (path === "lm_head.weight" ? zerosLike(t) : t));
    for (const { nats, targets } of await evaluateContexts({ model, contexts, ...common })) {
      expect(nats).toBeCloseTo(Math.log(config.vocab_size), 5);
      expect(targets).toBe(28);
    }
  });

  it("of a model that cannot look back is the same at every context, because the targets are", async () => {
    const found = await evaluateContexts({ model: blind(await tinyLlama(config)), contexts, ...common });
    for (const { nats } of found) expect(nats).toBeCloseTo(found[0]?.nats as number, 5);
  });

  it("is what a forward pass over each row gives, and more context changes it", async () => {
    const model = await tinyLlama(config);
    const found = await evaluateContexts({ model, contexts: [8, 16], ...common, tables: plainTables });
    for (const { context, nats } of found) {
      const each = await Promise.all(
        blocks.map(({ document, start }) => {
          const end = start + targetLength; // the last target has `context` tokens before it
          const row = documents[document]?.tokens.slice(end - 1 - context, end) as Int32Array;
          return directLoss(model, row, row.length - targetLength);
        }),
      );
      expect(nats).toBeCloseTo(each.reduce((sum, loss) => sum + loss, 0) / each.length, 5);
    }
    expect(found[0]?.nats).not.toBeCloseTo(found[1]?.nats as number, 3);
  });

  it("E-13: gives the same bits again, and again after another scale was read", async () => {
    const model = await tinyLlama(config);
    const at = async (scale: number): Promise<number> => {
      const tables = (length: number) => readingTables(config, { schedule: "linear", scale, length, window });
      return (await evaluateContexts({ model, contexts: [16], ...common, tables }))[0]?.nats as number;
    };
    const [two, three, twoAgain] = [await at(2), await at(3), await at(2)];
    expect(twoAgain).toBe(two);
    expect(three).not.toBe(two);
  });

  it("does not depend on the batch size", async () => {
    const model = await tinyLlama(config);
    const [one, all] = [1, 100].map((batch) => evaluateContexts({ model, contexts: [16], ...common, batch }));
    expect((await one)?.[0]?.nats).toBeCloseTo((await all)?.[0]?.nats as number, 5);
  });

  it("through a sliding window is the loss of one pass where the text fits into the window", async () => {
    const model = await tinyLlama(config);
    const tokens = text.slice(0, 17);
    const direct = await directLoss(model, tokens);
    for (const [size, stride] of [
      [16, 4],
      [16, 16],
      [40, 7],
    ] as const) {
      const found = await slidingWindowPerplexity({ model, tokens, window: size, stride, tables: plainTables });
      expect(found.nats).toBeCloseTo(direct, 5);
      expect(found.perplexity).toBeCloseTo(Math.exp(direct), 3);
      expect(found.targets).toBe(16);
    }
  });

  it("through a sliding window scores every token but the first once, at any stride and batch", async () => {
    const model = blind(await tinyLlama(config)); // its loss of a token does not depend on the window that scores it
    const direct = await directLoss(model, text);
    for (const [stride, batch] of [
      [3, 4],
      [8, 3],
    ] as const) {
      const found = await slidingWindowPerplexity({ model, tokens: text, window: 8, stride, batch, tables: plainTables });
      expect(found.targets).toBe(text.length - 1);
      expect(found.nats).toBeCloseTo(direct, 5);
    }
  });

  it("through a sliding window with stride 1 gives every later token a full window", async () => {
    const model = await tinyLlama(config);
    const tokens = text.slice(0, 12);
    const sums = [8 * (await directLoss(model, tokens.slice(0, 9)))];
    for (let i = 9; i < tokens.length; i++) sums.push(await directLoss(model, tokens.slice(i - 8, i + 1), 8));
    const found = await slidingWindowPerplexity({ model, tokens, window: 8, stride: 1, tables: plainTables });
    expect(found.nats).toBeCloseTo(sums.reduce((sum, loss) => sum + loss, 0) / 11, 5);
  });
});

describe("an evaluation", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("reads by g = max(1, ceil(W / L)) unless told otherwise", async () => {
    const model = await tinyLlama(config);
    const byDefault = await evaluateContexts({ model, contexts: [8, 15, 32], ...common });
    const tables = (length: number) =>
      readingTables(config, { schedule: "linear", scale: { 8: 1, 15: 2, 32: 4 }[length] as number, length, window });
    expect(byDefault).toEqual(await evaluateContexts({ model, contexts: [8, 15, 32], ...common, tables }));
  });

  it("stops where it is asked to, with the contexts that are complete", async () => {
    const model = await tinyLlama(config);
    let passes = 0;
    const found = await evaluateContexts({
      model,
      contexts,
      ...common,
      onProgress: ({ done, total }) => {
        passes = done;
        expect(total).toBe(9);
      },
      shouldStop: () => passes >= 4,
    });
    expect(found.map(({ context }) => context)).toEqual([8]);
  });

  it("refuses contexts, strides and texts that make no windows", async () => {
    const model = await tinyLlama(config);
    await expect(evaluateContexts({ model, contexts: [], ...common })).rejects.toThrow(OptionError);
    await expect(evaluateContexts({ model, contexts: [200], ...common })).rejects.toThrow(OptionError);
    await expect(evaluateContexts({ model, contexts, ...common, batch: 0 })).rejects.toThrow(OptionError);
    for (const [size, stride] of [
      [8, 9],
      [8, 0],
      [0, 1],
      [2.5, 1],
    ] as const) {
      await expect(slidingWindowPerplexity({ model, tokens: text, window: size, stride })).rejects.toThrow(OptionError);
    }
    await expect(slidingWindowPerplexity({ model, tokens: text.slice(0, 1), window: 8, stride: 4 })).rejects.toThrow(OptionError);
  });
});

describe("a reading", () => {
  // Resonance rounds wavelengths at scale 1 too.
  it.each(readingSchedules.filter((name) => name !== "resonance-yarn"))("by %s at scale 1 within the window is as trained", (schedule) => {
    const found = readingTables(config, { schedule, scale: 1, length: window, window });
    const plain = plainTables(window);
    for (const [i, value] of found.cos.entries()) expect(value).toBeCloseTo(plain.cos[i] as number, 6);
    for (const [i, value] of found.sin.entries()) expect(value).toBeCloseTo(plain.sin[i] as number, 6);
  });

  it("by whole linear scales has the very bits of the trained positions at every g-th place", () => {
    const half = config.head_dim / 2;
    const found = readingTables(config, { schedule: "linear", scale: 3, length: 3 * window, window });
    const plain = plainTables(window);
    for (let i = 0; i < window; i++) {
      expect(found.cos.slice(3 * i * half, (3 * i + 1) * half)).toEqual(plain.cos.slice(i * half, (i + 1) * half));
    }
  });

  it("takes its scale from the length, except where the schedule does", () => {
    expect([8, 9, 16, 17, 64].map((length) => automaticScale("linear", length, 8))).toEqual([1, 2, 2, 3, 8]);
    expect(automaticScale("none", 64, 8)).toBe(1);
    expect(automaticScale("dynamic", 64, 8)).toBe(1);
    const [dynamic, ntk] = (["dynamic", "ntk"] as const).map((schedule) =>
      readingTables(config, { schedule, scale: schedule === "ntk" ? 4 : 1, length: 32, window }),
    );
    for (const [i, value] of (dynamic?.cos ?? []).entries()) expect(value).toBeCloseTo(ntk?.cos[i] as number, 6);
  });
});

describe("the comparison", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));
  const rows = comparisonRows({ window, contexts: [8, 16], scales: [1, 2] });

  it("has base and plain by their schedules at context / L, and E² at every scale for every context", () => {
    const all = comparisonRows({ window: 32 });
    expect(all).toHaveLength((5 + 3 + 4) * 4);
    expect(all.filter(({ variant }) => variant === "e2").map(({ scale, context }) => [scale, context])).toEqual(
      [1, 2, 4, 8].flatMap((g) => [32, 64, 128, 256].map((context) => [g, context])),
    );
    for (const { variant, schedule, scale, context } of all) {
      if (variant !== "e2") expect(scale).toBe(schedule === "none" ? 1 : context / 32);
    }
  });

  it("measures each distinct reading once and takes the truncation baseline from context L at scale 1", async () => {
    const models = { base: await tinyLlama(config), plain: await tinyLlama(config, { seed: 2 }), e2: await tinyLlama(config, { seed: 3 }) };
    let passes = 0;
    let tokens = 0;
    const found = await compareVariants({
      models,
      window,
      rows,
      documents,
      blocks,
      targetLength,
      batch: () => 7,
      onProgress: ({ done, total, tokens: read }) => {
        passes++;
        tokens += read;
        expect(done).toBe(passes);
        expect(total).toBe(3 + 5 + 3 + 1 + 2);
      },
    });
    expect(passes).toBe(14);
    expect(tokens).toBe(comparisonTokens(rows, { window, blocks: blocks.length }));
    expect(found.complete).toBe(true);
    expect(found.losses.map(({ nats: _, ...row }) => row)).toEqual(rows);
    const natsOf = (variant: string, scale: number, context: number) =>
      found.losses.filter((row) => row.variant === variant && row.scale === scale && row.context === context).map(({ nats }) => nats);
    for (const variant of ["base", "plain", "e2"] as const) {
      const truncated = found.truncation[variant];
      for (const nats of natsOf(variant, 1, window)) expect(nats).toBe(truncated);
      const [direct] = await evaluateContexts({ model: models[variant], contexts: [window], ...common, tables: plainTables });
      expect(truncated).toBeCloseTo(direct?.nats as number, 9);
    }
    expect(new Set(found.losses.map(({ nats }) => nats)).size).toBe(14);
  });

  it("says so when it was stopped", async () => {
    const model = await tinyLlama(config);
    const models = { base: model, plain: model, e2: model };
    const found = await compareVariants({ models, window, rows, documents, blocks, targetLength, shouldStop: () => true });
    expect(found).toEqual({ losses: [], truncation: {}, complete: false });
  });
});
