import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  adamw,
  applyLora,
  type Backend,
  cast,
  FormatError,
  type Llama,
  loadAdaptedModel,
  loadModel,
  loadTraining,
  loraTrainable,
  mapTensors,
  mul,
  realize,
  saveModel,
  saveTraining,
  train,
  trainingBlobs,
  useBackend,
} from "../../src/index.js";
import { pathsOf } from "./lora-tools.js";
import { plainTables, randomBatch, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

describe("a training of adapters", { timeout: 60_000 }, () => {
  let backend: Backend;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "dawngrad-adapters-"));
    backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
    await rm(folder, { recursive: true, force: true });
  });

  const tied = { ...tinyConfig, tie_word_embeddings: true };
  const optimizer = adamw({ weightDecay: 0.2 });
  const common = {
    optimizer,
    trainable: loraTrainable,
    batches: (step: number) => randomBatch(tied, { batch: 2, time: 5, seed: step }),
    schedule: (step: number) => 0.02 / (1 + step),
  };
  const start = async (base: Llama) => applyLora(base, { rank: 2, dropout: 0.3, trainNorms: true, targets: ["q_proj", "up_proj"] });

  it.each(["f32", "bf16"] as const)(
    "that was saved goes on to the same bits, and its checkpoint holds adapters alone: base in %s",
    async (dtype) => {
      const base = join(folder, `base-${dtype}`);
      await saveModel(base, await tinyLlama(tied));
      const model = () => loadModel(base, { dtype });
      const straight = await train({ ...common, model: await start(await model()), steps: 6 });
      const half = await train({ ...common, model: await start(await model()), steps: 3 });
      const run = join(folder, `run-${dtype}`);
      await saveTraining(run, { ...half, extra: { of: "test" } }, { base, extraConfig: { max_position_embeddings: 64 } });
      expect((await readdir(run)).sort()).toEqual([
        "adapter_config.json",
        "adapter_model.safetensors",
        "config.json",
        "training.safetensors",
      ]);

      for (const from of [await loadTraining(run, optimizer), await loadTraining(run, optimizer, { base: await model() })]) {
        expect([from.step, from.extra]).toEqual([3, { of: "test" }]);
        const whole = await train({ ...common, ...from, steps: 6 });
        expect(await valuesOf(whole.model)).toEqual(await valuesOf(straight.model));
        expect(await valuesOf(whole.optimizerState)).toEqual(await valuesOf(straight.optimizerState));
      }
      // Read as a model, it has the adapters and the configuration of the run.
      const read = await loadAdaptedModel(run, { dtype });
      expect(await valuesOf(read)).toEqual(await valuesOf(half.model));
      expect(read.config.max_position_embeddings).toBe(64);
      const tokens = randomBatch(tied, { batch: 1, time: 4, seed: 1 }).inputs;
      const tables = plainTables(4, tied.head_dim);
      expect(await read.forward(tokens, tables).data()).toEqual(await half.model.forward(tokens, tables).data());
    },
  );

  it("is smaller in files than its base, whatever that is", async () => {
    const base = await tinyLlama({ ...tied, vocab_size: 4000 });
    const batches = (step: number) => randomBatch({ ...tied, vocab_size: 4000 }, { batch: 1, time: 3, seed: step });
    const ended = await train({ ...common, batches, model: applyLora(base, { rank: 1 }), steps: 1 });
    const run = join(folder, "small");
    await saveTraining(run, ended);
    for (const file of await readdir(run)) expect((await stat(join(run, file))).size, file).toBeLessThan(30_000);
    expect(pathsOf(ended.optimizerState).some((path) => path.includes("embed_tokens"))).toBe(false);
  });

  it("is refused without its base, and with another one", async () => {
    const base = await tinyLlama(tied);
    const ended = await train({ ...common, model: await start(base), steps: 1 });
    const blobs = (name?: string) => trainingBlobs(ended, name === undefined ? {} : { base: name }) as Promise<Record<string, Blob>>;
    const refusal = async (action: Promise<unknown>): Promise<FormatError> => {
      const error = await action.catch((found: unknown) => found);
      expect(error).toBeInstanceOf(FormatError);
      expect((error as FormatError).hint).not.toBe("");
      return error as FormatError;
    };
    expect((await refusal(loadTraining(await blobs(), optimizer))).message).toMatch(/does not say which model/);
    expect((await refusal(loadTraining(await blobs(join(folder, "gone")), optimizer))).message).toMatch(/cannot be read.*gone/);
    const other = mapTensors(base, (t, path) => (path.includes("layers.1.mlp.up_proj") ? mul(t, 1.0001) : t));
    await realize(other);
    expect((await refusal(loadTraining(await blobs("some/base"), optimizer, { base: other }))).message).toMatch(
      /found other weights in some\/base/,
    );
    const rounded = mapTensors(base, (t) => cast(t, "bf16"));
    expect((await refusal(loadTraining(await blobs(), optimizer, { base: rounded }))).hint).toMatch(/in f32/);
    expect(
      (await refusal(loadTraining(await blobs(), optimizer, { base: await tinyLlama({ ...tied, hidden_size: 32 }) }))).message,
    ).toMatch(/sizes/);
    const full = await train({ ...common, trainable: () => true, model: await tinyLlama(tied), steps: 1 });
    expect((await refusal(loadTraining((await trainingBlobs(full)) as Record<string, Blob>, optimizer, { base }))).message).toMatch(
      /one of a whole model/,
    );
    expect((await refusal(loadTraining(await blobs(), adamw(), { base, trainable: () => true }))).message).toMatch(/optimizer\./);
    const from = await loadTraining(await blobs(), optimizer, { base });
    expect(await valuesOf(from.model)).toEqual(await valuesOf(ended.model));
  });
});
