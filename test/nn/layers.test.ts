import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  BatchNorm,
  batchNorm,
  batchStatistics,
  Conv1d,
  Conv2d,
  checkGrads,
  compile,
  concat,
  createTrainStep,
  Dropout,
  dropout,
  embedding,
  eye,
  foldIn,
  GroupNorm,
  GruCell,
  gainOf,
  grad,
  groupNorm,
  type Initializer,
  kaimingNormal,
  kaimingUniform,
  key,
  LayerNorm,
  Linear,
  LstmCell,
  layerNorm,
  loadTensors,
  MultiHeadAttention,
  mapTensors,
  matmul,
  ones,
  orthogonal,
  parameterCount,
  Rnn,
  RnnCell,
  randn,
  relu,
  ShapeError,
  scanCell,
  sequential,
  sgd,
  stack,
  type Tensor,
  tensor,
  tensorsBlob,
  tensorsOf,
  torchRnnName,
  transpose,
  useBackend,
  vmap,
  xavierNormal,
  xavierUniform,
  zeros,
} from "../../src/index.js";
import { distance } from "./tiny.js";

const k = key(7);
const apart = async (a: Tensor, b: Tensor): Promise<number> => {
  expect(a.shape).toEqual(b.shape);
  return distance(await a.data(), await b.data());
};

beforeAll(() => useBackend(createReferenceBackend()));
afterAll(() => useBackend(undefined));

describe("layers as functions", () => {
  const x = randn(k, [2, 4, 3]);
  const [weight, bias] = [randn(foldIn(k, 1), [4]), randn(foldIn(k, 2), [4])];

  it("one group is layer normalisation of all, and a group for each channel normalises its places", async () => {
    const rows = layerNorm(x.reshape([2, 12]), ones([12]), zeros([12])).reshape([2, 4, 3]);
    expect(await apart(groupNorm(x, 1, ones([4]), zeros([4])), rows)).toBeLessThan(1e-12);
    const places = layerNorm(x, ones([3]), zeros([3]));
    expect(await apart(groupNorm(x, 4, ones([4]), zeros([4])), places)).toBeLessThan(1e-12);
  });

  it("batch normalisation gives channels of mean 0 and variance 1, and by given statistics what they say", async () => {
    const y = batchNorm(x, ones([4]), zeros([4]), { eps: 0 });
    const { mean, variance } = batchStatistics(y);
    expect(await apart(mean, zeros([4]))).toBeLessThan(1e-12);
    expect(await apart(variance, ones([4]))).toBeLessThan(1e-12);
    expect(await apart(batchNorm(x, weight, bias, { statistics: batchStatistics(x) }), batchNorm(x, weight, bias))).toBe(0);
    const plain = batchNorm(x, ones([4]), zeros([4]), { statistics: { mean: ones([4]), variance: ones([4]).mul(3) }, eps: 1 });
    expect(await apart(plain, x.sub(1).div(2))).toBeLessThan(1e-12);
  });

  it("have derivatives of both orders, and run under vmap and compiled", async () => {
    const [small, scales] = [randn(k, [2, 4, 1]), [weight, bias] as const];
    const functions = [(t: Tensor, w: Tensor, b: Tensor) => groupNorm(t, 2, w, b), (t: Tensor, w: Tensor, b: Tensor) => batchNorm(t, w, b)];
    for (const f of functions) {
      await checkGrads(f, [small, ...scales], { order: 2 });
      const stacked = vmap(f, { inAxes: [0, null, null] })(small.reshape([1, 2, 4, 1]), ...scales);
      expect(await apart(stacked.squeeze(0), compile(f)(small, ...scales))).toBeLessThan(1e-12);
    }
    const index = tensor(
      [
        [1, 0],
        [1, 2],
      ],
      { dtype: "i32" },
    );
    await checkGrads((table) => embedding(index, table), [randn(k, [3, 2])], { order: 2 });
  });

  it("keep the dtype of halves and take empty batches", async () => {
    const half = x.cast("bf16");
    for (const y of [groupNorm(half, 2, weight.cast("bf16"), bias.cast("bf16")), batchNorm(half, weight.cast("bf16"), bias.cast("bf16"))]) {
      expect(y.dtype).toBe("bf16");
    }
    for (const y of [groupNorm(zeros([0, 4]), 2, weight, bias), batchNorm(zeros([0, 4]), weight, bias)]) expect(y.shape).toEqual([0, 4]);
    // One value a channel has no spread, and its gradient is finite.
    expect(await grad((t: Tensor) => batchNorm(t, weight, bias).sum())(zeros([1, 4])).array()).toEqual([[0, 0, 0, 0]]);
  });

  it.each<[what: string, call: () => unknown, message: string]>([
    ["groups that do not divide", () => groupNorm(x, 3, weight, bias), "groupNorm: 3 groups of 4 channels"],
    ["a weight of other channels", () => groupNorm(x, 2, ones([3]), bias), "groupNorm: weight [3] for x [2, 4, 3]"],
    ["a vector", () => batchNorm(ones([4]), weight, bias), "batchNorm: x [4] has no channels"],
    ["integers", () => batchNorm(ones([1, 4], { dtype: "i32" }), weight, bias), "batchNorm: x must hold floats, found i32"],
    [
      "statistics of others",
      () => batchNorm(x, weight, bias, { statistics: { mean: ones([3]), variance: ones([4]) } }),
      "batchNorm: mean [3]",
    ],
    ["no examples", () => batchStatistics(zeros([0, 4])), "batchStatistics: x [0, 4] has no values"],
    ["a table of rank 1", () => embedding(tensor([0], { dtype: "i32" }), weight), "embedding: weight [4]"],
  ])("%s is refused in words", (_, call, message) => expect(call).toThrow(message));
});

