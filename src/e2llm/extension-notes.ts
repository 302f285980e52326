/** What a model's configuration says of how its window was extended. */
import { checkArgument, objectWith } from "../arguments.js";
import type { ExtensionNotes } from "../nn/config.js";
import type { RopeConfig } from "./model-frequencies.js";
import { type PositionSourceOptions, positionSourceReading, sourceOptionsKind } from "./positions/registry.js";

const configKind = objectWith("the configuration of a model", "head_dim", "rope_theta", "max_position_embeddings");

/**
 * The field `e2llm` of a `config.json`: the method, the scales that were trained, and the schedule by which `automaticReading` reads the model therefore.
 * The window stays the trained one, because the scale is chosen when reading. Null for training that prepares for no other scale than 1.
 *
 *     await saveModel(folder, model, { extraConfig: { e2llm: extensionNotes({ type: "e2", gMax: 8 }, model.config) } });
 *
 * @param positions what the model was trained at, as `createPositionSource` takes it
 * @param config the model's configuration
 * @throws OptionError where `createPositionSource` does
 */
export function extensionNotes(
  positions: PositionSourceOptions,
  config: RopeConfig & { max_position_embeddings: number },
): ExtensionNotes | null {
  checkArgument("extensionNotes", "positions", positions, sourceOptionsKind);
  checkArgument("extensionNotes", "config", config, configKind);
  const { schedule, scaling, gMax, everyScale } = positionSourceReading(positions, config);
  if (gMax === 1 && !everyScale) return null;
  const { type: method, ...given } = positions;
  const { sinks, granularity } = given as { readonly sinks?: number; readonly granularity?: string };
  const window = positions.window ?? config.max_position_embeddings;
  const name = schedule ?? "custom";
  const which = everyScale ? `a whole g from 1 to ${gMax}` : `g = ${gMax}, the one that was trained,`;
  return {
    method,
    trained_window: window,
    g_max: gMax,
    every_scale: everyScale,
    schedule: name,
    ...(sinks === undefined ? {} : { sinks }),
    ...(granularity === undefined ? {} : { granularity }),
    positions: given,
    reading:
      name === "linear"
        ? `divide positions by ${which} to read g*${window} tokens; elsewhere: rope_scaling {"type": "linear", "factor": g}, times the factor of a linear scaling that the model had`
        : name === "none"
          ? "as it is, at any length"
          : `frequencies of ${JSON.stringify(scaling)} at ${which} to read g*${window} tokens`,
  };
}
