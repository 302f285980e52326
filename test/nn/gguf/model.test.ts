import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../../src/backend/reference/index.js";
import { FormatError } from "../../../src/errors.js";
import { fromHfRope, loadConfig, loadModel, openModel, ropeFrequencies, type StoredModel, tensor, useBackend } from "../../../src/index.js";
import { fromHalves, toHalves } from "../../../src/ir/halves.js";
import { openGgufModel } from "../../../src/nn/gguf/model.js";
import { llama3Factors } from "../../../src/nn/gguf/rope-keys.js";
import type { StoredTensor } from "../../../src/nn/stored-model.js";
import { goldenConfig, goldenLlama, goldenTables, goldenWeights } from "../../golden/llama-fixture.js";
import { fuzzRuns } from "../../support/fuzz.js";
import { array, bytesOfU64, f32Data, join, type RawGguf, type RawKey, rawGguf } from "../../support/gguf.js";
import { distance, valuesOf } from "../tiny.js";
import { f32Tensor, numbersOf, sourceOfBytes, streamed, tinyGguf, tinyKeys, tinyTensors, withKeys } from "./tiny-gguf.js";

const golden = new URL("../../golden/gguf/llama.gguf", import.meta.url);
const open = (file: RawGguf | Uint8Array): Promise<StoredModel> =>
  openGgufModel(sourceOfBytes(file instanceof Uint8Array ? file : rawGguf(file)));

const sizeOf = ({ shape }: StoredTensor): number => shape.reduce((product, extent) => product * extent, 1);

/** The numbers of a tensor, asked for in pieces of so many units. */
async function numbers(tensor: StoredTensor, units = 1e9): Promise<Float32Array> {
  const all = new Float32Array(sizeOf(tensor));
  for (let begin = 0; begin < all.length; begin += units * tensor.unit) {
    const piece = await tensor.read(begin, Math.min(all.length, begin + units * tensor.unit));
    all.set(piece instanceof Uint16Array ? fromHalves(tensor.dtype as "f16", piece) : piece, begin);
  }
  return all;
}

async function failure(action: Promise<unknown>): Promise<FormatError> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FormatError);
  return error as FormatError;
}

let folder: string;
beforeAll(async () => {
  useBackend(createReferenceBackend());
  folder = await mkdtemp(joinPath(tmpdir(), "dawngrad-gguf-"));
});
afterAll(async () => {
  useBackend(undefined);
  await rm(folder, { recursive: true, force: true });
});

describe("a GGUF file of Python's gguf", () => {
  it("has the configuration of its Hugging Face folder", async () => {
    const { config, close } = await openModel(golden.pathname);
    await close();
    expect(config).toEqual({ ...goldenConfig, bos_token_id: 1, eos_token_id: 2 });
  });

  it("has the weights of its Hugging Face folder as far as their types keep them", async () => {
    const { tensors } = await open(await readFile(golden));
    const expected = goldenWeights();
    expect(new Set(tensors.keys())).toEqual(new Set(expected.keys()));
    for (const [name, tensor] of tensors) {
      const { values, shape } = expected.get(name) as { values: Float32Array; shape: number[] };
      expect(tensor.shape).toEqual(shape);
      const found = await numbers(tensor, 1);
      if (tensor.storedAs === "F32") expect(found).toEqual(values);
      else if (tensor.dtype !== "f32") expect(found).toEqual(fromHalves(tensor.dtype, toHalves(tensor.dtype, values)));
      else expect(distance(found, values)).toBeLessThan(0.01);
    }
    expect(new Set([...tensors.values()].map(({ storedAs }) => storedAs))).toEqual(new Set(["F32", "F16", "BF16", "Q8_0"]));
  });

  it("is loaded by its path, and computes what the folder does as far as eight bits keep the weights", async () => {
    const { inputs, shape, logits } = goldenLlama();
    const model = await loadModel(golden.pathname);
    const found = await model.forward(tensor(new Int32Array(inputs), { shape }), goldenTables(shape[1])).data();
    expect(distance(found, logits)).toBeLessThan(0.05 * Math.max(...logits.map(Math.abs)));
  });
});

