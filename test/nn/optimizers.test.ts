import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  compile,
  eye,
  key,
  mapTensors,
  OptionError,
  randn,
  type Tensor,
  type TensorLike,
  tensor,
  tensorsOf,
  useBackend,
  zeros,
} from "../../src/index.js";
import { adafactor } from "../../src/nn/adafactor.js";
import { clipByGlobalNorm, globalNorm } from "../../src/nn/clip.js";
import { muon } from "../../src/nn/muon.js";
import { type AdamWOptions, adagrad, adam, adamw, lion, type Optimizer, rmsprop, sgd } from "../../src/nn/optimizers.js";
import { constant, warmupCosine } from "../../src/nn/schedules.js";
import { finite } from "../../src/nn/train-step.js";
import { backends } from "../support/backends.js";
import { distance, integers, valuesOf } from "./tiny.js";

/** Parameters of rank 2 and 1, as plain numbers. */
type Numbers = { matrix: number[]; vector: number[] };

const start: Numbers = { matrix: [0.5, -1, 2, 0.25, -0.125, 3], vector: [1, -1, 0.5] };
const asTensors = ({ matrix, vector }: Numbers): { matrix: Tensor; vector: Tensor } => ({
  matrix: tensor(new Float32Array(matrix), { shape: [2, 3] }),
  vector: tensor(new Float32Array(vector)),
});

/** Gradients of a step: multiples of 1/64 in −8 … 8, zero now and then. */
const gradientsOf = (step: number): Numbers => {
  const values = [...integers(9, 1024, 500 + step)].map((x, i) => (i === step % 9 ? 0 : (x - 512) / 64));
  return { matrix: values.slice(0, 6), vector: values.slice(6) };
};
const rateOf = (step: number): number => 0.02 / (1 + step);

/** AdamW one number at a time, in f64 and with powers, as in the papers. */
function plainAdamW(steps: number, { betas: [b1, b2], eps, weightDecay }: Required<Omit<AdamWOptions, "decayMask">>): Numbers {
  const run = (name: keyof Numbers, index: number): number => {
    let [theta, m, v] = [start[name][index] as number, 0, 0];
    for (let t = 1; t <= steps; t++) {
      const g = gradientsOf(t - 1)[name][index] as number;
      m = b1 * m + (1 - b1) * g;
      v = b2 * v + (1 - b2) * g * g;
      const adam = m / (1 - b1 ** t) / (Math.sqrt(v / (1 - b2 ** t)) + eps);
      theta -= rateOf(t - 1) * (adam + (name === "matrix" ? weightDecay * theta : 0));
    }
    return theta;
  };
  return { matrix: start.matrix.map((_, i) => run("matrix", i)), vector: start.vector.map((_, i) => run("vector", i)) };
}

/** Every optimizer, with what of its options changes the form of its state. */
const optimizers: [name: string, make: () => Optimizer<unknown>][] = [
  ["sgd", () => sgd()],
  ["sgd with momentum", () => sgd({ momentum: 0.9, nesterov: true, weightDecay: 0.25 })],
  ["lion", () => lion({ weightDecay: 0.25 })],
  ["adagrad", () => adagrad({ weightDecay: 0.25 })],
  ["rmsprop", () => rmsprop({ momentum: 0.5 })],
  ["adam", () => adam({ weightDecay: 0.25 })],
  ["adamw", () => adamw({ weightDecay: 0.25 })],
  ["adafactor", () => adafactor({ weightDecay: 0.25 })],
  ["muon", () => muon({ weightDecay: 0.25 })],
];

async function descend<State>(optimizer: Optimizer<State>, steps: number): Promise<Numbers> {
  let params = asTensors(start);
  let state = optimizer.init(params);
  for (let step = 0; step < steps; step++) {
    [params, state] = optimizer.update(params, asTensors(gradientsOf(step)), state, { lr: rateOf(step) });
  }
  return { matrix: [...(await params.matrix.data())], vector: [...(await params.vector.data())] };
}

