import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  bitsPerByte,
  evaluateContexts,
  evaluationTargets,
  lossByPosition,
  mapTensors,
  OptionError,
  positionBuckets,
  readingTables,
  ShapeError,
  slidingWindowPerplexity,
  tensor,
  useBackend,
  zerosLike,
} from "../../src/index.js";
import { ropeTensors } from "../../src/nn/batch.js";
import { integers, tinyConfig, tinyLlama } from "../nn/tiny.js";

const config = { ...tinyConfig, num_hidden_layers: 1, max_position_embeddings: 8 };
const text = integers(41, config.vocab_size, 3);
const tables = (length: number) => readingTables(config, { schedule: "none", scale: 1, length, window: 8 });

beforeAll(() => useBackend(createReferenceBackend()));
afterAll(() => useBackend(undefined));

describe("the loss by position", () => {
  it("tells which tokens were the most probable ones where it is asked, whole and in blocks, and buckets their share", async () => {
    const model = await tinyLlama(config, { seed: 3 });
    const [tokens, others] = [text.slice(0, 30), text.slice(11)];
    const rows = (await model.forward(tensor(tokens.slice(0, 29), { shape: [1, 29] }), ropeTensors(tables(29))).array()) as number[][][];
    const expected = (rows[0] as number[][]).map((row, i) => Number(row.indexOf(Math.max(...row)) === tokens[i + 1]));
    for (const block of [1024, 7]) {
      const { nats, correct } = await lossByPosition({ model, tokens: [tokens, others], tables, block, accuracy: true });
      expect([...((correct as Uint8Array[])[0] as Uint8Array)]).toEqual(expected);
      expect(correct?.map((row) => row.length)).toEqual(nats.map((row) => row.length));
      const buckets = positionBuckets(nats, { first: 8, correct: correct as Uint8Array[] });
      const plain = positionBuckets(nats, { first: 8 });
      buckets.forEach(({ accuracy, ...rest }, i) => {
        expect(rest).toEqual(plain[i]);
        const all = (correct as Uint8Array[]).flatMap((row) => [...row.subarray(rest.from, rest.to)]);
        expect(accuracy).toBeCloseTo(all.reduce((sum, one) => sum + one, 0) / all.length, 12);
      });
      expect(() => positionBuckets(nats, { correct: [new Uint8Array(29)] })).toThrow(ShapeError);
      expect(() => positionBuckets(nats, { correct: [new Uint8Array(29), new Uint8Array(28)] })).toThrow(ShapeError);
    }
    expect(await lossByPosition({ model, tokens, tables })).not.toHaveProperty("correct");
  });
});

describe("the loss at several contexts", () => {
  it("tells the loss of every target, and which were the most probable tokens where it is asked", async () => {
    const model = await tinyLlama(config, { seed: 3 });
    const documents = [{ name: "a", tokens: text }];
    const blocks = evaluationTargets({ documents, targetLength: 4, maxContext: 16, count: 5 });
    const options = { model, documents, blocks, targetLength: 4, contexts: [8, 16], tables, batch: 2 };
    const found = await evaluateContexts({ ...options, accuracy: true });
    for (const { context, nats, losses, accuracy, correct } of found) {
      const all = losses.flatMap((row) => [...row]);
      expect(all).toHaveLength(20);
      expect(nats).toBeCloseTo(all.reduce((sum, loss) => sum + loss, 0) / 20, 12);
      const expected = await Promise.all(
        blocks.map(async ({ start }) => {
          const row = text.subarray(start + 3 - context, start + 3);
          const logits = (await model.forward(tensor(row, { shape: [1, context] }), ropeTensors(tables(context))).array()) as number[][][];
          const last = (logits[0] as number[][]).slice(-4);
          return last.map((each, i) => Number(each.indexOf(Math.max(...each)) === text[start + i]));
        }),
      );
      expect(correct?.map((row) => [...row])).toEqual(expected);
      expect(accuracy).toBeCloseTo(expected.flat().reduce((sum, one) => sum + one, 0) / 20, 12);
    }
    const plain = await evaluateContexts(options);
    expect(plain).toEqual(found.map(({ context, nats, targets, losses }) => ({ context, nats, targets, losses })));
  });
});

describe("a sliding window", () => {
  it("is checked before anything is read", async () => {
    const model = await tinyLlama(config);
    let passes = 0;
    const options = { model, tokens: text, window: 8, stride: 4, onProgress: () => passes++ };
    const wrong = text.slice();
    wrong[40] = config.vocab_size;
    const negative = text.slice();
    negative[20] = -1;
    for (const [change, error] of [
      [{ tokens: wrong }, OptionError],
      [{ tokens: negative }, OptionError],
      [{ tokens: text.slice(0, 1) }, OptionError],
      [{ window: 0 }, OptionError],
      [{ stride: 9 }, OptionError],
      [{ batch: 0 }, OptionError],
      [{ block: 1.5 }, OptionError],
      [{ bytes: 0 }, OptionError],
      [{ tables: () => tables(7) }, ShapeError],
    ] as const) {
      await expect(slidingWindowPerplexity({ ...options, ...change })).rejects.toThrow(error);
    }
    const documents = [{ name: "a", tokens: wrong }];
    const blocks = evaluationTargets({ documents, targetLength: 4, maxContext: 16, count: 6 });
    await expect(evaluateContexts({ ...options, documents, blocks, targetLength: 4, contexts: [8, 16] } as never)).rejects.toThrow(
      OptionError,
    );
    expect(passes).toBe(0);
  });

  it("tells bits per byte where the bytes are known", async () => {
    const level = async (vocab_size: number, bytes?: number): Promise<number | undefined> => {
      const model = mapTensors(await tinyLlama({ ...config, vocab_size }), (t, path) => (path === "lm_head.weight" ? zerosLike(t) : t));
      const found = await slidingWindowPerplexity({ model, tokens: text, window: 8, stride: 8, ...(bytes === undefined ? {} : { bytes }) });
      expect(found.nats).toBeCloseTo(Math.log(vocab_size), 5);
      return found.bitsPerByte;
    };
    // Equal logits: log₂ V bits for each token, 8 for each byte.
    expect(await level(256)).toBeCloseTo(8, 5);
    expect(await level(64)).toBeUndefined();
    expect(await level(64, 120)).toBeCloseTo((6 * 40) / 120, 5);
    expect(bitsPerByte(Math.LN2)).toBe(1);
    expect(bitsPerByte(4 * Math.LN2, 2)).toBeCloseTo(2, 12);
    for (const bytes of [0, -1, Number.NaN]) expect(() => bitsPerByte(1, bytes)).toThrow(OptionError);
  });
});
