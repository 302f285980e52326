import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type Backend,
  FormatError,
  key,
  memory,
  type Optimizer,
  type Tensor,
  tensor,
  tensorsOf,
  useBackend,
  zeros,
} from "../../src/index.js";
import { loadModel, loadTraining, saveModel, saveTraining } from "../../src/nn/checkpoint.js";
import { llamaShapes } from "../../src/nn/config.js";
import { Llama } from "../../src/nn/llama.js";
import { adamw, sgd } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, train } from "../../src/nn/training.js";
import { goldenConfig, goldenFolder, goldenLlama, goldenTables, goldenWeights } from "../golden/llama-fixture.js";
import { backends } from "../support/backends.js";
import { distance, randomBatch, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

const shallow = { ...tinyConfig, num_hidden_layers: 1 };

describe.each(backends())("checkpoints on $name", { timeout: 180_000 }, ({ create, name }) => {
  let backend: Backend | undefined;
  let folder: string;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });
  beforeEach(async () => {
    folder = await mkdtemp(`${tmpdir()}/checkpoint-`);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("bring a model back to the bit, tied or not", async () => {
    for (const tie_word_embeddings of [false, true]) {
      const model = await tinyLlama({ ...tinyConfig, tie_word_embeddings });
      await saveModel(folder, model);
      const loaded = await loadModel(folder);
      expect(await valuesOf(loaded)).toEqual(await valuesOf(model));
      expect(loaded.config).toMatchObject({ ...tinyConfig, tie_word_embeddings });
    }
  });

  it("are made into folders that do not exist yet, with extra fields in the configuration", async () => {
    const nested = `${folder}/a/b`;
    await saveModel(nested, await tinyLlama(), { extraConfig: { max_position_embeddings: 128 } });
    expect((await readdir(nested)).sort()).toEqual(["config.json", "model.safetensors"]);
    expect((await loadModel(nested)).config.max_position_embeddings).toBe(128);
  });

  it("of Hugging Face transformers load as they are", async () => {
    const model = await loadModel(fileURLToPath(goldenFolder));
    expect(model.config).toMatchObject(goldenConfig);
    const found = await valuesOf(model);
    for (const [path, { values }] of goldenWeights()) expect(found.get(path), path).toEqual([...values]);
    const { inputs, shape, logits } = goldenLlama();
    const computed = await model.forward(tensor(new Int32Array(inputs), { shape }), goldenTables(shape[1])).data();
    expect(distance(computed, logits)).toBeLessThan(2e-5);
  });

  it("of a training run go on as if it had not stopped", async () => {
    const optimizer = adamw();
    const common = {
      optimizer,
      trainStep: createTrainStep({ optimizer, loss: languageLoss }),
      batches: (step: number) => randomBatch(shallow, { batch: 2, time: 6, seed: step }),
      schedule: warmupCosine({ warmup: 2, total: 12, peak: 0.02 }),
    };
    const whole = await train({ ...common, model: await tinyLlama(shallow), steps: 12 });
    const half = await train({ ...common, model: await tinyLlama(shallow), steps: 6 });
    await saveTraining(folder, { ...half, extra: { seed: 7, text: "moby-dick" } });
    const { extra, step, model, optimizerState } = await loadTraining(folder, optimizer);
    expect(step).toBe(6);
    expect(extra).toEqual({ seed: 7, text: "moby-dick" });
    const rest = await train({ ...common, model, optimizerState, startStep: step, steps: 12 });
    const [found, expected] = [await valuesOf([rest.model, rest.optimizerState]), await valuesOf([whole.model, whole.optimizerState])];
    // The reference holds more digits than a file of f32.
    if (name !== "reference") expect(found).toEqual(expected);
    else for (const [path, values] of expected) expect(distance(found.get(path) as number[], values), path).toBeLessThan(1e-5);
  });

  it("of a training run may have scalars of the state as [1], as they once were written", async () => {
    const [model, optimizer] = [await tinyLlama(shallow), adamw()];
    const step = createTrainStep({ optimizer, loss: languageLoss });
    const [trained, state] = step(model, optimizer.init(model), randomBatch(shallow, { batch: 2, time: 6, seed: 1 }), 0.02);
    await saveTraining(folder, { model: trained, optimizerState: state, step: 1 });
    const file = `${folder}/training.safetensors`;
    const bytes = await readFile(file);
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { shape: number[] }>;
    const names = ["optimizer.correction1", "optimizer.correction2"];
    for (const entry of names.map((each) => header[each])) {
      expect(entry?.shape).toEqual([]);
      if (entry) entry.shape = [1];
    }
    const old = Buffer.from(JSON.stringify(header).padEnd(length + 8));
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(old.length));
    await writeFile(file, Buffer.concat([prefix, old, bytes.subarray(8 + length)]));
    const { optimizerState } = await loadTraining(folder, optimizer);
    expect(optimizerState.correction1.shape).toEqual([]);
    expect(await optimizerState.correction2.item()).toBeCloseTo(0.05, 6);
    expect(await valuesOf(optimizerState)).toEqual(await valuesOf(state));
  });

  it("of a training run whose state began as one tensor at two places have the values of each", async () => {
    const half = sgd({ momentum: 0.5 });
    const shared: Optimizer<{ a: Tensor; b: Tensor }> = {
      init: () => {
        const zero = zeros([2]);
        return { a: zero, b: zero };
      },
      update: (params, grads, state, rate) => [half.update(params, grads, half.init(params), rate)[0], state],
    };
    const optimizerState = { a: tensor([1, 2]), b: tensor([3, 4]) };
    await saveTraining(folder, { model: await tinyLlama(shallow), optimizerState, step: 1 });
    expect(await valuesOf((await loadTraining(folder, shared)).optimizerState)).toEqual(await valuesOf(optimizerState));
  });

  it("of a training run are models as well", async () => {
    const model = await tinyLlama();
    const optimizer = sgd({ momentum: 0.9 });
    await saveTraining(folder, { model, optimizerState: optimizer.init(model), step: 0 });
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(model));
  });

  it("of another optimizer, and models that are no training runs, are refused", async () => {
    const model = await tinyLlama();
    await saveTraining(folder, { model, optimizerState: sgd().init(model), step: 3 });
    await expect(loadTraining(folder, adamw())).rejects.toThrow(FormatError);
    expect((await loadTraining(folder, sgd())).step).toBe(3);
    await writeFile(`${folder}/training.safetensors`, await readFile(`${folder}/model.safetensors`));
    await expect(loadTraining(folder, sgd())).rejects.toThrow(/state of a training run was expected/);
  });

  it("that do not fit their configuration are refused before anything is allocated", async () => {
    await saveModel(folder, await tinyLlama());
    const config = JSON.parse(await readFile(`${folder}/config.json`, "utf8")) as Record<string, unknown>;
    const before = memory();
    for (const change of [{ hidden_size: 32 }, { num_hidden_layers: 3 }, { num_hidden_layers: 1 }, { tie_word_embeddings: true }]) {
      await writeFile(`${folder}/config.json`, JSON.stringify({ ...config, ...change }));
      await expect(loadModel(folder), JSON.stringify(change)).rejects.toThrow(FormatError);
    }
    expect(memory().liveBytes).toBeLessThanOrEqual(before.liveBytes);
  });

  it("that are missing, cut short or no JSON are refused, naming the file", async () => {
    await expect(loadModel(folder)).rejects.toThrow(/config\.json/);
    await saveModel(folder, await tinyLlama());
    const bytes = await readFile(`${folder}/model.safetensors`);
    for (const length of [0, 7, 8, 100, bytes.length - 1]) {
      await writeFile(`${folder}/model.safetensors`, bytes.subarray(0, length));
      await expect(loadModel(folder)).rejects.toThrow(FormatError);
    }
    await rm(`${folder}/model.safetensors`);
    await expect(loadModel(folder)).rejects.toThrow(/model\.safetensors/);
    await writeFile(`${folder}/config.json`, "{");
    await expect(loadModel(folder)).rejects.toThrow(FormatError);
    await expect(loadTraining(folder, adamw())).rejects.toThrow(FormatError);
  });
});

describe("the shapes of a configuration", () => {
  it("are those of the model that is built from it", () => {
    for (const config of [tinyConfig, goldenConfig, { ...tinyConfig, tie_word_embeddings: true }]) {
      const built = new Map(tensorsOf(new Llama(config, { key: key(0) })).map(({ path, tensor: { shape } }) => [path, shape]));
      expect(new Map([...llamaShapes(config)].sort())).toEqual(new Map([...built].sort()));
    }
  });
});
