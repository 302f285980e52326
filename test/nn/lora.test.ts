import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type AdamWState,
  adamw,
  applyLora,
  type Backend,
  cast,
  combine,
  createTrainStep,
  dropoutKeys,
  grad,
  key,
  type LanguageBatch,
  Linear,
  type Llama,
  LoraLinear,
  type LoraOptions,
  languageLoss,
  linearCrossEntropy,
  loraTrainable,
  mapTensors,
  mergeLora,
  modelBlobs,
  OptionError,
  ones,
  partition,
  ShapeError,
  type Tensor,
  type Trainable,
  tensor,
  tensorsOf,
  train,
  trainablePart,
  trainingMemory,
  UsageError,
  unloadLora,
  useBackend,
  zeros,
} from "../../src/index.js";
import { withDropout } from "../../src/nn/dropout.js";
import type { TrainOptions } from "../../src/nn/training.js";
import { backends, usedBackends } from "../support/backends.js";
import { denseWeight, frozenValues, pathsOf, stirred } from "./lora-tools.js";
import { distance, plainTables, randomBatch, tinyConfig, tinyLlama, treeFrom, valuesOf } from "./tiny.js";

const tied = { ...tinyConfig, tie_word_embeddings: true };
const tokens = () => tensor(Int32Array.of(3, 1, 4, 1, 5, 9), { shape: [2, 3] });
const logits = async (model: Llama): Promise<Float32Array> =>
  (await model.forward(tokens(), plainTables(3, tinyConfig.head_dim)).data()) as Float32Array;
const optionSets: readonly (readonly [string, LoraOptions])[] = [
  ["all matrices of the layers", { rank: 3, alpha: 5 }],
  ["two of them, with rsLoRA", { rank: 2, alpha: 4, rslora: true, targets: ["q_proj", "v_proj"] }],
  [
    "one layer, by an expression, with norms and the embedding",
    { rank: 1, targets: /layers\.1\./g, trainNorms: true, trainEmbeddings: true },
  ],
  ["a rank above the matrices", { rank: 40, alpha: 1, targets: ["layers.0.mlp.down_proj", /k_proj$/], modulesToSave: ["model.norm"] }],
];

describe.each(usedBackends())("LoRA on $name", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each([
    ["untied", tinyConfig],
    ["tied", tied],
  ])("computes what the %s model does until it is trained, and shares its weights", async (_, config) => {
    const model = await tinyLlama(config);
    const before = pathsOf(model);
    for (const [, options] of optionSets) {
      const lora = applyLora(model, options);
      expect(await logits(lora)).toEqual(await logits(model));
      expect(pathsOf(model)).toEqual(before);
      expect(lora.model.layers[0]?.mlp.down_proj.weight).toBe(model.model.layers[0]?.mlp.down_proj.weight);
      const back = unloadLora(lora);
      expect(pathsOf(back)).toEqual(before);
      expect(tensorsOf(back).map(({ tensor: t }) => t)).toEqual(tensorsOf(model).map(({ tensor: t }) => t));
    }
  });

  it.each(optionSets)("is W + s·B·A, and merged the same: %s", async (_, options) => {
    for (const config of [tinyConfig, tied]) {
      const lora = stirred(applyLora(await tinyLlama(config), options));
      const merged = mergeLora(lora);
      expect(pathsOf(merged)).toEqual(pathsOf(await tinyLlama(config)));
      const dense = await valuesOf(merged);
      for (const [layer, block] of lora.model.layers.entries()) {
        for (const [part, module] of [...Object.entries(block.self_attn), ...Object.entries(block.mlp)]) {
          if (!(module instanceof LoraLinear)) continue;
          const expected = await denseWeight(module);
          const found = [...dense].find(([path]) => path.includes(`layers.${layer}.`) && path.includes(`.${part}.`))?.[1] as number[];
          expect(distance(found, expected)).toBeLessThan(1e-5);
        }
      }
      const [one, other] = [await logits(lora), await logits(treeFrom(await tinyLlama(config), dense))];
      const largest = Math.max(...one.map(Math.abs));
      expect(distance(one, other) / largest).toBeLessThan(1e-4);
      expect(distance(one, await logits(merged)) / largest).toBeLessThan(1e-4);
      expect(distance(one, await logits(await tinyLlama(config))) / largest).toBeGreaterThan(1e-2);
    }
  });

  it("has the gradients of the product: dA = s·Bᵀ·dW and dB = s·dW·Aᵀ", async () => {
    const lora = stirred(applyLora(await tinyLlama(), { rank: 3, alpha: 5, targets: ["q_proj", "down_proj"] }));
    const merged = mergeLora(lora);
    const batch = randomBatch(tinyConfig, { batch: 2, time: 5, seed: 3 });
    const [trained, rest] = trainablePart(lora, loraTrainable);
    const found = grad((part: typeof trained) => languageLoss(combine(part, rest), batch, { checkpoint: true }))(
      trained,
    ) as unknown as Llama;
    const dense = grad((model: Llama) => languageLoss(model, batch))(merged);
    for (const layer of [0, 1]) {
      for (const pick of [(m: Llama) => m.model.layers[layer]?.self_attn.q_proj, (m: Llama) => m.model.layers[layer]?.mlp.down_proj]) {
        const [module, gradient, ofW] = [pick(lora) as LoraLinear, pick(found) as LoraLinear, pick(dense)?.weight];
        const [A, B] = [module.lora_A.weight, module.lora_B.weight];
        const expected = [
          B.transpose()
            .matmul(ofW as never)
            .mul(5 / 3),
          (ofW as NonNullable<typeof ofW>).matmul(A.transpose()).mul(5 / 3),
        ];
        for (const [i, got] of [gradient.lora_A.weight, gradient.lora_B.weight].entries()) {
          const [x, y] = [await got.data(), await (expected[i] as typeof A).data()];
          expect(distance(x, y) / Math.max(...[...y].map(Math.abs))).toBeLessThan(1e-3);
        }
      }
    }
  });

  it("trains adapters alone: the base stays what it is, to the bit", async () => {
    const model = await tinyLlama(tied);
    const lora = applyLora(model, { rank: 2, trainNorms: true, trainEmbeddings: true });
    const optimizer = adamw({ weightDecay: 0.3 });
    const batches = (step: number) => randomBatch(tied, { batch: 2, time: 5, seed: step });
    const before = await frozenValues(model);
    const losses: number[] = [];
    const { model: after, optimizerState } = await train({
      ...{ model: lora, optimizer, batches, steps: 8, trainable: loraTrainable, schedule: (step: number) => 0.02 / (1 + step / 8) },
      onStep: ({ loss }) => losses.push(loss),
    });
    expect(await valuesOf(model)).toEqual(before);
    expect(await valuesOf(unloadLora(after))).toEqual(before);
    for (const [path, values] of await valuesOf(partition(after, loraTrainable)[0])) {
      expect(
        values.some((x) => x !== 0),
        path,
      ).toBe(true);
    }
    expect(pathsOf(optimizerState).every((path) => /lora_|modules_to_save|correction/.test(path))).toBe(true);
    expect(distance(await logits(after), await logits(model))).toBeGreaterThan(1e-3);
    expect(losses).toHaveLength(8);
    const read = mergeLora(after);
    expect(distance(await logits(after), await logits(read))).toBeLessThan(1e-3);
  });
});