describe.each(backends())("optimizers on $name", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("AdamW follows the papers over 20 steps with a changing learning rate", async () => {
    const options = { betas: [0.9, 0.999], eps: 1e-6, weightDecay: 0.3 } as const;
    for (const steps of [1, 2, 20]) {
      const found = await descend(adamw(options), steps);
      const expected = plainAdamW(steps, options);
      expect(distance(found.matrix, expected.matrix)).toBeLessThan(3e-6);
      expect(distance(found.vector, expected.vector)).toBeLessThan(3e-6);
    }
  });

  it("AdamW decays what the mask says", async () => {
    const [both, none, byName] = [
      await descend(adamw({ weightDecay: 0.5, decayMask: () => true }), 5),
      await descend(adamw({ weightDecay: 0 }), 5),
      await descend(adamw({ weightDecay: 0.5, decayMask: (path) => path === "vector" }), 5),
    ];
    expect(byName.vector).toEqual(both.vector);
    expect(byName.matrix).toEqual(none.matrix);
    expect(distance(both.matrix, none.matrix)).toBeGreaterThan(1e-3);
  });

  it("AdamW corrects its moments to the precision of f32 even at a large β", async () => {
    const optimizer = adamw({ betas: [0.9, 0.9999] });
    let params = asTensors(start);
    let state = optimizer.init(params);
    for (let step = 0; step < 3; step++) [params, state] = optimizer.update(params, asTensors(gradientsOf(step)), state, { lr: 0.1 });
    const found = (await state.correction2.data())[0] as number;
    expect(Math.abs(found / (1 - 0.9999 ** 3) - 1)).toBeLessThan(3e-7);
  });

  it("stochastic gradient descent follows its formula with and without momentum", async () => {
    for (const momentum of [0, 0.9]) {
      const expected = start.vector.map((theta0, i) => {
        let [theta, u] = [theta0, 0];
        for (let t = 0; t < 20; t++) {
          u = momentum * u + (gradientsOf(t).vector[i] as number);
          theta -= rateOf(t) * u;
        }
        return theta;
      });
      expect(distance((await descend(sgd({ momentum }), 20)).vector, expected)).toBeLessThan(5e-6);
    }
  });

  it("a hand-written loop does not grow a graph from step to step", async () => {
    const optimizer = adamw();
    let params = asTensors(start);
    let state = optimizer.init(params);
    [params, state] = optimizer.update(params, asTensors(gradientsOf(0)), state, { lr: 0.1 });
    expect(params.matrix.isRealised).toBe(true);
    expect(state.correction1.isRealised).toBe(true);
  });

  it("clipping scales all gradients to the common norm, and leaves small ones as they are", async () => {
    const grads = { a: tensor([3, 0]), b: { c: tensor([[4]]) } };
    expect(await globalNorm(grads).item()).toBeCloseTo(5, 5);
    const [clipped, norm] = clipByGlobalNorm(grads, 1);
    expect(await norm.item()).toBeCloseTo(5, 5);
    expect(distance([...(await clipped.a.data()), ...(await clipped.b.c.data())], [0.6, 0, 0.8])).toBeLessThan(1e-6);
    const [kept] = clipByGlobalNorm(grads, 10);
    expect([...(await kept.a.data()), ...(await kept.b.c.data())]).toEqual([3, 0, 4]);
    expect(() => clipByGlobalNorm(grads, 0)).toThrow(OptionError);
  });

  it("finds what is not finite by its bits", async () => {
    const values = tensor(new Float32Array([0, -1, 3e38, 1e-40, Number.NaN, Infinity, -Infinity]));
    expect(await finite(values).array()).toEqual([true, true, true, true, false, false, false]);
  });
});

