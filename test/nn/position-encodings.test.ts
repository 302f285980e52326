import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  checkGrads,
  FormatError,
  grad,
  key,
  mapTensors,
  memoryOf,
  OptionError,
  realize,
  type Tensor,
  tensor,
  tensorsOf,
  treeAt,
  UsageError,
  useBackend,
} from "../../src/index.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import type { PositionEncoding } from "../../src/nn/attention-context.js";
import { loadModel, loadTraining, saveModel, saveTraining } from "../../src/nn/checkpoint.js";
import { countParameters, llamaShapes } from "../../src/nn/config.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { createPositionEncoding } from "../../src/nn/encodings/create.js";
import type { PositionEncodingConfig, StaticEncodingConfig } from "../../src/nn/encodings/encoding-config.js";
import { alibiSlopes } from "../../src/nn/encodings/static-biases.js";
import { KeyValueCache } from "../../src/nn/kv-cache.js";
import { Llama } from "../../src/nn/llama.js";
import { parameterCount } from "../../src/nn/module.js";
import { adamw } from "../../src/nn/optimizers.js";
import { withPositionEncoding } from "../../src/nn/position-encodings.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss } from "../../src/nn/training.js";
import { usedBackends } from "../support/backends.js";
import { encodedAttention, slopesOf } from "./encoding-oracle.js";
import { distance, plainTables, randomBatch, tinyConfig, tinyLlama, valuesOf } from "./tiny.js";

const statics: readonly StaticEncodingConfig[] = [
  { type: "nope" },
  { type: "alibi" },
  { type: "kerple" },
  { type: "fire", width: 5, length: 6 },
];
const configs: readonly PositionEncodingConfig[] = [
  ...statics,
  { type: "dape", bias: { type: "alibi" }, width: 7 },
  { type: "dape", bias: { type: "fire", width: 3, length: 4 }, rows: 2 },
  { type: "dape-v2", bias: { type: "kerple" }, width: 5 },
  { type: "dape-v2", bias: { type: "nope" }, width: 5, kernel: 5, rows: 3 },
];
const named = configs.map((config) => ({ config, name: JSON.stringify(config) }));

/** Numbers in [−2, 2), a function of the seed alone. */
const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => threefry2x32(seed, 31, i, 0)[0] / 2 ** 30 - 2);

function inputsOf(sizes: { B: number; H: number; Hkv: number; T: number; S: number; D: number }, offset: number) {
  const { B, H, Hkv, T, S, D } = sizes;
  return { q: numbers(B * H * T * D, 1), k: numbers(B * Hkv * S * D, 2), v: numbers(B * Hkv * S * D, 3), sizes, offset };
}

function attended(encoding: PositionEncoding, inputs: ReturnType<typeof inputsOf>, offset: Tensor | number = inputs.offset): Tensor {
  const { B, H, Hkv, T, S, D } = inputs.sizes;
  const [q, k, v] = [
    tensor(inputs.q, { shape: [B, H, T, D] }),
    tensor(inputs.k, { shape: [B, Hkv, S, D] }),
    tensor(inputs.v, { shape: [B, Hkv, S, D] }),
  ];
  return encoding.attend(q, { keys: k, values: v, offset, keyTables: plainTables(S, D), queryTables: plainTables(T, D) });
}

const shallow = { ...tinyConfig, num_hidden_layers: 1 };

/** A model whose layer has an encoding with parameters of some size. */
const encodedLlama = async (config: PositionEncodingConfig): Promise<Llama> =>
  withPositionEncoding(await tinyLlama(shallow), config, { key: key(3) });

