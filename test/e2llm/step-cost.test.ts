import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { adamw, memory, OptionError, stepCost, trainingMemory, useBackend } from "../../src/index.js";
import { tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";

const optimizer = adamw();
const config = { ...tinyConfig, num_hidden_layers: 1 };

describe("the cost of a step", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("is the planned memory and the time of some steps, for each size, and leaves the model as it is", async () => {
    const model = await tinyLlama(config);
    const before = await valuesOf(model);
    const sizes = [
      { length: 4, batch: 2 },
      { length: 16, batch: 1 },
    ];
    await stepCost({ model, optimizer, sizes, steps: 2, microBatch: 1 });
    const live = memory().liveBytes;
    const told: number[] = [];
    const found = await stepCost({
      model,
      optimizer,
      sizes,
      steps: 2,
      microBatch: 1,
      onProgress: ({ done, total }) => told.push(done / total),
    });
    expect(found.map(({ length, batch, tokens }) => [length, batch, tokens])).toEqual([
      [4, 2, 8],
      [16, 1, 16],
    ]);
    for (const { length, batch, memory: planned, milliseconds, median } of found) {
      expect(planned).toEqual(trainingMemory({ model, optimizer, length, batch, microBatch: 1 }));
      expect(milliseconds).toHaveLength(2);
      expect(Math.min(...milliseconds)).toBeGreaterThan(0);
      expect(median).toBeCloseTo(((milliseconds[0] as number) + (milliseconds[1] as number)) / 2, 10);
    }
    expect(found[1]?.memory.peakBytes).toBeGreaterThan(found[0]?.memory.peakBytes as number);
    expect(told).toEqual([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]);
    expect(await valuesOf(model)).toEqual(before);
    expect(memory().liveBytes).toBe(live);
  });

  it("may be planned alone, at sizes that no machine could hold, and stops where it is asked to", async () => {
    const model = await tinyLlama(config);
    const [huge] = await stepCost({ model, optimizer, sizes: [{ length: 2 ** 20, batch: 64 }], steps: 0 });
    expect(huge?.milliseconds).toEqual([]);
    expect(huge).not.toHaveProperty("median");
    expect(huge?.memory.peakBytes).toBeGreaterThan(2 ** 34);
    const sizes = [
      { length: 4, batch: 1 },
      { length: 5, batch: 1 },
    ];
    let done = 0;
    const found = await stepCost({ model, optimizer, sizes, steps: 1, onProgress: () => done++, shouldStop: () => done >= 3 });
    expect(found.map(({ length }) => length)).toEqual([4]);
  });

  it("needs sizes", async () => {
    const model = await tinyLlama(config);
    for (const sizes of [[], [{ length: 0, batch: 1 }], [{ length: 4 }], [null]]) {
      await expect(stepCost({ model, optimizer, sizes: sizes as never })).rejects.toThrow(OptionError);
    }
    await expect(stepCost({ model, optimizer, sizes: [{ length: 4, batch: 3 }], microBatch: 2 })).rejects.toThrow(OptionError);
  });
});
