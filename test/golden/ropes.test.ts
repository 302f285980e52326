import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { fromHfRope, type HfRopeConfig, toHfRope } from "../../src/e2llm/hf-rope.js";
import { modelFrequencies } from "../../src/e2llm/model-frequencies.js";
import { plainPositions } from "../../src/e2llm/positions/index.js";
import { readingTables } from "../../src/e2llm/reading.js";
import { type RopeScaling, type RopeShape, ropeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import { type Backend, tensor, useBackend, valueAndGrad } from "../../src/index.js";
import { ropeTensors } from "../../src/nn/batch.js";
import { loadModel, saveModel } from "../../src/nn/checkpoint.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { generate } from "../../src/nn/generate.js";
import { languageLoss } from "../../src/nn/training.js";
import { distance, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";
import { goldenConfig, goldenFolder, goldenModel } from "./llama-fixture.js";

/** What test/golden/make_ropes.py wrote. */
const golden = <Case>(name: string): Case[] =>
  (JSON.parse(readFileSync(new URL(`ropes/${name}.json`, import.meta.url), "utf8")) as { cases: Case[] }).cases;

interface ScheduleCase {
  readonly options: RopeShape & { readonly window: number };
  readonly scaling: RopeScaling;
  readonly length: number;
  readonly config: HfRopeConfig;
  readonly invFreq: number[];
  readonly attentionFactor: number;
}

interface LlamaCase {
  readonly name: string;
  readonly rope: Partial<LlamaConfig>;
  readonly inputs: number[];
  readonly targets: number[];
  /** Those of every n-th token. */
  readonly logits: number[];
  readonly every: number;
  readonly loss: number;
  readonly gradNorms: Record<string, number>;
  readonly gradients: Record<string, number[]>;
}

interface ExportCase {
  readonly scale: number;
  readonly config: Record<string, unknown>;
  readonly prompt: number[];
  readonly greedy: number[];
  readonly every: number;
  readonly logits: number[];
}

const headOf = ({ options: { headDim }, length }: ScheduleCase) => `D ${headDim}, ${length} tokens`;

describe("the frequencies of Hugging Face transformers", () => {
  it.each(golden<ScheduleCase>("schedules").map((one) => [headOf(one), one.scaling, one] as const))(
    "S-10, S-14: from the keys that are written here, %s: %j",
    (_, scaling, { options, length, config, invFreq, attentionFactor }) => {
      // The numbers are those of these very keys.
      expect(toHfRope(scaling, options)).toEqual(config);
      const read = fromHfRope({ ...config, head_dim: options.headDim }, { seqLen: length });
      const { headDim } = options;
      for (const found of [ropeFrequencies(scaling, options), ropeFrequencies(read.scaling, { headDim, theta: read.theta })]) {
        expect(found.invFreq.length).toBe(invFreq.length);
        found.invFreq.forEach((value, j) => {
          expect(Math.abs(value - (invFreq[j] as number)), `dimension ${j}`).toBeLessThanOrEqual(1e-6 * (invFreq[j] as number));
        });
        expect(Math.abs(found.attentionFactor / attentionFactor - 1)).toBeLessThan(1e-12);
      }
    },
  );
});

const row = (tokens: readonly number[]) => tensor(Int32Array.from(tokens), { shape: [1, tokens.length] });
const V = goldenConfig.vocab_size;
/** The logits of every n-th token. */
const thinned = (logits: ArrayLike<number>, every: number): number[] =>
  Array.from(logits).filter((_, i) => Math.floor(i / V) % every === 0);

describe.each(backends())("a Llama with a scaled RoPE in Hugging Face transformers on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(golden<LlamaCase>("llama").map((one) => [one.name, one] as const))("has its logits and gradients: %s", async (_, one) => {
    const length = one.inputs.length;
    const config = llamaConfig({ ...goldenConfig, ...one.rope });
    const tables = ropeTensors(ropeTables(plainPositions({ length }), modelFrequencies(config, { length })));
    const model = goldenModel();
    const logits = await model.forward(row(one.inputs), tables).data();
    expect(distance(thinned(logits as Float32Array, one.every), one.logits)).toBeLessThan(2e-5);

    const [loss, grads] = valueAndGrad(languageLoss)(model, { inputs: row(one.inputs), targets: row(one.targets), tables });
    expect(Math.abs((await loss.item()) / one.loss - 1)).toBeLessThan(2e-6);
    const found = await valuesOf(grads);
    for (const [path, norm] of Object.entries(one.gradNorms)) {
      expect(Math.abs(Math.hypot(...(found.get(path) as number[])) / norm - 1), path).toBeLessThan(5e-5);
    }
    for (const [path, expected] of Object.entries(one.gradients)) {
      expect(distance((found.get(path) as number[]).slice(0, expected.length), expected), path).toBeLessThan(5e-5);
    }
  });

  it.each(golden<ExportCase>("export").map((one) => [one.scale, one] as const))(
    "one checkpoint that is read at scale %i has the logits and the greedy text of its export there",
    async (scale, { prompt, greedy, every, logits }) => {
      const model = goldenModel();
      const window = goldenConfig.max_position_embeddings;
      const planned = prompt.length + greedy.length;
      expect(planned).toBe(scale * window);
      const tables = (length: number) => ropeTensors(readingTables(goldenConfig, { schedule: "linear", scale, length, planned, window }));
      const text = [...prompt, ...greedy.slice(0, -1)];
      const found = (await model.forward(row(text), tables(text.length)).data()) as Float32Array;
      expect(distance(thinned(found, every), logits)).toBeLessThan(2e-5);
      expect([...(await generate({ model, prompt, tokens: greedy.length, tables, temperature: 0 }))]).toEqual(greedy);
    },
  );
});

describe("the export that transformers opened", () => {
  const folder = mkdtempSync(join(tmpdir(), "dawngrad-export-"));
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => {
    useBackend(undefined);
    rmSync(folder, { recursive: true });
  });

  it.each(golden<ExportCase>("export").map((one) => [one.scale, one] as const))(
    "is what saveModel writes at scale %i",
    async (factor, { config }) => {
      const { head_dim: headDim, rope_theta: theta, max_position_embeddings: window } = goldenConfig;
      const rope = toHfRope({ type: "linear", factor }, { headDim, theta, window });
      const model = await loadModel(fileURLToPath(goldenFolder));
      await saveModel(folder, model, { extraConfig: { ...rope, bos_token_id: null, eos_token_id: null } });
      expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))).toEqual(config);
      const [written, original] = [await valuesOf(await loadModel(folder)), await valuesOf(model)];
      expect(written).toEqual(original);
    },
  );
});
