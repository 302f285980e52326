import { afterEach, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { adamw, compile, constant, realize, sync, type Tensor, tensor, train, useBackend } from "../../src/index.js";
import { randomBatch, tinyConfig, tinyLlama } from "../nn/tiny.js";

/** The reference as if it were a device with a queue: a run is done some milliseconds after the one before it. */
function queued(): { backend: Backend; most: () => number; throttled: () => number } {
  const backend = createReferenceBackend();
  const { run } = backend;
  let [inFlight, most, throttled] = [0, 0, 0];
  let last: Promise<void> = Promise.resolve();
  const waiting: (() => void)[] = [];
  const untilAtMost = async (count: number): Promise<void> => {
    while (inFlight > count) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  backend.run = (...args) => {
    most = Math.max(most, ++inFlight);
    last = last.then(async () => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      inFlight--;
      for (const resume of waiting.splice(0)) resume();
    });
    return run.apply(backend, args);
  };
  backend.throttle = () => {
    throttled++;
    return untilAtMost(3);
  };
  backend.sync = () => untilAtMost(0);
  return { backend, most: () => most, throttled: () => throttled };
}

afterEach(() => void useBackend(undefined));

describe("a device that works slower than a loop", () => {
  it("has at most three steps of a training before it, and the one that is being queued", async () => {
    const { backend, most, throttled } = queued();
    const model = await tinyLlama();
    useBackend(backend);
    await train({
      model,
      optimizer: adamw(),
      batches: (step) => randomBatch(tinyConfig, { batch: 1, time: 4, seed: step }),
      steps: 12,
      schedule: constant(0.01),
    });
    expect(throttled()).toBe(12);
    expect(most()).toBeLessThanOrEqual(4);
  });

  it("is waited for by realize and sync", async () => {
    const { backend, most } = queued();
    useBackend(backend);
    const step = compile((x: Tensor) => x.mul(0.5), { donate: [0] });
    let state = tensor([1]);
    for (let i = 0; i < 4; i++) {
      state = step(state);
      await sync();
      state = step(state);
      await realize(state);
    }
    expect(most()).toBe(1);
  });
});
