import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  attentionMaps,
  type Backend,
  exportConfig,
  generate,
  KeyValueCache,
  loadConfig,
  loadModel,
  modelBlobs,
  modelFrequencies,
  plainPositions,
  type RopeTensors,
  ropeTables,
  ropeTensors,
  StreamingCache,
  tensor,
  toHfConfig,
  useBackend,
} from "../../src/index.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { parseLlamaConfig } from "../../src/nn/config-json.js";
import { distance } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

interface Golden {
  readonly shape: [batch: number, time: number];
  readonly tokens: number[];
  readonly logits: number[];
  readonly greedy: number[];
}

const folder = (name: string): string => fileURLToPath(new URL(`families/${name}`, import.meta.url));
const golden = (JSON.parse(readFileSync(folder("golden.json"), "utf8")) as { models: Record<string, Golden> }).models;
const written = (name: string): Record<string, unknown> => JSON.parse(readFileSync(`${folder(name)}/config.json`, "utf8"));
const tablesOf = (config: LlamaConfig, length: number): RopeTensors =>
  ropeTensors(ropeTables(plainPositions({ length }), modelFrequencies(config)));

/** What the flags of each family are read as. */
const flags: Record<string, Partial<LlamaConfig>> = {
  llama: { tie_word_embeddings: true },
  "llama-biases": { attention_bias: true, attention_output_bias: true, mlp_bias: true, rope_theta: 500 },
  mistral: { sliding_window: 5 },
  "mistral-plain": { head_dim: 6 },
  qwen2: { attention_bias: true },
  "qwen2-window": { attention_bias: true, sliding_window: 4, layer_types: ["full_attention", "sliding_attention"] },
  qwen3: { qk_norm: true, head_dim: 6, rope_theta: 1e6 },
  "qwen3-window": { qk_norm: true, attention_bias: true, attention_output_bias: true, sliding_window: 4 },
};

describe.each(backends())("models of Hugging Face transformers on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(Object.keys(golden))("%s: logits at once, in blocks with a cache, and greedy tokens", async (name) => {
    const { shape, tokens, logits, greedy } = golden[name] as Golden;
    const [batch, time] = shape;
    const model = await loadModel(folder(name));
    const inputs = (from: number, to: number) => {
      const rows = Array.from({ length: batch }, (_, row) => tokens.slice(row * time + from, row * time + to));
      return tensor(Int32Array.from(rows.flat()), { shape: [batch, to - from] });
    };
    const tables = tablesOf(model.config, time);
    const found = await model.forward(inputs(0, time), tables).data();
    expect(distance(found, logits)).toBeLessThan(2e-5);

    const cache = new KeyValueCache(model.config, { capacity: time, batch });
    const V = model.config.vocab_size;
    for (const [from, to] of [
      [0, 6],
      [6, 7],
      [7, time],
    ] as const) {
      const block = await model.forward(inputs(from, to), tables, cache).data();
      cache.advance(to - from);
      for (let row = 0; row < batch; row++) {
        const expected = logits.slice((row * time + from) * V, (row * time + to) * V);
        expect(distance(block.slice(row * (to - from) * V, (row + 1) * (to - from) * V), expected)).toBeLessThan(2e-5);
      }
    }

    const prompt = tokens.slice(0, time);
    const lengths = new Map<number, RopeTensors>();
    const tablesFor = (length: number): RopeTensors => {
      const known = lengths.get(length) ?? tablesOf(model.config, length);
      lengths.set(length, known);
      return known;
    };
    const options = { model, prompt, tokens: greedy.length, tables: tablesFor, temperature: 0, block: 5 };
    expect([...(await generate(options))]).toEqual(greedy);
  });
});