describe("every optimizer", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it.each(optimizers)("runs as one program with memory of its own, whatever the rate and the step: %s", async (_, make) => {
    const optimizer = make();
    const step = compile(
      (params: ReturnType<typeof asTensors>, state: unknown, grads: ReturnType<typeof asTensors>, lr: TensorLike) =>
        optimizer.update(params, grads, state, { lr }),
      { donate: [0, 1] },
    );
    let params = asTensors(start);
    let state = optimizer.init(params);
    for (let t = 0; t < 5; t++) [params, state] = step(params, state, asTensors(gradientsOf(t)), rateOf(t));
    expect(step.traces).toBe(1);
    expect(await valuesOf(params)).toEqual(new Map(Object.entries(await descend(optimizer, 5)).map(([name, values]) => [name, values])));
  });

  it.each(optimizers)("leaves parameters and state alone where there is no gradient: %s", async (_, make) => {
    const optimizer = make();
    const params = { ...asTensors(start), count: tensor([1, 2], { dtype: "i32" }), none: null };
    const grads = { ...asTensors(gradientsOf(0)), count: null, none: null };
    const [next, state] = optimizer.update(params, grads, optimizer.init(params), { lr: 0.1 });
    const [still, stillState] = optimizer.update(next, { ...grads, vector: null }, state, { lr: 0.1 });
    expect([still.count, still.vector]).toEqual([params.count, next.vector]);
    const [before, after] = [await valuesOf(state), await valuesOf(stillState)];
    for (const [path, values] of before) if (path.endsWith("vector")) expect(after.get(path), path).toEqual(values);
    expect(await still.matrix.data()).not.toEqual(await next.matrix.data());
  });

  it.each(optimizers)("takes tensors without elements, scalars and stacks of matrices: %s", async (_, make) => {
    const optimizer = make();
    const params = { empty: zeros([0, 3]), also: zeros([2, 0]), scalar: tensor(2), stack: asTensors(start).matrix.reshape([2, 1, 3]) };
    const [next] = optimizer.update(
      params,
      mapTensors(params, (p) => p.mul(0.5)),
      optimizer.init(params),
      { lr: 0.1 },
    );
    expect(await next.empty.data()).toHaveLength(0);
    expect(next.stack.shape).toEqual([2, 1, 3]);
    for (const value of [...(await next.stack.data()), await next.scalar.item()]) expect(value).toSatisfy(Number.isFinite);
  });

  it("Adafactor keeps a row and a column of a matrix", () => {
    const state = adafactor().init({ w: zeros([3, 5, 7]), b: zeros([7]) });
    expect(tensorsOf(state).map(({ path, tensor: t }) => [path, t.shape])).toEqual([
      ["rows.w", [3, 5, 1]],
      ["columns.w", [3, 1, 7]],
      ["whole.b", [7]],
      ["step", []],
    ]);
  });

  it("Adafactor takes the rate as it is where it is told to", async () => {
    const [small, half] = [1e-3, 0.5].map((lr) => {
      const optimizer = adafactor({ relativeStep: false, scaleParameter: false });
      const params = asTensors(start);
      return optimizer.update(params, asTensors(gradientsOf(0)), optimizer.init(params), { lr })[0].matrix.sub(params.matrix);
    }) as [Tensor, Tensor];
    expect(distance(await small.mul(500).data(), await half.data())).toBeLessThan(1e-5);
  });

  it("Muon leaves embeddings, heads and vectors to AdamW, and a step has singular values near 1", async () => {
    const params = {
      embed_tokens: { weight: randn(key(0), [6, 4]) },
      w: randn(key(1), [6, 4]),
      b: zeros([4]),
      lm_head: { weight: randn(key(2), [6, 4]) },
    };
    const optimizer = muon();
    const state = optimizer.init(params);
    expect(tensorsOf(state.momentum).map(({ path }) => path)).toEqual(["w"]);
    const [next] = optimizer.update(
      params,
      mapTensors(params, (p) => p.add(1)),
      state,
      { lr: 1 },
    );
    const step = params.w.sub(next.w).div(Math.sqrt(6 / 4));
    const gram = step.transpose().matmul(step).sub(eye(4));
    // |s² − 1| of each singular value s, as the quintic leaves them.
    expect(Math.sqrt(await gram.square().sum().item())).toBeLessThan(4 * 0.6);
    expect(() => muon({ matrices: () => true }).init(params)).toThrow("matrices selects b, which is");
    const tied = { a: params.w, b: params.w };
    expect(() => muon({ matrices: (path) => path === "a" }).init(tied)).toThrow("matrices selects a and not b");
  });

  it("gradients of another shape are refused", () => {
    const optimizer = adamw();
    const params = asTensors(start);
    expect(() => optimizer.update(params, { ...params, vector: zeros([2]) }, optimizer.init(params), { lr: 0.1 })).toThrow(
      "have one shape, found [3] and [2]",
    );
  });
});

