import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  concat,
  key,
  mapTensors,
  realize,
  ShapeError,
  type Tensor,
  tensor,
  tensorsOf,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import type { LanguageBatch } from "../../src/nn/batch.js";
import { Llama, llamaLoss } from "../../src/nn/llama.js";
import { type Linear, parameterCount } from "../../src/nn/module.js";
import { languageLoss } from "../../src/nn/training.js";
import { backends } from "../support/backends.js";
import { distance, plainTables, randomBatch, tablesAt, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

const shallow = { ...tinyConfig, num_hidden_layers: 1 };

/** Loss and gradient, realised together: one program serves every test with the same shapes. */
async function lossAndGradient(model: Llama, batch: LanguageBatch): Promise<[loss: Tensor, gradient: Llama]> {
  const both = valueAndGrad(languageLoss)(model, batch);
  await realize(both);
  return both;
}

describe.each(backends())("Llama on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("maps tokens [B, T] to logits [B, T, V]", async () => {
    const model = await tinyLlama();
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 3, time: 7, seed: 1 });
    expect(model.forward(inputs, tables).shape).toEqual([3, 7, 19]);
  });

  it("names its parameters as Hugging Face does", async () => {
    const layer = (n: number): string[] =>
      [
        ...["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
        ...["post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
      ].map((name) => `model.layers.${n}.${name}.weight`);
    const expected = ["model.embed_tokens.weight", ...layer(0), ...layer(1), "model.norm.weight", "lm_head.weight"];
    const names = tensorsOf(new Llama(tinyConfig, { key: key(0) })).map(({ path }) => path);
    expect(names.sort()).toEqual(expected.sort());
  });

  it("has one weight less when the head is tied", () => {
    const tied = new Llama({ ...tinyConfig, tie_word_embeddings: true }, { key: key(0) });
    const untied = new Llama(tinyConfig, { key: key(0) });
    expect(parameterCount(untied) - parameterCount(tied)).toBe(19 * 16);
    expect(parameterCount({ embed: tied.model.embed_tokens, head: [tied.model.embed_tokens.weight] })).toBe(19 * 16);
  });

  it("starts at a loss of ln V", async () => {
    const config = { ...tinyConfig, vocab_size: 256 };
    const model = new Llama(config, { key: key(3) });
    const loss = await languageLoss(model, randomBatch(config, { batch: 4, time: 16, seed: 2 })).item();
    expect(Math.abs(loss - Math.log(256))).toBeLessThan(0.1);
  });

  it("initialises matrices with the configured deviation and norms with 1", async () => {
    const values = await valuesOf(new Llama({ ...tinyConfig, hidden_size: 64, initializer_range: 0.05 }, { key: key(5) }));
    const embedding = values.get("model.embed_tokens.weight") as number[];
    const deviation = Math.sqrt(embedding.reduce((sum, x) => sum + x * x, 0) / embedding.length);
    expect(deviation).toBeGreaterThan(0.045);
    expect(deviation).toBeLessThan(0.055);
    expect(new Set(values.get("model.norm.weight"))).toEqual(new Set([1]));
    const all = [...values.values()].flat().filter((x) => x !== 1);
    expect(new Set(all).size / all.length).toBeGreaterThan(0.99); // no two weights share their draws
  });

  it("computes with grouped heads what it computes with each key/value head repeated", async () => {
    const grouped = await tinyLlama();
    const full = await tinyLlama({ ...tinyConfig, num_key_value_heads: 4 });
    const D = tinyConfig.head_dim;
    const weights = new Map(tensorsOf(grouped).map(({ path, tensor: t }) => [path, t]));
    const repeated = mapTensors(full, (_, path) => {
      const weight = weights.get(path) as Tensor;
      if (!/[kv]_proj/.test(path)) return weight;
      const heads = [0, 0, 1, 1].map((head) => weight.slice([[head * D, (head + 1) * D]]));
      return concat(heads, 0);
    });
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 2, time: 8, seed: 3 });
    const [a, b] = await Promise.all([grouped.forward(inputs, tables).data(), repeated.forward(inputs, tables).data()]);
    expect(distance(a, b)).toBeLessThan(2e-5);
  });

  it("gives a tied embedding the gradient of both of its uses", async () => {
    const tied = await tinyLlama({ ...shallow, tie_word_embeddings: true });
    const embedding = tied.model.embed_tokens.weight;
    const twin = await tinyLlama(shallow);
    const withHead = (head: Tensor): Llama =>
      mapTensors(twin, (t, path) => {
        const same = tensorsOf(tied).find((entry) => entry.path === path);
        return same?.tensor ?? (path === "lm_head.weight" ? head : t);
      });
    const batch = randomBatch(tinyConfig, { batch: 2, time: 8, seed: 4 });
    const [lossA, gradsA] = await lossAndGradient(tied, batch);
    const [lossB, gradsB] = await lossAndGradient(withHead(embedding.mul(1)), batch);
    expect(await lossA.item()).toBeCloseTo(await lossB.item(), 5);
    const both = gradsB.model.embed_tokens.weight.add((gradsB.lm_head as Linear).weight);
    expect(distance(await gradsA.model.embed_tokens.weight.data(), await both.data())).toBeLessThan(1e-5);
    // One tensor at both places is one variable.
    const [, gradsC] = await lossAndGradient(withHead(embedding), batch);
    expect((gradsC.lm_head as Linear).weight).toBe(gradsC.model.embed_tokens.weight);
    expect(distance(await gradsC.model.embed_tokens.weight.data(), await both.data())).toBeLessThan(1e-5);
  });

  it("I-17: gives logits that do not depend on later tokens", async () => {
    const model = await tinyLlama();
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 1, time: 12, seed: 5 });
    const tokens = [...(await inputs.data())];
    const changed = tensor(
      Int32Array.from(tokens, (token, i) => (i < 7 ? token : (token + 5) % 19)),
      { shape: [1, 12] },
    );
    const [whole, other] = await Promise.all([model.forward(inputs, tables).data(), model.forward(changed, tables).data()]);
    expect(distance(whole.subarray(0, 5 * 19), other.subarray(0, 5 * 19))).toBe(0);
    expect(distance(whole.subarray(5 * 19, 8 * 19), other.subarray(5 * 19, 8 * 19))).toBeGreaterThan(0.1);
    const prefix = await model
      .forward(
        inputs.slice([
          [0, 1],
          [0, 5],
        ]),
        plainTables(5, tinyConfig.head_dim),
      )
      .data();
    expect(distance(whole.subarray(0, 5 * 19), prefix)).toBeLessThan(1e-5);
  });

  it("I-16: does not notice a shift of all positions", async () => {
    const model = await tinyLlama(shallow);
    const run = async (start: number) => {
      const { inputs, targets, tables } = randomBatch(tinyConfig, { batch: 2, time: 8, seed: 6, start });
      const [loss, grads] = await lossAndGradient(model, { inputs, targets, tables });
      return { logits: await model.forward(inputs, tables).data(), loss: await loss.item(), grads: await valuesOf(grads) };
    };
    const [at0, at1000] = [await run(0), await run(1000)];
    expect(distance(at0.logits, at1000.logits)).toBeLessThan(1e-4);
    expect(Math.abs(at0.loss - at1000.loss)).toBeLessThan(1e-5);
    for (const [path, values] of at0.grads) expect(distance(values, at1000.grads.get(path) as number[]), path).toBeLessThan(1e-4);
  });

  it("notices a shift of some positions", async () => {
    const model = await tinyLlama();
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 2, time: 8, seed: 6 });
    const gap = tablesAt([0, 1, 2, 3, 9, 10, 11, 12], tinyConfig.head_dim);
    expect(distance(await model.forward(inputs, tables).data(), await model.forward(inputs, gap).data())).toBeGreaterThan(1e-3);
  });

  it("I-19: treats the samples of a batch apart from each other, tables included", async () => {
    const model = await tinyLlama();
    const { inputs } = randomBatch(tinyConfig, { batch: 2, time: 6, seed: 7 });
    const [near, far] = [plainTables(6, tinyConfig.head_dim), tablesAt([0, 3, 6, 9, 12, 15], tinyConfig.head_dim)];
    const both = { cos: concat([near.cos, far.cos]), sin: concat([near.sin, far.sin]) };
    const together = await model.forward(inputs, both).data();
    const first = await model.forward(inputs.slice([[0, 1]]), near).data();
    const second = await model.forward(inputs.slice([[1, 2]]), far).data();
    expect(distance(together, [...first, ...second])).toBeLessThan(1e-5);
  });

  it("refuses tokens and tables of another shape", async () => {
    const model = await tinyLlama();
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 2, time: 6, seed: 8 });
    expect(() => model.forward(inputs.reshape([12]), tables)).toThrow(ShapeError);
    expect(() => model.forward(inputs, plainTables(7, tinyConfig.head_dim))).toThrow(/expected \[2 or 1, 6, 3\]/);
    expect(() => model.forward(inputs, plainTables(6, 8))).toThrow(ShapeError);
  });
});

