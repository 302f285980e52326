import { describe, expect, it } from "vitest";
import { exportScale } from "../../src/cli/export-scale.js";
import { modelReading } from "../../src/cli/reading.js";
import { OptionError } from "../../src/errors.js";
import type { LlamaConfig } from "../../src/nn/config.js";
import { parseLlamaConfig, toHfConfig } from "../../src/nn/config-json.js";
import { llamaConfig } from "../../src/nn/config-options.js";

const L = 64;
const plain = llamaConfig({ vocab_size: 256, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: L });
const noted = (schedule: string): LlamaConfig => ({ ...plain, e2llm: { trained_window: L, g_max: 8, schedule } });
const scaled: LlamaConfig = { ...noted("linear"), rope_scaling: { rope_type: "linear", factor: 2 }, max_position_embeddings: 2 * L };
const options = { schedule: "auto", file: "config.json" } as const;

/** The configuration as a program reads it from the written file. */
const written = (config: LlamaConfig, extra: Readonly<Record<string, unknown>>): LlamaConfig =>
  parseLlamaConfig(JSON.stringify({ ...toHfConfig(config), ...extra }), "config.json");

describe("a model that is exported at a scale", () => {
  it.each([
    ["linear", noted("linear")],
    ["yarn", noted("yarn")],
    ["ntk", noted("ntk")],
    ["yarn-turns", noted("yarn-turns")],
    ["llama3", noted("llama3")],
    ["linear, on a configuration that divides positions already", scaled],
  ])("is read as it was at that scale, by nobody's saying (%s)", (_, config) => {
    for (const g of [1, 2, 3.5, 8]) {
      const reach = config.max_position_embeddings;
      const { extraConfig, window } = exportScale(config, g, options);
      expect(window).toBe(Math.round(g * reach));
      const exported = written(config, extraConfig);
      const [before, after] = [
        modelReading(config, "", { schedule: "auto", scale: g }).tables(reach),
        modelReading(exported, "", { schedule: "auto", scale: "auto" }).tables(reach),
      ];
      for (const table of ["cos", "sin"] as const) {
        const [expected, found] = [before[table], after[table]];
        expect(found.length).toBe(expected.length);
        found.forEach((value, i) => {
          expect(value).toBeCloseTo(expected[i] as number, 5);
        });
      }
    }
  });

  it("has the keys of new programs and of older ones, which say the same", () => {
    const { extraConfig } = exportScale(noted("linear"), 4, options);
    expect(extraConfig).toMatchObject({
      rope_theta: 10_000,
      rope_scaling: { rope_type: "linear", factor: 4 },
      rope_parameters: { rope_type: "linear", factor: 4 },
      max_position_embeddings: 4 * L,
      e2llm: { g_max: 8 },
    });
    expect(exportScale(noted("yarn"), 4, options).extraConfig).toMatchObject({ original_max_position_embeddings: L, e2llm: undefined });
  });

  it("is refused where nothing would be read by it, with what would", () => {
    const cases = [
      [plain, 4, "auto", /was not extended/],
      [noted("self-extend"), 4, "auto", /reads by other places of tokens/],
      [scaled, 2, "yarn", /scales the positions already/],
    ] as const;
    for (const [config, g, schedule, message] of cases) {
      const call = (): unknown => exportScale(config, g, { schedule, file: "config.json" });
      expect(call).toThrow(OptionError);
      expect(call).toThrow(message);
    }
    expect(exportScale(plain, 4, { schedule: "yarn", file: "config.json" })).toMatchObject({ schedule: "yarn", window: 4 * L });
  });
});
