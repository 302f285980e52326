import { test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { BufferPool, type GpuBuffer, type PoolDevice, sizeClass } from "../../src/backend/webgpu/buffer-pool.js";
import { OutOfMemoryError, UsageError } from "../../src/errors.js";
import { poolSteps } from "../support/arbitraries.js";

const LIMIT = 2 ** 22;

/** A device without a GPU: buffers are notes of whether they were destroyed, fences are opened by hand. */
function paperDevice() {
  const destroyed: number[] = [];
  const fences: (() => void)[] = [];
  let made = 0;
  const device: PoolDevice = {
    create: (_kind, size) => {
      const number = ++made;
      return { size, destroy: () => destroyed.push(number) } as unknown as GPUBuffer;
    },
    fence: () => new Promise((resolve) => fences.push(resolve)),
    limit: () => ({ bytes: LIMIT, name: "maxBufferSize" }),
  };
  const openFences = async () => {
    await Promise.resolve();
    for (const open of fences.splice(0)) open();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { device, destroyed, openFences, made: () => made };
}

describe("a size class", () => {
  test.prop([poolSteps])("holds what was asked for, wastes at most an eighth beyond 2 KiB and stays within the limit", (steps) => {
    for (const step of steps) {
      if (!("acquire" in step)) continue;
      const bytes = sizeClass(step.acquire, LIMIT);
      expect(bytes).toBeGreaterThanOrEqual(step.acquire);
      expect(bytes % 4).toBe(0);
      expect(bytes).toBeLessThanOrEqual(LIMIT);
      expect(bytes).toBeLessThanOrEqual(Math.max(step.acquire + 256, step.acquire * 1.125));
    }
  });

  it("is cut to a limit that is no power of two", () => {
    expect(sizeClass(2 ** 31 - 100, 2 ** 31 - 4)).toBe(2 ** 31 - 4);
    expect(sizeClass(2 ** 32 - 8, 2 ** 32 - 1)).toBe(2 ** 32 - 4);
  });
});

describe("a buffer pool", () => {
  it("hands a released buffer out again, as another handle of the same memory", () => {
    const { device, made } = paperDevice();
    const pool = new BufferPool(device, 2 ** 20);
    const first = pool.acquire(1000, "a");
    pool.release(first);
    const second = pool.acquire(1010, "b");
    expect(second.memory).toBe(first.memory);
    expect(second.gpu).toBe(first.gpu);
    expect(second.id).toBeGreaterThan(first.id);
    expect(second).toMatchObject({ owner: "b", bytes: 1010, capacity: 1024 });
    expect([pool.isLive(first), pool.isLive(second)]).toEqual([false, true]);
    expect(made()).toBe(1);
  });

  it("keeps buffers of different kinds apart", () => {
    const { device } = paperDevice();
    const pool = new BufferPool(device, 2 ** 20);
    const storage = pool.acquire(1000, "a");
    pool.release(storage);
    expect(pool.acquire(1000, "a", "uniform").memory).not.toBe(storage.memory);
  });

  it("refuses a second release, even after the buffer went to another owner", () => {
    const { device } = paperDevice();
    const pool = new BufferPool(device, 2 ** 20);
    const first = pool.acquire(1000, "a");
    pool.release(first);
    expect(() => pool.release(first)).toThrow(UsageError);
    const second = pool.acquire(1000, "b");
    expect(() => pool.release(first)).toThrow(/given back before/);
    pool.release(second);
  });

  it("moves a buffer to another owner without touching its memory", () => {
    const { device, made } = paperDevice();
    const pool = new BufferPool(device, 2 ** 20);
    const old = pool.acquire(1000, "program");
    const renamed = pool.rename(old, "value");
    expect(renamed).toMatchObject({ memory: old.memory, bytes: 1000, owner: "value" });
    expect(renamed.id).toBeGreaterThan(old.id);
    expect(pool.stats()).toMatchObject({ byOwner: { value: old.capacity }, liveBuffers: 1 });
    expect(() => pool.release(old)).toThrow(UsageError);
    pool.release(renamed);
    expect(made()).toBe(1);
  });

  it("destroys idle buffers only after a fence", async () => {
    const { device, destroyed, openFences } = paperDevice();
    const pool = new BufferPool(device, 2 ** 20);
    const buffer = pool.acquire(1000, "a");
    pool.release(buffer);
    pool.trim();
    await new Promise((resolve) => setImmediate(resolve));
    expect(destroyed).toEqual([]);
    expect(pool.stats().idleBytes).toBe(buffer.capacity);
    await openFences();
    expect(destroyed).toEqual([1]);
    expect(pool.stats()).toMatchObject({ idleBytes: 0, idleBuffers: 0, liveBytes: 0 });
    expect(pool.acquire(1000, "a").memory).not.toBe(buffer.memory);
  });

  it("destroys what is retired while a fence is pending only after a later fence", async () => {
    const { device, destroyed, openFences } = paperDevice();
    const pool = new BufferPool(device, 0);
    const [a, b] = [pool.acquire(1000, "a"), pool.acquire(1000, "b")];
    pool.release(a);
    pool.trim();
    await Promise.resolve();
    await Promise.resolve();
    pool.release(b);
    pool.trim();
    await openFences();
    expect(destroyed).toEqual([1]);
    await openFences();
    expect(destroyed).toEqual([1, 2]);
  });

  it("keeps no more than a quarter above its peak and the cap, and lets the longest idle go first", async () => {
    const { device, destroyed, openFences } = paperDevice();
    const pool = new BufferPool(device, 1024);
    for (const bytes of [1024, 1280, 1536, 2048]) pool.release(pool.acquire(bytes, "a"));
    await openFences();
    expect(destroyed).toEqual([1, 2]);
    expect(pool.stats()).toMatchObject({ idleBytes: 1536 + 2048, peakBytes: 2048 });
  });

  it("finds all of a program's scratch memory again at every step", async () => {
    const { device, openFences, made } = paperDevice();
    const pool = new BufferPool(device, 0);
    for (let step = 0; step < 5; step++) {
      const scratch = [1, 2, 3, 4].map((n) => pool.acquire(n * 100_000, "program"));
      for (const buffer of scratch) pool.release(buffer);
      await openFences();
    }
    expect(made()).toBe(4);
  });

  it("names the limit and the live bytes by owner when one buffer is too large", () => {
    const { device, made } = paperDevice();
    const pool = new BufferPool(device, 0);
    const kept = pool.acquire(5000, "parameters");
    const tooLarge = () => pool.acquire(LIMIT + 1, "logits");
    expect(tooLarge).toThrow(OutOfMemoryError);
    expect(tooLarge).toThrow(/"logits" asks for a buffer of 4194305 bytes; this device allows 4194304 \(maxBufferSize\)/);
    try {
      tooLarge();
    } catch (error) {
      expect(error).toMatchObject({ requestedBytes: LIMIT + 1, liveBytes: { parameters: kept.capacity } });
    }
    expect(() => pool.acquire(Number.NaN, "nothing")).toThrow(OutOfMemoryError);
    expect(made()).toBe(1);
  });

  test.prop([poolSteps])("counts exactly what is held, whatever is acquired and released", async (steps) => {
    const { device, destroyed, openFences, made } = paperDevice();
    const pool = new BufferPool(device, 2 ** 21);
    const held: GpuBuffer[] = [];
    let peak = 0;
    for (const step of steps) {
      if ("acquire" in step) held.push(pool.acquire(step.acquire, step.owner));
      else if (held.length > 0) pool.release(held.splice(step.release % held.length, 1)[0]!);
      const live = held.reduce((sum, { capacity }) => sum + capacity, 0);
      peak = Math.max(peak, live);
      const stats = pool.stats();
      expect(new Set(held.map(({ memory }) => memory)).size).toBe(held.length);
      expect(stats).toMatchObject({ liveBytes: live, liveBuffers: held.length, peakBytes: peak });
      expect(Object.values(stats.byOwner).reduce((a, b) => a + b, 0)).toBe(live);
    }
    for (const buffer of held.splice(0)) pool.release(buffer);
    pool.trim();
    await openFences();
    await openFences();
    expect(destroyed.length).toBe(made());
    expect(pool.stats()).toMatchObject({ liveBytes: 0, liveBuffers: 0, idleBytes: 0, idleBuffers: 0, byOwner: {} });
  });
});
