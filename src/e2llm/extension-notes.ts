/** How a model is read that was trained at positions of a source, and what its configuration says of it. */
import { checkArgument, objectWith } from "../arguments.js";
import type { ExtensionNotes } from "../nn/config.js";
import type { RopeConfig } from "./model-frequencies.js";
import { type PositionSourceOptions, resolveSource, sourceOptionsKind } from "./positions/registry.js";
import { type DrawnScaling, scalingAt } from "./positions/scaling.js";
import { type ReadingSchedule, readingScaling, readingSchedules } from "./reading.js";
import { type RopeScaling, ropeFrequencies } from "./schedules.js";

const configKind = objectWith("the configuration of a model", "head_dim", "rope_theta", "max_position_embeddings");

/** How a model is read that was trained at positions of a source. */
export interface SourceReading {
  /** The name of a schedule, as `readingTables` takes it; null where none of that name has these parameters. */
  readonly schedule: ReadingSchedule | null;
  /** The same with its parameters. */
  readonly scaling: DrawnScaling;
  /** The largest scale that was trained. */
  readonly gMax: number;
  /** Whether all smaller whole scales were trained too. */
  readonly everyScale: boolean;
  /** Where not, those that were, ascending. A source of one fixed scale, such as PoSE, or E²-LLM with g = 8, prepares for that one. */
  readonly scales?: readonly number[];
}

/** The reading that training at `createPositionSource(options, config)` prepares a model for. Throws what that throws. */
export function positionSourceReading(options: PositionSourceOptions, config?: RopeConfig): SourceReading {
  const { record, given } = resolveSource("positionSourceReading", options, config);
  record.create(given);
  const scaling = record.scaling(given);
  const { values, largest: gMax } = record.scales(given);
  const scales = values && [...new Set(values)].sort((a, b) => a - b);
  // Distinct whole numbers from 1 on, as many as the largest says.
  const everyScale = gMax > 1 && (scales === undefined || scales.length === gMax);
  const schedule = gMax === 1 ? "none" : scheduleOf(scaling);
  return { schedule, scaling, gMax, everyScale, ...(everyScale ? {} : { scales: scales ?? [1] }) };
}

/** The name of the reading whose frequencies are those of a scaling, compared at a size at which all of them differ. */
function scheduleOf(scaling: DrawnScaling): ReadingSchedule | null {
  const [scale, window] = [3, 4096];
  const frequenciesOf = (schedule: RopeScaling): string => {
    const { invFreq, attentionFactor } = ropeFrequencies(schedule, { headDim: 128, theta: 10_000 });
    return [...invFreq, attentionFactor].join();
  };
  const own = frequenciesOf(scalingAt(scaling, scale, window));
  // The one that depends on the length has others' frequencies at each.
  const names = readingSchedules.filter((name) => name !== "dynamic");
  return names.find((schedule) => frequenciesOf(readingScaling({ schedule, scale, window, length: scale * window })) === own) ?? null;
}

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
  const { schedule, scaling, gMax, everyScale, scales = [] } = positionSourceReading(positions, config);
  if (gMax === 1) return null;
  const { type: method, ...given } = positions;
  const { sinks, granularity } = given as { readonly sinks?: number; readonly granularity?: string };
  const window = positions.window ?? config.max_position_embeddings;
  const name = schedule ?? "custom";
  const several = scales.length > 1;
  const which = everyScale
    ? `a whole g from 1 to ${gMax}`
    : several
      ? `the smallest g of ${scales.join(", ")}, those that were trained, that is enough`
      : `g = ${gMax}, the one that was trained,`;
  return {
    method,
    trained_window: window,
    g_max: gMax,
    every_scale: everyScale,
    ...(several ? { scales } : {}),
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
