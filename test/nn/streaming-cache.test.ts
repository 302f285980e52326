import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  compile,
  generate,
  type Llama,
  logNTables,
  memory,
  OptionError,
  plainPositions,
  realize,
  ropeFrequencies,
  ropeTables,
  ropeTensors,
  ShapeError,
  StreamingCache,
  streamingTables,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
} from "../../src/index.js";
import { oracleLogits } from "../e2llm/llama-oracle.js";
import { backends } from "../support/backends.js";
import { distance, integers, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

const { head_dim: D, vocab_size: V } = tinyConfig;
const frequencies = ropeFrequencies({ type: "default" }, { headDim: D, theta: tinyConfig.rope_theta });
const plainTables = (length: number) => ropeTensors(ropeTables(plainPositions({ length }), frequencies));
const row = (tokens: ArrayLike<number>): Tensor => tensor(Int32Array.from(tokens), { shape: [1, tokens.length] });

/** The logits of a reading of the whole text, by tables. */
async function wholeLogits(model: Llama, text: ArrayLike<number>, sizes: { near: number; sinks: number }): Promise<Float32Array> {
  const tables = ropeTensors(streamingTables(frequencies, { length: text.length, ...sizes }));
  return (await model.forward(row(text), tables).data()) as Float32Array;
}

/** The logits of a text that is read in parts, each filled up with tokens that do not count. */
async function streamedLogits(
  model: Llama,
  text: Int32Array,
  sizes: { window: number; sinks: number },
  parts: readonly number[],
  filled: number,
): Promise<number[]> {
  const cache = new StreamingCache(model.config, sizes);
  const tables = plainTables(cache.tableLength(Math.max(...parts) + filled));
  const found: number[] = [];
  let at = 0;
  for (const part of parts) {
    const tokens = new Int32Array(part + filled).fill(3);
    tokens.set(text.subarray(at, at + part));
    const logits = await model.forward(row(tokens), tables, cache).data();
    found.push(...logits.subarray(0, part * V));
    cache.advance(part);
    await realize(cache);
    at += part;
  }
  return found;
}

describe.each(backends())("a rolling cache on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("gives the logits of a reading of the whole text, and of the formula", async () => {
    const model = await tinyLlama();
    const text = integers(23, V, 3);
    const [window, sinks] = [5, 2];
    const right = await wholeLogits(model, text, { near: window, sinks });
    const oracle = oracleLogits(tinyConfig, await valuesOf(model), text, {
      distance: (i, j) => (i - j < window ? i - j : j < sinks ? Math.min(i, sinks + window - 1) - j : undefined),
    });
    expect(
      distance(
        right,
        oracle.flatMap((logits) => [...logits]),
      ),
    ).toBeLessThan(5e-5);
    for (const parts of [[23], [9, 1, 1, 9, 3]]) {
      const found = await streamedLogits(model, text, { window, sinks }, parts, 2);
      expect(distance(found, right), `in parts of ${parts.join(", ")}`).toBeLessThan(5e-5);
    }
  });

  it("is what generation keeps where it is asked to, in memory that does not grow, by one program", async () => {
    const model = await tinyLlama();
    await realize(model);
    const [window, sinks, tokens] = [6, 2, 24];
    const prompt = integers(19, V, 7);
    const live: number[] = [];
    const asked = new Set<string>();
    const tables = plainTables(window + 7);
    const found = await generate({
      model,
      prompt,
      tokens,
      block: 8,
      temperature: 0,
      cache: { window, sinks },
      tables: (length, read) => {
        asked.add(`${length} for ${read}`);
        return tables;
      },
      onToken: () => live.push(memory().liveBuffers),
    });
    // Each token is the likeliest after those before it.
    const logits = await wholeLogits(model, [...prompt, ...found], { near: window, sinks });
    const likeliest = Array.from({ length: tokens }, (_, i) => {
      const at = [...logits.subarray((prompt.length - 1 + i) * V, (prompt.length + i) * V)];
      return at.indexOf(Math.max(...at));
    });
    expect([...found]).toEqual(likeliest);
    expect([...asked]).toEqual([`${window + 7} for ${window + sinks}`]);
    // What earlier tests left behind may be collected meanwhile.
    expect(live[tokens - 1]).toBeLessThanOrEqual(live[3] as number);
  });
});