describe("options of optimizers", () => {
  it("are refused outside of their range", () => {
    expect(() => adamw({ betas: [1, 0.9] })).toThrow(OptionError);
    expect(() => adamw({ eps: 0 })).toThrow(OptionError);
    expect(() => adamw({ weightDecay: -1 })).toThrow(OptionError);
    expect(() => sgd({ momentum: 1 })).toThrow(OptionError);
    expect(() => sgd({ nesterov: true })).toThrow("nesterov without momentum");
    expect(() => lion({ betas: [0.9, 1] })).toThrow(OptionError);
    expect(() => adafactor({ beta2Decay: 0.8 })).toThrow(OptionError);
    expect(() => muon({ adjust: "rms" as "original" })).toThrow(OptionError);
  });
});

describe("learning rate schedules", () => {
  it("warm up linearly, peak, and fall along a cosine to the floor", () => {
    const rate = warmupCosine({ warmup: 10, total: 110, peak: 2, floor: 0.5 });
    expect(rate(0)).toBeCloseTo(0.2, 12);
    expect(rate(9)).toBeCloseTo(2, 12);
    expect(rate(10)).toBeCloseTo(2, 12);
    expect(rate(60)).toBeCloseTo(1.25, 12);
    expect(rate(110)).toBe(0.5);
    expect(rate(1000)).toBe(0.5);
    for (let step = 10; step < 110; step++) expect(rate(step + 1)).toBeLessThan(rate(step));
  });

  it("refuse what is no schedule", () => {
    expect(() => warmupCosine({ warmup: 5, total: 3, peak: 1 })).toThrow(OptionError);
    expect(() => warmupCosine({ total: 3, peak: 1, floor: 2 })).toThrow(OptionError);
    expect(() => constant(Number.NaN)).toThrow(OptionError);
    expect(constant(0)(7)).toBe(0);
  });
});

describe.each(backends())("halves on $name", { timeout: 60_000 }, ({ name, create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });
  // The moments of all are kept by the same functions, so that one backend is enough for the rest.
  it.each(name === "wasm" ? optimizers : optimizers.filter(([optimizer]) => optimizer === "adamw"))(
    "have moments in f32 and are updated in f32, rounded once: %s",
    async (_, make) => {
      for (const dtype of (["f16", "bf16"] as const).filter((each) => backend?.info.dtypes.has(each))) {
        const optimizer = make();
        let half = mapTensors(asTensors(start), (t) => t.cast(dtype));
        let state = optimizer.init(half);
        for (let step = 0; step < 8; step++) {
          // Small gradients, whose squares are zero in f16.
          const grads = mapTensors(asTensors(gradientsOf(step)), (g) => g.mul(2 ** -13).cast(dtype));
          const wide = <T>(tree: T): T => mapTensors(tree, (t) => t.cast("f32"));
          const lr = rateOf(step);
          const [expected, expectedState] = optimizer.update(wide(half), wide(grads), state, { lr });
          [half, state] = optimizer.update(half, grads, state, { lr });
          expect([half.matrix.dtype, half.vector.dtype]).toEqual([dtype, dtype]);
          for (const { path, tensor: t } of tensorsOf(state)) expect(t.dtype, path).toBe("f32");
          expect(await valuesOf(state)).toEqual(await valuesOf(expectedState));
          expect(await valuesOf(half)).toEqual(await valuesOf(mapTensors(expected, (t) => t.cast(dtype))));
        }
        const moments = (await valuesOf(state)).get("v.vector");
        if (moments) expect(Math.min(...moments)).toBeGreaterThan(0);
      }
    },
  );
});
