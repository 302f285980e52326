import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { type Backend, compile, matmul, profile, realize, UsageError, useBackend, zeros } from "../../src/index.js";

let backend: Backend;
beforeAll(async () => {
  backend = await createWebGpuBackend();
  useBackend(backend);
});
afterAll(async () => {
  useBackend(undefined);
  await backend.close();
});

describe("profile", () => {
  it("tells the kernels of what ran meanwhile, with calls and times", async () => {
    const [a, b] = [zeros([256, 256]), zeros([256, 256])];
    await realize(a, b);
    const f = compile((a: typeof z, b: typeof z) => matmul(a, b).exp().sum(0));
    const z = a;
    f(a, b);
    const { kernels, milliseconds, result } = await profile(() => [f(a, b), f(a, b)]);
    expect(kernels.length).toBeGreaterThanOrEqual(2);
    for (const { calls, milliseconds: each } of kernels) {
      expect(calls % 2).toBe(0);
      expect(each).toBeGreaterThanOrEqual(0);
    }
    expect(milliseconds).toBeGreaterThan(0);
    expect(milliseconds).toBeCloseTo(kernels.reduce((sum, each) => sum + each.milliseconds, 0));
    expect((await result[1]?.data())?.[0]).toBe(256);
  });

  it("forgets what ran before and after it, also after a failure", async () => {
    const f = compile((x: typeof a) => x.exp());
    const a = zeros([8]);
    f(a);
    await expect(profile(() => Promise.reject(new Error("of f")))).rejects.toThrow("of f");
    const { kernels } = await profile(() => undefined);
    expect(kernels).toEqual([]);
    f(a);
  });

  it("is one at a time", async () => {
    await profile(async () => {
      await expect(profile(() => 1)).rejects.toThrow(UsageError);
    });
  });
});
