import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, memory, NonFiniteError, OptionError, realize, ShapeError, tensor, useBackend } from "../../src/index.js";
import { generate } from "../../src/nn/generate.js";
import { KeyValueCache } from "../../src/nn/kv-cache.js";
import type { Llama } from "../../src/nn/llama.js";
import { createSampler } from "../../src/nn/sampling.js";
import { backends } from "../support/backends.js";
import { distance, integers, plainTables, tablesAt, tinyConfig, tinyLlama } from "./tiny.js";

const D = tinyConfig.head_dim;
const V = tinyConfig.vocab_size;
const tables = (length: number) => plainTables(length, D);
const row = (tokens: ArrayLike<number>) => tensor(Int32Array.from(tokens), { shape: [1, tokens.length] });

/** The likeliest next token by a forward pass over the whole text, again and again. */
async function greedyByFullPasses(model: Llama, prompt: ArrayLike<number>, count: number): Promise<number[]> {
  const text = Array.from(prompt);
  while (text.length < prompt.length + count) {
    const logits = await model.forward(row(text), tables(text.length)).data();
    const last = [...logits.subarray(logits.length - V)];
    text.push(last.indexOf(Math.max(...last)));
  }
  return text.slice(prompt.length);
}

describe.each(backends())("generation on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("I-18: gives the logits of a full pass, whether tokens come together or one by one", async () => {
    const model = await tinyLlama();
    const text = integers(11, V, 3);
    const full = await model.forward(row(text), tables(11)).data();
    for (const parts of [[11], [6, 1, 1, 3], new Array<number>(11).fill(1)]) {
      const cache = new KeyValueCache(tinyConfig, { capacity: 13 });
      const found: number[] = [];
      let at = 0;
      for (const part of parts) {
        found.push(...(await model.forward(row(text.subarray(at, at + part)), tables(13), cache).data()));
        cache.advance(part);
        await realize(cache);
        at += part;
      }
      expect(distance(found, full)).toBeLessThan(2e-5);
    }
  });

  it("I-18: turns cached keys by the tables of the moment, because they are kept before RoPE", async () => {
    const model = await tinyLlama();
    const text = integers(9, V, 4);
    const stretched = (length: number) =>
      tablesAt(
        Array.from({ length }, (_, i) => i / 4),
        D,
      );
    const cache = new KeyValueCache(tinyConfig, { capacity: 9 });
    // The first layer's keys depend on no position, so a change of scale must give what the new scale gives alone.
    const shallow = { ...tinyConfig, num_hidden_layers: 1 };
    const oneLayer = await tinyLlama(shallow);
    const small = new KeyValueCache(shallow, { capacity: 9 });
    oneLayer.forward(row(text.subarray(0, 8)), tables(9), small);
    small.advance(8);
    const changed = await oneLayer.forward(row(text.subarray(8)), stretched(9), small).data();
    const whole = await oneLayer.forward(row(text), stretched(9)).data();
    expect(distance(changed, whole.subarray(8 * V))).toBeLessThan(1e-5);
    // With more layers the past was computed at the old scale, so the two differ: the test can tell.
    model.forward(row(text.subarray(0, 8)), tables(9), cache);
    cache.advance(8);
    const deep = await model.forward(row(text.subarray(8)), stretched(9), cache).data();
    expect(distance(deep, (await model.forward(row(text), stretched(9)).data()).subarray(8 * V))).toBeGreaterThan(1e-3);
  });

  it("continues greedily as full passes do, across the lengths to which prompts are padded", async () => {
    const model = await tinyLlama();
    for (const length of [1, 3, 16, 17]) {
      const prompt = integers(length, V, length);
      const found = await generate({ model, prompt, tokens: 5, tables, temperature: 0 });
      expect([...found]).toEqual(await greedyByFullPasses(model, prompt, 5));
    }
  });

  it("continues a long prompt, which is read in blocks, as one that is read at once", async () => {
    const model = await tinyLlama();
    const prompt = integers(41, V, 8);
    const whole = await generate({ model, prompt, tokens: 6, tables, temperature: 0 });
    for (const block of [7, 16]) expect(await generate({ model, prompt, tokens: 6, tables, temperature: 0, block })).toEqual(whole);
    let asked = 0;
    const stopped = await generate({ model, prompt, tokens: 6, tables, block: 7, shouldStop: () => ++asked > 3 });
    expect([stopped.length, asked]).toEqual([0, 4]);
  });

  it("repeats a text from its seed, and gives another for another seed", async () => {
    const model = await tinyLlama(tinyConfig, { scale: 4 });
    const draw = (seed: number) => generate({ model, prompt: [1, 2], tokens: 20, tables, seed });
    const [a, b, c] = [await draw(7), await draw(7), await draw(8)];
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  it("hands out each token as it comes and stops when it is told to", async () => {
    const model = await tinyLlama();
    const seen: number[] = [];
    const found = await generate({
      model,
      prompt: [3],
      tokens: 10,
      tables,
      onToken: (token, index) => {
        expect(index).toBe(seen.length);
        seen.push(token);
      },
      shouldStop: () => seen.length === 4,
    });
    expect([...found]).toEqual(seen);
    expect(seen).toHaveLength(4);
  });

  it("holds no more memory while it writes a long text than at its start", async () => {
    const model = await tinyLlama();
    await realize(model);
    const live: number[] = [];
    await generate({ model, prompt: [3], tokens: 15, tables, onToken: () => live.push(memory().liveBuffers) });
    expect(live[14]).toBe(live[3]);
  });

  it("refuses prompts and options that cannot be", async () => {
    const model = await tinyLlama();
    await expect(generate({ model, prompt: [], tokens: 1, tables })).rejects.toThrow(OptionError);
    await expect(generate({ model, prompt: [V], tokens: 1, tables })).rejects.toThrow(/token 19 at place 0/);
    await expect(generate({ model, prompt: [0], tokens: -1, tables })).rejects.toThrow(OptionError);
    await expect(generate({ model, prompt: [0], tokens: 1, tables, temperature: -1 })).rejects.toThrow(OptionError);
    await expect(generate({ model, prompt: [0], tokens: 1, tables, topK: 0 })).rejects.toThrow(OptionError);
    await expect(generate({ model, prompt: [0], tokens: 1, tables: () => tables(3) })).rejects.toThrow(ShapeError);
    const broken = { cos: tensor(new Float32Array(48).fill(Number.NaN), { shape: [1, 16, 3] }), sin: tables(16).sin };
    await expect(generate({ model, prompt: [0], tokens: 1, tables: () => broken })).rejects.toThrow(NonFiniteError);
  });
});

