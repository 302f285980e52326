import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { modelReading } from "../../src/cli/reading.js";
import { evaluateContexts } from "../../src/e2llm/evaluation.js";
import { trainExtension } from "../../src/e2llm/extension.js";
import { toHfRope } from "../../src/e2llm/hf-rope.js";
import { modelFrequencies, type RopeConfig } from "../../src/e2llm/model-frequencies.js";
import { createE2Source, createPlainSource, plainPositions } from "../../src/e2llm/positions/index.js";
import { readingTables } from "../../src/e2llm/reading.js";
import { type RopeScaling, ropeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import { FormatError, OptionError } from "../../src/errors.js";
import { compile, type Tensor, tensor, useBackend } from "../../src/index.js";
import { ropeTensors } from "../../src/nn/batch.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { parseLlamaConfig, toHfConfig } from "../../src/nn/config-json.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { createWindowSampler } from "../../src/nn/data.js";
import { evaluationTargets } from "../../src/nn/evaluation-targets.js";
import { type Llama, llamaLoss, type RopeTensors, type TokenBatch } from "../../src/nn/llama.js";
import { adamw } from "../../src/nn/optimizers.js";
import { constant } from "../../src/nn/schedules.js";
import { integers, tinyConfig, tinyLlama } from "../nn/tiny.js";

const headDim = 16;
const shape = { headDim, theta: 500 };
const trained = 16;
const base = { ...tinyConfig, head_dim: headDim, rope_theta: shape.theta, num_hidden_layers: 1, max_position_embeddings: trained };

const longropeList = [1, 1, 1.5, 1.5, 2, 2, 3, 3];

const schedules: RopeScaling[] = [
  { type: "default" },
  { type: "linear", factor: 4 },
  { type: "linear", factor: 2.5 },
  { type: "ntk", factor: 4 },
  { type: "dynamic", factor: 2, originalMaxPositions: trained, seqLen: trained },
  { type: "yarn", factor: 4, originalMaxPositions: trained, betaFast: 2, betaSlow: 0.5 },
  { type: "yarn", factor: 4, originalMaxPositions: trained, betaFast: 2, betaSlow: 0.5, attentionFactor: 1.5, truncate: false },
  { type: "llama3", factor: 4, originalMaxPositions: trained },
  {
    type: "longrope",
    factor: 4,
    originalMaxPositions: trained,
    shortFactor: longropeList,
    longFactor: longropeList,
    seqLen: trained,
  },
  { type: "proportional", partialRotaryFactor: 0.5, factor: 4 },
];

/** The configuration of a model whose file states that scaling, in one of the two forms or both. */
function scaledConfig(scaling: RopeScaling, form: "both" | "rope_scaling" | "rope_parameters" = "both"): LlamaConfig {
  const { rope_scaling, rope_parameters, ...rest } = toHfRope(scaling, { ...shape, window: trained });
  const stated = { ...(form !== "rope_parameters" && { rope_scaling }), ...(form !== "rope_scaling" && { rope_parameters }) };
  return parseLlamaConfig(
    JSON.stringify({ ...toHfConfig(base), rope_scaling: null, rope_parameters: null, ...rest, ...stated }),
    "config.json",
  );
}

describe("the frequencies of a model", () => {
  it.each(schedules)("are those of the scaling that its configuration states: %j", (scaling) => {
    for (const form of ["both", "rope_scaling", "rope_parameters"] as const) {
      const config = scaledConfig(scaling, form);
      const expected = ropeFrequencies(scaling, shape);
      const found = modelFrequencies(config);
      found.invFreq.forEach((value, j) => expect(value - (expected.invFreq[j] as number)).toBeCloseTo(0, 12));
      expect(found.attentionFactor).toBe(expected.attentionFactor);
      const rewritten = parseLlamaConfig(JSON.stringify(toHfConfig(config)), "config.json");
      expect(modelFrequencies(rewritten)).toEqual(found);
    }
  });

  it("follow the length of the text where the scaling is dynamic, as Hugging Face's do", () => {
    const config = scaledConfig({ type: "dynamic", factor: 2, originalMaxPositions: trained, seqLen: trained });
    for (const length of [0, 5, trained, trained + 1, 3 * trained]) {
      expect(modelFrequencies(config, { length })).toEqual(
        ropeFrequencies({ type: "dynamic", factor: 2, originalMaxPositions: trained, seqLen: length }, shape),
      );
    }
    expect(modelFrequencies(config)).toEqual(ropeFrequencies({ type: "default" }, shape));
  });

  it("take the long list of longrope for texts beyond the trained window", () => {
    const scaling = {
      type: "longrope",
      factor: 4,
      originalMaxPositions: trained,
      shortFactor: longropeList,
      longFactor: longropeList.map((divisor) => 2 * divisor),
    } as const;
    const config = scaledConfig({ ...scaling, seqLen: trained });
    for (const length of [0, trained, trained + 1, 4 * trained]) {
      const expected = ropeFrequencies({ ...scaling, seqLen: length }, shape);
      expect(modelFrequencies(config, { length })).toEqual(expected);
      // What is read of a text is turned as the whole text will be.
      const reading = modelReading(config, "model", { schedule: "none", scale: "auto" });
      expect(reading.followsLength).toBe(true);
      expect(reading.tables(5, length)).toEqual(ropeTables(plainPositions({ length: 5 }), expected));
    }
  });

  it("take the part of the channels from the top level of a file too, as Hugging Face does", () => {
    const parsed = (keys: object) =>
      modelFrequencies(parseLlamaConfig(JSON.stringify({ ...toHfConfig(base), rope_parameters: null, ...keys }), "config.json"));
    const expected = ropeFrequencies({ type: "proportional", partialRotaryFactor: 0.5 }, shape);
    expect(parsed({ partial_rotary_factor: 0.5, rope_parameters: { rope_type: "proportional", rope_theta: shape.theta } })).toEqual(
      expected,
    );
    expect(parsed({ partial_rotary_factor: 0.5, rope_scaling: { type: "proportional" } })).toEqual(expected);
    const inner = { rope_type: "proportional", partial_rotary_factor: 0.5 };
    expect(parsed({ partial_rotary_factor: 0.25, rope_scaling: inner })).toEqual(expected);
  });

  it("need no window where nothing is scaled", () => {
    expect(modelFrequencies({ head_dim: headDim, rope_theta: 500 })).toEqual(ropeFrequencies({ type: "default" }, shape));
  });

  const impossible: [name: string, keys: object][] = [
    ["half of the channels, at top level", { partial_rotary_factor: 0.5 }],
    ["half of the channels, in the older object", { rope_scaling: { rope_type: "linear", factor: 2, partial_rotary_factor: 0.5 } }],
    ["half of the channels, in the newer object", { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 } }],
    ["a type of no name", { rope_scaling: { rope_type: 3 } }],
    ["half of the channels, beside the default type", { partial_rotary_factor: 0.5, rope_parameters: { rope_type: "default" } }],
    ["axial", { rope_parameters: { rope_type: "axial" } }],
  ];
  it.each(impossible)("are refused where they cannot be honoured, in files and in code: %s", (_, keys) => {
    const file = { ...toHfConfig(base), rope_parameters: null, ...keys };
    expect(() => parseLlamaConfig(JSON.stringify(file), "config.json")).toThrow(FormatError);
    expect(() => llamaConfig({ ...base, ...keys } as LlamaConfig)).toThrow(OptionError);
    expect(() => modelFrequencies({ ...base, ...keys } as RopeConfig)).toThrow(FormatError);
    expect(
      parseLlamaConfig(JSON.stringify({ ...file, ...{ partial_rotary_factor: 1, rope_scaling: null, rope_parameters: null } }), "c")
        .head_dim,
    ).toBe(headDim);
  });
});

