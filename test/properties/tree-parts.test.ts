import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import {
  adamw,
  combine,
  compile,
  DawngradError,
  flattenTree,
  grad,
  init,
  mapTensors,
  type Optimizer,
  partition,
  sgd,
  Tensor,
  tensor,
  tensorsOf,
  treeAt,
  UsageError,
  valueAndGrad,
  zipTensors,
} from "../../src/index.js";
import { numberTrees } from "../support/arbitraries.js";

beforeAll(() => init({ backend: "reference" }));

class Layer {
  _name: string;
  weight: Tensor;
  bias: Tensor | null;
  constructor(name: string, weight: Tensor, bias: Tensor | null) {
    this._name = name;
    this.weight = weight;
    this.bias = bias;
  }
  forward(x: Tensor): Tensor {
    const y = x.mul(this.weight);
    return this.bias === null ? y : y.add(this.bias);
  }
}

const model = () => ({
  layers: [new Layer("first", tensor([[1, 2]]), tensor([3, 4])), new Layer("second", tensor([[5, 6]]), null)],
  steps: tensor([7, 8], { dtype: "i32" }),
  heads: 2,
});
type Model = ReturnType<typeof model>;
const loss = (m: Model, x: Tensor): Tensor => m.layers.reduce((y, layer) => layer.forward(y), x).sum();
const weights = (_: Tensor, path: string): boolean => path.endsWith("weight");

describe("the two parts of a tree", () => {
  it("have each leaf once, null at its other place, and combine to the tree", () => {
    fc.assert(
      fc.property(numberTrees, fc.func(fc.boolean()), (plain, choose) => {
        const flat = flattenTree(plain);
        const tree = flat.shape.build(flat.leaves.map((leaf, i) => (i % 3 === 2 ? leaf : tensor(leaf as number))));
        const [selected, rest] = partition(tree, (_, path) => choose(path));
        const [all, some, others] = [tree, selected, rest].map((part) => flattenTree(part)) as [
          ReturnType<typeof flattenTree>,
          ReturnType<typeof flattenTree>,
          ReturnType<typeof flattenTree>,
        ];
        expect(some.shape.key).toBe(all.shape.key);
        expect(others.shape.key).toBe(all.shape.key);
        all.leaves.forEach((leaf, i) => {
          const chosen = leaf instanceof Tensor && choose(all.paths[i] as string);
          expect(some.leaves[i]).toBe(chosen ? leaf : null);
          expect(others.leaves[i]).toBe(chosen ? null : leaf);
        });
        for (const whole of [combine(selected, rest), combine(rest, selected)]) {
          expect(flattenTree(whole).leaves).toEqual(all.leaves);
          flattenTree(whole).leaves.forEach((leaf, i) => {
            expect(leaf).toBe(all.leaves[i]);
          });
        }
      }),
    );
  });

  it("keep classes, constants, null leaves and numbers", () => {
    const [selected, rest] = partition(model(), weights);
    expect(selected.layers[0]).toBeInstanceOf(Layer);
    expect(selected.heads).toBe(null);
    expect(rest.heads).toBe(2);
    expect(combine(selected, rest).layers[1]?._name).toBe("second");
    expect(combine(selected, rest).layers[1]?.bias).toBe(null);
    expect(tensorsOf(rest).map(({ path }) => path)).toEqual(["layers.0.bias", "steps"]);
  });

  it("are differentiated, updated and donated apart: what is not selected has no gradient and no state, and stays what it is", async () => {
    const whole = model();
    const [selected, rest] = partition(whole, weights);
    const x = tensor([[1, -1]]);
    const gradient = grad((part: typeof selected) => loss(combine(part, rest), x))(selected);
    expect(tensorsOf(gradient).map(({ path }) => path)).toEqual(["layers.0.weight", "layers.1.weight"]);
    const expected = [
      [5, -6],
      [4, 2],
    ];
    expect(await Promise.all(tensorsOf(gradient).map(({ tensor: g }) => g.array()))).toEqual(expected.map((row) => [row]));

    for (const optimizer of [sgd(), sgd({ momentum: 0.9 }), adamw({ weightDecay: 0.5 })]) {
      const step = compile(
        (part: typeof selected, state: unknown, frozen: typeof rest, lr: Tensor) => {
          const [value, slope] = valueAndGrad((p: typeof selected) => loss(combine(p, frozen), x))(part);
          const [next, after] = optimizer.update(part, slope, state as never, { lr });
          return [next, after, value] as const;
        },
        { donate: [0, 1] },
      );
      let part = mapTensors(selected, (t) => t.mul(1));
      let state: unknown = optimizer.init(part);
      expect(tensorsOf(state).every(({ path }) => !path.includes("bias") && !path.includes("steps"))).toBe(true);
      for (let i = 0; i < 3; i++) [part, state] = step(part, state, rest, 0.1);
      expect(step.traces).toBe(1);
      const after = combine(part, rest);
      expect(after.steps).toBe(whole.steps);
      expect(await after.layers[0]?.bias?.array()).toEqual([3, 4]);
      expect(await after.layers[0]?.weight.array()).not.toEqual([[1, 2]]);
    }
  });

  it("are refused by path where both have a leaf or the forms differ", () => {
    const [selected, rest] = partition(model(), weights);
    expect(() => combine(selected, selected)).toThrow(/both parts have a leaf at layers\.0\.weight/);
    expect(() => combine({ a: selected }, { a: { ...rest, extra: null } } as never)).toThrow(/only the second has a\.extra/);
    expect(() => combine({ a: [tensor(1)] }, { a: [null, tensor(1)] } as never)).toThrow(
      /at a the first part has 1 entry, the second 2 entries/,
    );
    expect(() => combine({ a: null }, { a: [null] } as never)).toThrow(/at a the first part has null, the second a list of 1/);
    expect(() => partition(model(), () => tensor(true) as never)).toThrow(/predicate answered .* for layers\.0\.weight/);
    expect(() => combine(selected, selected)).toThrow(UsageError);
  });
});