describe("a model in a GGUF file", () => {
  it("is the same from a path, a folder of one such file, contents by name and a stream", async () => {
    const bytes = rawGguf(tinyGguf());
    await writeFile(joinPath(folder, "tiny.gguf"), bytes);
    const expected = await valuesOf(await loadModel(joinPath(folder, "tiny.gguf")));
    expect(await valuesOf(await loadModel(folder))).toEqual(expected);
    expect(await valuesOf(await loadModel({ "tiny.gguf": bytes }))).toEqual(expected);
    expect(await valuesOf(await loadModel({ "tiny.gguf": new Blob([bytes as Uint8Array<ArrayBuffer>]), "README.md": "" }))).toEqual(
      expected,
    );
    const stream = await openGgufModel(streamed(bytes));
    for (const [name, tensor] of stream.tensors) expect([...(await numbers(tensor, 1))]).toEqual(expected.get(name));
    expect(await loadConfig(folder)).toMatchObject({ vocab_size: 5, hidden_size: 8, rms_norm_eps: 1e-6, tie_word_embeddings: false });
  });

  it("has rows of queries and keys in the order of Hugging Face, and others as they are", async () => {
    const { tensors } = await open(tinyGguf());
    const q = numbersOf("blk.1.attn_q.weight", 64);
    const rows = [0, 2, 1, 3, 4, 6, 5, 7].flatMap((row) => [...q.subarray(8 * row, 8 * row + 8)]);
    const tensor = tensors.get("model.layers.1.self_attn.q_proj.weight") as StoredTensor;
    expect([...(await numbers(tensor))]).toEqual(rows);
    expect([...(await tensor.read(32, 64))]).toEqual(rows.slice(32));
    const v = tensors.get("model.layers.1.self_attn.v_proj.weight") as StoredTensor;
    expect(await numbers(v)).toEqual(numbersOf("blk.1.attn_v.weight", 32));
  });

  it("has a tied head where it has no output.weight", async () => {
    const { config, tensors } = await open({ keys: tinyKeys, tensors: tinyTensors({ tied: true }) });
    expect(config.tie_word_embeddings).toBe(true);
    expect(tensors.has("lm_head.weight")).toBe(false);
  });

  it("tells its keys but for long lists", async () => {
    const long = array("i32", Array(17).fill(1));
    const { metadata } = await open(withKeys(tinyGguf(), ["long", "array", long], ["big", "u64", 2n ** 60n]));
    expect(metadata).toMatchObject({
      "general.name": "tiny",
      "llama.attention.layer_norm_rms_epsilon": 1e-6,
      "tokenizer.ggml.tokens": "<s>, </s>, a, b, c",
      big: "1152921504606846976",
    });
    expect(metadata).not.toHaveProperty("long");
  });

  it("has no token to begin with where its id is no token's", async () => {
    const { config } = await open(
      withKeys(tinyGguf(), ["tokenizer.ggml.bos_token_id", "i32", -1], ["tokenizer.ggml.eos_token_id", "u32", 9]),
    );
    expect(config).not.toHaveProperty("bos_token_id");
    expect(config).not.toHaveProperty("eos_token_id");
  });
});

