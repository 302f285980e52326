import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Backend,
  init,
  type Llama,
  longGeneration,
  lossByPosition,
  measureContinuations,
  OptionError,
  readingTables,
  ShapeError,
  useBackend,
} from "../../src/index.js";
import { integers, tinyConfig, tinyLlama } from "../nn/tiny.js";

const config = { ...tinyConfig, max_position_embeddings: 16 };
const text = (values: readonly number[]): Int32Array => Int32Array.from(values);

describe("measures of a continuation", () => {
  it("count what is repeated, what is distinct and how far the tokens drift", async () => {
    // A prompt of 2, then 0 1 2 3 | 0 1 2 3 | 5 5 5 5.
    const buckets = await measureContinuations({
      texts: [text([9, 9, 0, 1, 2, 3, 0, 1, 2, 3, 5, 5, 5, 5])],
      promptLength: 2,
      buckets: 3,
      ngram: 2,
    });
    expect(buckets.map(({ from, to }) => [from, to])).toEqual([
      [0, 4],
      [4, 8],
      [8, 12],
    ]);
    // Bigrams 01 12 23 | 30 01 12 23 | 35 55 55 55.
    expect(buckets.map(({ repeated }) => repeated)).toEqual([0, 3 / 4, 2 / 4]);
    expect(buckets.map(({ distinct }) => distinct)).toEqual([1, 1, 2 / 4]);
    expect(buckets.map(({ drift }) => drift)).toEqual([0, 0, expect.closeTo(Math.LN2, 12)]);
    expect(buckets[0]).not.toHaveProperty("nats");
  });

  it("do not take the prompt for a repetition, and weigh texts alike", async () => {
    const texts = [text([1, 2, 1, 2, 3, 4]), text([1, 2, 4, 4, 4, 4])];
    const [all] = await measureContinuations({ texts, promptLength: 2, buckets: 1, ngram: 2 });
    expect(all?.repeated).toBe(2 / 6);
    expect(all?.distinct).toBe(4 / 6);
    const [one, two] = await measureContinuations({ texts: [text([0, 1, 1, 2, 2, 2])], promptLength: 2, buckets: 2, ngram: 1 });
    const jensenShannon = 0.5 * (0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75)) + 0.5 * Math.log(1 / 0.75);
    expect(one?.drift).toBe(0);
    expect(two?.drift).toBeCloseTo(jensenShannon, 12);
  });

  it("refuse texts that cannot be measured", async () => {
    await expect(measureContinuations({ texts: [], promptLength: 1 })).rejects.toThrow(OptionError);
    await expect(measureContinuations({ texts: [text([1, 2])], promptLength: 2 })).rejects.toThrow(OptionError);
    await expect(measureContinuations({ texts: [text([1, 2]), text([1, 2, 3])], promptLength: 1 })).rejects.toThrow(ShapeError);
  });
});

describe("a long generation", () => {
  let backend: Backend;
  let model: Llama;
  beforeAll(async () => {
    backend = await init({ backend: "wasm", threads: 1 });
    model = await tinyLlama(config, { seed: 4 });
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const prompts = [integers(8, 19, 1), integers(8, 19, 2)];

  it("is written at one scale, that of its planned length, and judged by position", async () => {
    const scales: number[] = [];
    const progress: number[] = [];
    const found = await longGeneration({
      model,
      prompts,
      tokens: 40,
      temperature: 0.8,
      seed: 3,
      buckets: 4,
      judge: { model },
      tables: (length, planned) => {
        scales.push(planned / 16);
        return readingTables(config, { schedule: "linear", scale: planned / 16, length, window: 16 });
      },
      onProgress: ({ done, total }) => progress.push(done / total),
    });
    expect(scales).toEqual([3]);
    expect(progress).toEqual(Array.from({ length: 80 }, (_, i) => (i + 1) / 80));
    found.texts.forEach((one, i) => expect(one.subarray(0, 8)).toEqual(prompts[i]));
    const { nats } = await lossByPosition({ model, tokens: found.texts });
    for (const { from, to, nats: mean } of found.buckets) {
      const own = nats.flatMap((row) => [...row.subarray(8 + from - 1, 8 + to - 1)]);
      expect(mean).toBeCloseTo(own.reduce((a, b) => a + b, 0) / own.length, 5);
    }
    const byDefault = await longGeneration({ model, prompts, tokens: 40, temperature: 0.8, seed: 3 });
    expect(byDefault.texts).toEqual(found.texts);
    expect(byDefault.buckets).toHaveLength(8);
  });

  it("has no measures where it was stopped", async () => {
    let asked = 0;
    const found = await longGeneration({ model, prompts, tokens: 5, shouldStop: () => asked++ > 6 });
    expect(found.buckets).toEqual([]);
    expect(found.texts).toHaveLength(2);
    expect((found.texts[1] as Int32Array).length).toBeLessThan(13);
    await expect(longGeneration({ model, prompts: [], tokens: 1 })).rejects.toThrow(OptionError);
  });
});