describe("treeAt", () => {
  it("puts a value or a function of the old one at the places that are read, and shares all else", async () => {
    const whole = model();
    const one = treeAt(whole, (m) => m.layers[0]?.weight, tensor(9));
    expect(await one.layers[0]?.weight.item()).toBe(9);
    expect(one.layers[0]).toBeInstanceOf(Layer);
    expect(one.layers[1]).toBe(whole.layers[1]);
    expect(one.layers[0]?.bias).toBe(whole.layers[0]?.bias);
    expect(await whole.layers[0]?.weight.array()).toEqual([[1, 2]]);

    const all = treeAt(
      whole,
      (m) => m.layers.map((layer) => layer.weight),
      (weight) => weight.neg(),
    );
    expect(await Promise.all(all.layers.map((layer) => layer.weight.array()))).toEqual([[[-1, -2]], [[-5, -6]]]);
    expect(treeAt(whole, (m) => m.layers.at(-1)?.bias, tensor(0)).layers[1]?.bias).toBeInstanceOf(Tensor);
    expect(treeAt(whole, (m) => m.layers[1], new Layer("third", tensor(1), null)).layers[1]?._name).toBe("third");
    expect(treeAt(whole, (m) => m, { other: 1 })).toEqual({ other: 1 });
    expect(treeAt(Object.freeze([tensor(1), 2]), (list) => list[1], 3)[1]).toBe(3);
  });

  it("refuses what is no node of the tree", () => {
    const whole = model();
    expect(() => treeAt(whole, (m) => (m as unknown as { layer: Tensor }).layer, 0)).toThrow(/no field layer in the tree/);
    expect(() => treeAt(whole, (m) => (m.layers[0] as Layer).weight.neg(), 0)).toThrow(/no field layers\.0\.weight\.neg/);
    expect(() => treeAt(whole, () => whole.layers[0], 0)).toThrow(/selected a Layer, which is no node/);
    expect(() => treeAt(whole, (m) => [m.layers[0], m.layers[0]?.weight], 0)).toThrow(/layers\.0 is selected twice/);
  });
});

describe("optimizers and zipped trees", () => {
  const params = { layers: [{ w: tensor([1, 2]), b: tensor([3]) }] };
  const zip = (other: unknown): unknown => zipTensors(([a, b]) => (a as Tensor).add(b as Tensor), params, other);
  const wrong: readonly (readonly [other: unknown, message: RegExp])[] = [
    [{ layers: [{ w: tensor([1, 2]) }] }, /has no layers\.0\.b/],
    [{ layers: [{ w: tensor([1, 2]), b: tensor([3]), c: tensor(1) }] }, /only .* has layers\.0\.c/],
    [{ layers: [] }, /at layers .* has 1 entry, .* 0 entries/],
    [{ layers: [{ w: [tensor([1, 2])], b: tensor([3]) }] }, /at layers\.0\.w/],
    [{ layers: { 0: { w: tensor([1, 2]), b: tensor([3]) } } }, /at layers /],
    [{ layers: [{ b: tensor([3]), w: tensor([1, 2]) }] }, /at layers\.0 .* in the order w, b/],
    [{ layers: [{ w: tensor([1, 2, 3]), b: tensor([3]) }] }, /at layers\.0\.w/],
  ];

  it.each(wrong)("say where the trees differ, and how (%#)", (other, message) => {
    expect(() => zip(other)).toThrow(DawngradError);
    expect(() => zip(other)).toThrow(message);
    for (const optimizer of [sgd(), sgd({ momentum: 0.9 }), adamw()] as Optimizer<unknown>[]) {
      const state = optimizer.init(params);
      expect(() => optimizer.update(params, other as typeof params, state, { lr: 1 })).toThrow(message);
      if (state !== null && tensorsOf(state).length > 0)
        expect(() => optimizer.update(params, params, optimizer.init(other), { lr: 1 })).toThrow(/layers/);
    }
  });

  it("say where one has a tensor and another none, and never broadcast a gradient", () => {
    expect(() => zip({ layers: [{ w: null, b: tensor([3]) }] })).toThrow(/at layers\.0\.w tree 1 has .* and tree 2 has null/);
    expect(() => zipTensors(([a]) => a as Tensor, { a: null }, { a: tensor(1) })).toThrow(/at a tree 1 has null/);
    const narrow = { layers: [{ w: tensor([1]), b: tensor([3]) }] };
    expect(() => sgd().update(params, narrow, sgd().init(params), { lr: 1 })).toThrow(
      /one shape, found \[2\] and \[1\] \(at layers\.0\.w of the tree\)/,
    );
    expect(() => mapTensors(params, (t) => t.reshape([7]))).toThrow(/at layers\.0\.w of the tree/);
  });
});
