import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  adafactor,
  type Backend,
  compile,
  constant,
  ema,
  lion,
  loadTraining,
  mapTensors,
  muon,
  type Optimizer,
  rmsprop,
  type Tensor,
  tensor,
  tensorsOf,
  train,
  trainingBlobs,
  useBackend,
  zeros,
} from "../../src/index.js";
import { languageStep } from "../../src/nn/training.js";
import { uniformSource } from "../support/samples.js";
import { distance, randomBatch, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

/** Those that take more than sums and squares. */
const optimizers: Readonly<Record<string, Optimizer<unknown>>> = {
  lion: lion({ weightDecay: 0.1 }),
  rmsprop: rmsprop({ momentum: 0.5 }),
  adafactor: adafactor({ weightDecay: 0.1 }),
  muon: muon(),
};

/** Three steps with gradients that are drawn, on a matrix that is high, one that is wide, a vector and an embedding. */
async function steps(optimizer: Optimizer<unknown>): Promise<Map<string, number[]>> {
  // The same numbers on every backend: Muon's iteration makes small differences five hundred times as large.
  const numbers = (seed: number, shape: readonly number[]): Tensor => {
    const uniform = uniformSource(seed + 1);
    const size = shape.reduce((product, extent) => product * extent, 1);
    return tensor(
      Float32Array.from({ length: size }, () => 4 * uniform() - 2),
      { shape },
    );
  };
  const draw = (seed: number) => ({
    high: numbers(seed, [6, 3]),
    wide: numbers(seed + 1, [2, 5]),
    vector: numbers(seed + 2, [4]),
    embed: numbers(seed + 3, [3, 2]),
  });
  let params = draw(0);
  let state = optimizer.init(params);
  for (let i = 1; i <= 3; i++) [params, state] = optimizer.update(params, draw(10 * i), state, { lr: 0.1 / i });
  return valuesOf(params);
}

const backends: readonly [string, () => Promise<Backend>, readonly string[]][] = [
  ["wasm", () => createWasmBackend({ threads: 1 }), ["lion", "rmsprop", "adafactor", "muon"]],
  ["webgpu", () => createWebGpuBackend(), ["muon"]],
];

describe.each(backends)("optimizers on %s", (_, create, names) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it.each(names)("%s moves parameters as on the reference", async (name) => {
    const optimizer = optimizers[name] as Optimizer<unknown>;
    useBackend(createReferenceBackend());
    const expected = await steps(optimizer);
    useBackend(backend);
    for (const [path, values] of await steps(optimizer)) expect(distance(values, expected.get(path) as number[]), path).toBeLessThan(2e-5);
  });
});

describe("a training run", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("with Muon, whose state has parts, goes on from a checkpoint as if it had not stopped", async () => {
    const config = { ...tinyConfig, num_hidden_layers: 1, tie_word_embeddings: true };
    const optimizer = muon();
    const common = {
      optimizer,
      trainStep: languageStep({ optimizer }),
      batches: () => randomBatch(config, { batch: 2, time: 6, seed: 3 }),
      schedule: constant(0.02),
    };
    const losses: number[] = [];
    const whole = await train({ ...common, model: await tinyLlama(config), steps: 4, onStep: ({ loss }) => losses.push(loss) });
    expect(losses.at(-1)).toBeLessThan((losses[0] as number) - 0.1);
    const half = await train({ ...common, model: await tinyLlama(config), steps: 2 });
    const loaded = await loadTraining(await trainingBlobs(half), optimizer);
    const rest = await train({ ...common, ...loaded, steps: 4 });
    expect(await valuesOf([rest.model, rest.optimizerState])).toEqual(await valuesOf([whole.model, whole.optimizerState]));
  });

  it("of a Llama gives its matrices to Muon, and embeddings, norms and the head to AdamW", async () => {
    const model = await tinyLlama({ ...tinyConfig, num_hidden_layers: 1 });
    const state = muon().init(model);
    const names = tensorsOf(state.momentum).map(({ path }) => path.replace("model.layers.0.", ""));
    const projections = ["q_proj", "k_proj", "v_proj", "o_proj"].map((part) => `self_attn.${part}.weight`);
    expect(names).toEqual([...projections, ...["gate_proj", "up_proj", "down_proj"].map((part) => `mlp.${part}.weight`)]);
    const rest = tensorsOf(state.adamw.m).map(({ path }) => path);
    expect(rest).toContain("model.embed_tokens.weight");
    expect(rest).toContain("lm_head.weight");
    expect(rest).toHaveLength(5);
    expect(muon({ matrices: (path) => path === "w" }).init({ w: zeros([2, 2]) }).adamw.m).toEqual({ w: null });
  });
});

const paramsOf = (step: number) => ({ w: tensor([step, -1, 0.5 * step]), count: tensor([step], { dtype: "i32" }), none: null });
type Params = ReturnType<typeof paramsOf>;

describe("the moving average of parameters", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("follows its formula, with and without correction", async () => {
    for (const biasCorrected of [false, true]) {
      const average = ema({ decay: 0.75, biasCorrected });
      let state = average.init(paramsOf(0));
      let expected = 0;
      for (let step = 1; step <= 6; step++) {
        state = average.update(state, paramsOf(step));
        expected = 0.75 * expected + 0.25 * step;
        const corrected = biasCorrected ? expected / (1 - 0.75 ** step) : expected;
        const found = average.average(state, paramsOf(step));
        expect([...(await found.w.data())]).toEqual([corrected, -1, corrected / 2].map((x) => expect.closeTo(x, 6)));
        expect(await found.count.item()).toBe(step);
        expect(found.none).toBe(null);
      }
    }
  });

  it("is the last parameters without decay, and refuses decays of 1", async () => {
    const average = ema({ decay: 0 });
    const state = average.update(average.init(paramsOf(1)), paramsOf(5));
    expect([...(await average.average(state, paramsOf(5)).w.data())]).toEqual([5, -1, 2.5]);
    expect(() => ema({ decay: 1 })).toThrow("ema: decay must be a number with 0 ≤ x < 1");
  });

  it.each([false, true])("is part of a compiled step that takes state over, biasCorrected %s", async (biasCorrected) => {
    const average = ema({ decay: 0.5, biasCorrected });
    const step = compile((state: ReturnType<typeof average.init>, params: Params) => average.update(state, params), { donate: [0] });
    let [state, plain] = [average.init(paramsOf(1)), average.init(paramsOf(1))];
    for (let i = 2; i < 5; i++) {
      state = step(state, paramsOf(i));
      plain = average.update(plain, paramsOf(i));
    }
    expect(step.traces).toBe(1);
    const values = (s: typeof state): Promise<unknown> => average.average(s, paramsOf(9)).w.array();
    expect(await values(state)).toEqual(await values(plain));
  });

  it("keeps halves in f32 and does not hold on to the parameters", async () => {
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    const halves = (step: number): { w: Tensor } => mapTensors({ w: tensor([step, 3]) }, (w) => w.cast("bf16"));
    const average = ema({ decay: 0.999 });
    const first = halves(1);
    let state = average.init(first);
    await first.w.data();
    first.w.dispose();
    for (let i = 0; i < 8; i++) state = average.update(state, halves(2));
    const found = average.average(state, halves(2));
    expect(found.w.dtype).toBe("bf16");
    expect((state.mean as { w: Tensor }).w.dtype).toBe("f32");
    expect((await (state.mean as { w: Tensor }).w.data())[0]).toBeCloseTo(2 - 0.999 ** 8, 6);
    useBackend(createReferenceBackend());
    await backend.close();
  });
});
