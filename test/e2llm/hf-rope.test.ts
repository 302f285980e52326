import { describe, expect, it } from "vitest";
import { fromHfRope, toHfRope } from "../../src/e2llm/hf-rope.js";
import { type RopeScaling, ropeFrequencies } from "../../src/e2llm/schedules.js";
import { FormatError, OptionError } from "../../src/errors.js";
import { ropeFrequencyF32, ropeFrequencyF64 } from "../support/tolerances.js";

const shape = { headDim: 16, theta: 10_000 };
const options = { ...shape, window: 64 };
const throughJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

const short = [1, 1, 1, 1, 1.5, 1.5, 2, 2];
const long = [1, 1, 2, 3, 5, 6, 8, 8];

const schedules: RopeScaling[] = [
  { type: "default" },
  { type: "linear", factor: 8 },
  { type: "linear", factor: 2.5 },
  { type: "ntk", factor: 8 },
  { type: "dynamic", factor: 2, originalMaxPositions: 64, seqLen: 512 },
  { type: "yarn", factor: 4, originalMaxPositions: 64 },
  { type: "yarn", factor: 8, originalMaxPositions: 64, betaFast: 4, betaSlow: 1, attentionFactor: 1.25, truncate: false },
  { type: "yarn", factor: 8, originalMaxPositions: 64, mscale: 1, mscaleAllDim: 0.5 },
  { type: "llama3", factor: 8, originalMaxPositions: 64 },
  { type: "llama3", factor: 8, originalMaxPositions: 64, lowFreqFactor: 2, highFreqFactor: 3 },
  { type: "abf", theta: 500_000 },
  { type: "ntk-mixed", factor: 8 },
  { type: "ntk-by-parts", factor: 8, originalMaxPositions: 64 },
  { type: "ntk-by-parts", factor: 8, originalMaxPositions: 64, ramp: "index", betaFast: 4, truncate: false },
  { type: "yarn", factor: 8, originalMaxPositions: 64, ramp: "turns", betaFast: 4 },
  { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: short, longFactor: long, seqLen: 512 },
  { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: short, longFactor: long, seqLen: 512, attentionFactor: 1.5 },
  { type: "proportional", partialRotaryFactor: 0.5 },
  { type: "proportional", partialRotaryFactor: 0.75, factor: 8 },
  { type: "resonance" },
  { type: "resonance", on: { type: "yarn", factor: 8, originalMaxPositions: 64 } },
  {
    type: "resonance",
    on: { type: "longrope", factor: 8, originalMaxPositions: 64, shortFactor: short, longFactor: long, seqLen: 512 },
  },
  { type: "power", exponent: 0.1, on: { type: "linear", factor: 8 } },
  { type: "truncated", originalMaxPositions: 64, zeroBeyond: 1e9, on: { type: "linear", factor: 8 } },
];