describe.each(usedBackends())("position encodings on $name", { timeout: 180_000 }, ({ create, name: backendName }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  // Each kind is another program, which takes a software adapter a second.
  const here = named.filter((_, i) => backendName !== "webgpu" || i % 3 === 0);

  it.each(here)("$name attends as plain loops do", async ({ config }) => {
    // As many heads as are no power of two, keys that are shared, and queries that begin after some keys.
    const inputs = inputsOf({ B: 2, H: 6, Hkv: 3, T: 5, S: 11, D: 4 }, 3);
    const encoding = createPositionEncoding(config, { heads: 6, key: key(5) });
    const expected = encodedAttention(config, await valuesOf(encoding), inputs);
    expect(distance(await attended(encoding, inputs).data(), expected)).toBeLessThan(2e-5);
    const traced = tensor(Int32Array.of(3)).reshape([]);
    expect(distance(await attended(encoding, inputs, traced).data(), expected)).toBeLessThan(2e-5);
  });

  it.each(here)("$name reads token by token what it reads at once", async ({ config }) => {
    const model = await encodedLlama(config);
    const { inputs } = randomBatch(tinyConfig, { batch: 2, time: 9, seed: 5 });
    const whole = await model.forward(inputs, plainTables(9, tinyConfig.head_dim)).data();
    const cache = new KeyValueCache(model.config, { capacity: 12, batch: 2 });
    const tables = plainTables(12, tinyConfig.head_dim);
    for (const [from, to] of [
      [0, 6],
      [6, 7],
      [7, 9],
    ] as const) {
      const logits = model.forward(inputs.slice([null, [from, to]]), tables, cache);
      cache.advance(to - from);
      await realize([logits, cache]);
      const V = tinyConfig.vocab_size;
      const expected = [0, 1].flatMap((row) => [...whole.subarray((row * 9 + from) * V, (row * 9 + to) * V)]);
      expect(distance(await logits.data(), expected)).toBeLessThan(5e-5);
    }
  });

  it("a tiny model learns with each of them", async () => {
    // All of them where that is quick.
    const tried = backendName === "wasm" ? configs : configs.slice(-1);
    for (const config of tried) {
      const optimizer = adamw({ weightDecay: 0 });
      const step = createTrainStep({ optimizer, loss: languageLoss });
      let model = withPositionEncoding(await tinyLlama(shallow, { scale: 4 }), config, { key: key(4) });
      let state = optimizer.init(model);
      const before = await valuesOf(model);
      const losses: number[] = [];
      const batch = randomBatch(tinyConfig, { batch: 2, time: 8, seed: 6 });
      for (let i = 0; i < 20; i++) {
        const [next, nextState, { loss }] = step(model, state, batch, 0.02);
        [model, state] = [next, nextState];
        losses.push(await loss.item());
      }
      expect(losses[19], JSON.stringify(config)).toBeLessThan(0.5 * (losses[0] as number));
      for (const [path, values] of await valuesOf(model)) {
        // What is the same for all keys of a query cancels in the softmax.
        if (path.includes("position_encoding") && !path.endsWith("output.bias")) expect(values, path).not.toEqual(before.get(path));
      }
    }
  });
});

