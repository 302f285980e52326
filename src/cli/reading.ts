import { fromHfRope } from "../e2llm/hf-rope.js";
import { plainPositions } from "../e2llm/positions.js";
import { automaticScale, type ReadingSchedule, readingTables } from "../e2llm/reading.js";
import { ropeFrequencies } from "../e2llm/schedules.js";
import { type RopeTables, ropeTables } from "../e2llm/tables.js";
import { OptionError } from "../errors.js";
import { type LlamaConfig, toHfConfig } from "../nn/config.js";
import type { ScaleOption } from "./options.js";

/** How a model is read when a command names a schedule and a scale. */
export interface ModelReading {
  /** L: the trained window. */
  readonly window: number;
  /** The scale at which a text of that length is read. */
  scaleAt(length: number): number;
  /** RoPE tables [1, length, D/2]; the scale is that of a text of `planned` tokens, `length` by default. */
  tables(length: number, planned?: number): RopeTables;
}

/**
 * Puts a schedule on a model. "none" reads it as its configuration says, a scaling of its own included. Throws OptionError for another
 * schedule on a model whose configuration scales its positions already.
 */
export function modelReading(
  config: LlamaConfig,
  folder: string,
  reading: { readonly schedule: ReadingSchedule; readonly scale: ScaleOption },
): ModelReading {
  const { schedule } = reading;
  const file = `${folder}/config.json`;
  const { scaling, theta, window } = fromHfRope(toHfConfig(config), { file });
  if (scaling.type !== "default" && schedule !== "none") {
    throw new OptionError(
      `${folder}: config.json scales the positions already ("${scaling.type}"), so --schedule ${schedule} cannot be put on it`,
      {
        hint: "leave --schedule out to read the model as its configuration says",
      },
    );
  }
  const scaleAt = (length: number): number => (reading.scale === "auto" ? automaticScale(schedule, length, window) : reading.scale);
  return {
    window,
    scaleAt,
    tables: (length, planned = length) => {
      if (schedule !== "none") {
        return readingTables({ head_dim: config.head_dim, rope_theta: theta }, { schedule, scale: scaleAt(planned), length, window });
      }
      const own = fromHfRope(toHfConfig(config), { file, seqLen: planned });
      return ropeTables(plainPositions({ length }), ropeFrequencies(own.scaling, { headDim: config.head_dim, theta }));
    },
  };
}
