import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, OptionError } from "../../src/errors.js";
import { countParameters, llamaShapes, windowOfLayer } from "../../src/nn/config.js";
import { parseLlamaConfig, toHfConfig } from "../../src/nn/config-json.js";
import { type LlamaOptions, llamaConfig } from "../../src/nn/config-options.js";
import { readSafetensors } from "../../src/nn/safetensors.js";
import { fuzzRuns } from "../support/fuzz.js";

const golden = (name: string): Buffer => readFileSync(new URL(`../golden/llama/${name}`, import.meta.url));

const sizes: LlamaOptions = { vocab_size: 256, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4 };
const valid = toHfConfig(llamaConfig(sizes));

/** Possible sizes, small and large. */
const options: fc.Arbitrary<LlamaOptions> = fc
  .record({ kv: fc.integer({ min: 1, max: 8 }), group: fc.integer({ min: 1, max: 8 }), half: fc.integer({ min: 1, max: 64 }) })
  .chain(({ kv, group, half }) =>
    fc.record(
      {
        vocab_size: fc.integer({ min: 1, max: 2 ** 20 }),
        hidden_size: fc.constant(kv * group * half * 2),
        num_hidden_layers: fc.integer({ min: 1, max: 40 }),
        num_attention_heads: fc.constant(kv * group),
        num_key_value_heads: fc.constant(kv),
        intermediate_size: fc.integer({ min: 1, max: 20_000 }),
        head_dim: fc.constantFrom(2, 6, 64),
        rms_norm_eps: fc.constantFrom(1e-5, 1e-6),
        rope_theta: fc.constantFrom(500, 10_000, 1e6),
        max_position_embeddings: fc.integer({ min: 1, max: 2 ** 20 }),
        tie_word_embeddings: fc.boolean(),
        initializer_range: fc.constantFrom(0, 0.02),
        bos_token_id: fc.constant(0),
        eos_token_id: fc.constantFrom(0, [0]),
        rope_scaling: fc.constantFrom(null, { rope_type: "linear", factor: 8 }),
        original_max_position_embeddings: fc.constant(128),
        position_encoding: fc.constantFrom({ type: "alibi" }, { type: "dape", bias: { type: "fire", width: 4 } }),
        attention_bias: fc.constant(true),
        attention_output_bias: fc.constant(true),
        mlp_bias: fc.constant(true),
        qk_norm: fc.constant(true),
        sliding_window: fc.integer({ min: 1, max: 2 ** 20 }),
      },
      { requiredKeys: ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"] },
    ),
  );

function failure(action: () => unknown): FormatError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return error as FormatError;
  }
  throw new Error("nothing was thrown");
}

