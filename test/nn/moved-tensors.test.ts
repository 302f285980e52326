import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  BatchNorm,
  createTrainStep,
  Dropout,
  foldIn,
  key,
  Linear,
  ones,
  randn,
  relu,
  type Sequential,
  ShapeError,
  sequential,
  sgd,
  type Tensor,
  tensor,
  trainablePart,
  UsageError,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { distance } from "./tiny.js";

beforeEach(() => useBackend(createReferenceBackend()));

const k = key(4);
interface Batch {
  readonly x: Tensor;
  readonly y: Tensor;
}
const network = (momentum: number | null = 0.25): Sequential =>
  sequential(Linear.create(k, 2, 3), sequential(BatchNorm.create(3, { momentum }), relu), Linear.create(k, 3, 1));
const batch = (seed: number, rows = 4): Batch => ({ x: randn(key(seed), [rows, 2]), y: randn(key(seed + 100), [rows, 1]) });
const loss = (model: Sequential, { x, y }: Batch): [Tensor, Sequential] => {
  const [found, next] = model.train(x);
  return [found.sub(y).square().mean(), next];
};
const norm = (model: Sequential): BatchNorm => (model[1] as Sequential)[0] as BatchNorm;
const optimizer = sgd({ momentum: 0.9 });
const same = async (found: BatchNorm, expected: BatchNorm): Promise<void> => {
  for (const name of ["running_mean", "running_var"] as const) {
    expect(distance(await found[name].data(), await expected[name].data()), name).toBeLessThan(1e-12);
  }
};

describe("what a loss returns beside its value", () => {
  it("is carried by the step, while parameters move as without it", async () => {
    const model = network();
    const [first, second] = [batch(1), batch(2)];
    const step = createTrainStep({ optimizer, loss });
    const plain = createTrainStep({ optimizer, loss: (m: Sequential, b: Batch) => loss(m, b)[0] });
    const before = norm(model);
    let [next, state] = step(network(), optimizer.init(model), first, 0.1);
    let [other, otherState] = plain(network(), optimizer.init(model), first, 0.1);
    await same(norm(next), norm(loss(model, first)[1]));
    await same(norm(other), before);
    const expected = norm(loss(next, second)[1]);
    await expected.running_mean.data();
    await expected.running_var.data();
    [next, state] = step(next, state, second, 0.1);
    [other, otherState] = plain(other, otherState, second, 0.1);
    await same(norm(next), expected);
    expect(distance(await norm(next).weight.data(), await norm(other).weight.data())).toBe(0);
    expect(step.traces).toBe(1);
    expect([state, otherState].every((s) => s.velocity !== null)).toBe(true);
  });

  it("goes from micro-batch to micro-batch, given as a list or cut from rows, and is what it is without gradients", async () => {
    const pieces = [batch(1, 2), batch(2, 2), batch(3, 2)];
    let walked = network(null);
    for (const piece of pieces) walked = loss(walked, piece)[1];
    const step = createTrainStep({ optimizer, loss, microBatch: 2 });
    const listed = createTrainStep({ optimizer, loss });
    const whole = {
      x: tensor((await Promise.all(pieces.map(({ x }) => x.array()))).flat() as number[][]),
      y: tensor((await Promise.all(pieces.map(({ y }) => y.array()))).flat() as number[][]),
    };
    const start = (): [Sequential, ReturnType<typeof optimizer.init>] => [network(null), optimizer.init(trainablePart(network(null))[0])];
    for (const [next] of [step(...start(), whole, 0.1), listed(...start(), pieces, 0.1)]) {
      await same(norm(next), norm(walked));
      expect(await norm(next).num_batches_tracked?.item()).toBe(3);
    }
  });

  it("is carried where it is no part of what is trained", async () => {
    const trainable = (_: Tensor, path: string): boolean => path === "2.weight";
    const step = createTrainStep({ optimizer, loss, trainable });
    const [next] = step(network(), optimizer.init(trainablePart(network(), trainable)[0]), batch(5), 0.1);
    await same(norm(next), norm(loss(network(), batch(5))[1]));
  });

  it("stays as it was where the step is left out", async () => {
    const step = createTrainStep({ optimizer, loss });
    const broken = { x: batch(1).x, y: tensor([[Number.NaN], [0], [0], [0]]) };
    const [next, , metrics] = step(network(), optimizer.init(network()), broken, 0.1);
    expect(await metrics.loss.item()).toBeNaN();
    await same(norm(next), norm(network()));
  });

  it("is refused where it is no model of that form, and where a tensor has another shape", () => {
    const stepOf = (change: (model: { w: Tensor; n: Tensor }) => object) =>
      createTrainStep({ optimizer, loss: (m: { w: Tensor; n: Tensor }) => [m.w.sum(), change(m) as typeof m] });
    const run = (change: (model: { w: Tensor; n: Tensor }) => object) => {
      const params = { w: ones([2]), n: ones([]) };
      return () => stepOf(change)(params, optimizer.init(params), ones([1]), 0.1);
    };
    expect(run(({ w }) => ({ w }))).toThrow(UsageError);
    expect(run(({ w }) => ({ w }))).toThrow("has no n");
    expect(run(({ w }) => ({ w, n: 3 }))).toThrow("at n the loss returned 3 for a tensor");
    expect(run(({ w, n }) => ({ w, n: n.add(w) }))).toThrow(ShapeError);
    expect(run(({ w, n }) => ({ w, n: n.cast("i32") }))).toThrow("at n the model has f32[], and the loss returned i32[]");
    expect(run(({ w, n }) => ({ w, n: n.add(1) }))).not.toThrow();
  });
});

describe("a sequence in training", () => {
  it("hands each layer its key and keeps what has no state", async () => {
    const net = sequential(new Dropout(0.5), BatchNorm.create(2), relu);
    const x = randn(k, [8, 2]);
    const [y, next] = net.train(x, { key: k });
    const [wanted, after] = (net[1] as BatchNorm).train((net[0] as Dropout).forward(x, { key: foldIn(k, 0) }));
    expect(distance(await y.data(), await relu(wanted).data())).toBe(0);
    await same(next[1] as BatchNorm, after);
    expect([next[0], next[2], next.length]).toEqual([net[0], relu, 3]);
    expect(next).not.toBe(net);
  });

  it("is differentiated with what it moves beside by hasAux", async () => {
    const [[value, next], gradient] = valueAndGrad(loss, { hasAux: true })(network(), batch(1));
    expect(value.shape).toEqual([]);
    await same(norm(next), norm(loss(network(), batch(1))[1]));
    expect(distance(await norm(gradient).running_mean.data(), [0, 0, 0])).toBe(0);
  });

  it("averages over all batches where the momentum is null", async () => {
    const [a, b] = [randn(key(1), [5, 2]), randn(key(2), [5, 2])];
    const layer = BatchNorm.create(2, { momentum: null }).train(a)[1].train(b)[1];
    const mean = a.mean(0).add(b.mean(0)).mul(0.5);
    const spread = a
      .variance(0, { correction: 1 })
      .add(b.variance(0, { correction: 1 }))
      .mul(0.5);
    expect(distance(await layer.running_mean.data(), await mean.data())).toBeLessThan(1e-12);
    expect(distance(await layer.running_var.data(), await spread.data())).toBeLessThan(1e-12);
  });
});
