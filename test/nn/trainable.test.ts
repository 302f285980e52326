import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  adamw,
  type Backend,
  clipByGlobalNorm,
  createTrainStep,
  globalNorm,
  grad,
  loadTraining,
  type Optimizer,
  OptionError,
  partition,
  sgd,
  type Tensor,
  tensor,
  tensorsOf,
  train,
  trainablePart,
  trainingBlobs,
  UsageError,
  useBackend,
} from "../../src/index.js";
import type { TrainOptions } from "../../src/nn/training.js";
import { backends } from "../support/backends.js";
import { randomBatch, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

interface Params {
  w: Tensor;
  frozen: Tensor[];
  ids: Tensor;
  mask: Tensor;
}
const params = (): Params => ({
  w: tensor([
    [0.5, -1],
    [2, 0.25],
  ]),
  frozen: [tensor([[1, 1]]), tensor([[3, -2]])],
  ids: tensor([1, 0], { dtype: "i32" }),
  mask: tensor([true, false] as unknown as number[], { dtype: "bool" }),
});
/** Depends on every float. */
const loss = ({ w, frozen, ids, mask }: Params, x: Tensor): Tensor =>
  x
    .matmul(w.gather(ids, 0))
    .mul(frozen[0] as Tensor)
    .add((frozen[1] as Tensor).mul(mask.cast("f32")))
    .square()
    .mean();
const batchOf = (step: number): Tensor =>
  tensor([
    [1 + step, -1],
    [0.5, step / 4],
  ]);
const onlyW = (_: Tensor, path: string): boolean => path === "w";
const optimizers: [name: string, make: () => Optimizer<unknown>][] = [
  ["sgd", () => sgd()],
  ["sgd with momentum", () => sgd({ momentum: 0.9 })],
  ["adamw", () => adamw({ weightDecay: 0.5, decayMask: () => true })],
];

describe.each(backends())("a part of the parameters on $name", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(optimizers)("is trained as if the rest were constants, and the rest is not touched: %s", async (_, make) => {
    type Batch = { readonly x: Tensor };
    const step = createTrainStep({ optimizer: make(), loss: (p: Params, { x }: Batch) => loss(p, x), trainable: onlyW, maxNorm: 0.5 });
    const constants = params();
    const alone = createTrainStep({
      optimizer: make(),
      loss: ({ w }: { w: Tensor }, { x }: Batch) => loss({ ...constants, w }, x),
      maxNorm: 0.5,
    });
    let [all, small] = [params(), { w: params().w }];
    const first = all;
    let state = make().init(trainablePart(all, onlyW)[0]);
    let smallState = make().init(small);
    expect(tensorsOf(state).every(({ path }) => /(^|\.)w$|correction/.test(path))).toBe(true);
    for (let i = 0; i < 20; i++) {
      const lr = 0.05 / (1 + i);
      const micro = [i, i + 1].map((seed): Batch => ({ x: batchOf(seed) }));
      const batches = i % 3 === 2 ? micro : (micro[0] as Batch);
      const [next, nextState, metrics] = step(all, state, batches, lr);
      const [nextSmall, nextSmallState, smallMetrics] = alone(small, smallState, batches, lr);
      if (i > 0) await expect(all.w.data()).rejects.toThrow(UsageError);
      [all, state, small, smallState] = [next, nextState, nextSmall, nextSmallState];
      expect(await metrics.gradNorm.item()).toBe(await smallMetrics.gradNorm.item());
    }
    expect(await all.w.array()).toEqual(await small.w.array());
    expect(await all.w.array()).not.toEqual(await params().w.array());
    expect(all.ids).toBe(first.ids);
    expect(all.mask).toBe(first.mask);
    expect(all.frozen[1]).toBe(first.frozen[1]);
    expect(await all.frozen[0]?.array()).toEqual([[1, 1]]);
    expect(step.traces).toBe(2);
    expect(step.explain(all, state, { x: batchOf(0) }, 0.1)).toContain("trainStep");
  });

  it("is every float where nobody says otherwise: integers and bools pass through", async () => {
    const optimizer = adamw();
    const step = createTrainStep({ optimizer, loss });
    const start = params();
    const [next] = step(start, optimizer.init(start), batchOf(1), 0.1);
    expect(await next.ids.array()).toEqual([1, 0]);
    expect(next.ids.dtype).toBe("i32");
    for (const path of ["w", "frozen.0", "frozen.1"]) {
      expect((await valuesOf(partition(next, (_, at) => at === path)[0])).get(path), path).not.toEqual(
        (await valuesOf(params())).get(path),
      );
    }
  });

  it("does not decay and has no fading moments where there is no gradient", async () => {
    for (const [name, make] of optimizers) {
      const optimizer = make();
      let all = params();
      // A state with moments for all floats, which other steps may have moved.
      let state = optimizer.init(all);
      const [floats, fixed] = partition(all, ({ dtype }) => dtype === "f32");
      const everything = grad((part: typeof floats) =>
        loss({ ...all, ...(part as Params), ids: fixed.ids as Tensor, mask: fixed.mask as Tensor }, batchOf(1)),
      )(floats);
      [all, state] = optimizer.update(all, everything, state, { lr: 0.1 });
      const before = [await valuesOf(all), await valuesOf(state)] as const;
      const part = partition(everything, (_, path) => path === "w")[0];
      const [after, stateAfter] = optimizer.update(all, part as typeof everything, state, { lr: 0.1 });
      const found = [await valuesOf(after), await valuesOf(stateAfter)] as const;
      for (const path of ["frozen.0", "frozen.1", "ids", "mask"])
        expect(found[0].get(path), `${name}: ${path}`).toEqual(before[0].get(path));
      expect(found[0].get("w"), name).not.toEqual(before[0].get("w"));
      for (const [path, values] of before[1]) if (/frozen/.test(path)) expect(found[1].get(path), `${name}: ${path}`).toEqual(values);
    }
  });

  it("norms and clipping leave integers alone", async () => {
    const tree = { a: tensor([3, 4]), n: tensor([100], { dtype: "i32" }), none: null };
    expect(await globalNorm(tree).item()).toBeCloseTo(5, 5);
    const [clipped] = clipByGlobalNorm(tree, 1);
    expect(await clipped.n.array()).toEqual([100]);
    expect((await clipped.a.array()) as number[]).toEqual([expect.closeTo(0.6, 5), expect.closeTo(0.8, 5)]);
    expect(clipped.none).toBe(null);
  });
});

