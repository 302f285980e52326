import { modelRope } from "../e2llm/model-frequencies.js";
import { automaticScale, type ReadingSchedule, readingTables } from "../e2llm/reading.js";
import type { RopeTables } from "../e2llm/tables.js";
import { OptionError } from "../errors.js";
import type { LlamaConfig } from "../nn/config.js";
import type { ScaleOption } from "./options.js";

/** How a model is read when a command names a schedule and a scale. */
export interface ModelReading {
  /** L: the trained window. */
  readonly window: number;
  /** The scale at which a text of that length is read. */
  scaleAt(length: number): number;
  /** Whether the frequencies follow the length of the text itself and not the scale alone, as dynamic NTK does. */
  readonly followsLength: boolean;
  /** RoPE tables [1, length, D/2]; the scale is that of a text of `planned` tokens, `length` by default. */
  tables(length: number, planned?: number): RopeTables;
}

/**
 * Puts a schedule on a model. "none" reads it as its configuration says, a scaling of its own included, and "linear" divides the
 * positions of that. Throws OptionError for another schedule on a model whose configuration scales its positions already.
 */
export function modelReading(
  config: LlamaConfig,
  folder: string,
  reading: { readonly schedule: ReadingSchedule; readonly scale: ScaleOption },
): ModelReading {
  const { schedule } = reading;
  const { scaling, window } = modelRope(config, { file: `${folder}/config.json` });
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
  const scaleAt = (length: number): number => (reading.scale === "auto" ? automaticScale(schedule, length, reach) : reading.scale);
  return {
    window,
    scaleAt,
    followsLength: schedule === "dynamic" || scaling.type === "dynamic",
    tables: (length, planned = length) => readingTables(config, { schedule, scale: scaleAt(planned), length, planned, window }),
  };
}
