import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { interpolatedFrequencies } from "../../src/e2llm/schedules.js";
import { FormatError, NonFiniteError, OptionError } from "../../src/errors.js";
import {
  adamw,
  exportConfig,
  type Llama,
  type LlamaConfig,
  loadConfig,
  loadModel,
  loadTraining,
  mapTensors,
  modelBlobs,
  modelFrequencies,
  saveModel,
  saveTraining,
  tensor,
  trainablePart,
  useBackend,
} from "../../src/index.js";
import { representable } from "../../src/ir/dtype.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import { backends } from "../support/backends.js";
import { tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

describe.each(backends().filter(({ name }) => name === "wasm"))("a model is saved from $name", ({ create }) => {
  let backend: Backend;
  let folder: string;
  let model: Llama;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
    model = await tinyLlama({ ...tinyConfig, qk_norm: true, attention_bias: true, attention_output_bias: true });
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dawngrad-save-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const rounded = async (dtype: "f32" | "f16" | "bf16"): Promise<Map<string, number[]>> =>
    new Map([...(await valuesOf(model))].map(([path, values]) => [path, values.map((value) => representable(dtype, value))]));
  const files = async (): Promise<string[]> => (await readdir(folder)).sort();

  it.each(["f32", "f16", "bf16"] as const)("as %s, and as that it comes back and is saved again", async (dtype) => {
    await saveModel(folder, model, { dtype });
    const bytes = await readFile(join(folder, "model.safetensors"));
    const stored = readSafetensors(bytes, "w").tensors;
    expect(new Set([...stored.values()].map((entry) => entry.dtype))).toEqual(new Set([dtype.toUpperCase()]));
    const { torch_dtype } = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
    expect(torch_dtype).toBe({ f32: "float32", f16: "float16", bf16: "bfloat16" }[dtype]);
    const again = await loadModel(folder, { dtype: "stored" });
    expect(await valuesOf(again)).toEqual(await rounded(dtype));
    await saveModel(folder, again);
    expect((await readFile(join(folder, "model.safetensors"))).equals(bytes)).toBe(true);
  });

  it("in several files, none of them larger than was asked for, and without the files of a save before", async () => {
    await saveModel(folder, model);
    await saveModel(folder, model, { maxShardBytes: 2000 });
    const names = await files();
    expect(names).not.toContain("model.safetensors");
    const shards = names.filter((name) => name.endsWith(".safetensors"));
    expect(shards.length).toBeGreaterThan(3);
    expect(shards).toEqual(
      shards.map((_, i) => `model-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`),
    );
    for (const name of shards) {
      const { tensors } = readSafetensors(await readFile(join(folder, name)), name);
      const bytes = [...tensors.values()].reduce((sum, { data }) => sum + data.length, 0);
      expect(bytes <= 2000 || tensors.size === 1).toBe(true);
    }
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(model));
    await saveModel(folder, model, { maxShardBytes: 6000 });
    expect((await files()).length).toBeLessThan(names.length);
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(model));
    await saveModel(folder, model, { maxShardBytes: 1e9 });
    expect(await files()).toEqual(["config.json", "model.safetensors"]);
  });

  it("as Blobs in several files too", async () => {
    const blobs = await modelBlobs(model, { maxShardBytes: 2000, dtype: "bf16" });
    expect(await valuesOf(await loadModel(blobs))).toEqual(await rounded("bf16"));
  });

  it("with the tokenizer and the template of another", async () => {
    const source = {
      "tokenizer.json": "{}",
      "chat_template.jinja": "{{ x }}",
      "config.json": "{}",
      "README.md": "no",
      "tokenizer.model": Uint8Array.of(1, 2),
    };
    await saveModel(folder, model, { copyFrom: source });
    expect(await files()).toEqual(["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"]);
    expect([...(await readFile(join(folder, "tokenizer.model")))]).toEqual([1, 2]);
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(model));
    await saveModel(join(folder, "second"), model, { copyFrom: folder });
    expect((await readdir(join(folder, "second"))).sort()).toContain("tokenizer.json");
    await writeFile(join(folder, "x.gguf"), "GGUF");
    await expect(saveModel(folder, model, { copyFrom: join(folder, "x.gguf") })).rejects.toThrow(FormatError);
    await writeFile(join(folder, "x.bin"), "nothing of a tokenizer");
    await expect(saveModel(folder, model, { copyFrom: join(folder, "x.bin") })).rejects.toThrow(FormatError);
  });

  it("or not at all: what lay there stays where one of several files cannot be made", async () => {
    await saveModel(folder, model, { maxShardBytes: 2000 });
    const before = await Promise.all((await files()).map(async (name) => [name, (await readFile(join(folder, name))).toString("hex")]));
    const spoiled = (value: number): Llama =>
      mapTensors(model, (held, path) => (path === "model.norm.weight" ? tensor(new Float32Array(held.size).fill(value)) : held));
    for (const [value, dtype] of [
      [Number.NaN, "f32"],
      [70_000, "f16"],
      [3.4e38, "bf16"],
    ] as const) {
      for (const maxShardBytes of [2000, 1e9]) {
        const error = await saveModel(folder, spoiled(value), { dtype, maxShardBytes }).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(NonFiniteError);
        expect((error as Error).message).toMatch(/model\.norm\.weight holds .* nothing was saved/);
      }
    }
    expect(await Promise.all((await files()).map(async (name) => [name, (await readFile(join(folder, name))).toString("hex")]))).toEqual(
      before,
    );
  });

  it("in training with a frozen part in halves, and goes on with it", async () => {
    await saveModel(folder, model, { dtype: "bf16" });
    const halves = await loadModel(folder, { dtype: "stored" });
    const base = await loadModel(folder);
    const mixed = mapTensors(halves, (held, path) => (/norm/.test(path) ? (tensorAt(base, path) as typeof held) : held));
    const trainable = (_: unknown, path: string): boolean => /norm/.test(path);
    const optimizer = adamw();
    await saveTraining(folder, { model: mixed, optimizerState: optimizer.init(trainablePart(mixed, trainable)[0]), step: 1 });
    const found = await loadTraining(folder, optimizer, { trainable });
    expect(await valuesOf(found.model)).toEqual(await valuesOf(mixed));
    expect(found.model.model.embed_tokens.weight.dtype).toBe("bf16");
    expect(found.model.model.norm.weight.dtype).toBe("f32");
  });
});