describe("layers", () => {
  it("dropout drops by its key alone, and each place of a sequence by a key of its own", async () => {
    const x = ones([64]);
    const two = sequential(new Dropout(0.5), new Dropout(0.25));
    expect(two.forward(x)).toBe(x);
    expect(await apart(new Dropout(0.5).forward(x, { key: k }), dropout(k, x, 0.5))).toBe(0);
    const expected = dropout(foldIn(k, 1), dropout(foldIn(k, 0), x, 0.5), 0.25);
    expect(await apart(two.forward(x, { key: k }), expected)).toBe(0);
  });

  it("a sequence is a tree with PyTorch's names, of functions, modules and sequences", async () => {
    const net = sequential(Linear.create(k, 2, 3), relu, sequential(Linear.create(k, 3, 4, { bias: false }), LayerNorm.create(4)));
    expect(tensorsOf(net).map(({ path }) => path)).toEqual(["0.weight", "0.bias", "2.0.weight", "2.1.weight", "2.1.bias"]);
    expect([net.length, parameterCount(net)]).toEqual([3, 6 + 3 + 12 + 8]);
    const back = await loadTensors(await (await tensorsBlob(net)).arrayBuffer(), { like: net });
    const x = randn(k, [5, 2]);
    expect(await apart(back.forward(x), net.forward(x))).toBe(0);
  });

  it("a network of them is trained by a compiled step", async () => {
    const net = sequential(Linear.create(k, 2, 8), (x) => x.tanh(), new Dropout(0.1), Linear.create(foldIn(k, 1), 8, 1));
    const optimizer = sgd({ momentum: 0.9 });
    const loss = (model: typeof net, { x, y, key: step }: { x: Tensor; y: Tensor; key: Tensor }): Tensor =>
      model.forward(x, { key: step }).sub(y).square().mean();
    const step = createTrainStep({ optimizer, loss });
    const x = tensor([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]);
    const y = tensor([[0], [1], [1], [0]]);
    let [model, state] = [net, optimizer.init(net)];
    const losses: number[] = [];
    for (let i = 0; i < 60; i++) {
      const [next, nextState, metrics] = step(model, state, { x, y, key: foldIn(k, i) }, 0.1);
      [model, state] = [next, nextState];
      losses.push(await metrics.loss.item());
    }
    expect(step.traces).toBe(1);
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) / 2);
  });

  it("normalisations begin as themselves", async () => {
    const x = randn(k, [3, 4]);
    expect(await apart(new LayerNorm(ones([4])).forward(x), LayerNorm.create(4).forward(x))).toBe(0);
    expect(await apart(GroupNorm.create(2, 4, { eps: 0 }).forward(x), groupNorm(x, 2, ones([4]), zeros([4]), 0))).toBe(0);
    expect(await apart(BatchNorm.create(4, { eps: 0 }).forward(x), x)).toBe(0);
  });

  it("the running averages of batch normalisation have no gradient", async () => {
    const layer = BatchNorm.create(4);
    const gradient = grad((l: BatchNorm) =>
      l
        .train(randn(k, [3, 4]))[1]
        .forward(randn(k, [3, 4]))
        .square()
        .sum(),
    )(layer);
    expect(await apart(gradient.running_mean, zeros([4]))).toBe(0);
    expect(await apart(gradient.running_var, zeros([4]))).toBe(0);
  });

  it("grouped attention shares keys and values among neighbouring heads", async () => {
    const grouped = MultiHeadAttention.create(k, 8, 4, { keyHeads: 2 });
    expect(grouped.in_proj_weight.shape).toEqual([16, 8]);
    // The same with each key/value head written out for its two query heads.
    const [q, keys, values] = grouped.in_proj_weight.split([8, 4, 4]) as [Tensor, Tensor, Tensor];
    const twice = (rows: Tensor): Tensor => rows.reshape([2, 1, 2, 8]).expand([2, 2, 2, 8]).reshape([8, 8]);
    const whole = new MultiHeadAttention(4, {
      in_proj_weight: concat([q, twice(keys), twice(values)]),
      in_proj_bias: zeros([24]),
      out_proj: grouped.out_proj,
    });
    const x = randn(k, [2, 3, 8]);
    expect(await apart(grouped.forward(x, { causal: true }), whole.forward(x, { causal: true }))).toBeLessThan(1e-12);
    const first = grouped.forward(x, { mask: tensor([true, false, false]) });
    expect(await apart(first.slice([null, [0, 1]]), first.slice([null, [2, 3]]))).toBeLessThan(1e-12);
  });

  it.each<[what: string, call: () => unknown, message: string]>([
    ["a function that is none", () => sequential({} as never), "Sequential: layers must be a list, each entry a layer"],
    ["groups that do not divide", () => GroupNorm.create(3, 4), "GroupNorm: 3 groups of 4 channels"],
    ["a kernel of one axis for a plane", () => new Conv2d(zeros([2, 1, 3])), "Conv2d: a weight [2, 1, 3] in 1 group"],
    ["channels that groups do not divide", () => Conv1d.create(k, 3, 4, 3, { groups: 2 }), "Conv1d.create: 3 channels in 2 groups"],
    [
      "half a kernel",
      () => Conv2d.create(k, 1, 1, [3, 1.5]),
      "Conv2d.create: kernel must be an integer of at least 1 or [K, L], found [3, 1.5]",
    ],
    ["a stride of nothing", () => Conv1d.create(k, 1, 1, 3, { stride: 0 }).forward(zeros([1, 1, 4])), "conv1d: stride must be"],
    ["a bias of another size", () => new LayerNorm(ones([3]), zeros([2])), "LayerNorm: a weight [3] and a bias [2]"],
    ["heads that do not divide", () => MultiHeadAttention.create(k, 8, 3), "MultiHeadAttention.create: 3 heads of 8 channels"],
    ["key heads that do not divide", () => MultiHeadAttention.create(k, 8, 4, { keyHeads: 3 }), "4 heads with 3 of keys and values"],
    [
      "projections of other sizes",
      () => new MultiHeadAttention(2, { in_proj_weight: zeros([9, 4]), out_proj: new Linear(zeros([4, 4])) }),
      "in_proj_weight [9, 4], out_proj [4, 4] for 2 heads and 2 of keys and values",
    ],
    ["a matrix for a batch", () => MultiHeadAttention.create(k, 4, 2).forward(zeros([3, 4])), "MultiHeadAttention.forward: x [3, 4]"],
    ["a number for a key", () => Linear.create(0 as never, 2, 3), "Linear.create: key must be a key (u32 [2]), found 0"],
    ["half a channel", () => LayerNorm.create(1.5), "LayerNorm.create: channels must be an integer of at least 0, found 1.5"],
    [
      "gates of another cell",
      () => new LstmCell({ weight_ih: zeros([6, 3]), weight_hh: zeros([6, 2]) }),
      "LstmCell: weights and biases [6, 3], [6, 2]",
    ],
    ["a matrix for a sequence", () => scanCell(RnnCell.create(k, 3, 2), zeros([4, 3])), "scanCell: inputs [4, 3]"],
    ["states for other cells", () => Rnn.create(k, RnnCell, 3, 2).run(zeros([1, 4, 3]), []), "Rnn.run: states must be a list of 1 states"],
  ])("%s is refused in words", (_, call, message) => expect(call).toThrow(message));
});

