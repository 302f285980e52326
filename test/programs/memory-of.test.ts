import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  adamw,
  attention,
  type Backend,
  compile,
  grad,
  key,
  memory,
  memoryOf,
  OptionError,
  realize,
  scan,
  type Tensor,
  UsageError,
  useBackend,
  zeros,
} from "../../src/index.js";
import { Llama } from "../../src/nn/llama.js";
import { languageStep } from "../../src/nn/training.js";
import { tinyConfig } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

/** Runs `body` on a backend that holds nothing else, so that its peak is that of the body. */
async function alone<R>(create: () => Promise<Backend> | Backend, body: () => Promise<R>): Promise<R> {
  const backend = await create();
  const before = useBackend(backend);
  try {
    return await body();
  } finally {
    useBackend(before);
    await backend.close();
  }
}

const loss = (x: Tensor, w: Tensor): Tensor => x.matmul(w).tanh().square().sum();
const donating = compile((w: Tensor, x: Tensor) => w.sub(grad((at: Tensor) => loss(x, at))(w).mul(0.1)), { donate: [0] });
const loop = (x: Tensor): Tensor => scan((c: Tensor) => [c.mul(x).sin(), c], x, null, { length: 20 })[1];

/** Functions with their arguments, which hold no numbers yet. */
const calls: readonly (readonly [string, (...args: readonly Tensor[]) => unknown, () => readonly Tensor[]])[] = [
  ["elementwise", (a, b) => (a as Tensor).mul(b as Tensor).exp(), () => [zeros([300, 70]), zeros([70])]],
  ["several results", (a) => [(a as Tensor).sum(), (a as Tensor).softmax(), (a as Tensor).argmax(1)], () => [zeros([512, 100])]],
  ["a gradient", (x, w) => grad((at: Tensor) => loss(x as Tensor, at))(w as Tensor), () => [zeros([128, 96]), zeros([96, 200])]],
  ["results in the memory of arguments", donating as never, () => [zeros([96, 200]), zeros([128, 96])]],
  ["a loop", (x) => loop(x as Tensor), () => [zeros([50_000])]],
  ["reductions along both axes", (x) => (x as Tensor).logSumExp(0).add((x as Tensor).max()), () => [zeros([64, 1000])]],
];

describe.each(backends().filter(({ name }) => !name.includes("rounded")))("the memory of a program on $name", ({ name, create }) => {
  it.each(calls)("%s: is known before it runs", async (_, f, args) => {
    await alone(create, async () => {
      const found = memoryOf(f, ...args());
      expect(memory()).toMatchObject({ liveBytes: 0, peakBytes: 0 });
      const given = args();
      // Larger arguments than what is kept on the host.
      await realize(given);
      const compiled = "memory" in f ? f : compile(f as (...args: readonly Tensor[]) => Tensor);
      await realize(compiled(...given));
      // Arguments are made by a program of their own, whose tables stay.
      const { peakBytes } = memory();
      expect(found.peakBytes / peakBytes).toBeGreaterThan(0.97);
      expect(found.peakBytes).toBeLessThanOrEqual(peakBytes);
      const parts = found.inputBytes + found.resultBytes + found.scratchBytes + found.programBytes;
      if (name !== "reference") expect(parts).toBe(found.peakBytes);
    });
  });
});

describe("what a function needs", () => {
  it("may be asked for sizes that no machine has", async () => {
    for (const create of [createReferenceBackend, () => createWasmBackend({ threads: 1 }), () => createWebGpuBackend()]) {
      await alone(create, async () => {
        const found = memoryOf((x: Tensor) => x.exp().sum(), zeros([2 ** 25, 2 ** 15]));
        expect(found.inputBytes).toBeGreaterThanOrEqual(2 ** 42);
        expect(found.largestTensorBytes).toBeGreaterThanOrEqual(2 ** 42);
        expect(memory().peakBytes).toBe(0);
      });
    }
  });

  it("holds what it closes over, and counts no trace", async () => {
    await alone(createReferenceBackend, async () => {
      const table = zeros([1000]);
      await realize(table);
      const f = compile((x: Tensor) => x.add(table));
      expect(f.memory(zeros([1000]))).toMatchObject({ inputBytes: 16_000, resultBytes: 8000 });
      expect(f.traces).toBe(0);
      await realize(f(zeros([1000])));
      expect(f.traces).toBe(1);
    });
  });

  it("takes no memory for what results take over", async () => {
    await alone(
      () => createWasmBackend({ threads: 1 }),
      async () => {
        const step = (x: Tensor): Tensor => x.add(1);
        expect(memoryOf(compile(step), zeros([1000])).resultBytes).toBe(4000);
        expect(memoryOf(compile(step, { donate: [0] }), zeros([1000])).resultBytes).toBe(0);
      },
    );
  });

  it("is refused for what is no function or gives no tensor", () => {
    useBackend(createReferenceBackend());
    expect(() => memoryOf(3 as never)).toThrow(OptionError);
    expect(() => memoryOf(() => 3)).toThrow(UsageError);
  });
});

describe("the memory of a step of training", () => {
  const shapes = [
    [4, 8],
    [2, 29],
    [8, 64],
  ] as const;
  const ways = [{}, { checkpoint: true }, { microBatch: 2 }, { checkpoint: true, microBatch: 1 }];
  const cases = shapes.flatMap(([B, T]) => ways.map((way) => [B, T, way] as const));

  it.each(cases)("%i × %i with %o is what it takes", async (B, T, way) => {
    await alone(
      () => createWasmBackend({ threads: 2 }),
      async () => {
        const optimizer = adamw();
        const step = languageStep({ optimizer, ...way });
        const config = { ...tinyConfig, hidden_size: 64, intermediate_size: 176, max_position_embeddings: T };
        const given = () => {
          const model = new Llama(config, { key: key(0) });
          const tokens = (): Tensor => zeros([B, T], { dtype: "i32" });
          const angles = (): Tensor => zeros([1, T, config.head_dim / 2]);
          const batch = { inputs: tokens(), targets: tokens(), tables: { cos: angles(), sin: angles() } };
          return [model, optimizer.init(model), batch, 0.1] as const;
        };
        const { peakBytes } = step.memory(...given());
        const [model, state, batch, lr] = given();
        await realize(model, state, batch);
        await realize(step(model, state, batch, lr));
        expect(peakBytes / memory().peakBytes).toBeGreaterThan(0.95);
        expect(peakBytes).toBeLessThanOrEqual(memory().peakBytes);
      },
    );
  });
});

describe("what the gradients of attention need on top of their operands", () => {
  it.each([
    [1, 8, 8, 4096],
    [1, 8, 1, 4096],
    [1, 32, 1, 4096],
    [1, 32, 1, 16_384],
    [4, 16, 2, 4096],
  ])("with %i × %i heads that share %i, for %i queries, is a few times as much as these and 64 MiB at most", async (B, H, Hkv, T) => {
    for (const create of [() => createWasmBackend({ threads: 2 }), () => createWebGpuBackend({ defaultLimits: true })]) {
      await alone(create, async () => {
        const operands = [zeros([B, H, T, 64]), zeros([B, Hkv, T, 64]), zeros([B, Hkv, T, 64])] as const;
        const slopes = grad((at: readonly [Tensor, Tensor, Tensor]) => attention(...at, { causal: true }).sum());
        const { scratchBytes } = memoryOf(slopes, operands);
        expect(scratchBytes).toBeLessThan(2 ** 26 + 6 * 4 * operands[0].size);
      });
    }
  });
});
