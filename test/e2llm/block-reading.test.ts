import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { evaluateContexts, slidingWindowPerplexity } from "../../src/e2llm/evaluation.js";
import { lossByPosition, positionBuckets } from "../../src/e2llm/position-loss.js";
import { automaticScale, type ReadingSchedule, readingSchedules, readingTables } from "../../src/e2llm/reading.js";
import {
  type Backend,
  crossEntropy,
  key,
  memory,
  memoryOf,
  OptionError,
  realize,
  ShapeError,
  tensor,
  useBackend,
  zeros,
} from "../../src/index.js";
import { type HostTables, ropeTensors } from "../../src/nn/batch.js";
import { blockRange, planBlocks, readBlock } from "../../src/nn/block-reader.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { evaluationTargets } from "../../src/nn/evaluation-targets.js";
import { KeyValueCache } from "../../src/nn/kv-cache.js";
import { Llama } from "../../src/nn/llama.js";
import { distance, integers, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";
import { createRecordingBackend } from "../support/recording-backend.js";

const window = 8;
const config = { ...tinyConfig, max_position_embeddings: window };
const V = config.vocab_size;
const text = integers(90, V, 5);

const tablesOf =
  (schedule: ReadingSchedule) =>
  (length: number): HostTables =>
    readingTables(config, { schedule, scale: automaticScale(schedule, length, window), length, window });

/** The losses of a forward pass over the whole text. */
async function wholeLosses(model: Llama, tokens: Int32Array, tables = tablesOf("linear")): Promise<Float32Array> {
  const W = tokens.length - 1;
  const logits = model.forward(tensor(tokens.slice(0, W), { shape: [1, W] }), ropeTensors(tables(W)));
  return (await crossEntropy(logits, tensor(tokens.slice(1), { shape: [1, W] }), { reduction: "none" }).data()) as Float32Array;
}

describe.each(backends())("a long text on $name", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(readingSchedules)("has in blocks the losses of one pass over all of it, read by %s", async (schedule) => {
    const model = await tinyLlama(config);
    const tables = tablesOf(schedule);
    const { context, nats } = await lossByPosition({ model, tokens: text.subarray(0, 40), tables, block: 9 });
    expect(context).toBe(39);
    expect(distance(nats[0] as Float32Array, await wholeLosses(model, text.subarray(0, 40), tables))).toBeLessThan(2e-5);
  });

  it("has them beside other texts", async () => {
    const model = await tinyLlama(config);
    const texts = [0, 20, 60].map((start) => text.subarray(start, start + 24));
    const { nats } = await lossByPosition({ model, tokens: texts, block: 10, batch: 2 });
    expect(nats).toHaveLength(3);
    for (const [i, row] of nats.entries()) {
      expect(distance(row, await wholeLosses(model, texts[i] as Int32Array))).toBeLessThan(2e-5);
    }
  });

  it("has in blocks the losses on fixed targets and through a window that whole rows have", async () => {
    const model = await tinyLlama(config);
    const documents = [{ name: "one", tokens: text }];
    const targets = { documents, targetLength: 7 };
    const blocks = evaluationTargets({ ...targets, maxContext: 31, count: 5 });
    const contexts = { model, ...targets, blocks, contexts: [7, 31], batch: 3 };
    const whole = await evaluateContexts(contexts);
    for (const block of [4, 16]) {
      const found = await evaluateContexts({ ...contexts, block });
      for (const [i, { nats, context, targets: scored }] of found.entries()) {
        expect({ context, scored }).toEqual({ context: whole[i]?.context, scored: 35 });
        expect(nats).toBeCloseTo(whole[i]?.nats as number, 5);
      }
    }
    const sliding = { model, tokens: text, window: 24, stride: 9, batch: 3 };
    const direct = await slidingWindowPerplexity(sliding);
    const inBlocks = await slidingWindowPerplexity({ ...sliding, block: 7 });
    expect(inBlocks.targets).toBe(direct.targets);
    expect(inBlocks.nats).toBeCloseTo(direct.nats, 5);
  });

  it("is read in memory that grows with its length, its cache written in place", async () => {
    const model = await tinyLlama(config);
    const long = integers(385, V, 6);
    await lossByPosition({ model, tokens: long.subarray(0, 129), block: 64 }); // brings the weights to the device
    const numberBytes = backend?.info.name === "reference" ? 8 : 4;
    const held = (): number => memory().byOwner["value"] ?? 0;
    for (const W of [128, 384]) {
      const before = held();
      let most = 0;
      await lossByPosition({
        model,
        tokens: long.subarray(0, W + 1),
        block: 64,
        onProgress: () => {
          most = Math.max(most, held() - before);
        },
      });
      // The tables are an eighth of the cache, and a second cache would be another whole.
      const cache = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * W * numberBytes;
      expect(most).toBeLessThan(1.5 * cache);
    }
  });
});

