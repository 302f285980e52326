import { afterEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  compile,
  init,
  key,
  matmul,
  profile,
  randn,
  realize,
  scan,
  softmax,
  type Tensor,
  UsageError,
  useBackend,
} from "../../src/index.js";

let backend: Backend;
const use = (made: Backend): void => {
  backend = made;
  useBackend(made);
};
afterEach(async () => {
  useBackend(undefined);
  await backend.close();
});

/** A product worth sharing, kernels too small for it, and a loop of both. */
const work = (x: Tensor): Tensor[] => {
  const step = (h: Tensor): [Tensor, Tensor] => {
    const next = softmax(matmul(h, x));
    return [next, next.sum().exp()];
  };
  const [last, sums] = scan(step, x, null, { length: 5 });
  return [matmul(last, x), sums, sums.cumsum().square().sum()];
};

describe.each([
  { name: "wasm, one thread", create: () => createWasmBackend({ threads: 1 }) },
  { name: "wasm, two threads", create: () => createWasmBackend({ threads: 2 }) },
  { name: "wasm, three threads and the finest chunks", create: () => createWasmBackend({ threads: 3, chunks: "finest" }) },
])("profile on $name", ({ create }) => {
  it("tells each kernel with all of its turns, and computes what is computed without it", async () => {
    use(await create());
    const x = randn(key(1), [192, 192]);
    await realize(x);
    const f = compile(work);
    const plain = await Promise.all(f(x).map((t) => t.data()));
    const began = performance.now();
    const { kernels, milliseconds, result } = await profile(() => [f(x), f(x)]);
    const elapsed = performance.now() - began;
    for (const run of result) for (const [i, t] of run.entries()) expect(await t.data()).toEqual(plain[i]);
    expect(milliseconds).toBeGreaterThan(0);
    expect(milliseconds).toBeLessThanOrEqual(elapsed);
    expect(milliseconds).toBeCloseTo(kernels.reduce((sum, each) => sum + each.milliseconds, 0));
    expect(kernels.map((each) => each.milliseconds)).toEqual([...kernels.map((each) => each.milliseconds)].sort((a, b) => b - a));
    // Two runs, and five turns of what is in the loop.
    expect(kernels.every(({ calls }) => calls % 2 === 0)).toBe(true);
    expect(kernels.some(({ calls }) => calls % 10 === 0)).toBe(true);
    const { kernels: listed } = f.explain.object(x);
    const known = new Set(listed.map(({ label }) => label));
    expect(kernels.filter(({ label }) => !known.has(label.replace(/^pack /, "")))).toEqual([]);
    // What runs afterwards is measured no more, and threads share it as before.
    expect(await Promise.all(f(x).map((t) => t.data()))).toEqual(plain);
  });
});

describe("profile", () => {
  it("is of primitives on the reference backend", async () => {
    use(createReferenceBackend());
    const { kernels } = await profile(() => realize(matmul(randn(key(1), [8, 8]), randn(key(2), [8, 8])).exp()));
    const calls = Object.fromEntries(kernels.map((each) => [each.label, each.calls]));
    expect(calls).toMatchObject({ dot: 1, exp: 1, randomBits: 2 });
  });

  it("is one at a time, and ends where f fails", async () => {
    use(createReferenceBackend());
    await expect(profile(() => Promise.reject(new Error("of f")))).rejects.toThrow("of f");
    await profile(async () => {
      await expect(profile(() => 1)).rejects.toThrow(UsageError);
    });
    expect((await profile(() => undefined)).kernels).toEqual([]);
  });

  it("says where kernels cannot be measured one by one", async () => {
    use(await init({ backend: "reference", debug: "nan" }));
    await expect(profile(() => 1)).rejects.toThrow(/does not measure kernels/);
  });
});