describe("a config", () => {
  it("made from sizes alone has the usual constants", () => {
    expect(llamaConfig(sizes)).toEqual({
      ...sizes,
      intermediate_size: 176,
      num_key_value_heads: 4,
      head_dim: 16,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-5,
      rope_theta: 10_000,
      tie_word_embeddings: false,
      initializer_range: 0.02,
    });
    expect(llamaConfig({ ...sizes, head_dim: undefined } as unknown as LlamaOptions).head_dim).toBe(16);
  });

  it("is the same after it was written and read", () => {
    fc.assert(
      fc.property(options, (given) => {
        const config = llamaConfig(given);
        const { rope_scaling: scaling, rope_parameters: _, ...read } = parseLlamaConfig(JSON.stringify(toHfConfig(config)), "config.json");
        const { rope_scaling: expected, ...rest } = config;
        expect(read).toEqual(rest);
        expect(scaling ?? null).toEqual(expected ?? null);
      }),
    );
  });

  it("with windows in some layers is the same after it was written and read", () => {
    const kinds = fc.constantFrom("full_attention" as const, "sliding_attention" as const);
    const flags = fc.record({ attention_bias: fc.boolean(), qk_norm: fc.boolean(), mlp_bias: fc.boolean() });
    fc.assert(
      fc.property(fc.array(kinds, { minLength: 1, maxLength: 6 }), flags, (layer_types, given) => {
        const config = llamaConfig({ ...sizes, num_hidden_layers: layer_types.length, sliding_window: 7, layer_types, ...given });
        const read = parseLlamaConfig(toHfConfig(config), "c");
        const layers = layer_types.map((_, layer) => layer);
        expect(layers.map((layer) => windowOfLayer(read, layer))).toEqual(layers.map((layer) => windowOfLayer(config, layer)));
        expect(llamaShapes(read)).toEqual(llamaShapes(config));
      }),
    );
  });

  it("from Hugging Face is read", () => {
    expect(parseLlamaConfig(golden("config.json").toString(), "config.json")).toEqual({
      vocab_size: 61,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 8,
      max_position_embeddings: 32,
      rms_norm_eps: 1e-5,
      rope_theta: 10_000,
      tie_word_embeddings: false,
      initializer_range: 0.02,
      rope_parameters: { rope_theta: 10_000, rope_type: "default" },
      bos_token_id: 1,
      eos_token_id: 2,
    });
  });

  it("names the parameters and shapes of Hugging Face's checkpoint", () => {
    const { tensors } = readSafetensors(golden("model.safetensors"), "model.safetensors");
    const found = Object.fromEntries([...tensors.values()].map(({ name, shape }) => [name, shape]));
    expect(Object.fromEntries(llamaShapes(parseLlamaConfig(golden("config.json").toString(), "config.json")))).toEqual(found);
  });

  it("counts as many parameters as its shapes have elements", () => {
    fc.assert(
      fc.property(options, (given) => {
        const config = llamaConfig(given);
        const elements = [...llamaShapes(config).values()].map((shape) => shape.reduce((product, extent) => product * extent, 1));
        expect(countParameters(config)).toBe(elements.reduce((sum, count) => sum + count, 0));
      }),
    );
  });

  it("of Llama 2 7B counts its published parameters", () => {
    const llama2 = llamaConfig({
      vocab_size: 32_000,
      hidden_size: 4096,
      intermediate_size: 11_008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
    });
    expect(countParameters(llama2)).toBe(6_738_415_616);
  });

  it("takes theta from the objects about RoPE, the older one first", () => {
    const theta = (extra: object): number => parseLlamaConfig({ ...valid, rope_parameters: null, ...extra }, "c").rope_theta;
    expect(theta({ rope_theta: 7 })).toBe(7);
    expect(theta({ rope_theta: 7, rope_parameters: { rope_theta: 8 } })).toBe(8);
    expect(theta({ rope_theta: 7, rope_parameters: { rope_theta: 8 }, rope_scaling: { rope_theta: 9 } })).toBe(9);
    expect(theta({ rope_theta: undefined })).toBe(10_000);
  });

  it("of another family that is silent means what Hugging Face assumes of it", () => {
    const { vocab_size, intermediate_size } = llamaConfig(sizes);
    const silent = { vocab_size, hidden_size: 64, intermediate_size, num_hidden_layers: 30, num_attention_heads: 32 };
    const read = (model_type: string, more: object = {}) => parseLlamaConfig({ model_type, ...silent, ...more }, "c");
    expect(read("mistral")).toMatchObject({ num_key_value_heads: 8, head_dim: 2, max_position_embeddings: 131_072, sliding_window: 4096 });
    expect(read("mistral", { num_key_value_heads: null, sliding_window: null }).num_key_value_heads).toBe(32);
    expect(read("mistral", { sliding_window: null }).sliding_window).toBeUndefined();
    expect(read("qwen2")).toMatchObject({ attention_bias: true, num_key_value_heads: 32, max_position_embeddings: 32_768 });
    expect(read("qwen2", { sliding_window: 64 }).sliding_window).toBeUndefined();
    const windowed = read("qwen2", { use_sliding_window: true });
    expect([windowed.sliding_window, windowed.layer_types?.indexOf("sliding_attention")]).toEqual([4096, 28]);
    expect(read("qwen2", { use_sliding_window: true, max_window_layers: 30 }).sliding_window).toBeUndefined();
    expect(read("qwen3")).toMatchObject({ qk_norm: true, head_dim: 128 });
    expect(read("llama", { sliding_window: 4 }).sliding_window).toBeUndefined();
  });

  it("that is silent means what Hugging Face assumes", () => {
    const { vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads } = llamaConfig(sizes);
    const silent = { model_type: "llama", vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads };
    expect(parseLlamaConfig({ ...silent, eos_token_id: null }, "c")).toEqual({
      ...llamaConfig(sizes),
      rms_norm_eps: 1e-6,
    });
  });
});

