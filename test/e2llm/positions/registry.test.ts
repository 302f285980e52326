import { describe, expect, it } from "vitest";
import { positionSourceReading } from "../../../src/e2llm/extension-notes.js";
import {
  createE2Source,
  createE2YarnSource,
  createPlainSource,
  createPoseSource,
  createPositionSource,
  createRandomIncrementsSource,
  createRandomizedSource,
  createRandomScaleSource,
  type PositionSource,
  type PositionSourceOptions,
  positionSourceTypes,
} from "../../../src/e2llm/positions/index.js";
import { OptionError } from "../../../src/errors.js";
import { tinyConfig } from "../../nn/tiny.js";

const shape = { headDim: 8, theta: 10_000 };
const config = { ...tinyConfig, head_dim: 8, rope_theta: 10_000, max_position_embeddings: 16 };
const common = { seed: 3, granularity: "sample" } as const;

/** Each type with options as an experiment has them, and what its own function makes of them with the model's numbers. */
const examples: readonly (readonly [PositionSourceOptions, PositionSource])[] = [
  [{ type: "plain" }, createPlainSource()],
  [{ type: "plain", scale: 4, scaling: "yarn" }, createPlainSource({ scale: 4, scaling: "yarn", window: 16, shape })],
  [{ type: "e2", gMax: 4, ...common }, createE2Source({ window: 16, gMax: 4, ...common })],
  [{ type: "e2", window: 12, g: 8, t: 0 }, createE2Source({ window: 12, g: 8, t: 0 })],
  [
    { type: "e2-yarn", gMax: 4, ramp: "turns", betaFast: 4, ...common },
    createE2YarnSource({ window: 16, gMax: 4, shape, ramp: "turns", betaFast: 4, ...common }),
  ],
  [{ type: "pose", scale: 8, ...common }, createPoseSource({ window: 16, scale: 8, ...common })],
  [{ type: "pose", scale: 8, scaling: "ntk", chunks: 3 }, createPoseSource({ window: 16, scale: 8, scaling: "ntk", shape, chunks: 3 })],
  [{ type: "randomized", lMax: 128, scaling: "linear" }, createRandomizedSource({ lMax: 128, window: 16, scaling: "linear" })],
  [{ type: "random-scale", gMax: 4, ...common }, createRandomScaleSource({ gMax: 4, shape, ...common })],
  [{ type: "random-increments", ...common }, createRandomIncrementsSource(common)],
];

describe("position sources by name", () => {
  it("are those of their own functions, with the window and the shape of the model, from JSON too", () => {
    expect(new Set(examples.map(([{ type }]) => type))).toEqual(new Set(positionSourceTypes));
    for (const [options, own] of examples) {
      const request = { batch: 3, length: 12, step: 5 };
      const named = createPositionSource(JSON.parse(JSON.stringify(options)) as PositionSourceOptions, config);
      expect(named(request), JSON.stringify(options)).toEqual(own(request));
    }
  });

  it("need no model where the options say everything", () => {
    expect(createPositionSource({ type: "e2", window: 8, gMax: 2 })({ batch: 1, length: 8, step: 0 }).rows).toBe(1);
    expect(() => createPositionSource({ type: "e2", gMax: 2 })).toThrow(/window is missing/);
    expect(() => createPositionSource({ type: "e2-yarn", window: 8, gMax: 2 })).toThrow(/shape of the model, which is missing/);
    expect(() => createPositionSource({ type: "random-scale", gMax: 2 })).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("model.config") as string }) as Error,
    );
  });

  it("refuse types and options that there are not, with what may have been meant", () => {
    const hintOf = (options: object): string => {
      try {
        createPositionSource(options as PositionSourceOptions, config);
      } catch (error) {
        expect(error).toBeInstanceOf(OptionError);
        return (error as OptionError).hint;
      }
      return "nothing was thrown";
    };
    expect(hintOf({ type: "e2-yam" })).toBe('did you mean "e2-yarn"?');
    expect(hintOf({ type: "pos" })).toBe('did you mean "pose"?');
    expect(hintOf({ type: "constructor" })).toContain("types are plain, e2");
    expect(hintOf({ type: "e2", gmax: 4 })).toBe('did you mean "gMax"?');
    expect(hintOf({ type: "e2", gMax: 4, granularity: "samples" })).toBe('did you mean "sample"?');
    expect(hintOf({ type: "pose", scale: 2, scaling: null })).not.toBe("nothing was thrown");
    expect(hintOf({ type: "plain", gMax: 4 })).not.toBe("nothing was thrown");
    for (const bad of [undefined, null, {}, { type: 3 }, "e2", []]) {
      expect(() => createPositionSource(bad as never)).toThrow(OptionError);
      expect(() => positionSourceReading(bad as never)).toThrow(OptionError);
    }
  });

  it("do not draw frequencies for a model that scales them already, but divide its positions", () => {
    const scaled = {
      ...config,
      rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 },
      max_position_embeddings: 64,
    };
    expect(() => createPositionSource({ type: "e2-yarn", gMax: 4 }, scaled)).toThrow(/already \("yarn"\)/);
    expect(() => createPositionSource({ type: "pose", scale: 1.5 }, scaled)).toThrow(/cannot be put on it/);
    const request = { batch: 1, length: 64, step: 0 };
    // What is extended is what the model reads as it is.
    expect(createPositionSource({ type: "e2", gMax: 4 }, scaled)(request)).toEqual(createE2Source({ window: 64, gMax: 4 })(request));
  });
});