describe("a rolling cache of any size", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });

  const shallow = { ...tinyConfig, num_hidden_layers: 1 };

  it("gives the logits of a reading of the whole text in any parts", { timeout: 120_000 }, async () => {
    const model = await tinyLlama(shallow);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 0, max: 5 }),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 3 }),
        async (window, sinks, parts, filled) => {
          const text = integers(
            parts.reduce((sum, part) => sum + part, 0),
            V,
            parts.length,
          );
          const right = await wholeLogits(model, text, { near: window, sinks });
          expect(distance(await streamedLogits(model, text, { window, sinks }, parts, filled), right)).toBeLessThan(1e-5);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("is a tree: one compiled step serves a text of any length, and places are data", async () => {
    const model = await tinyLlama(shallow);
    const text = integers(14, V, 2);
    const right = await wholeLogits(model, text, { near: 3, sinks: 1 });
    let traces = 0;
    const step = compile(
      (of: Llama, token: Tensor, tables: ReturnType<typeof plainTables>, cache: StreamingCache): [Tensor, StreamingCache] => {
        traces++;
        const logits = of.forward(token, tables, cache);
        cache.advance(1);
        return [logits, cache];
      },
      { donate: [3] },
    );
    let cache = new StreamingCache(shallow, { window: 3, sinks: 1 });
    const tables = plainTables(cache.tableLength(1));
    const found: number[] = [];
    for (const token of text) {
      let logits: Tensor;
      [logits, cache] = step(model, row([token]), tables, cache);
      found.push(...(await logits.data()));
    }
    expect(distance(found, right)).toBeLessThan(1e-5);
    expect(traces).toBe(1);
  });

  it("is what all keys are while they fit", async () => {
    const model = await tinyLlama(shallow);
    const text = integers(9, V, 6);
    const plain = await model.forward(row(text), plainTables(9)).data();
    expect(distance(await streamedLogits(model, text, { window: 7, sinks: 2 }, [4, 5], 0), plain)).toBeLessThan(1e-5);
    const found = await streamedLogits(model, text, { window: 6, sinks: 2 }, [4, 5], 0);
    expect(distance(found.slice(0, 8 * V), plain.subarray(0, 8 * V))).toBeLessThan(1e-5);
    expect(distance(found.slice(8 * V), plain.subarray(8 * V))).toBeGreaterThan(1e-3);
  });

  it("refuses sizes, tables and layers that it cannot serve", async () => {
    const model = await tinyLlama(shallow);
    for (const window of [0, 1.5, Number.NaN]) expect(() => new StreamingCache(shallow, { window })).toThrow(OptionError);
    expect(() => new StreamingCache(shallow, { window: 4, sinks: -1 })).toThrow(OptionError);
    const cache = new StreamingCache(shallow, { window: 4, sinks: 2 });
    expect(() => model.forward(row([1, 2, 3]), plainTables(6), cache)).toThrow(ShapeError);
    const scaled = ropeTensors(logNTables(ropeTables(plainPositions({ length: 9 }), frequencies), { window: 4 }));
    expect(() => model.forward(row([1]), scaled, cache)).toThrow(UsageError);
    const other = await tinyLlama(shallow);
    for (const { self_attn } of other.model.layers) self_attn.position_encoding = { attend: (queries) => queries };
    expect(() => other.forward(row([1]), plainTables(9), cache)).toThrow(/position encoding of its own/);
    const tables = (length: number) => plainTables(length);
    await expect(generate({ model, prompt: [1], tokens: 1, tables, cache: { window: 0 } })).rejects.toThrow(OptionError);
  });
});
