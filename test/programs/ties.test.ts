import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  adamw,
  type Backend,
  clipByGlobalNorm,
  compile,
  createTrainStep,
  globalNorm,
  grad,
  Llama,
  languageLoss,
  mapTensors,
  type Optimizer,
  OptionError,
  sgd,
  type Tensor,
  tensor,
  useBackend,
  zipTensors,
} from "../../src/index.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { distance, randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

/** A Llama whose head is its embedding, as one tensor at two places of the tree. */
async function tied(): Promise<Llama> {
  const model = await tinyLlama();
  if (model.lm_head) model.lm_head.weight = model.model.embed_tokens.weight;
  return model;
}

/** The same model as one that reads its only matrix twice. */
async function shared(): Promise<Llama> {
  const model = await tinyLlama();
  const reader = new Llama({ ...tinyConfig, tie_word_embeddings: true }, { key: tensor([0, 0], { dtype: "u32" }) });
  reader.model = model.model;
  return reader;
}

const isTied = (model: Llama): boolean => model.lm_head?.weight === model.model.embed_tokens.weight;
const optimizers: [name: string, make: () => Optimizer<unknown>][] = [
  ["sgd", () => sgd()],
  ["sgd with momentum", () => sgd({ momentum: 0.9 })],
  ["adamw", () => adamw()],
];

describe.each(backends())("a model with tied weights on $name", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(optimizers)("trains as the one that shares them explicitly, and stays tied: %s", async (_, make) => {
    const run = async (model: Llama): Promise<{ model: Llama; state: unknown; norms: number[] }> => {
      const optimizer = make();
      const step = createTrainStep({ optimizer, loss: languageLoss, maxNorm: 0.5 });
      let state = optimizer.init(model);
      const norms: number[] = [];
      for (let i = 0; i < 5; i++) {
        const batches = [2 * i, 2 * i + 1].map((seed) => randomBatch(tinyConfig, { batch: 2, time: 6, seed }));
        const [next, nextState, metrics] = step(model, state, i < 3 ? (batches[0] as LanguageBatch) : batches, 0.02);
        [model, state] = [next, nextState];
        norms.push(await metrics.gradNorm.item());
      }
      expect(step.traces).toBe(2);
      return { model, state, norms };
    };
    const [one, other] = [await run(await tied()), await run(await shared())];
    expect(isTied(one.model)).toBe(true);
    expect(distance(one.norms, other.norms)).toBeLessThan(1e-5);
    const [values, expected] = [await valuesOf(one.model), await valuesOf(other.model)];
    for (const [path, want] of expected) expect(distance(values.get(path) as number[], want), path).toBeLessThan(2e-5);
    // The state has one moment for the tensor, as the parameters have.
    const moments = (one.state as { m?: Llama }).m ?? (one.state as { velocity?: Llama | null }).velocity;
    if (moments) expect(isTied(moments)).toBe(true);
  });
});

describe("one tensor at two places of a tree", () => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 2 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });
  const tree = (): { a: Tensor; b: Tensor[] } => {
    const w = tensor([3, 4]);
    return { a: w, b: [w, tensor([12])] };
  };

  it("is mapped, and zipped with what is tied likewise, once", () => {
    const paths: string[] = [];
    const doubled = mapTensors(tree(), (t, path) => {
      paths.push(path);
      return t.mul(2);
    });
    expect(paths).toEqual(["a", "b.1"]);
    expect(doubled.b[0]).toBe(doubled.a);
    const sums = zipTensors(
      ([x, y], path) => {
        paths.push(path);
        return (x as Tensor).add(y as Tensor);
      },
      doubled,
      tree(),
    );
    expect(paths.slice(2)).toEqual(["a", "b.1"]);
    expect(sums.b[0]).toBe(sums.a);
    const other = { a: tensor([1, 1]), b: [tensor([2, 2]), tensor([0])] };
    const mixed = zipTensors(([x, y]) => (x as Tensor).add(y as Tensor), tree(), other);
    expect(mixed.b[0]).not.toBe(mixed.a);
  });

  it("is donated once, updated once and tied afterwards, whether it lies on the host or on the device", async () => {
    const step = compile((t: ReturnType<typeof tree>, by: Tensor) => mapTensors(t, (x) => x.sub(by)), { donate: [0] });
    let state = tree();
    const first = state.a;
    for (let i = 0; i < 3; i++) {
      state = step(state, 1);
      expect(state.b[0]).toBe(state.a);
    }
    expect([...(await state.a.data())]).toEqual([0, 1]);
    expect([...(await (state.b[1] as Tensor).data())]).toEqual([9]);
    await expect(first.data()).rejects.toThrow(/donated/);
    expect(step.traces).toBe(1);
  });

  it("comes back tied where it is returned as it is, and its parts may move apart", async () => {
    const keep = compile((t: ReturnType<typeof tree>) => [t, t.a] as const, { donate: [0] });
    const [same, again] = keep(tree());
    expect([same.b[0], again]).toEqual([same.a, same.a]);
    const part = compile((t: ReturnType<typeof tree>) => ({ a: t.a.add(1), b: [(t.b[0] as Tensor).add(2), t.b[1]] }), { donate: [0] });
    const apart = part(same);
    expect([[...(await apart.a.data())], [...(await (apart.b[0] as Tensor).data())]]).toEqual([
      [4, 5],
      [5, 6],
    ]);
  });

  it("counts once in the common norm, with the sum of both gradients", async () => {
    expect(await globalNorm(tree()).item()).toBe(13);
    const g = grad((t: ReturnType<typeof tree>) =>
      t.a
        .sum()
        .add((t.b[0] as Tensor).mul(2).sum())
        .add((t.b[1] as Tensor).sum()),
    )(tree());
    expect(g.b[0]).toBe(g.a);
    expect(await globalNorm(g).item()).toBeCloseTo(Math.sqrt(9 + 9 + 1), 5);
    const [clipped] = clipByGlobalNorm(g, 1);
    expect(clipped.b[0]).toBe(clipped.a);
  });

  it("cannot be trained at one of them and frozen at the other", async () => {
    const step = createTrainStep({
      optimizer: sgd(),
      loss: ({ a }: ReturnType<typeof tree>, x: Tensor) => a.mul(x).sum(),
      trainable: (_, p) => p === "a",
    });
    expect(() => step(tree(), sgd().init(tree()), tensor([1, 1]), 0.1)).toThrow(OptionError);
    expect(() => step(tree(), sgd().init(tree()), tensor([1, 1]), 0.1)).toThrow(/selects a and not b\.0/);
  });
});