describe("recurrent cells", () => {
  const xs = randn(k, [2, 6, 3]);

  it("run over time as step by step, forwards and backwards", async () => {
    const cell = LstmCell.create(k, 3, 4);
    for (const reverse of [false, true]) {
      let state = cell.initial(zeros([2, 16]));
      const outputs: Tensor[] = [];
      for (let t = 0; t < 6; t++) {
        const place = reverse ? 5 - t : t;
        state = cell.advance(cell.project(xs.slice([null, [place, place + 1]]).squeeze(1)), state);
        outputs[place] = state.h;
      }
      const [ys, last] = scanCell(cell, xs, { reverse });
      expect(await apart(ys, stack(outputs, 1))).toBeLessThan(1e-12);
      expect(await apart(last.c, state.c)).toBeLessThan(1e-12);
    }
  });

  it("go on from the state in which they ended", async () => {
    for (const cell of [RnnCell, GruCell] as const) {
      const net = Rnn.create(k, cell, 3, 4, { layers: 2 });
      const [first, states] = net.run(xs.slice([null, [0, 2]]));
      const [second] = net.run(xs.slice([null, [2, 6]]), states);
      expect(await apart(concat([first, second], 1), net.forward(xs))).toBeLessThan(1e-12);
    }
  });

  it("run in both directions, layer above layer, and drop between them by a key", async () => {
    const net = Rnn.create(k, GruCell, 3, 4, { layers: 2, bidirectional: true, dropout: 0.5 });
    const reverse = net.reverse_cells as typeof net.cells;
    const layerOf = (i: number, x: Tensor): Tensor =>
      concat([scanCell(net.cells[i] as GruCell, x)[0], scanCell(reverse[i] as GruCell, x, { reverse: true })[0]], -1);
    const below = layerOf(0, xs);
    expect(await apart(net.forward(xs), layerOf(1, below))).toBe(0);
    expect(await apart(net.forward(xs, { key: k }), layerOf(1, dropout(foldIn(k, 0), below, 0.5)))).toBe(0);
    const [ys, states] = net.run(xs);
    expect([ys.shape, states.length]).toEqual([[2, 6, 8], 4]);
    // What the reverse cell ends with stands at the first step.
    expect(await apart((states[3] as { h: Tensor }).h, ys.slice([null, [0, 1], [4, 8]]).squeeze(1))).toBe(0);
    const names = tensorsOf(net).map(({ path }) => torchRnnName(path));
    expect(names.filter((name) => name.startsWith("weight_ih"))).toEqual([
      "weight_ih_l0",
      "weight_ih_l1",
      "weight_ih_l0_reverse",
      "weight_ih_l1_reverse",
    ]);
    expect(() => net.run(xs, states.slice(1))).toThrow("a list of 4 states");
    expect(() => new Rnn(net.cells, { reverseCells: reverse.slice(1) })).toThrow("a list of 2 cells");
  });

  it("take no steps, one, and a weight in halves", async () => {
    const net = Rnn.create(k, GruCell, 3, 4);
    expect(net.forward(zeros([2, 0, 3])).shape).toEqual([2, 0, 4]);
    expect(net.forward(zeros([0, 1, 3])).shape).toEqual([0, 1, 4]);
    const half = mapTensors(net, (weight) => weight.cast("bf16"));
    expect(half.forward(xs).dtype).toBe("f32");
    expect(half.forward(xs.cast("bf16")).dtype).toBe("bf16");
  });

  it("have derivatives of both orders", async () => {
    const cell = GruCell.create(k, 1, 2);
    await checkGrads((c: GruCell, x: Tensor) => scanCell(c, x)[0], [cell, randn(k, [1, 2, 1])], { order: 2 });
  });
});