describe("the families of Hugging Face transformers", () => {
  beforeAll(async () =>
    useBackend(
      await backends()
        .find(({ name }) => name === "reference")
        ?.create(),
    ),
  );
  afterAll(() => useBackend(undefined));

  it.each(Object.keys(golden))("%s: its flags are read, and written so that they are read again", async (name) => {
    const config = await loadConfig(folder(name));
    expect(config).toMatchObject(flags[name] as object);
    const known = ["attention_bias", "attention_output_bias", "mlp_bias", "qk_norm", "sliding_window", "layer_types"] as const;
    for (const flag of known) expect(config[flag], flag).toEqual(flags[name]?.[flag]);
    const again = toHfConfig(config);
    // A Mistral without a window is a Llama.
    expect(again["model_type"]).toBe(name === "mistral-plain" ? "llama" : written(name)["model_type"]);
    expect(parseLlamaConfig(again, "again")).toEqual(config);
    // What both state they state alike, and the window of a model that does not use it is its own affair.
    for (const [key, value] of Object.entries(written(name))) {
      if (!(key in again) || ["architectures", "model_type", "max_window_layers"].includes(key)) continue;
      expect(again[key], key).toEqual(value);
    }
  });

  it.each(["mistral", "qwen3-window"])("%s: attention maps are those of the window, and a streaming cache sees no more", async (name) => {
    const { shape, tokens, logits } = golden[name] as Golden;
    const time = shape[1];
    const model = await loadModel(folder(name));
    const window = model.config.sliding_window as number;
    const row = Int32Array.from(tokens.slice(0, time));
    for (const { query, probabilities } of await attentionMaps({ model, tokens: row, queries: [2, time - 1] })) {
      const before = probabilities.subarray(0, Math.max(0, query + 1 - window));
      expect(Math.max(0, ...before)).toBe(0);
      expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
    }
    // More last keys than the window has, and sinks that are out of it: the logits of the whole.
    const cache = new StreamingCache(model.config, { window: window + 2, sinks: 2 });
    const V = model.config.vocab_size;
    for (let from = 0; from < time; from += 3) {
      const block = row.subarray(from, from + 3);
      const tables = tablesOf(model.config, cache.tableLength(block.length));
      const found = await model.forward(tensor(block, { shape: [1, block.length] }), tables, cache).data();
      cache.advance(block.length);
      expect(distance(found, logits.slice(from * V, (from + block.length) * V)), `from ${from}`).toBeLessThan(2e-5);
    }
  });
});

interface Export {
  readonly class: string;
  readonly dtype: string;
  readonly difference: number;
  readonly config: object;
}

describe("the exports that transformers opened", () => {
  const exports = (JSON.parse(readFileSync(folder("exports.json"), "utf8")) as { exports: Record<string, Export> }).exports;
  const dtypes: Record<string, string> = { f32: "float32", g2: "float32", f16: "float16", bf16: "bfloat16" };
  beforeAll(async () =>
    useBackend(
      await backends()
        .find(({ name }) => name === "reference")
        ?.create(),
    ),
  );
  afterAll(() => useBackend(undefined));

  it("are those of every family in every dtype, with the logits of the original", () => {
    const kinds = Object.keys(dtypes);
    expect(Object.keys(exports).sort()).toEqual(
      Object.keys(golden)
        .flatMap((name) => kinds.map((kind) => `${name}-${kind}`))
        .sort(),
    );
    for (const [name, { dtype, difference, ...found }] of Object.entries(exports)) {
      expect(dtype, name).toBe(`torch.${dtypes[name.split("-").at(-1) as string]}`);
      expect(difference, name).toBeLessThan(1e-6);
      expect((found.config as { architectures: string[] }).architectures).toEqual([found.class]);
    }
  });

  it.each(Object.keys(golden))("%s: its config.json is what saveModel writes", async (name) => {
    const model = await loadModel(folder(name));
    for (const kind of Object.keys(dtypes)) {
      const options = kind === "g2" ? { extraConfig: exportConfig(model.config, { scale: 2 }) } : { dtype: kind as "f32" };
      const blob = (await modelBlobs(model, options))["config.json"];
      expect(JSON.parse(new TextDecoder().decode(await blob.arrayBuffer()))).toEqual((exports[`${name}-${kind}`] as Export).config);
    }
  });
});