describe("writing config.json", () => {
  it("E²-LLM at scale g is linear with factor g, in the keys of both generations", () => {
    expect(toHfRope({ type: "linear", factor: 8 }, options)).toEqual({
      rope_theta: 10_000,
      rope_parameters: { rope_type: "linear", factor: 8, rope_theta: 10_000 },
      rope_scaling: { type: "linear", rope_type: "linear", factor: 8 },
      max_position_embeddings: 512,
    });
  });

  it("plain RoPE has no rope_scaling", () => {
    expect(toHfRope({ type: "default" }, options)).toEqual({
      rope_theta: 10_000,
      rope_parameters: { rope_type: "default", rope_theta: 10_000 },
      rope_scaling: null,
      max_position_embeddings: 64,
    });
  });

  it("yarn and llama3 carry the trained window inside and at top level, and only the optional keys that were given", () => {
    const yarn = toHfRope({ type: "yarn", factor: 8, originalMaxPositions: 64, betaFast: 4, ramp: "index" }, options);
    expect(yarn.rope_parameters).toEqual({
      rope_type: "yarn",
      factor: 8,
      original_max_position_embeddings: 64,
      beta_fast: 4,
      rope_theta: 10_000,
    });
    expect([yarn.original_max_position_embeddings, yarn.max_position_embeddings]).toEqual([64, 512]);
    const llama = toHfRope({ type: "llama3", factor: 8, originalMaxPositions: 64 }, options);
    expect(llama.rope_scaling).toEqual({
      type: "llama3",
      rope_type: "llama3",
      factor: 8,
      original_max_position_embeddings: 64,
      low_freq_factor: 1,
      high_freq_factor: 4,
    });
    expect(llama.original_max_position_embeddings).toBe(64);
  });

  it("dynamic states the trained window as max_position_embeddings", () => {
    const scaling: RopeScaling = { type: "dynamic", factor: 2, originalMaxPositions: 64, seqLen: 512 };
    expect(toHfRope(scaling, options).max_position_embeddings).toBe(64);
  });

  it("writes what Hugging Face has no name for as a type that computes the same", () => {
    const window = { factor: 8, originalMaxPositions: 64 } as const;
    const typeOf = (scaling: RopeScaling) => toHfRope(scaling, options).rope_parameters["rope_type"];
    expect(typeOf({ type: "yarn", ...window, ramp: "turns" })).toBe("longrope");
    expect(typeOf({ type: "ntk-by-parts", ...window, ramp: "index" })).toBe("yarn");
    expect(typeOf({ type: "ntk-by-parts", ...window })).toBe("llama3");
    expect(typeOf({ type: "ntk-mixed", factor: 8 })).toBe("longrope");
    expect(toHfRope({ type: "abf", theta: 5e6 }, options).rope_theta).toBe(5e6);
    const resonance = toHfRope({ type: "resonance", on: { type: "yarn", ...window } }, options);
    expect(resonance.rope_parameters).toMatchObject({
      rope_type: "longrope",
      factor: 8,
      original_max_position_embeddings: 64,
      attention_factor: 1 + 0.1 * Math.log(8),
    });
    expect(resonance.rope_parameters["short_factor"]).toEqual(resonance.rope_parameters["long_factor"]);
    expect([resonance.original_max_position_embeddings, resonance.max_position_embeddings]).toEqual([64, 512]);
  });

  it("refuses what no type of Hugging Face expresses, and impossible schedules", () => {
    const dynamic: RopeScaling = { type: "dynamic", factor: 1, originalMaxPositions: 64, seqLen: 512 };
    expect(() => toHfRope({ type: "resonance", on: dynamic }, options)).toThrow(/dynamic/);
    expect(() => toHfRope({ type: "power", exponent: 0.1, on: { type: "resonance", on: dynamic } }, options)).toThrow(OptionError);
    expect(() => toHfRope({ type: "truncated", originalMaxPositions: 64 }, options)).toThrow(/do not turn/);
    expect(() => toHfRope({ type: "linear", factor: 0.5 }, options)).toThrow(OptionError);
    expect(() => toHfRope({ type: "default" }, { ...options, window: 0 })).toThrow(OptionError);
  });
});

