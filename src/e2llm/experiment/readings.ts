/** How rows are read: the tables of a reading by its name. */
import type { HostTables } from "../../nn/batch.js";
import { takesScale } from "../methods/reading.js";
import { type ReadingRequest, readingTables } from "../reading.js";
import type { ReadingOf, TablesRequest } from "./definition.js";

/**
 * The tables by which a reading reads W tokens: those of `readingTables` at its scale, W/L unless it has one. Throws OptionError for names and
 * options that there are not.
 */
export function tablesOf(reading: ReadingOf, { config, length, window }: TablesRequest): HostTables {
  if (typeof reading === "function") return reading({ config, length, window });
  const { scale = "W/L", ...rest } = reading;
  const wanted = scale === "W/L" ? Math.max(1, length / window) : scale;
  return readingTables(config, { ...rest, scale: takesScale(reading.schedule) ? wanted : 1, length, window } as ReadingRequest);
}
