import { describe, expect, it } from "vitest";
import { gpuWait } from "../../src/backend/webgpu/wait.js";

/** Turns of the event loop while `work` is under way. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let going = true;
  const turn = () => {
    turns++;
    if (going) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  going = false;
  return turns;
}

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe("waiting for the GPU", () => {
  it("with naps leaves the processor alone, without them does not slow the event loop", async () => {
    const busy = await turnsDuring(() => gpuWait(sleep(60)));
    const napping = await turnsDuring(() => gpuWait(sleep(60), { nap: true }));
    // At least 0.2 ms per turn after the first 0.2 ms, of 60 ms.
    expect(napping).toBeLessThan(400);
    expect(busy).toBeGreaterThan(napping);
  });

  it("naps once per turn, however many wait", async () => {
    const start = performance.now();
    const turns = await turnsDuring(() => Promise.all(Array.from({ length: 20 }, () => gpuWait(sleep(40), { nap: true }))));
    expect(turns).toBeGreaterThan((performance.now() - start) / 20);
  });

  it("stops napping when nothing is waited for any more, after failures too", async () => {
    await expect(gpuWait(Promise.reject(new Error("lost")), { nap: true })).rejects.toThrow("lost");
    await gpuWait(sleep(5), { nap: true });
    await sleep(5);
    const start = performance.now();
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
    // With naps these turns would take at least 40 ms; other processes may slow one trial down, not every one.
    let best = performance.now() - start;
    for (let trial = 0; trial < 5; trial++) {
      const again = performance.now();
      for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
      best = Math.min(best, performance.now() - again);
    }
    expect(best).toBeLessThan(40);
  });

  it("hands values through", async () => {
    expect(await gpuWait(Promise.resolve(7), { nap: true })).toBe(7);
    expect(await gpuWait(Promise.resolve(8))).toBe(8);
  });
});