describe("reading config.json", () => {
  it.each(schedules)("gives back the frequencies of %j from both generations of keys and from each alone", (scaling) => {
    const written = toHfRope(scaling, options);
    const expected = ropeFrequencies(scaling, shape);
    const { rope_parameters, rope_scaling, ...rest } = written;
    for (const config of [written, { ...rest, rope_parameters }, { ...rest, rope_scaling }]) {
      const read = fromHfRope(throughJson(config), { seqLen: 512 });
      const found = ropeFrequencies(read.scaling, { headDim: 16, theta: read.theta });
      found.invFreq.forEach((value, j) => {
        const target = expected.invFreq[j] ?? Number.NaN;
        expect(Math.abs(value - target)).toBeLessThanOrEqual(ropeFrequencyF64.relative * target);
      });
      expect(found.attentionFactor).toBe(expected.attentionFactor);
      expect(found.invFreq.length).toBe(expected.invFreq.length);
      expect(read.window).toBe(scaling.type === "ntk" ? 512 : 64);
    }
  });

  it("computes Hugging Face's frequencies from the file of a Llama 3 at toy size", () => {
    const { scaling, theta } = fromHfRope({
      head_dim: 16,
      max_position_embeddings: 512,
      rope_theta: 10_000,
      rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 },
    });
    const golden = [1, 0.244384587, 0.0130422562, 0.00395284733, 0.00125, 0.000395284733, 0.000125, 3.95284733e-5];
    ropeFrequencies(scaling, { headDim: 16, theta }).invFreq.forEach((value, j) => {
      expect(Math.abs(value - (golden[j] ?? 0))).toBeLessThanOrEqual(ropeFrequencyF32.relative * (golden[j] ?? 0));
    });
  });

  it("takes the old key type, a null rope_scaling and a missing base", () => {
    const old = { max_position_embeddings: 256, rope_scaling: { type: "linear", factor: 4 } };
    expect(fromHfRope(old)).toEqual({ scaling: { type: "linear", factor: 4 }, theta: 10_000, window: 64 });
    const none = { max_position_embeddings: 256, rope_scaling: null, rope_theta: 500 };
    expect(fromHfRope(none)).toEqual({ scaling: { type: "default" }, theta: 500, window: 256 });
  });

  it("lets a top-level trained window win over the inner one, and puts max_position_embeddings for a missing one", () => {
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 };
    const outer = { max_position_embeddings: 512, original_max_position_embeddings: 128, rope_parameters: yarn };
    expect(fromHfRope(outer).window).toBe(128);
    const missing = { max_position_embeddings: 512, rope_parameters: { rope_type: "yarn", factor: 4 } };
    expect(fromHfRope(missing).scaling).toEqual({ type: "yarn", factor: 4, originalMaxPositions: 512 });
  });

  it("takes rope_parameters beside an empty rope_scaling, rope_type before type, and keys of others that mean nothing here", () => {
    const base = { max_position_embeddings: 64 };
    const linear = { rope_type: "linear", factor: 4 };
    expect(fromHfRope({ ...base, rope_scaling: {}, rope_parameters: linear }).scaling).toEqual({ type: "linear", factor: 4 });
    expect(fromHfRope({ ...base, rope_scaling: { ...linear, type: "yarn" } }).scaling).toEqual({ type: "linear", factor: 4 });
    const foreign = { finetuned: true, mrope_section: [16, 24, 24], attn_factor: 1, extrapolation_factor: 1, short_mscale: 1.1 };
    expect(fromHfRope({ ...base, rope_scaling: { ...linear, ...foreign } }).scaling).toEqual({ type: "linear", factor: 4 });
  });

  it("takes the ratio of the windows for the factor of longrope, and 1 where a model was not extended", () => {
    const longrope = { rope_type: "longrope", short_factor: [1, 1], long_factor: [2, 4], original_max_position_embeddings: 64 };
    expect(fromHfRope({ max_position_embeddings: 512, rope_scaling: longrope }).scaling).toMatchObject({ factor: 8, seqLen: 64 });
    expect(fromHfRope({ max_position_embeddings: 32, rope_scaling: longrope }).scaling).toMatchObject({ factor: 1 });
  });

  it("takes the ratio of the windows for a factor of null", () => {
    const yarn = { rope_type: "yarn", factor: null, original_max_position_embeddings: 64 };
    expect(fromHfRope({ max_position_embeddings: 512, rope_parameters: yarn }).scaling).toMatchObject({ factor: 8 });
  });

  const base = { max_position_embeddings: 64 };
  it.each([
    ["no object", 7],
    ["an array", []],
    ["no max_position_embeddings", {}],
    ["a window of text", { max_position_embeddings: "64" }],
    ["a fractional window", { max_position_embeddings: 0.5 }],
    ["linear without factor", { ...base, rope_scaling: { type: "linear" } }],
    ["a factor below 1", { ...base, rope_scaling: { type: "linear", factor: 0.5 } }],
    ["a factor of text", { ...base, rope_scaling: { type: "linear", factor: "8" } }],
    ["a base of 0", { ...base, rope_theta: 0 }],
    ["longrope without lists", { ...base, rope_scaling: { rope_type: "longrope", factor: 2 } }],
    [
      "longrope with short lists",
      { ...base, head_dim: 16, rope_scaling: { rope_type: "longrope", short_factor: [1], long_factor: [1], factor: 2 } },
    ],
    ["longrope with a list of text", { ...base, rope_scaling: { rope_type: "longrope", short_factor: ["1"], long_factor: [1] } }],
    ["proportional with a part above 1", { ...base, rope_scaling: { rope_type: "proportional", partial_rotary_factor: 1.5 } }],
    ["a key in camel case", { ...base, rope_scaling: { rope_type: "yarn", factor: 2, betaFast: 4 } }],
    ["a misspelled key", { ...base, rope_scaling: { rope_type: "yarn", factor: 2, beta_fats: 4 } }],
    ["a type that nobody has", { ...base, rope_scaling: { rope_type: "xpos", factor: 2 } }],
    ["an axial RoPE", { ...base, rope_parameters: { rope_type: "axial" } }],
    ["a type that is no text", { ...base, rope_scaling: { rope_type: 3 } }],
    ["one object per layer type", { ...base, rope_parameters: { full_attention: { rope_type: "default" } } }],
    ["rope_scaling that is no object", { ...base, rope_scaling: "linear" }],
    ["partial rotary embeddings", { ...base, partial_rotary_factor: 0.5 }],
    ["truncate that is no boolean", { ...base, rope_scaling: { rope_type: "yarn", factor: 2, truncate: 1 } }],
    ["an odd head dimension", { ...base, head_dim: 15 }],
    ["yarn on a window below 8", { max_position_embeddings: 4, rope_scaling: { rope_type: "yarn", factor: 2 } }],
    ["llama3 without its ends", { ...base, rope_scaling: { rope_type: "llama3", factor: 2 } }],
  ])("refuses %s, naming the file, with a hint", (_name, config) => {
    try {
      fromHfRope(config, { file: "model/config.json" });
    } catch (error) {
      expect(error).toBeInstanceOf(FormatError);
      expect((error as FormatError).message).toContain("model/config.json");
      expect((error as FormatError).hint).not.toBe("");
      return;
    }
    expect.unreachable("the file was accepted");
  });
});