describe.each(backends().filter(({ name }) => ["wasm", "webgpu"].includes(name)))("65,536 tokens on $name", ({ create }) => {
  it("are read within half a gigabyte by a model of 0.8 million parameters, and half of them in half of that", async () => {
    const backend = await create();
    const before = useBackend(backend);
    const sizes = { vocab_size: 256, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 4, num_attention_heads: 4 };
    const long = llamaConfig({ ...sizes, max_position_embeddings: 128 });
    const model = new Llama(long, { key: key(0) });
    const bytesOf = (W: number) => {
      const table = zeros([1, W, long.head_dim / 2]);
      const cache = new KeyValueCache(long, { capacity: W });
      return memoryOf(readBlock, model, zeros([1, 1024], { dtype: "i32" }), { cos: table, sin: table.add(0) }, cache);
    };
    const [all, half] = [bytesOf(65_536), bytesOf(32_768)];
    useBackend(before);
    await backend.close();
    expect(all.peakBytes).toBeLessThan(2 ** 29);
    expect(all.largestTensorBytes).toBeLessThanOrEqual(2 ** 25); // the keys of a layer
    expect(all.peakBytes).toBeLessThan(2.05 * half.peakBytes);
  });
});

describe("a long text", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("is divided into blocks that are as equal as they can be and hold each place once", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 6000 }), (context, longest) => {
        const plan = planBlocks(context, longest);
        expect(plan.length).toBeLessThanOrEqual(longest);
        expect(plan.count).toBe(Math.ceil(context / longest));
        let next = 0;
        for (let block = 0; block < plan.count; block++) {
          const { from, to } = blockRange(plan, block);
          expect(from).toBe(next);
          expect(to).toBeGreaterThan(from);
          next = to;
        }
        expect(next).toBe(context);
        expect(plan.count * plan.length - context).toBeLessThan(plan.count);
      }),
    );
  });

  it("has the losses of one pass over all of it whatever the blocks", { timeout: 60_000 }, async () => {
    const model = await tinyLlama(config);
    const sizes = { W: fc.integer({ min: 1, max: 30 }), block: fc.integer({ min: 1, max: 40 }), start: fc.nat(50) };
    await fc.assert(
      fc.asyncProperty(fc.record(sizes), async ({ W, block, start }) => {
        const tokens = text.subarray(start, start + W + 1);
        const { nats } = await lossByPosition({ model, tokens, block });
        expect(distance(nats[0] as Float32Array, await wholeLosses(model, tokens))).toBeLessThan(1e-6);
      }),
      { numRuns: 25 },
    );
  });

  it("has one program for all of its blocks, and one for their targets", async () => {
    const model = await tinyLlama(config);
    await realize(model);
    const { backend, recorded } = createRecordingBackend();
    const before = useBackend(backend);
    await lossByPosition({ model: await tinyLlama(config), tokens: text, block: 10 });
    useBackend(before);
    const labels = recorded.map(({ options }) => options.label);
    expect(labels.filter((label) => label === "read")).toHaveLength(1);
    expect(labels.filter((label) => label === "score")).toHaveLength(1);
  });

  it("has losses of the positions that were read where it was stopped between blocks", async () => {
    const model = await tinyLlama(config);
    const { nats: all } = await lossByPosition({ model, tokens: text.subarray(0, 31), block: 10 });
    let passes = 0;
    const { nats } = await lossByPosition({
      model,
      tokens: [text.subarray(0, 31), text.subarray(31, 62)],
      tables: tablesOf("linear"),
      block: 10,
      batch: 1,
      onProgress: ({ done }) => {
        passes = done;
      },
      shouldStop: () => passes === 2,
    });
    expect(nats.map(({ length }) => length)).toEqual([20, 0]);
    expect(nats[0]).toEqual(all[0]?.subarray(0, 20));
  });

  it("lets timers run between blocks", async () => {
    const model = await tinyLlama(config);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 0);
    const seen: number[] = [];
    await lossByPosition({ model, tokens: text, block: 10, onProgress: () => seen.push(ticks) });
    clearInterval(timer);
    expect(seen.at(-1)).toBeGreaterThan(0);
  });

  it("tells of its progress in passes, and in work of which late blocks have more", async () => {
    const model = await tinyLlama(config);
    const documents = [{ name: "one", tokens: text }];
    const targets = { documents, targetLength: 4 };
    const blocks = evaluationTargets({ ...targets, maxContext: 60, count: 3 });
    const told: { done: number; total: number; tokens: number; work: number; totalWork: number }[] = [];
    await evaluateContexts({ model, ...targets, blocks, contexts: [12, 60], block: 12, batch: 2, onProgress: (p) => told.push(p) });
    expect(told.map(({ done }) => done)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(new Set(told.map(({ total }) => total))).toEqual(new Set([12]));
    expect(told.map(({ tokens }) => tokens)).toEqual([24, 12, 24, 24, 24, 24, 24, 12, 12, 12, 12, 12]);
    const { totalWork } = told[0] as { totalWork: number };
    expect(told.at(-1)?.work).toBeCloseTo(totalWork, 6);
    // In the fourth block of two long rows each of 12 queries sees 24 keys more than in the second.
    const step = (i: number): number => (told[i]?.work as number) - (told[i - 1]?.work as number);
    const { num_hidden_layers: layers, num_attention_heads: H, head_dim: D } = config;
    expect(step(5) - step(3)).toBeCloseTo(2 * (2 * layers * H * D) * 12 * 24, 6);
    expect(totalWork).toBeGreaterThan(0);
  });

  it("is read together with fewer others where their keys and values would fill the memory", async () => {
    const model = await tinyLlama(config);
    await realize(model);
    const together = async (W: number): Promise<number> => {
      const { backend, recorded } = createRecordingBackend();
      const before = useBackend(backend);
      const tokens = Array.from({ length: 16 }, () => new Int32Array(W + 1));
      const reads = () => recorded.find(({ options }) => options.label === "read")?.graph;
      await lossByPosition({ model: await tinyLlama(config), tokens, shouldStop: () => reads() !== undefined });
      useBackend(before);
      const graph = reads();
      return graph?.nodes[graph.outputs[0] as number]?.shape[0] as number;
    };
    expect(await together(64)).toBe(8);
    expect(await together(300_000)).toBe(3); // 72 MB each
  });

  it("is refused where it is no text", async () => {
    const model = await tinyLlama(config);
    await expect(lossByPosition({ model, tokens: [] })).rejects.toThrow(OptionError);
    await expect(lossByPosition({ model, tokens: text.subarray(0, 1) })).rejects.toThrow(/has nothing to predict/);
    await expect(lossByPosition({ model, tokens: [text.subarray(0, 5), text.subarray(0, 6)] })).rejects.toThrow(ShapeError);
    await expect(lossByPosition({ model, tokens: Int32Array.of(1, V, 0) })).rejects.toThrow(/token 19 at place 1/);
    await expect(lossByPosition({ model, tokens: text, block: 0 })).rejects.toThrow(/block must be a positive integer/);
    await expect(lossByPosition({ model, tokens: text, batch: 1.5 })).rejects.toThrow(/batch must be a positive integer/);
  });
});

describe("buckets of positions", () => {
  it("are means over ranges that double, of all texts that reach them", () => {
    const rows = [Float32Array.of(1, 2, 3, 4, 5, 6, 7), Float32Array.of(3, 4, 5)];
    expect(positionBuckets(rows, { first: 2 })).toEqual([
      { from: 0, to: 2, nats: 2.5, targets: 4 },
      { from: 2, to: 4, nats: 4, targets: 3 },
      { from: 4, to: 7, nats: 6, targets: 3 },
    ]);
    expect(positionBuckets([])).toEqual([]);
    expect(positionBuckets([new Float32Array(100)]).map(({ from, to }) => [from, to])).toEqual([
      [0, 64],
      [64, 100],
    ]);
  });
});