describe("a config.json is refused", () => {
  it.each([
    ["without a size", { hidden_size: undefined }, /expected "hidden_size" to be a number, found no such key/],
    ["with text for a number", { vocab_size: "256" }, /found "256"/],
    ["of another architecture", { model_type: "gpt2" }, /expected model_type "llama" or "mistral" or "qwen2" or "qwen3", found "gpt2"/],
    ["without an architecture", { model_type: undefined }, /found none/],
    ["with another activation", { hidden_act: "gelu" }, /expected hidden_act "silu" or "swish", found "gelu"/],
    ["with text for a bias", { attention_bias: "yes" }, /"attention_bias" to be true or false, found "yes"/],
    ["with a window of no key", { model_type: "mistral", sliding_window: 0 }, /sliding_window to be a whole number from 1/],
    ["with text for a window", { model_type: "mistral", sliding_window: "4" }, /"sliding_window" to be a number, found "4"/],
    ["with too few kinds of layers", { model_type: "qwen2", layer_types: ["full_attention"] }, /list of 2 times "full_attention" or/],
    ["with other kinds of layers", { model_type: "qwen3", layer_types: ["full_attention", "linear_attention"] }, /list of 2 times/],
    [
      "with windows of unknown width",
      { model_type: "qwen2", layer_types: ["full_attention", "sliding_attention"] },
      /expected a sliding_window beside/,
    ],
    ["of our own kind without a reason", { model_type: "dawngrad_llama" }, /position_encoding beside model_type "dawngrad_llama"/],
    ["with quantized weights", { quantization_config: { bits: 4 } }, /expected no quantization_config/],
    ["with no layers", { num_hidden_layers: 0 }, /num_hidden_layers to be a whole number from 1 to 512, found 0/],
    ["with 513 layers", { num_hidden_layers: 513 }, /found 513/],
    ["with half a layer", { num_hidden_layers: 0.5 }, /found 0.5/],
    ["with an endless vocabulary", { vocab_size: 1e300 }, /vocab_size/],
    [
      "with heads that do not divide the width",
      { num_attention_heads: 3, num_key_value_heads: 3, head_dim: null },
      /num_attention_heads to divide hidden_size/,
    ],
    ["with key/value heads that do not divide the heads", { num_key_value_heads: 3 }, /num_key_value_heads to divide/],
    ["with more key/value heads than heads", { num_key_value_heads: 8 }, /num_key_value_heads to divide/],
    ["with an odd head dimension", { head_dim: 3 }, /even head_dim/],
    ["with theta zero", { rope_theta: 0, rope_parameters: null }, /rope_theta to be a number above 0/],
    ["with text for theta", { rope_parameters: { rope_theta: "big" } }, /"rope_theta" to be a number, found "big"/],
    ["with a negative epsilon", { rms_norm_eps: -1 }, /rms_norm_eps/],
    ["with a list about RoPE", { rope_scaling: [] }, /"rope_scaling" to be an object/],
    ["with text for a flag", { tie_word_embeddings: "yes" }, /true or false/],
    ["with an end token outside of the vocabulary", { eos_token_id: [0, 256] }, /from 0 to 255, found 256/],
    ["with text for a token", { eos_token_id: "</s>" }, /a token id/],
    [
      "with sizes that make more than a tebibyte",
      { hidden_size: 65536, intermediate_size: 262144, num_hidden_layers: 512, head_dim: 64 },
      /at most 2\^38 weights/,
    ],
  ])("%s", (_, change, message) => {
    const error = failure(() => parseLlamaConfig(JSON.stringify({ ...valid, ...change }), "model/config.json"));
    expect(error.message).toMatch(message);
    expect(error.message.startsWith("model/config.json: ")).toBe(true);
    expect(error.hint).not.toBe("");
  });

  it.each([
    ["that is no JSON", "{", /expected JSON/],
    ["that is empty", "", /expected JSON/],
    ["that is a list", "[]", /expected a JSON object/],
    ["with a key twice", '{"model_type":"llama","model_type":"llama"}', /at byte 22: expected every key once/],
    ["that nests without end", '{"a":'.repeat(100_000), /at most 64 levels/],
  ])("%s", (_, text, message) => {
    expect(failure(() => parseLlamaConfig(text, "config.json")).message).toMatch(message);
  });

  it("that holds an object within itself", () => {
    const circular: Record<string, unknown> = { ...valid };
    circular["vocab_size"] = circular;
    expect(failure(() => parseLlamaConfig(circular, "c")).message).toMatch(/found a object|found an object/);
  });

  it("with nothing but FormatError, whatever its keys hold", () => {
    const change = fc.record({
      key: fc.constantFrom(...Object.keys(valid), "rope_scaling", "__proto__"),
      value: fc.jsonValue({ maxDepth: 3 }),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const text = JSON.stringify({ ...valid, ...Object.fromEntries(changes.map(({ key, value }) => [key, value])) });
        try {
          const config = parseLlamaConfig(text, "c");
          expect(countParameters(config)).toBeLessThanOrEqual(2 ** 38);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
        }
      }),
      { numRuns: fuzzRuns(100) },
    );
  });

  it("with nothing but FormatError, wherever it is cut or changed", () => {
    const text = JSON.stringify(valid);
    fc.assert(
      fc.property(fc.nat(text.length), fc.nat(text.length), fc.string({ maxLength: 3 }), (start, length, insert) => {
        try {
          parseLlamaConfig(text.slice(0, start) + insert + text.slice(start + (length % 4)), "c");
          parseLlamaConfig(text.slice(0, start), "c");
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
        }
      }),
      { numRuns: fuzzRuns(100) },
    );
  });
});

describe("options for a config are refused", () => {
  it.each([
    ["without a size", { hidden_size: undefined }],
    ["with heads that do not divide the width", { num_attention_heads: 3 }],
    ["with NaN", { rms_norm_eps: Number.NaN }],
    ["with infinity", { rope_theta: Number.POSITIVE_INFINITY }],
    ["with two thetas", { rope_theta: 500, rope_parameters: { rope_theta: 10_000 } }],
  ])("%s", (_, change) => {
    expect(() => llamaConfig({ ...sizes, ...change } as LlamaOptions)).toThrow(OptionError);
  });
});