describe("the gradient of a Llama", () => {
  it("is what central differences find in f64", async () => {
    const backend = createReferenceBackend();
    useBackend(backend);
    // The reference computes without rounding, so that differences are good to nine digits.
    const config = { ...tinyConfig, vocab_size: 7, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, head_dim: 4 };
    const model = await tinyLlama(config);
    const { inputs, targets, tables } = randomBatch(config, { batch: 2, time: 5, seed: 9 });
    const grads = await valuesOf(valueAndGrad(languageLoss)(model, { inputs, targets, tables })[1]);
    const values = await valuesOf(model);
    const lossWith = async (path: string, index: number, value: number): Promise<number> => {
      const moved = mapTensors(model, (t, at) => {
        if (at !== path) return t;
        const data = Float64Array.from(values.get(path) as number[]);
        data[index] = value;
        return tensor(data, { dtype: "f64", shape: t.shape }).cast("f32");
      });
      return llamaLoss(moved, { inputs, targets }, tables).cast("f64").item();
    };
    const step = 1e-4;
    for (const [path, gradient] of grads) {
      for (const index of [0, Math.floor(gradient.length / 2), gradient.length - 1]) {
        const at = (values.get(path) as number[])[index] as number;
        const numeric = ((await lossWith(path, index, at + step)) - (await lossWith(path, index, at - step))) / (2 * step);
        expect(Math.abs(numeric - (gradient[index] as number)), `${path}[${index}]`).toBeLessThan(1e-7);
      }
    }
    useBackend(undefined);
  });
});