describe("the reading that a source prepares for", () => {
  it.each<readonly [PositionSourceOptions, string | null, number, boolean]>([
    [{ type: "plain" }, "none", 1, false],
    [{ type: "plain", scale: 8 }, "linear", 8, false],
    [{ type: "e2", gMax: 8 }, "linear", 8, true],
    [{ type: "e2", g: 4 }, "linear", 4, false],
    [{ type: "e2", gMax: 8, g: { weights: [0, 0, 1, 0, 0, 0, 0, 0] } }, "linear", 3, false],
    [{ type: "e2-yarn", g: 4 }, "yarn", 4, false],
    [{ type: "random-scale", g: 4 }, "ntk", 4, false],
    [{ type: "e2", gMax: 1 }, "none", 1, false],
    [{ type: "e2", g: { values: [2, 16] } }, "linear", 16, false],
    [{ type: "e2", g: { values: [3, 1, 2] } }, "linear", 3, true],
    [{ type: "e2", gMax: 8, scaling: "ntk" }, "ntk", 8, true],
    [{ type: "e2-yarn", gMax: 8 }, "yarn", 8, true],
    [{ type: "e2-yarn", gMax: 8, ramp: "index", betaFast: 32 }, "yarn", 8, true],
    [{ type: "e2-yarn", gMax: 8, ramp: "turns", betaFast: 4 }, "yarn-turns", 8, true],
    [{ type: "e2-yarn", gMax: 8, ramp: "turns" }, null, 8, true],
    [{ type: "e2-yarn", gMax: 8, attentionFactor: 1 }, "ntk-by-parts", 8, true],
    [{ type: "e2-yarn", gMax: 8, attentionFactor: 1.5 }, null, 8, true],
    [{ type: "pose", scale: 4 }, "linear", 4, false],
    [{ type: "pose", scale: 4, scaling: "llama3" }, "llama3", 4, false],
    [{ type: "randomized", lMax: 128 }, "none", 8, false],
    [{ type: "randomized", lMax: 128, scaling: "linear" }, "linear", 8, false],
    [{ type: "random-scale", gMax: 4 }, "ntk", 4, true],
    [{ type: "random-scale", gMax: 4, scaling: { type: "ntk-by-parts", ramp: "index", betaFast: 32 } }, "ntk-by-parts", 4, true],
    [{ type: "pose", scale: 4, scaling: { type: "llama3", highFreqFactor: 8 } }, null, 4, false],
    [{ type: "random-increments" }, "none", 1, false],
  ])("of %j is %s up to scale %d", (options, schedule, gMax, everyScale) => {
    expect(positionSourceReading(options, config)).toMatchObject({ schedule, gMax, everyScale });
  });
});
