import { readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../../src/backend/reference/index.js";
import { NonFiniteError, OptionError } from "../../../src/errors.js";
import {
  convertModel,
  fromHfRope,
  type GgufDtype,
  ggufBlob,
  key,
  Llama,
  type LlamaConfig,
  llamaConfig,
  loadModel,
  mapTensors,
  modelBlobs,
  openModel,
  ropeFrequencies,
  type StoredModel,
  saveGguf,
  tensor,
  toHfRope,
  useBackend,
} from "../../../src/index.js";
import { fromHalves, toHalves } from "../../../src/ir/halves.js";
import { bytesSource } from "../../../src/nn/byte-source.js";
import { dequantizers, quantizeQ8 } from "../../../src/nn/gguf/blocks.js";
import { readGgufHeader } from "../../../src/nn/gguf/header.js";
import { ggufTokenizer } from "../../../src/nn/gguf/keys.js";
import { loadTokenizer } from "../../../src/nn/tokenizers.js";
import { goldenModel } from "../../golden/llama-fixture.js";
import { tinyConfig, tinyLlama, valuesOf } from "../tiny.js";

let folder: string;
beforeAll(async () => {
  useBackend(createReferenceBackend());
  folder = await mkdtemp(join(tmpdir(), "dawngrad-save-gguf-"));
});
afterAll(async () => {
  useBackend(undefined);
  await rm(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);
const bytesOfBlob = async (blob: { arrayBuffer(): Promise<ArrayBuffer> }): Promise<Uint8Array> => new Uint8Array(await blob.arrayBuffer());
const headerOf = async (model: Llama | StoredModel, options: Parameters<typeof ggufBlob>[1] = {}) =>
  readGgufHeader(bytesSource(await bytesOfBlob(await ggufBlob(model, options)), "m.gguf"));

/** What a dtype makes of rows of numbers. */
const rounded = (dtype: GgufDtype, values: number[], shape: readonly number[]): number[] => {
  const numbers = Float32Array.from(values);
  const width = shape.at(-1) as number;
  if (dtype === "f32" || shape.length < 2) return [...numbers];
  if (dtype !== "q8_0" || width % 32 !== 0) {
    const half = dtype === "bf16" ? "bf16" : "f16";
    return [...fromHalves(half, toHalves(half, numbers))];
  }
  const out = new Float32Array(numbers.length);
  dequantizers["Q8_0"]?.(quantizeQ8(numbers), out);
  return [...out];
};

describe("a model that is written as GGUF", () => {
  it.each(["f32", "f16", "bf16", "q8_0"] as const)("as %s comes back as far as the dtype keeps it", async (dtype) => {
    const model = goldenModel();
    await saveGguf(at(`${dtype}.gguf`), model, { dtype });
    const back = await loadModel(at(`${dtype}.gguf`));
    expect(back.config).toEqual(model.config);
    const [found, expected] = [await valuesOf(back), await valuesOf(model)];
    const stored = await openModel(at(`${dtype}.gguf`));
    for (const [name, { shape }] of stored.tensors) {
      // Rows change places with their blocks, so that rounding is the same in either order.
      expect(found.get(name), name).toEqual(rounded(dtype, expected.get(name) as number[], shape));
    }
    await stored.close();
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("is what an independent parser reads", async () => {
    const model = goldenModel();
    await saveGguf(at("parsed.gguf"), model, {
      dtype: "q8_0",
      name: "a Llama",
      metadata: { "general.license": "mit", "x.y": 0.5, "x.z": 7 },
    });
    const { metadata, tensorInfos, tensorDataOffset } = await gguf(at("parsed.gguf"), { allowLocalFile: true });
    expect(metadata).toMatchObject({
      version: 3,
      "general.architecture": "llama",
      "general.name": "a Llama",
      "general.license": "mit",
      "general.file_type": 7,
      "llama.block_count": 2,
      "llama.attention.head_count_kv": 2,
      "llama.rope.freq_base": 10000,
      "x.y": 0.5,
      "x.z": 7,
    });
    const header = await headerOf(model, { dtype: "q8_0", name: "a Llama", metadata: { "general.license": "mit", "x.y": 0.5, "x.z": 7 } });
    expect(Number(tensorDataOffset)).toBe(header.dataStart);
    expect(
      tensorInfos.map(({ name, shape, dtype, offset }) => [name, shape.map(Number).reverse(), dtype, Number(offset) + header.dataStart]),
    ).toEqual([...header.tensors.values()].map(({ name, shape, type, offset }) => [name, [...shape], type.number, offset]));
  });

  it("from a file has its keys and its very numbers again", async () => {
    const golden = new URL("../../golden/gguf/llama.gguf", import.meta.url).pathname;
    await convertModel(golden, at("again.gguf"));
    const [first, second] = [await openModel(golden), await openModel(at("again.gguf"))];
    expect(await valuesOf(await loadModel(at("again.gguf")))).toEqual(await valuesOf(await loadModel(golden)));
    expect(second.config).toEqual(first.config);
    const keys = (model: StoredModel): string[] =>
      Object.keys(model.metadata).filter((one) => one.startsWith("tokenizer.") || one === "general.name");
    expect(keys(second)).toEqual(keys(first));
    const tokenizers = await Promise.all(
      [golden, at("again.gguf")].map(async (path) => ggufTokenizer(await readGgufHeader(bytesSource(await readFile(path), "f")))),
    );
    expect(tokenizers[1]).toEqual({ ...tokenizers[0] });
    await Promise.all([first.close(), second.close()]);
  });

  it("and read as a folder of Hugging Face is the same model", async () => {
    const golden = new URL("../../golden/gguf/llama.gguf", import.meta.url).pathname;
    await convertModel(golden, at("hf"));
    const expected = await valuesOf(await loadModel(golden));
    expect(await valuesOf(await loadModel(at("hf")))).toEqual(expected);
    const stored = await openModel(at("hf"));
    expect(new Set([...stored.tensors.values()].map(({ storedAs }) => storedAs))).toEqual(new Set(["F32", "F16", "BF16"]));
    await stored.close();
    await expect(convertModel(golden, at("hf2"), { dtype: "q8_0" })).rejects.toThrow(OptionError);
  });

  const families: [string, Partial<LlamaConfig>, string][] = [
    ["Llama", {}, "llama"],
    ["Llama with all biases", { attention_bias: true, attention_output_bias: true, mlp_bias: true }, "llama"],
    ["Mistral", { sliding_window: 8 }, "llama"],
    ["Qwen2", { attention_bias: true, tie_word_embeddings: true }, "qwen2"],
    ["Qwen3", { qk_norm: true }, "qwen3"],
  ];
  it.each(families)("of the kind of %s comes back", async (_, flags, architecture) => {
    const config = llamaConfig({ ...tinyConfig, ...flags });
    let seed = 0;
    const model = mapTensors(new Llama(config, { key: key(3) }), (one) => {
      const size = one.shape.reduce((a, b) => a * b, 1);
      return tensor(
        Float32Array.from({ length: size }, () => Math.sin(seed++)),
        { shape: one.shape },
      );
    });
    const path = at(`${architecture}-${Object.keys(flags).join("-")}.gguf`);
    await saveGguf(path, model);
    const back = await loadModel(path);
    expect(back.config).toEqual(config);
    expect(await valuesOf(back)).toEqual(await valuesOf(model));
    const stored = await openModel(path);
    expect(stored.metadata["general.architecture"]).toBe(architecture);
    await stored.close();
  });

  it("of a kind for which llama.cpp reads no factors of frequencies is of another that is the same, or refused", async () => {
    const rope_parameters = {
      ...{ rope_type: "llama3", rope_theta: 10_000, factor: 4, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 8,
    };
    const written = async (flags: Partial<LlamaConfig>): Promise<readonly [Llama, Llama, unknown]> => {
      const model = new Llama(llamaConfig({ ...tinyConfig, ...flags, rope_parameters }), { key: key(4) });
      await saveGguf(at("factors.gguf"), model);
      const { metadata, close } = await openModel(at("factors.gguf"));
      await close();
      return [model, await loadModel(at("factors.gguf")), metadata["general.architecture"]];
    };
    const [model, back, architecture] = await written({ attention_bias: true });
    expect([architecture, back.config.attention_bias]).toEqual(["llama", true]);
    expect(await valuesOf(back)).toEqual(await valuesOf(model));
    await expect(written({ qk_norm: true })).rejects.toThrow(/no model of this kind with RoPE whose frequencies have factors/);
  });

  const W = { originalMaxPositions: 32 };
  it.each([
    [{ type: "linear", factor: 4 }, "linear"],
    [{ type: "yarn", factor: 4, ...W }, "yarn"],
    [{ type: "yarn", factor: 8, ...W, betaFast: 4, betaSlow: 0.5, attentionFactor: 1.3 }, undefined],
    [{ type: "yarn", factor: 8, ...W, truncate: false }, undefined],
    [{ type: "yarn", factor: 8, ...W, attentionFactor: 1.3 }, "yarn"],
    [{ type: "yarn", factor: 8, ...W, mscale: 1, mscaleAllDim: 0.5 }, "yarn"],
    [{ type: "yarn", factor: 4, ...W, ramp: "turns", betaFast: 4 }, undefined],
    [{ type: "llama3", factor: 8, ...W }, undefined],
    [{ type: "ntk-by-parts", factor: 4, ...W }, undefined],
    [{ type: "ntk", factor: 4 }, undefined],
  ] as const)("scaled by %o has the frequencies of that scale", async (scaling, type) => {
    const model = await tinyLlama();
    const { head_dim: headDim, rope_theta: theta } = model.config;
    const extraConfig = { ...toHfRope(scaling as Parameters<typeof toHfRope>[0], { headDim, theta, window: 32 }) };
    const path = at("scaled.gguf");
    await saveGguf(path, model, { extraConfig });
    const { config, metadata, close } = await openModel(path);
    await close();
    expect(metadata["llama.rope.scaling.type"]).toBe(type);
    const found = fromHfRope(config);
    const wanted = ropeFrequencies(scaling as Parameters<typeof ropeFrequencies>[0], { headDim, theta });
    const read = ropeFrequencies(found.scaling, { headDim, theta: found.theta });
    wanted.invFreq.forEach((frequency, j) => expect((read.invFreq[j] as number) / frequency).toBeCloseTo(1, 5));
    expect(read.attentionFactor).toBeCloseTo(wanted.attentionFactor, 5);
    expect(config.max_position_embeddings).toBe(extraConfig.max_position_embeddings);
    if (type === undefined && scaling.type === "yarn") expect(found.window).toBe(32);
  });
});

describe("the tokenizer of a GGUF file", () => {
  const byteLevel = (preTokenizer: object) => ({
    model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"], byte_fallback: false },
    added_tokens: [
      { id: 3, content: "<|end|>", special: true },
      { id: 4, content: "<tool>", special: false },
    ],
    pre_tokenizer: preTokenizer,
    post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<|end|>" } }, { Sequence: { id: "A" } }] },
  });
  const digits = {
    type: "Sequence",
    pretokenizers: [
      { type: "Digits", individual_digits: true },
      { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    ],
  };

  it("is that of a folder with byte-level BPE, for as many tokens as the model has", async () => {
    const model = await tinyLlama();
    const header = await headerOf(model, {
      tokenizer: {
        "tokenizer.json": JSON.stringify(byteLevel(digits)),
        "tokenizer_config.json": JSON.stringify({ eos_token: { content: "<|end|>" }, chat_template: "{{ x }}" }),
      },
    });
    const found = ggufTokenizer(header);
    expect(found).toMatchObject({
      model: "gpt2",
      pre: "smollm",
      merges: ["a b"],
      eosTokenId: 3,
      chatTemplate: "{{ x }}",
      addBosToken: true,
    });
    expect(found?.tokens.slice(0, 6)).toEqual(["a", "b", "ab", "<|end|>", "<tool>", "[PAD5]"]);
    expect([...(found?.tokenTypes ?? [])].slice(0, 6)).toEqual([1, 1, 1, 3, 4, 5]);
  });

  it("is that of a folder with SentencePiece's BPE, with scores in the order of its merges", async () => {
    const json = {
      model: {
        type: "BPE",
        byte_fallback: true,
        unk_token: "<unk>",
        vocab: { "<unk>": 0, "<0x0A>": 1, "▁": 2, a: 3, "▁a": 4, aa: 5 },
        merges: [
          ["a", "a"],
          ["▁", "a"],
        ],
      },
      added_tokens: [{ id: 0, content: "<unk>", special: true }],
      normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace" }] },
    };
    const header = await headerOf(await tinyLlama(), { tokenizer: { "tokenizer.json": JSON.stringify(json) } });
    const found = ggufTokenizer(header);
    expect(found).toMatchObject({ model: "llama", addSpacePrefix: true, merges: undefined });
    expect([...(found?.tokenTypes ?? [])].slice(0, 6)).toEqual([2, 6, 1, 1, 1, 1]);
    expect([...(found?.scores ?? [])].slice(0, 6).map((score) => score + 0)).toEqual([0, 0, 0, 0, -2, -1]);
  });

  it("is that of a folder with SentencePiece's own file, piece by piece, where llama.cpp has its kind", async () => {
    const golden = (name: string): Uint8Array => readFileSync(new URL(`../../golden/tokenizers/${name}`, import.meta.url));
    const pieces = await loadTokenizer({ "tokenizer.model": golden("bpe.model") });
    const model = new Llama(llamaConfig({ ...tinyConfig, vocab_size: pieces.vocabSize + 3 }), { key: key(1) });
    const file = await ggufBlob(model, {
      tokenizer: { "tokenizer.model": golden("bpe.model"), "tokenizer_config.json": JSON.stringify({ chat_template: "{{ x }}" }) },
    });
    const found = await loadTokenizer({ "m.gguf": file });
    expect(found).toMatchObject({ bos: 1, eos: 2, chatTemplate: "{{ x }}", vocabSize: pieces.vocabSize + 3 });
    const { texts } = JSON.parse(new TextDecoder().decode(golden("answers.json"))) as { texts: string[] };
    for (const text of texts) {
      for (const special of [true, false]) {
        const options = { special, parseSpecial: false };
        expect([...found.encode(text, options)], text).toEqual([...pieces.encode(text, options)]);
      }
    }
    const small = new Llama(llamaConfig({ ...tinyConfig, vocab_size: 7 }), { key: key(1) });
    await expect(ggufBlob(small, { tokenizer: { "tokenizer.model": golden("bpe.model") } })).rejects.toThrow(/tokens, and the model has 7/);
    await expect(ggufBlob(model, { tokenizer: { "tokenizer.model": golden("unigram.model") } })).rejects.toThrow(OptionError);
    await expect(ggufBlob(model, { tokenizer: { "config.json": "{}" } })).rejects.toThrow(/tokenizer\.json: there is no such file/);
  });

  it("is bytes for a model of 256 tokens, and none where nobody has one", async () => {
    const bytes = new Llama(llamaConfig({ ...tinyConfig, vocab_size: 256 }), { key: key(1) });
    const found = ggufTokenizer(await headerOf(bytes));
    expect(found?.tokens.length).toBe(256);
    expect([found?.tokens[65], found?.tokens[32], found?.tokens[10]]).toEqual(["A", "Ġ", "Ċ"]);
    const header = await headerOf(await tinyLlama());
    expect(header.keys.get("tokenizer.ggml.model")?.value).toBe("none");
    expect(ggufTokenizer(header)).toBeUndefined();
  });

  it("is refused where llama.cpp has no kind or name for it, unless the name is stated", async () => {
    const model = await tinyLlama();
    const other = { "tokenizer.json": JSON.stringify(byteLevel({ type: "Whitespace" })) };
    await expect(ggufBlob(model, { tokenizer: other })).rejects.toThrow(/cuts texts/);
    expect(ggufTokenizer(await headerOf(model, { tokenizer: other, pre: "olmo" }))?.pre).toBe("olmo");
    const unigram = { "tokenizer.json": JSON.stringify({ model: { type: "Unigram", vocab: [] } }) };
    await expect(ggufBlob(model, { tokenizer: unigram })).rejects.toThrow(/"BPE", found "Unigram"/);
    const large = { "tokenizer.json": JSON.stringify({ model: { type: "BPE", vocab: { a: 99 }, merges: [] } }) };
    await expect(ggufBlob(model, { tokenizer: large })).rejects.toThrow(/id 99, and the model has 19 tokens/);
  });
});

describe("a model is not written as GGUF", () => {
  const file = (): string => at("never.gguf");
  it("with weights that are no numbers, or that the dtype does not reach; what was there stays", async () => {
    const model = await tinyLlama();
    await saveGguf(file(), model);
    const before = await readFile(file());
    const withWeight = (value: number): Llama =>
      mapTensors(model, (one, path) => (path === "lm_head.weight" ? one.mul(0).add(value) : one));
    await expect(saveGguf(file(), withWeight(Number.NaN))).rejects.toThrow(NonFiniteError);
    await expect(saveGguf(file(), withWeight(Number.POSITIVE_INFINITY))).rejects.toThrow(NonFiniteError);
    await expect(saveGguf(file(), withWeight(70000), { dtype: "f16" })).rejects.toThrow(/which F16 does not reach/);
    expect(Buffer.from(await readFile(file())).equals(before)).toBe(true);
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it("with a scale that follows the length, windows in some layers, or a position encoding of its own", async () => {
    const model = await tinyLlama();
    const dynamic = { rope_scaling: { rope_type: "dynamic", factor: 2 } };
    await expect(ggufBlob(model, { extraConfig: dynamic })).rejects.toThrow(/no key for RoPE of type "dynamic"/);
    const mixed = new Llama(llamaConfig({ ...tinyConfig, sliding_window: 4, layer_types: ["full_attention", "sliding_attention"] }), {
      key: key(1),
    });
    await expect(ggufBlob(mixed)).rejects.toThrow(/windows in some layers alone/);
    const alibi = new Llama(llamaConfig({ ...tinyConfig, position_encoding: { type: "alibi" } }), { key: key(1) });
    await expect(ggufBlob(alibi)).rejects.toThrow(/position encoding of its own/);
  });

  it("from files of a folder whose fields are checked as those of a config.json", async () => {
    const blobs = await modelBlobs(await tinyLlama());
    const stored = await openModel(blobs);
    await expect(ggufBlob(stored, { extraConfig: { hidden_size: -1 } })).rejects.toThrow(/hidden_size/);
    expect((await bytesOfBlob(await ggufBlob(stored))).length).toBe((await bytesOfBlob(await ggufBlob(await loadModel(blobs)))).length);
  });
});