describe("sampling", () => {
  const logits = [0, Math.log(2), Math.log(5), -1e30];

  it("draws tokens in proportion to the softmax of the logits", () => {
    const sample = createSampler({ seed: 1 });
    const counts = [0, 0, 0, 0];
    for (let step = 0; step < 8000; step++) counts[sample(logits, step)]! += 1;
    [1000, 2000, 5000, 0].forEach((expected, token) => {
      expect(Math.abs((counts[token] as number) - expected)).toBeLessThanOrEqual(4 * Math.sqrt(expected));
    });
  });

  it("sharpens with a low temperature and takes the likeliest at 0", () => {
    const cold = createSampler({ temperature: 0.1 });
    const zero = createSampler({ temperature: 0 });
    for (let step = 0; step < 200; step++) expect(zero(logits, step)).toBe(2);
    expect(Array.from({ length: 200 }, (_, step) => cold(logits, step)).filter((token) => token !== 2).length).toBeLessThan(3);
    expect(zero([1, 3, 3], 0)).toBe(1);
  });

  it("draws from the k likeliest tokens alone", () => {
    const sample = createSampler({ topK: 2, temperature: 5 });
    const drawn = new Set(Array.from({ length: 300 }, (_, step) => sample(logits, step)));
    expect(drawn).toEqual(new Set([1, 2]));
    expect(createSampler({ topK: 1 })(logits, 3)).toBe(2);
  });
});
