import { checkArgument, checkOptions, number, objectWith } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { LlamaConfig } from "../nn/config.js";
import { type HfRopeConfig, toHfRope } from "./hf-rope.js";
import { modelRope, type RopeConfig } from "./model-frequencies.js";
import { type RopeScaling, ropeFrequencies } from "./schedules.js";

/**
 * The position keys of `config.json` by which other software reads a model at scale g, positions divided by g, as a model of E²-LLM is read:
 * `rope_parameters` and `rope_scaling` with `rope_theta`, and g times the window. Give them to `saveModel` as `extraConfig`:
 *
 *     await saveModel(folder, model, { extraConfig: exportConfig(model.config, { scale: 4 }) });
 *
 * A model whose own configuration scales RoPE keeps that scaling below the division; where Hugging Face has no type for the two, they are
 * written as the divisors of `longrope`.
 *
 * @param options.scale g ≥ 1; at 1 the keys are those of the model itself
 * @throws OptionError for a scale below 1, for a model with a position encoding in place of RoPE, and for one with `dynamic` scaling, whose
 *   frequencies follow the length
 */
export function exportConfig(
  config: RopeConfig & Pick<LlamaConfig, "position_encoding">,
  options: { readonly scale: number },
): HfRopeConfig {
  checkArgument("exportConfig", "config", config, objectWith("the configuration of a model", "head_dim", "rope_theta"));
  checkOptions("exportConfig", options, { scale: number });
  const { scale: g } = options;
  if (!(g >= 1 && Number.isFinite(g)))
    throw new OptionError(`exportConfig: scale is at least 1, found ${g}`, { hint: "g = wanted window / trained window" });
  if (config.position_encoding !== undefined) {
    throw new OptionError(
      `exportConfig: the model has a position encoding of type "${config.position_encoding.type}", which has no scale`,
      {
        hint: "save it as it is",
      },
    );
  }
  const { scaling, theta, window } = modelRope(config);
  const shape = { headDim: config.head_dim, theta };
  const written = toHfRope(g === 1 ? scaling : divided(scaling, g, { ...shape, window }), { ...shape, window });
  const positions = config.max_position_embeddings;
  return positions === undefined ? written : { ...written, max_position_embeddings: Math.round(g * positions) };
}

/** A scaling with positions divided by g on top. */
function divided(
  scaling: RopeScaling,
  g: number,
  shape: { readonly headDim: number; readonly theta: number; readonly window: number },
): RopeScaling {
  switch (scaling.type) {
    case "default":
      return { type: "linear", factor: g };
    case "linear":
      return { type: "linear", factor: g * scaling.factor };
    case "proportional":
      return { ...scaling, factor: g * (scaling.factor ?? 1) };
    case "dynamic":
      throw new OptionError('exportConfig: no file can say a scale on top of "dynamic" scaling, whose frequencies follow the length', {
        hint: "take the scaling out of the configuration, or export at scale 1",
      });
    default: {
      const original = "originalMaxPositions" in scaling ? scaling.originalMaxPositions : shape.window;
      const plain = ropeFrequencies({ type: "default" }, shape).invFreq;
      const at = (seqLen: number) => ropeFrequencies(scaling.type === "longrope" ? { ...scaling, seqLen } : scaling, shape);
      const divisors = (seqLen: number): number[] =>
        Array.from(at(seqLen).invFreq, (frequency, j) => (g * (plain[j] as number)) / frequency);
      return {
        type: "longrope",
        factor: g * ("factor" in scaling ? (scaling.factor ?? 1) : 1),
        originalMaxPositions: original,
        shortFactor: divisors(original),
        longFactor: divisors(original + 1),
        seqLen: original,
        attentionFactor: at(original).attentionFactor,
      };
    }
  }
}