const compiled = backends().filter(({ name }) => name === "wasm" || name === "webgpu");
describe.each(compiled)("LoRA on $name", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("computes no gradient of a frozen matrix", async () => {
    const [width, rows] = [64, 4];
    const base = { layers: [0, 1].map(() => new Linear(zeros([width, width]))), head: zeros([width, width]) };
    const lora = applyLora(base, { rank: 2 });
    const optimizer = adamw();
    type Batch = { readonly x: Tensor; readonly targets: Tensor };
    const loss = (m: typeof lora, { x, targets }: Batch): Tensor =>
      linearCrossEntropy(
        m.layers.reduce((y, layer) => layer.forward(y), x),
        m.head,
        targets,
      );
    const batch: Batch = { x: zeros([rows, width]), targets: zeros([rows], { dtype: "i32" }) };
    const plan = (trainable?: Trainable): string => {
      const step = createTrainStep({ optimizer, loss, ...(trainable && { trainable }) });
      return step.explain(lora, optimizer.init(trainablePart(lora, trainable)[0]), batch, 0.1);
    };
    const ofMatrix = /\(64 × 4\)·\(4 × 64\)/;
    expect(plan(loraTrainable)).not.toMatch(ofMatrix);
    expect(plan()).toMatch(ofMatrix);
  });
});

describe.each(compiled)("LoRA beside halves on $name", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it.each(["bf16", "f16"] as const)("computes and trains in f32 beside %s as beside the same numbers in f32", async (dtype) => {
    if (!backend.info.dtypes.has(dtype)) {
      expect(backend.info.name).toBe("webgpu");
      return;
    }
    const half = mapTensors(await tinyLlama(tied), (t) => cast(t, dtype));
    const wide = mapTensors(half, (t) => cast(t, "f32"));
    const optimizer = adamw();
    const run = async (model: Llama) => {
      const lora = stirred(applyLora(model, { rank: 2, trainNorms: true, trainEmbeddings: true }));
      const batches = (step: number) => randomBatch(tied, { batch: 2, time: 5, seed: step });
      return train({ model: lora, optimizer, batches, steps: 3, trainable: loraTrainable, schedule: () => 0.01, checkpoint: true });
    };
    const [one, other] = [await run(half), await run(wide)];
    for (const { tensor: t } of tensorsOf(partition(one.model, loraTrainable)[0])) expect(t.dtype).toBe("f32");
    expect(one.model.model.layers[0]?.self_attn.q_proj.weight.dtype).toBe(dtype);
    const [found, expected] = [await logits(one.model), await logits(other.model)];
    expect(distance(found, expected) / Math.max(...expected.map(Math.abs))).toBeLessThan(1e-5);
    for (const { tensor: t, path } of tensorsOf(mergeLora(one.model))) expect(t.dtype, path).toBe(dtype);
  });
});