describe("initialisers", () => {
  it("gains are those of PyTorch", () => {
    const names = ["linear", "sigmoid", "tanh", "relu", "leakyRelu", "selu"] as const;
    expect(names.map((name) => gainOf(name))).toEqual([1, 1, 5 / 3, Math.SQRT2, Math.sqrt(2 / 1.0001), 0.75]);
    expect(gainOf("leakyRelu", { slope: Math.sqrt(5) })).toBeCloseTo(Math.sqrt(1 / 3), 12);
  });

  // 30 outputs of 20 inputs with windows of 4: fans are 80 and 120.
  const shape = [30, 20, 2, 2];
  it.each<[name: string, make: Initializer, std: number, uniform: boolean]>([
    ["xavierUniform", xavierUniform, Math.sqrt(2 / 200), true],
    ["xavierUniform with a gain", (...to) => xavierUniform(...to, { gain: 3 }), 3 * Math.sqrt(2 / 200), true],
    ["xavierNormal", xavierNormal, Math.sqrt(2 / 200), false],
    ["kaimingUniform", kaimingUniform, Math.sqrt(2 / 80), true],
    ["kaimingUniform by outputs", (...to) => kaimingUniform(...to, { mode: "fanOut", nonlinearity: "linear" }), Math.sqrt(1 / 120), true],
    ["kaimingNormal", (...to) => kaimingNormal(...to, { nonlinearity: "tanh" }), 5 / 3 / Math.sqrt(80), false],
    ["kaimingNormal of a leak", (...to) => kaimingNormal(...to, { nonlinearity: "leakyRelu", slope: 1 }), Math.sqrt(1 / 80), false],
  ])("%s has its spread and its range", async (_, make, std, uniform) => {
    const values = [...(await make(k, shape).data())];
    const of = (f: (x: number) => number): number => values.reduce((sum, x) => sum + f(x), 0) / values.length;
    // Means and variances of 2400 draws, within five of their own standard deviations.
    expect(Math.abs(of((x) => x))).toBeLessThan((5 * std) / Math.sqrt(2400));
    expect(Math.abs(of((x) => x * x) / std ** 2 - 1)).toBeLessThan(5 * Math.sqrt((uniform ? 0.8 : 2) / 2400));
    const largest = Math.max(...values.map(Math.abs)) / std;
    if (uniform) expect([largest <= Math.sqrt(3) + 1e-6, largest > 1.72]).toEqual([true, true]);
    else expect(largest).toBeGreaterThan(2.5);
  });

  it("orthogonal rows or columns are orthonormal to the precision of f32", async () => {
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    for (const [rows, columns] of [
      [5, 5],
      [3, 7],
      [8, 2],
      [1, 4],
    ] as const) {
      const q = orthogonal(key(rows), [rows, columns], { gain: 2 });
      const gram = rows > columns ? matmul(transpose(q), q) : matmul(q, transpose(q));
      const gap = gram
        .sub(eye(Math.min(rows, columns)).mul(4))
        .abs()
        .max();
      expect(await gap.item()).toBeLessThan(4e-6);
    }
    expect(orthogonal(k, [4, 3, 2]).shape).toEqual([4, 3, 2]);
    useBackend(createReferenceBackend());
    await backend.close();
  });

  it("an orthogonal matrix of two is a turn by any angle, with or without a flip", async () => {
    // Means over 60 keys of the first column and of the determinant, each within five standard deviations of 0.
    const [sums, keys] = [[0, 0, 0], 60];
    for (let i = 0; i < keys; i++) {
      const [[a, b], [c, d]] = (await orthogonal(key(i), [2, 2]).array()) as [[number, number], [number, number]];
      for (const [j, value] of [a, c, a * d - b * c].entries()) sums[j] = (sums[j] as number) + value;
    }
    for (const sum of sums) expect(Math.abs(sum) / keys).toBeLessThan(5 / Math.sqrt(keys));
  });

  it("are pure functions of the key, and take shapes without elements", async () => {
    const makers: readonly Initializer[] = [xavierUniform, xavierNormal, kaimingUniform, kaimingNormal, orthogonal];
    for (const make of makers) {
      expect(await make(k, [2, 3]).data()).toEqual(await make(k, [2, 3]).data());
      expect(await make(key(4), [2, 3]).data()).not.toEqual(await make(k, [2, 3]).data());
      expect([make(k, [0, 3]).shape, make(k, [3, 0]).shape]).toEqual([
        [0, 3],
        [3, 0],
      ]);
      expect(() => make(k, [3])).toThrow(ShapeError);
    }
    expect(() => kaimingNormal(k, [3])).toThrow("kaimingNormal: [3] has no fans");
  });
});
