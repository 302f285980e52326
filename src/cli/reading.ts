import { modelRope } from "../e2llm/model-frequencies.js";
import { type AutomaticReading, automaticReading, type ReadingSchedule, readingScale, readingTables } from "../e2llm/reading.js";
import { OptionError } from "../errors.js";
import type { HostTables } from "../nn/batch.js";
import type { LlamaConfig } from "../nn/config.js";
import type { GrowingScaleOption, ScheduleName } from "./options.js";
import type { Unit } from "./units.js";

/** How a model is read when a command names a schedule and a scale. */
export interface ModelReading {
  readonly schedule: ReadingSchedule;
  /** What was chosen where it was left to the model, in words; undefined where it was named. */
  readonly chosen: string | undefined;
  /** The largest scale that the model was extended for; undefined where it was not. */
  readonly gMax: number | undefined;
  /** L: the trained window. */
  readonly window: number;
  /** The scale at which a text of that length is read. */
  scaleAt(length: number): number;
  /** Whether the frequencies follow the length of the text itself and not the scale alone, as dynamic NTK does. */
  readonly followsLength: boolean;
  /** RoPE tables [1, length, D/2]; the scale is that of a text of `planned` tokens, `length` by default. */
  tables(length: number, planned?: number): HostTables;
}

/**
 * Puts a schedule on a model. "none" reads it as its configuration says, a scaling of its own included, and "linear" divides the
 * positions of that. Throws OptionError for another schedule on a model whose configuration scales its positions already.
 */
export function modelReading(
  config: LlamaConfig,
  folder: string,
  reading: { readonly schedule: ScheduleName; readonly scale: GrowingScaleOption },
  unit: Unit = "tokens",
): ModelReading {
  const file = `${folder}/config.json`;
  const own = automaticReading(config, { file });
  const schedule = reading.schedule === "auto" ? own.schedule : reading.schedule;
  const { scaling, window } = modelRope(config, { file });
  if (schedule === "none" && reading.schedule === "auto" && typeof reading.scale === "number" && reading.scale !== 1) {
    throw new OptionError(`--scale ${reading.scale} has no effect: ${folder} was not extended, so it is read as it was trained`, {
      hint: "choose a schedule: --schedule linear for example",
    });
  }
  if (scaling.type !== "default" && schedule !== "none" && schedule !== "linear") {
    throw new OptionError(
      `${folder}: config.json scales the positions already ("${scaling.type}"), so --schedule ${schedule} cannot be put on it`,
      {
        hint: "leave --schedule out to read the model as its configuration says",
      },
    );
  }
  // What a scaled model reads as it is, and what E²-LLM extends.
  const reach = config.max_position_embeddings;
  const scaleAt = (length: number): number =>
    typeof reading.scale === "number"
      ? schedule === "none"
        ? 1
        : reading.scale
      : readingScale(reading.schedule === "auto" ? own : { schedule }, length, reach);
  return {
    schedule,
    chosen: reading.schedule !== "auto" ? undefined : describe(own, reach, unit),
    gMax: own.gMax,
    window,
    scaleAt,
    followsLength: [schedule, scaling.type].includes("dynamic") || scaling.type === "longrope",
    tables: (length, planned = length) => readingTables(config, { schedule, scale: scaleAt(planned), length, planned, window }),
  };
}

function describe({ schedule, gMax, scales }: AutomaticReading, reach: number, unit: Unit): string {
  if (gMax === undefined) return "read as it was trained: its config.json names no extension";
  if (scales !== undefined && schedule !== "none") {
    const which = scales.length === 1 ? `g = ${scales[0]}, the one` : `the smallest g that is enough of ${scales.join(", ")}, those`;
    return `read by schedule ${schedule} at ${which} for which config.json says it was extended`;
  }
  return `read by schedule ${schedule} at g = ceil(${unit} / ${reach}), for which config.json says it was extended, up to g = ${gMax}`;
}

/** A warning where a text is read at a scale that the model has not seen. */
export function unseenScale({ gMax, scaleAt, schedule }: ModelReading, length: number, unit: Unit): string | undefined {
  const scale = scaleAt(length);
  if (gMax === undefined || schedule === "none" || scale <= gMax) return undefined;
  return `${length} ${unit} are read at scale ${scale}, and the model was extended up to ${gMax}: losses rise beyond`;
}

/** What is to be said of a text that is longer than what a model reads which nobody extends; undefined for others. */
export function beyondReach(
  { max_position_embeddings: reach }: Pick<LlamaConfig, "max_position_embeddings">,
  { schedule, window }: Pick<ModelReading, "schedule" | "window">,
  length: number,
): string | undefined {
  if (schedule !== "none" || length <= reach) return undefined;
  return reach === window ? `the model was trained on ${reach}` : `the model reads ${reach}, by the scale that its configuration states`;
}