describe("RoPE of a GGUF file is scaled", () => {
  /** The divisors of all frequencies, and the factor of cosines and sines. */
  const ropeOf = async (file: RawGguf): Promise<{ type: string; factors: number[]; attention: number; window: number }> => {
    const { config } = await open(file);
    const { scaling, theta, window } = fromHfRope(config);
    const shape = { headDim: 4, theta };
    const plain = ropeFrequencies({ type: "default" }, shape).invFreq;
    const { invFreq, attentionFactor } = ropeFrequencies(scaling, shape);
    return { type: scaling.type, factors: Array.from(invFreq, (f, j) => (plain[j] as number) / f), attention: attentionFactor, window };
  };
  const close = (found: number[], expected: ArrayLike<number>): void =>
    found.forEach((value, i) => expect(value / (expected[i] as number)).toBeCloseTo(1, 5));
  const withFactors = (...factors: number[]): RawGguf => ({
    keys: tinyKeys,
    tensors: [{ name: "rope_freqs.weight", extents: [factors.length], type: 0, data: f32Data(...factors) }, ...tinyTensors()],
  });

  it("not at all without keys, with a type of none and a factor of 1", async () => {
    expect(await ropeOf(tinyGguf())).toMatchObject({ type: "default", window: 64 });
    expect(await ropeOf(withKeys(tinyGguf(), ["llama.rope.scaling.type", "string", "none"]))).toMatchObject({ type: "default" });
    const one = withKeys(tinyGguf(), ["llama.rope.scaling.type", "string", "linear"], ["llama.rope.scaling.factor", "f32", 1]);
    expect(await ropeOf(one)).toMatchObject({ type: "default" });
  });

  it.each([
    [
      "by type and factor",
      [
        ["llama.rope.scaling.type", "string", "linear"],
        ["llama.rope.scaling.factor", "f32", 4],
      ],
    ],
    ["by a factor alone", [["llama.rope.scaling.factor", "f32", 4]]],
    ["by the key of older files", [["llama.rope.scale_linear", "f32", 4]]],
  ] as [string, RawKey[]][])("linearly %s", async (_, keys) => {
    expect(await ropeOf(withKeys(tinyGguf(), ...keys))).toEqual({ type: "linear", factors: [4, 4], attention: 1, window: 16 });
  });

  it("by YaRN, with the ends of its ramp and another attention factor", async () => {
    const keys: RawKey[] = [
      ["llama.rope.scaling.type", "string", "yarn"],
      ["llama.rope.scaling.factor", "f32", 4],
      ["llama.rope.scaling.original_context_length", "u32", 16],
    ];
    const plain = await ropeOf(withKeys(tinyGguf(), ...keys));
    expect(plain).toMatchObject({ type: "yarn", window: 16 });
    expect(plain.attention).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
    const other: RawKey[] = [...keys, ["llama.rope.scaling.yarn_beta_fast", "f32", 2], ["llama.rope.scaling.attn_factor", "f32", 0.5]];
    const { config } = await open(withKeys(tinyGguf(), ...other));
    expect(config.rope_scaling).toMatchObject({ beta_fast: 2, attention_factor: 0.5 * (0.1 * Math.log(4) + 1) });
  });

  it("by factors of the frequencies, whatever they are", async () => {
    expect(await ropeOf(withFactors(1, 1))).toMatchObject({ type: "default" });
    const found = await ropeOf(withFactors(2, 7.5));
    expect(found).toMatchObject({ type: "longrope", attention: 1, window: 64 });
    close(found.factors, [2, 7.5]);
    const scaled = await ropeOf(withKeys(withFactors(2, 7.5), ["llama.rope.scaling.attn_factor", "f32", 1.25]));
    expect(scaled.attention).toBeCloseTo(1.25, 6);
  });

  it("as Llama 3 is, which its factors tell", async () => {
    const ramps = [
      { factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
      { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 256 },
      { factor: 4, low_freq_factor: 2, high_freq_factor: 9, original_max_position_embeddings: 500 },
    ];
    for (const ramp of ramps) {
      const factors = llama3Factors(ramp, 500_000, 64);
      const keys = withKeys(
        tinyGguf(),
        ["llama.rope.freq_base", "f32", 500_000],
        ["llama.attention.key_length", "u32", 64],
        ["llama.attention.value_length", "u32", 64],
      ).keys;
      const sized = tinyTensors().map((tensor) => {
        const rows = { attn_q: 128, attn_k: 64, attn_v: 64 }[tensor.name.split(".")[2] as "attn_q"];
        if (rows !== undefined) return f32Tensor(tensor.name, 8, rows);
        return tensor.name.includes("attn_output") ? f32Tensor(tensor.name, 128, 8) : tensor;
      });
      const rope = { name: "rope_freqs.weight", extents: [32], type: 0, data: new Uint8Array(factors.buffer) };
      const { config } = await open({ keys: keys ?? [], tensors: [...sized.slice(0, 3), rope, ...sized.slice(3)] });
      const { rope_type, ...found } = config.rope_scaling as unknown as typeof ramp & { rope_type: string };
      expect(rope_type).toBe("llama3");
      close([...llama3Factors(found, 500_000, 64)], factors);
      if (ramp.low_freq_factor === 1) expect(found).toMatchObject(ramp);
    }
  });

  it("by factors that stand behind other tensors of a stream", async () => {
    const { keys = [], tensors = [] } = withFactors(2, 7.5);
    const [rope, ...others] = tensors;
    const bytes = rawGguf({ keys, tensors: [...others, rope as (typeof tensors)[0]] });
    const { tensors: found } = await openGgufModel(streamed(bytes));
    for (const [, tensor] of found) expect((await numbers(tensor, 1)).length).toBe(sizeOf(tensor));
  });
});

describe("a GGUF file is refused", () => {
  const tiny = tinyGguf();
  const without = (name: string): RawGguf => ({ ...tiny, keys: tinyKeys.filter(([key]) => key !== name) });
  const edited = (name: string, edit: Partial<ReturnType<typeof f32Tensor>>): RawGguf => ({
    ...tiny,
    tensors: tinyTensors().map((tensor) => (tensor.name === name ? { ...tensor, ...edit } : tensor)),
  });
  const cases: [string, RawGguf, RegExp][] = [
    [
      "of another architecture",
      withKeys(tiny, ["general.architecture", "string", "gemma"]),
      /general.architecture "llama" or "mistral" or .* found "gemma"/,
    ],
    ["without an architecture", without("general.architecture"), /found no such key/],
    ["without a size", without("llama.embedding_length"), /expected a key "llama.embedding_length", found none/],
    [
      "with a size for each layer",
      withKeys(tiny, ["llama.feed_forward_length", "array", array("u32", [12, 12])]),
      /to be a number, found an array of 2 u32/,
    ],
    ["with a size that is none", withKeys(tiny, ["llama.block_count", "u32", 0]), /num_hidden_layers to be a whole number from 1/],
    ["with a size of 2^40", withKeys(tiny, ["llama.feed_forward_length", "u64", 2n ** 40n]), /intermediate_size to be a whole number/],
    ["of experts", withKeys(tiny, ["llama.expert_count", "u32", 8]), /a neutral "llama.expert_count", found 8/],
    [
      "that rotates a part of each head",
      withKeys(tiny, ["llama.rope.dimension_count", "u32", 2]),
      /RoPE on all 4 channels of a head, found .* 2/,
    ],
    ["with values of another width", withKeys(tiny, ["llama.attention.value_length", "u32", 8]), /one width, found 4 and 8/],
    ["of another vocabulary", withKeys(tiny, ["llama.vocab_size", "u32", 6]), /a row for each of 6 tokens, found 5/],
    ["that is one of several", withKeys(tiny, ["split.count", "u16", 3]), /found one of 3 files of it/],
    [
      "with another kind of scaling",
      withKeys(tiny, ["llama.rope.scaling.type", "string", "su"], ["llama.rope.scaling.factor", "f32", 2]),
      /"linear" or "yarn", found "su"/,
    ],
    ["scaled by 0", withKeys(tiny, ["llama.rope.scaling.factor", "f32", 0]), /above 0, found 0/],
    [
      "scaled in two ways",
      {
        ...withKeys(tiny, ["llama.rope.scaling.factor", "f32", 2]),
        tensors: [...tinyTensors(), { name: "rope_freqs.weight", extents: [2], type: 0, data: f32Data(1, 2) }],
      },
      /one way of scaling/,
    ],
    [
      "with factors for other heads",
      { ...tiny, tensors: [...tinyTensors(), f32Tensor("rope_freqs.weight", 3)] },
      /to hold 2 numbers above 0/,
    ],
    [
      "with factors that are no list",
      { ...tiny, tensors: [...tinyTensors(), f32Tensor("rope_freqs.weight", 3, 700)] },
      /to be a list of F32/,
    ],
    ["without an embedding", { ...tiny, tensors: tinyTensors().slice(1) }, /a matrix "token_embd.weight", found none of that name/],
    [
      "without a tensor",
      { ...tiny, tensors: tinyTensors().filter(({ name }) => !/1.ffn_(up|gate)/.test(name)) },
      /tensors for "model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight", found none/,
    ],
    [
      "with tensors of others",
      { ...tiny, tensors: [...tinyTensors(), ..."abcde".split("").map((one) => f32Tensor(`blk.0.${one}.weight`, 8))] },
      /found "blk.0.a.weight", .* and 1 more, which the model has no place for/,
    ],
    ["with layers that it does not state", withKeys(tiny, ["llama.block_count", "u32", 1]), /found "blk.1.attn_norm.weight"/],
    [
      "with a transposed tensor",
      edited("blk.0.ffn_down.weight", { extents: [8, 12] }),
      /"blk.0.ffn_down.weight" to have shape \[8,12\], found \[12,8\]/,
    ],
    [
      "with a type that is not read",
      edited("blk.0.ffn_down.weight", { extents: [12, 8], type: 26 }),
      /"blk.0.ffn_down.weight" to be one of F32 F16 BF16 F64 Q4_0 .* found I32/,
    ],
  ];
  it.each(cases)("%s", async (_, file, message) => {
    const error = await failure(open(file));
    expect(error.message).toMatch(message);
    expect(error.file).toBe("m.gguf");
    expect(error.hint).not.toBe("");
  });

  it("with numbers that f32 cannot hold, where they are read", async () => {
    const doubles = Float64Array.from({ length: 40 }, (_, i) => (i === 5 ? 1e300 : i));
    const { tensors } = await open(edited("token_embd.weight", { type: 28, data: new Uint8Array(doubles.buffer) }));
    const error = await failure(numbers(tensors.get("model.embed_tokens.weight") as StoredTensor));
    expect(error.message).toMatch(/numbers that f32 can hold in "token_embd.weight", found 1e\+300/);
    expect((await numbers({ ...(tensors.get("model.embed_tokens.weight") as StoredTensor), shape: [4] }))[3]).toBe(3);
  });

  it("in a folder of several, which names them", async () => {
    const bytes = rawGguf(tiny);
    const error = await failure(openModel({ "a.gguf": bytes, "b.gguf": bytes }));
    expect(`${error.message} ${error.hint}`).toMatch(/a\.gguf.*name the file/);
  });
});

describe("nothing but FormatError comes from", () => {
  const bytes = rawGguf(tinyGguf());
  const headerBytes = bytes.length - tinyTensors().reduce((sum, { data }) => sum + Math.ceil(data.length / 32) * 32, 0);

  /** Opens and reads all that is accepted. */
  const tolerate = async (changed: Uint8Array): Promise<void> => {
    try {
      const { tensors } = await open(changed);
      for (const tensor of tensors.values()) await numbers(tensor);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      expect(error.hint).not.toBe("");
    }
  };

  it("a model of which some bytes of the header are others", async () => {
    const change = fc.record({ at: fc.nat(headerBytes - 1), to: fc.oneof(fc.constantFrom(0, 1, 127, 128, 255), fc.nat(255)) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const changed = bytes.slice();
        for (const { at, to } of changes) changed[at] = to;
        await tolerate(changed);
      }),
      { numRuns: fuzzRuns(50) },
    );
  });

  it("a model with any value under any key", async () => {
    const names = [
      "context_length",
      "embedding_length",
      "block_count",
      "feed_forward_length",
      "attention.head_count",
      "attention.head_count_kv",
    ];
    const more = [
      "attention.key_length",
      "rope.freq_base",
      "rope.dimension_count",
      "rope.scaling.factor",
      "attention.sliding_window",
      "vocab_size",
    ];
    const name = fc.constantFrom(
      ...[...names, ...more].map((one) => `llama.${one}`),
      "general.alignment",
      "split.count",
      "tokenizer.ggml.bos_token_id",
    );
    const value: fc.Arbitrary<readonly [RawKey[1], unknown]> = fc.oneof(
      fc.constantFrom<number>(0, 1, 2, 3, 7, 8, 2 ** 31, 2 ** 32 - 1).map((one) => ["u32", one] as const),
      fc.float().map((one) => ["f32", one] as const),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((one) => ["u64", one] as const),
      fc.boolean().map((one) => ["bool", one] as const),
      fc.string().map((one) => ["string", one] as const),
      fc.array(fc.nat(9), { maxLength: 3 }).map((one) => ["array", array("i32", one)] as const),
    );
    await fc.assert(
      fc.asyncProperty(name, value, async (key, [type, one]) => tolerate(rawGguf(withKeys(tinyGguf(), [key, type, one])))),
      { numRuns: fuzzRuns(50) },
    );
  });

  it("a count of layers for which there are no tensors, and no memory is taken for them", async () => {
    const before = process.memoryUsage().arrayBuffers;
    await tolerate(rawGguf(withKeys(tinyGguf(), ["llama.block_count", "u32", 512], ["llama.feed_forward_length", "u32", 2 ** 18])));
    await tolerate(join(bytes.subarray(0, 8), bytesOfU64(2 ** 18), bytes.subarray(16)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 21);
  });
});