describe("dropout", { timeout: 60_000 }, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const optimizer = adamw();
  const batches = (step: number) => randomBatch(tinyConfig, { batch: 4, time: 5, seed: step % 2 });
  const fresh = async (dropout: number) => stirred(applyLora(await tinyLlama(), { rank: 2, dropout }));
  const run = async (options: Partial<TrainOptions<AdamWState>> = {}, dropout = 0.4) => {
    const losses: number[] = [];
    const all = { model: await fresh(dropout), optimizer, batches, steps: 4, trainable: loraTrainable, schedule: () => 0 };
    const result = await train({ ...all, onStep: ({ loss }) => losses.push(loss), ...options });
    return { losses, result };
  };

  it("drops elements in training alone, by seed and step", async () => {
    const none = (await run({}, 0)).losses;
    const { losses, result } = await run();
    expect(none[2]).toBe(none[0]);
    expect(new Set([...losses, ...none]).size).toBe(6);
    expect((await run()).losses).toEqual(losses);
    expect((await run({ checkpoint: true })).losses.map((loss, i) => Math.abs(loss - (losses[i] as number)) < 1e-4)).toEqual(
      losses.map(() => true),
    );
    expect((await run({ dropoutSeed: 1 })).losses[0]).not.toBe(losses[0]);
    expect((await run({ startStep: 2 })).losses).toEqual(losses.slice(2));
    // Read without keys, as evaluation does, it is the model without dropout.
    const loss = async (model: Llama, batch: LanguageBatch): Promise<number> => languageLoss(model, batch).item();
    expect(await loss(result.model, batches(0))).toBe(await loss(await fresh(0), batches(0)));
  });

  it("gives micro-batches keys of their own", async () => {
    const rows = (batch: LanguageBatch, from: number, to: number): LanguageBatch => ({
      ...batch,
      inputs: batch.inputs.slice([[from, to]]),
      targets: batch.targets.slice([[from, to]]),
    });
    const cut = await run({ microBatch: 2 });
    const given = await run({ batches: (step) => [rows(batches(step), 0, 2), rows(batches(step), 2, 4)] });
    expect(given.losses).toEqual(cut.losses);
    const whole = await run();
    expect(cut.losses).not.toEqual(whole.losses);
    expect((await dropoutKeys({ step: 3, rows: 4 }).data()).slice(4)).toEqual(await dropoutKeys({ step: 3, rows: 2, from: 2 }).data());
  });

  it("keeps the mean and drops the stated share", async () => {
    const [rows, width] = [200, 50];
    const linear = new LoraLinear(new Linear(zeros([1, width])), { A: ones([1, width]), B: ones([1, 1]) }, { dropout: 0.25 });
    const dropped = withDropout(linear, dropoutKeys({ step: 0, rows: 1 }));
    const y = (await dropped.forward(ones([rows, width])).data()) as Float32Array;
    const mean = y.reduce((sum, value) => sum + value, 0) / (rows * width);
    expect(Math.abs(mean - 1)).toBeLessThan(5 * Math.sqrt(0.25 / 0.75 / (rows * width)));
    expect(await linear.forward(ones([1, width])).array()).toEqual([[width]]);
  });

  it("goes into the memory that a training is said to need", async () => {
    const options = { optimizer, trainable: loraTrainable, batch: 4, length: 5 };
    const [plain, dropping] = [
      trainingMemory({ ...options, model: await fresh(0) }),
      trainingMemory({ ...options, model: await fresh(0.5) }),
    ];
    expect(dropping.batchBytes - plain.batchBytes).toBe(4 * 4 * 2);
    expect(dropping.parameterBytes).toBe(plain.parameterBytes);
  });
});