function tensorAt(tree: unknown, path: string): unknown {
  return path.split(".").reduce((at: unknown, name) => (at as Record<string, unknown>)[name], tree);
}

describe("the configuration of a model exported at a scale", () => {
  const scalings: [string, Partial<LlamaConfig>][] = [
    ["none", {}],
    ["linear", { rope_scaling: { rope_type: "linear", factor: 2 } }],
    ["yarn", { rope_parameters: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8 } }],
    [
      "llama3",
      { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 16 } },
    ],
    [
      "longrope",
      { rope_scaling: { rope_type: "longrope", short_factor: [1, 2, 3], long_factor: [2, 4, 8], original_max_position_embeddings: 8 } },
    ],
    ["proportional", { rope_scaling: { rope_type: "proportional", partial_rotary_factor: 0.5 } }],
  ];
  it.each(scalings)("reads as its own with positions divided, in either form of the keys: %s", async (_, keys) => {
    const config = { ...tinyConfig, ...keys };
    for (const scale of [1, 3.5]) {
      const { rope_parameters, rope_scaling, ...others } = exportConfig(config, { scale });
      for (const form of [{ rope_parameters }, { rope_scaling }]) {
        const exported = { ...tinyConfig, ...others, ...(form as object) };
        for (const length of [4, 10, 300]) {
          const own = modelFrequencies(config, { length: length <= 8 ? length : 9 + length });
          const expected = interpolatedFrequencies(own, scale);
          const found = modelFrequencies(exported, { length: length <= 8 ? length : 9 + length });
          expect(found.attentionFactor).toBeCloseTo(expected.attentionFactor, 12);
          found.invFreq.forEach((frequency, j) => {
            expect(frequency / (expected.invFreq[j] as number) || 1).toBeCloseTo(1, 12);
          });
        }
        expect(others.max_position_embeddings).toBe(Math.round(config.max_position_embeddings * scale));
      }
    }
  });

  it("is refused where no file can say it", () => {
    const dynamic = { ...tinyConfig, rope_scaling: { rope_type: "dynamic", factor: 2 } };
    expect(() => exportConfig(dynamic, { scale: 2 })).toThrow(OptionError);
    expect(() => exportConfig({ ...tinyConfig, position_encoding: { type: "alibi" } }, { scale: 2 })).toThrow(OptionError);
    for (const scale of [0.5, Number.NaN, Number.POSITIVE_INFINITY]) expect(() => exportConfig(tinyConfig, { scale })).toThrow(OptionError);
    expect(() => exportConfig({ ...tinyConfig, rope_scaling: { rope_type: "odd" } }, { scale: 2 })).toThrow(FormatError);
  });

  it("is loaded with the model", async () => {
    const blobs = await (async () => {
      const { createReferenceBackend } = await import("../../src/backend/reference/index.js");
      useBackend(createReferenceBackend());
      const made = await tinyLlama();
      return modelBlobs(made, { extraConfig: exportConfig(made.config, { scale: 4 }) });
    })();
    expect(await loadConfig(blobs)).toMatchObject({ max_position_embeddings: 128, rope_scaling: { type: "linear", factor: 4 } });
    useBackend(undefined);
  });
});