describe("position encodings", () => {
  let backend: Backend;
  let folder: string;
  beforeAll(async () => {
    backend = createReferenceBackend();
    useBackend(backend);
    folder = await mkdtemp(`${tmpdir()}/encodings-`);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
    await rm(folder, { recursive: true });
  });

  const small = inputsOf({ B: 1, H: 2, Hkv: 1, T: 3, S: 5, D: 2 }, 2);

  it("has the slopes that the paper prints for 8 and 16 heads, and its rule for all others", () => {
    expect([...alibiSlopes(8)]).toEqual([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]);
    alibiSlopes(16).forEach((slope, i) => {
      expect(slope).toBeCloseTo(1 / 2 ** ((i + 1) / 2), 14);
    });
    for (let heads = 1; heads <= 70; heads++) {
      const expected = slopesOf(heads);
      expect(alibiSlopes(heads)).toHaveLength(heads);
      alibiSlopes(heads).forEach((slope, h) => {
        expect(Math.abs(slope / (expected[h] as number) - 1), `${heads} heads`).toBeLessThan(1e-12);
      });
    }
    expect(() => alibiSlopes(0)).toThrow(OptionError);
  });

  it.each(named)("$name has the gradient of central differences by its parameters, queries, keys and values", async ({ config }) => {
    const { B, H, Hkv, T, S, D } = small.sizes;
    const made = createPositionEncoding(config, { heads: H, key: key(7) });
    const wide = (x: Float32Array, shape: number[]): Tensor => tensor(Float64Array.from(x), { dtype: "f64", shape });
    const encoding = mapTensors(made, (t) => t.cast("f64"));
    const [q, k, v] = [wide(small.q, [B, H, T, D]), wide(small.k, [B, Hkv, S, D]), wide(small.v, [B, Hkv, S, D])];
    const f = (at: PositionEncoding, queries: Tensor, keys: Tensor, values: Tensor): Tensor =>
      at.attend(queries, { keys, values, offset: 2, keyTables: plainTables(S, D), queryTables: plainTables(T, D) });
    await checkGrads(f, [encoding, q, k, v], { modes: ["reverse"], relative: 1e-5 });
  });
  it.each([{ type: "fire" }, { type: "dape", bias: { type: "kerple" } }, { type: "dape-v2", bias: { type: "kerple" } }] as const)(
    "$type gives the same values and gradients for every number of rows at once",
    async (config) => {
      const inputs = inputsOf({ B: 2, H: 4, Hkv: 2, T: 7, S: 9, D: 4 }, 2);
      const encoding = createPositionEncoding(config, { heads: 4, key: key(2) });
      const parameters = tensorsOf(encoding);
      const found = async (rows: number): Promise<number[]> => {
        const changed = createPositionEncoding({ ...config, rows }, { heads: 4, key: key(2) });
        const same = mapTensors(changed, (_, path) => parameters.find((one) => one.path === path)?.tensor as Tensor);
        const gradients = await valuesOf(grad((at: PositionEncoding) => attended(at, inputs).square().sum())(same));
        return [...(await attended(same, inputs).data()), ...[...gradients.values()].flat()];
      };
      const whole = await found(7);
      for (const rows of [1, 2, 3, 4, 6, 100]) expect(distance(await found(rows), whole), `${rows} rows`).toBeLessThan(1e-10);
    },
  );

  it.each(statics)("DAPE and DAPE V2 without an output layer are their bias $type alone", async (bias) => {
    const inputs = inputsOf({ B: 2, H: 4, Hkv: 2, T: 5, S: 8, D: 4 }, 3);
    for (const type of ["dape", "dape-v2"] as const) {
      const encoding = createPositionEncoding({ type, bias }, { heads: 4, key: key(9) });
      const silent = mapTensors(encoding, (t, path) => (path.startsWith("output") ? t.mul(0) : t)) as PositionEncoding & {
        bias: PositionEncoding;
      };
      expect(distance(await attended(silent, inputs).data(), await attended(silent.bias, inputs).data())).toBeLessThan(1e-12);
      expect(distance(await attended(encoding, inputs).data(), await attended(silent, inputs).data())).toBeGreaterThan(1e-3);
    }
  });

  it("DAPE V2 with a kernel of one key is DAPE", async () => {
    const inputs = inputsOf({ B: 1, H: 4, Hkv: 4, T: 5, S: 8, D: 4 }, 3);
    const one = createPositionEncoding({ type: "dape", bias: { type: "kerple" } }, { heads: 4, key: key(9) });
    const two = createPositionEncoding({ type: "dape-v2", bias: { type: "kerple" }, kernel: 1 }, { heads: 4, key: key(9) });
    const parameters = new Map(tensorsOf(one).map(({ path, tensor: t }) => [path, t]));
    const same = mapTensors(two, (t, path) => (parameters.get(path) as Tensor).reshape(t.shape));
    expect(distance(await attended(same, inputs).data(), await attended(one, inputs).data())).toBeLessThan(1e-12);
  });

  it("a parameter of Kerple below its bound counts as the bound, and has its derivative", async () => {
    const inputs = inputsOf({ B: 1, H: 2, Hkv: 2, T: 5, S: 8, D: 4 }, 3);
    const encoding = createPositionEncoding({ type: "kerple" }, { heads: 2, key: key(9) });
    const at = (value: number): PositionEncoding => mapTensors(encoding, (t) => t.mul(0).add(value));
    const of = async (value: number) => {
      const gradient = grad((one: PositionEncoding) => attended(one, inputs).square().sum())(at(value));
      return [...(await attended(at(value), inputs).data()), ...[...(await valuesOf(gradient)).values()].flat()];
    };
    expect(distance(await of(-0.3), await of(0.01))).toBeLessThan(1e-7);
    expect(distance(await of(0.3), await of(0.01))).toBeGreaterThan(1e-3);
  });

  it("in blocks of rows take memory that grows with the length, with gradients and without", () => {
    const peak = (type: "dape" | "dape-v2", T: number, rows: number): number => {
      const encoding = createPositionEncoding({ type, bias: { type: "kerple" }, rows }, { heads: 4, key: key(1) });
      const inputs = inputsOf({ B: 1, H: 4, Hkv: 2, T, S: T, D: 4 }, 0);
      return memoryOf(() => grad((at: PositionEncoding) => attended(at, inputs).square().sum())(encoding)).peakBytes;
    };
    for (const type of ["dape", "dape-v2"] as const) {
      expect(peak(type, 512, 4) / peak(type, 256, 4)).toBeLessThan(2.2);
      expect(peak(type, 512, 512) / peak(type, 256, 256)).toBeGreaterThan(3.5);
      expect(peak(type, 512, 4) / peak(type, 512, 512)).toBeLessThan(0.05);
    }
  });

  it("stand in a model that shares the weights of the one before, and go again", async () => {
    const model = await tinyLlama();
    const encoded = withPositionEncoding(model, { type: "kerple" }, { key: key(1) });
    expect(encoded).toBeInstanceOf(Llama);
    expect(encoded.config.position_encoding).toEqual({ type: "kerple" });
    expect(encoded.model.embed_tokens).toBe(model.model.embed_tokens);
    const [one, other] = encoded.model.layers.map(({ self_attn }) => self_attn.position_encoding) as unknown as { p: Tensor }[];
    expect(await one?.p.data()).not.toEqual(await other?.p.data());
    const again = withPositionEncoding(encoded, null);
    expect(again.config).toEqual(model.config);
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 1, time: 5, seed: 1 });
    const logits = async (of: Llama) => of.forward(inputs, tables).data();
    expect(await logits(again)).toEqual(await logits(model));
    expect(await logits(encoded)).not.toEqual(await logits(model));
  });

  it("drawn from one key are equal, and a configuration makes a model that has them", async () => {
    const config = llamaConfig({ ...tinyConfig, position_encoding: { type: "dape-v2", bias: { type: "fire" } } });
    const [one, other] = [new Llama(config, { key: key(1) }), new Llama(config, { key: key(1) })];
    expect(await valuesOf(one)).toEqual(await valuesOf(other));
    const plain = await valuesOf(new Llama(tinyConfig, { key: key(1) }));
    const found = await valuesOf(one);
    for (const [path, values] of plain) expect(found.get(path), path).toEqual(values);
    expect(parameterCount(one)).toBe(countParameters(config));
    expect(new Map(tensorsOf(one).map(({ path, tensor: t }) => [path, t.shape]))).toEqual(llamaShapes(config));
  });

  it.each(named)("$name is brought back from a folder", async ({ config, name }) => {
    const model = await encodedLlama(config);
    await saveModel(folder, model);
    const written = JSON.parse(await readFile(`${folder}/config.json`, "utf8")) as Record<string, unknown>;
    // Other software would read a model of type "llama" as one with RoPE.
    expect(written["model_type"], name).not.toBe("llama");
    expect(written["position_encoding"]).toEqual(config);
    const loaded = await loadModel(folder);
    expect(await valuesOf(loaded)).toEqual(await valuesOf(model));
    expect(loaded.config).toMatchObject(model.config);
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 1, time: 6, seed: 3 });
    // The reference has digits that no file keeps.
    expect(distance(await loaded.forward(inputs, tables).data(), await model.forward(inputs, tables).data())).toBeLessThan(1e-4);
    const optimizer = adamw();
    await saveTraining(folder, { model, optimizerState: optimizer.init(model), step: 3 });
    expect(await valuesOf((await loadTraining(folder, optimizer)).model)).toEqual(await valuesOf(model));
  });

  it("that were put into a model by hand are named by its file all the same", async () => {
    const model = await tinyLlama();
    for (const { self_attn } of model.model.layers) {
      self_attn.position_encoding = createPositionEncoding({ type: "kerple" }, { heads: 4, key: key(1) });
    }
    await saveModel(folder, model);
    expect(await valuesOf(await loadModel(folder))).toEqual(await valuesOf(model));
  });

  it.each(named)("$name refuses tables that find far pairs by RoPE", async ({ config }) => {
    const model = await encodedLlama(config);
    const { inputs, tables } = randomBatch(tinyConfig, { batch: 1, time: 6, seed: 3 });
    const far = { query: tables, key: tables, near: tensor(Int32Array.of(2)).reshape([]), keys: tensor(Int32Array.of(6)).reshape([]) };
    expect(() => model.forward(inputs, { ...tables, far })).toThrow(UsageError);
  });

  it("that no file can name are not saved", async () => {
    const nope = createPositionEncoding({ type: "nope" }, { heads: 4, key: key(1) });
    const own = withPositionEncoding(await tinyLlama(), () => ({ attend: (q, context) => nope.attend(q, context) }));
    await expect(saveModel(folder, own)).rejects.toThrow(/position encoding of layer 0 has no configuration/);
    const mixed = treeAt(await tinyLlama(), (m) => m.model.layers[1]?.self_attn.position_encoding as never, nope);
    await expect(saveModel(folder, mixed)).rejects.toThrow(UsageError);
    await expect(saveTraining(folder, { model: mixed, optimizerState: {}, step: 0 })).rejects.toThrow(UsageError);
    expect(() => withPositionEncoding(own, () => ({}) as never)).toThrow(OptionError);
  });

  const wrong: readonly (readonly [config: unknown, message: RegExp])[] = [
    [{ type: "t5" }, /of a known type, found "t5"/],
    [{}, /of a known type, found undefined/],
    ["kerple", /to be an object with a type/],
    [{ type: "kerple", width: 3 }, /no field "width" in a position_encoding of type "kerple"/],
    [{ type: "fire", width: 0 }, /width to be an integer from 1 to 65536, found 0/],
    [{ type: "fire", length: -1 }, /length/],
    [{ type: "dape" }, /position_encoding.bias to be an object/],
    [{ type: "dape", bias: { type: "dape", bias: { type: "nope" } } }, /position_encoding.bias of a known type, found "dape"/],
    [{ type: "dape-v2", bias: { type: "nope" }, kernel: 2 }, /kernel to be an odd number/],
    [{ type: "dape", bias: { type: "nope" }, rows: 1.5 }, /rows/],
  ];
  it.each(wrong)("refuses %j", async (config, message) => {
    const given = config as PositionEncodingConfig;
    expect(() => createPositionEncoding(given, { heads: 2, key: key(0) })).toThrow(OptionError);
    expect(() => createPositionEncoding(given, { heads: 2, key: key(0) })).toThrow(message);
    expect(() => llamaConfig({ ...tinyConfig, position_encoding: given })).toThrow(OptionError);
    await saveModel(folder, await encodedLlama({ type: "nope" }));
    const written = JSON.parse(await readFile(`${folder}/config.json`, "utf8")) as Record<string, unknown>;
    await writeFile(`${folder}/config.json`, JSON.stringify({ ...written, position_encoding: config }));
    await expect(loadModel(folder)).rejects.toThrow(FormatError);
    await expect(loadModel(folder)).rejects.toThrow(message);
  });

  it("are refused with weights of another encoding, and without a name", async () => {
    await saveModel(folder, await encodedLlama({ type: "kerple" }));
    const written = JSON.parse(await readFile(`${folder}/config.json`, "utf8")) as Record<string, unknown>;
    const read = async (encoding: unknown) => {
      await writeFile(`${folder}/config.json`, JSON.stringify({ ...written, position_encoding: encoding }));
      return loadModel(folder);
    };
    await expect(read({ type: "alibi" })).rejects.toThrow(/position_encoding/);
    await expect(read({ type: "fire" })).rejects.toThrow(FormatError);
    await expect(read(null)).rejects.toThrow(/expected position_encoding beside model_type/);
  });
});