describe("adapters that cannot be are refused in words", () => {
  beforeAll(() => void useBackend(createReferenceBackend()));
  afterAll(() => void useBackend(undefined));

  it.each<[string, Partial<LoraOptions>, RegExp, RegExp]>([
    ["a name that nothing has", { targets: ["q_prj"] }, /"q_prj" is the name of no matrix/, /did you mean "q_proj".*k_proj.*down_proj/],
    ["a part of a name", { targets: ["proj"] }, /"proj" is the name of no matrix/, /q_proj/],
    ["an expression that finds nothing", { targets: /layers\.7/ }, /layers.*is the name of no matrix/, /q_proj/],
    ["one of several names", { targets: ["q_proj", "query"] }, /"query"/, /q_proj/],
    ["no names", { targets: [] }, /empty/, /q_proj/],
    ["the head", { targets: ["lm_head"] }, /"lm_head" is the name of no matrix/, /q_proj/],
    ["a norm", { targets: ["input_layernorm"] }, /no matrix/, /q_proj/],
    ["a name alone", { targets: "q_proj" as never }, /targets must be "all-linear" or/, /./],
    ["no module to save", { modulesToSave: ["nrm"] }, /no embedding, norm or matrix/, /norm/],
    ["rank 0", { rank: 0 }, /rank must be an integer/, /.*/],
    ["no scale", { alpha: 0 }, /alpha must be a number above 0/, /.*/],
    ["dropping all", { dropout: 1 }, /dropout must be a number with 0 ≤ x < 1/, /.*/],
    ["PEFT's name of an option", { lora_alpha: 3 } as never, /no option "lora_alpha"/, /.*/],
  ])("%s", async (_, options, message, hint) => {
    const error = await tinyLlama().then((model) => {
      try {
        return applyLora(model, { rank: 2, ...options });
      } catch (found) {
        return found;
      }
    });
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).message).toMatch(message);
    expect((error as OptionError).hint).toMatch(hint);
  });

  it("a model that has adapters, factors of other sizes, and one with nothing to adapt", async () => {
    const lora = applyLora(await tinyLlama(), { rank: 1 });
    expect(() => applyLora(lora, { rank: 1 })).toThrow(UsageError);
    expect(() => applyLora(lora, { rank: 1 })).toThrow(/adapter at model.layers.0.self_attn.q_proj/);
    const base = new Linear(zeros([3, 2]));
    expect(() => new LoraLinear(base, { A: zeros([1, 3]), B: zeros([3, 1]) })).toThrow(ShapeError);
    expect(() => new LoraLinear(base, { A: zeros([2, 2]), B: zeros([3, 1]) })).toThrow(/A \[2, 2\] and B \[3, 1\] for a matrix \[3, 2\]/);
    expect(() => applyLora({ w: zeros([2]) }, { rank: 1 })).toThrow(/no matrix/);
    expect(() => mergeLora(base)).toThrow(/no LoRA adapter/);
    expect(() => unloadLora(base)).toThrow(UsageError);
  });

  it("a model file, which has no place for adapters", async () => {
    const lora = applyLora(await tinyLlama(), { rank: 1 });
    await expect(modelBlobs(lora)).rejects.toThrow(/modelBlobs: the model has a LoRA adapter/);
    await expect(modelBlobs(mergeLora(lora))).resolves.toHaveProperty("config.json");
  });

  it("a bias stays with its matrix", async () => {
    const base = new Linear(tensor([[1, 2]]), tensor([5]));
    const lora = new LoraLinear(base, { A: tensor([[1, 1]]), B: tensor([[2]]) });
    const x = tensor([[3, 4]]);
    expect(await lora.forward(x).array()).toEqual([[11 + 5 + 14]]);
    expect(await lora.merged().forward(x).array()).toEqual([[30]]);
    expect(lora.base()).toEqual(base);
  });

  it("a matrix at two places stays one, with one adapter", () => {
    const shared = new Linear(zeros([3, 3]));
    const lora = applyLora({ first: shared, second: shared, third: new Linear(zeros([3, 3])) }, { rank: 1 });
    expect(lora.first).toBe(lora.second);
    expect(lora.first).toBeInstanceOf(LoraLinear);
    const merged = mergeLora(lora);
    expect(merged.first).toBe(merged.second);
    expect(applyLora({ first: shared, second: shared }, { rank: 1, targets: ["first"] }).second).toBe(shared);
  });

  it("draws A as PEFT does, from U(−1/√in, 1/√in), by the key", async () => {
    const base = { one: new Linear(zeros([3, 400])), two: new Linear(zeros([3, 400])) };
    const lora = applyLora(base, { rank: 16, key: key(5) });
    const [a, b] = [await lora.one, await lora.two].map((module) => (module as LoraLinear).lora_A.weight.data());
    const values = [...(await (a as Promise<Float32Array>))];
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / 20);
    expect(Math.max(...values)).toBeGreaterThan(0.049);
    const variance = values.reduce((sum, x) => sum + x * x, 0) / values.length;
    expect(variance * 1200).toBeCloseTo(1, 1);
    expect(await b).not.toEqual(await a);
    const again = applyLora(base, { rank: 16, key: key(5) });
    expect(await (again.one as LoraLinear).lora_A.weight.data()).toEqual(await a);
  });
});
