import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  compile,
  grad,
  hessian,
  hvp,
  key,
  type Llama,
  languageLoss,
  matmul,
  randn,
  realize,
  type Tensor,
  useBackend,
  vmap,
} from "../../src/index.js";
import { sizeOf } from "../../src/ir/shape.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { numbersOf } from "../support/floats.js";

describe("transformations cost what they should:", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(() => backend.close());

  it("gradients of every sample of a batch by vmap(grad) take the operations of one gradient of the batch, and are its parts", async () => {
    const [batch, time] = [5, 12];
    const model = await tinyLlama();
    const all = randomBatch(tinyConfig, { batch, time, seed: 3 });
    const lossOf = (m: Llama, sample: { inputs: Tensor; targets: Tensor }): Tensor =>
      languageLoss(m, { ...all, inputs: sample.inputs.unsqueeze(0), targets: sample.targets.unsqueeze(0) });
    const whole = compile((m: Llama, b: LanguageBatch) => grad((at: Llama) => languageLoss(at, b))(m));
    const each = compile((m: Llama, sample: { inputs: Tensor; targets: Tensor }) => vmap(grad(lossOf), { inAxes: [null, 0] })(m, sample));
    const samples = { inputs: all.inputs, targets: all.targets };
    const [together, apart] = [whole.explain.object(model, all).flops, each.explain.object(model, samples).flops];
    expect(together).toBeGreaterThan(1e6);
    expect(apart / together).toBeLessThan(1.2);

    const [sum, parts] = [await valuesOf(whole(model, all)), await valuesOf(each(model, samples))];
    for (const [path, expected] of sum) {
      const found = parts.get(path) as number[];
      expected.forEach((value, i) => {
        const mean = Array.from({ length: batch }, (_, b) => found[b * expected.length + i] as number).reduce((x, y) => x + y) / batch;
        expect(Math.abs(mean - value), `${path} ${i}`).toBeLessThan(1e-5);
      });
    }
  });

  it("the Hessian of a network of 199 parameters is one small program, and has the products of hvp", async () => {
    const shapes = [[10, 14], [14], [14, 3], [3]];
    const count = shapes.map(sizeOf).reduce((a, b) => a + b);
    expect(count).toBe(199);
    const x = randn(key(4), [16, 10]);
    const loss = (parameters: Tensor): Tensor => {
      let start = 0;
      const [w1, b1, w2, b2] = shapes.map((shape) => {
        const part = parameters.slice([[start, start + sizeOf(shape)]]).reshape(shape);
        start += sizeOf(shape);
        return part;
      }) as [Tensor, Tensor, Tensor, Tensor];
      const logits = matmul(matmul(x, w1).add(b1).tanh(), w2).add(b2);
      return logits
        .logSoftmax()
        .slice([
          [0, 16],
          [0, 1],
        ])
        .mean()
        .neg();
    };
    const [at, v] = [randn(key(5), [count]).mul(0.3), randn(key(6), [count])];
    await realize([at, v]);
    const run = compile((p: Tensor) => hessian(loss)(p));
    const before = process.cpuUsage();
    const H = run(at);
    await realize(H);
    const { user, system } = process.cpuUsage(before);
    // Some 0.1 s; a program for each row, or one unrolled over them, takes many times the bound.
    expect((user + system) / 1e6).toBeLessThan(2);
    const [product, expected] = [await numbersOf(matmul(H, v)), await numbersOf(hvp(loss, at, v))];
    for (const [i, value] of expected.entries()) expect(Math.abs((product[i] as number) - value)).toBeLessThan(1e-5);
  });
});
