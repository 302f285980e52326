import { describe, expect, it } from "vitest";
import { scheduleNames } from "../../src/cli/options.js";
import { defaultTables } from "../../src/e2llm/scoring.js";
import {
  automaticReading,
  type ExtensionNotes,
  extensionNotes,
  FormatError,
  key,
  Llama,
  llamaConfig,
  OptionError,
  parseLlamaConfig,
  readingScale,
  readingSchedules,
  readingTables,
  toHfConfig,
  toHfRope,
} from "../../src/index.js";

const config = llamaConfig({
  vocab_size: 11,
  hidden_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 16,
});
const notes = { trained_window: 16, g_max: 8 };

describe("automatic reading", () => {
  it("follows what the configuration says of an extension, and reads any other model as it was trained", () => {
    expect(automaticReading(config)).toEqual({ schedule: "none" });
    expect(automaticReading({ ...config, e2llm: notes })).toEqual({ schedule: "linear", gMax: 8 });
    for (const schedule of readingSchedules)
      expect(automaticReading({ ...config, e2llm: { ...notes, schedule } })).toEqual({ schedule, gMax: 8 });
    const unknown = { ...config, e2llm: { ...notes, schedule: "xpos" } };
    expect(() => automaticReading(unknown, { file: "a/config.json" })).toThrow(FormatError);
    expect(() => automaticReading(unknown, { file: "a/config.json" })).toThrow(/xpos/);
  });

  it("is what an evaluation takes where it is given no tables", () => {
    for (const schedule of ["linear", "yarn-turns", "ntk"] as const) {
      const model = new Llama({ ...config, e2llm: { ...notes, schedule } }, { key: key(0) });
      for (const [length, scale] of [
        [16, 1],
        [17, 2],
        [64, 4],
      ] as const) {
        expect(defaultTables(model)(length)).toEqual(readingTables(config, { schedule, scale, length, window: 16 }));
      }
    }
  });

  it("of a model that was trained at one scale alone is at that one, and at larger ones where the text does not fit", () => {
    for (const schedule of ["linear", "yarn"] as const) {
      const fixed = { ...config, e2llm: { ...notes, schedule, every_scale: false } };
      expect(automaticReading(fixed)).toEqual({ schedule, gMax: 8, scales: [8] });
      const model = new Llama(fixed, { key: key(0) });
      for (const [length, scale] of [
        [16, 8],
        [128, 8],
        [129, 9],
      ] as const) {
        expect(defaultTables(model)(length)).toEqual(readingTables(config, { schedule, scale, length, window: 16 }));
      }
    }
    expect(readingScale({ schedule: "none", scales: [8] }, 128, 16)).toBe(1);
    // An exported scaling covers all or a part of it.
    for (const [factor, left] of [
      [8, 1],
      [2, 4],
    ] as const) {
      const rope = toHfRope({ type: "linear", factor }, { headDim: 8, theta: 10_000, window: 16 });
      const exported = { ...toHfConfig({ ...config, e2llm: { ...notes, every_scale: false } }), ...rope };
      const read = parseLlamaConfig(JSON.stringify(exported), "config.json");
      expect(automaticReading(read).scales).toEqual([left]);
      const model = new Llama(read, { key: key(0) });
      const expected = readingTables(config, { schedule: "linear", scale: 8, length: 64, window: 16 });
      const found = defaultTables(model)(64);
      for (const [i, value] of expected.cos.entries()) expect(found.cos[i]).toBeCloseTo(value, 6);
    }
  });

  it("of a model that was trained at some scales alone is at the smallest of them that is enough", () => {
    const positions = { type: "e2", g: { values: [16, 2, 5, 2] } } as const;
    const written = extensionNotes(positions, config);
    expect(written).toMatchObject({ g_max: 16, every_scale: false, scales: [2, 5, 16] });
    expect(written?.["reading"]).toContain("the smallest g of 2, 5, 16, those that were trained");
    const read = parseLlamaConfig(JSON.stringify(toHfConfig({ ...config, e2llm: written as ExtensionNotes })), "config.json");
    const scaleAt = (length: number): number => readingScale(automaticReading(read), length, 16);
    expect([1, 16, 32, 33, 80, 81, 256, 257].map(scaleAt)).toEqual([2, 2, 2, 5, 5, 16, 16, 17]);
    // Weights of 0 leave scales out; all of them in any order are every one.
    expect(extensionNotes({ type: "e2", gMax: 4, g: { weights: [1, 0, 1, 1] } }, config)).toMatchObject({ scales: [1, 3, 4] });
    const all = extensionNotes({ type: "e2", g: { values: [3, 1, 2] } }, config);
    expect(all).toMatchObject({ g_max: 3, every_scale: true });
    expect(all).not.toHaveProperty("scales");
  });

  it("survives config.json, beside which an exported scaling reads at scale 1 what it already covers", () => {
    const extended = { ...config, e2llm: { ...notes, method: "e2", sinks: 4 } };
    const read = parseLlamaConfig(JSON.stringify(toHfConfig(extended)), "config.json");
    expect(read.e2llm).toEqual(extended.e2llm);
    const exported = { ...toHfConfig(extended), ...toHfRope({ type: "linear", factor: 4 }, { headDim: 8, theta: 10_000, window: 16 }) };
    const model = new Llama(parseLlamaConfig(JSON.stringify(exported), "config.json"), { key: key(0) });
    expect(defaultTables(model)(64)).toEqual(readingTables(config, { schedule: "linear", scale: 4, length: 64, window: 16 }));
  });

  it.each([
    [{ g_max: 8 }, "trained_window"],
    [{ trained_window: 16 }, "g_max"],
    [{ ...notes, trained_window: 0 }, "trained_window"],
    [{ ...notes, g_max: -1 }, "g_max"],
    [{ ...notes, schedule: 3 }, "schedule"],
    [{ ...notes, every_scale: "no" }, "every_scale"],
    [{ ...notes, scales: [] }, "scales"],
    [{ ...notes, scales: [2, "4"] }, "scales"],
    [{ ...notes, scales: [9] }, "scales"],
    ["linear", "e2llm"],
  ])("refuses %j", (e2llm, named) => {
    expect(() => parseLlamaConfig({ ...toHfConfig(config), e2llm }, "config.json")).toThrow(FormatError);
    expect(() => parseLlamaConfig({ ...toHfConfig(config), e2llm }, "config.json")).toThrow(named);
    if (typeof e2llm === "object") expect(() => llamaConfig({ ...config, e2llm: e2llm as never })).toThrow(OptionError);
  });

  it("has its names in the command", () => {
    expect(scheduleNames).toEqual(["auto", ...readingSchedules]);
  });
});