describe("training, extension and evaluation of a model with a scaling of its own", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));
  const documents = [{ name: "tokens", tokens: integers(600, base.vocab_size, 3) }];
  const lossAt = compile((model: Llama, batch: TokenBatch, tables: RopeTensors): Tensor => llamaLoss(model, batch, tables));

  it.each(schedules)("give one number, that of the textbook's tables: %j", async (scaling) => {
    const config = scaledConfig(scaling);
    const window = config.max_position_embeddings;
    const own = ropeTables(plainPositions({ length: window }), ropeFrequencies(scaling, shape));
    const unscaled = ropeTables(plainPositions({ length: window }), ropeFrequencies({ type: "default" }, shape));

    const blocks = evaluationTargets({ documents, targetLength: 4, maxContext: window, count: 3 });
    const evaluated = { model: await tinyLlama(config), documents, blocks, targetLength: 4, contexts: [window] };
    const nats = async (tables?: () => typeof own) =>
      (await evaluateContexts({ ...evaluated, ...(tables && { tables }) }))[0]?.nats as number;
    const expected = await nats(() => own);
    expect(await nats()).toBeCloseTo(expected, 10);
    const reading = modelReading(config, "model", { schedule: "none", scale: "auto" });
    expect(await nats(() => reading.tables(window))).toBeCloseTo(expected, 10);
    if (scaling.type !== "default" && scaling.type !== "dynamic")
      expect(Math.abs((await nats(() => unscaled)) - expected)).toBeGreaterThan(1e-4);

    const windows = createWindowSampler({ documents, length: window, batch: 2, seed: 5 });
    const { inputs, targets, batch, length } = windows.at(0);
    const tokens = { inputs: tensor(inputs, { shape: [batch, length] }), targets: tensor(targets, { shape: [batch, length] }) };
    const wanted = await lossAt(await tinyLlama(config), tokens, ropeTensors(own)).item();
    for (const positions of [createPlainSource(), createE2Source({ window, gMax: 1 })]) {
      const losses: number[] = [];
      await trainExtension({
        model: await tinyLlama(config),
        optimizer: adamw(),
        windows,
        positions,
        steps: 1,
        schedule: constant(0.01),
        onStep: ({ loss }) => losses.push(loss),
      });
      expect(losses[0]).toBeCloseTo(wanted, 6);
    }
  });

  it.each(schedules)("an extension is read by dividing the positions of that scaling: %j", (scaling) => {
    const config = scaledConfig(scaling);
    const window = config.max_position_embeddings;
    const request = { schedule: "linear", length: 3 * window, window, scale: 3 } as const;
    const own = readingTables(config, { schedule: "none", scale: 1, length: window, window });
    const far = readingTables(config, request);
    const half = headDim / 2;
    for (let i = 0; i < window; i++) {
      expect(far.cos.slice(3 * i * half, (3 * i + 1) * half)).toEqual(own.cos.slice(i * half, (i + 1) * half));
    }
    const broken = readingTables(config, { ...request, scale: 3.000001 });
    broken.cos.forEach((value, i) => expect(value).toBeCloseTo(far.cos[i] as number, 3));
    for (const schedule of ["ntk", "yarn", "llama3", "dynamic"] as const) {
      const read = () => readingTables(config, { ...request, schedule });
      if (scaling.type === "default" || scaling.type === "ntk") expect(read).not.toThrow();
      else expect(read).toThrow(OptionError);
    }
  });
});