describe("training a part of a model", { timeout: 60_000 }, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const trainable = (_: Tensor, path: string): boolean => /q_proj|norm/.test(path);
  const optimizer = adamw({ weightDecay: 0.3, decayMask: () => true });
  const common = {
    optimizer,
    trainable,
    batches: (step: number) => randomBatch(tinyConfig, { batch: 2, time: 5, seed: step }),
    schedule: (step: number) => 0.02 / (1 + step),
  } satisfies Partial<TrainOptions<ReturnType<typeof optimizer.init>>>;

  it("changes that part alone, and a run that was saved goes on to the same bits", async () => {
    const before = await valuesOf(await tinyLlama());
    const straight = await train({ ...common, model: await tinyLlama(), steps: 6 });
    const values = await valuesOf(straight.model);
    for (const [path, old] of before) {
      if (trainable(tensor([0]), path)) expect(values.get(path), path).not.toEqual(old);
      else expect(values.get(path), path).toEqual(old);
    }
    const half = await train({ ...common, model: await tinyLlama(), steps: 3 });
    const resumed = await loadTraining(await trainingBlobs(half), optimizer, { trainable });
    expect(resumed.step).toBe(3);
    const { step: startStep, extra: _, ...from } = resumed;
    const whole = await train({ ...common, ...from, startStep, steps: 6 });
    expect(await valuesOf(whole.model)).toEqual(values);
    expect(await valuesOf(whole.optimizerState)).toEqual(await valuesOf(straight.optimizerState));
  });

  it("saves and tries its state as it goes", async () => {
    const saved: number[] = [];
    await train({ ...common, model: await tinyLlama(), steps: 4, saveEvery: 2, onSave: async ({ step }) => void saved.push(step) });
    expect(saved).toEqual([2, 4]);
  });

  it("is refused in words where nothing is selected, or the state is that of another part", async () => {
    const model = await tinyLlama();
    await expect(train({ ...common, trainable: () => false, model, steps: 1 })).rejects.toThrow(OptionError);
    await expect(train({ ...common, trainable: "q_proj" as never, model, steps: 1 })).rejects.toThrow(/trainable/);
    const other = optimizer.init(trainablePart(await tinyLlama(), (_, path) => path.includes("v_proj"))[0]);
    await expect(train({ ...common, model: await tinyLlama(), optimizerState: other, steps: 1 })).rejects.toThrow(/q_proj|layernorm/);
    const all = await train({ ...common, trainable: () => true, model: await tinyLlama(), steps: 1 });
    await expect(loadTraining(await trainingBlobs(all), optimizer, { trainable })).rejects.toThrow(/which the model does not have/);
  });
});
