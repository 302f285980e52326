/** How rows are read: the tables of a reading by its name. */
import type { HostTables } from "../../nn/batch.js";
import { takesScale } from "../methods/reading.js";
import { type ReadingRequest, readingTables } from "../reading.js";
import type { ReadingOf, TablesRequest } from "./definition.js";

/**
 * The tables by which a reading reads W tokens: those of `readingTables` at its scale, W/L unless it has one, where W is what is planned. Throws OptionError for names and
 * options that there are not.
 */
export function tablesOf(reading: ReadingOf, { config, length, planned = length, window }: TablesRequest): HostTables {
  if (typeof reading === "function") return reading({ config, length, planned, window });
  const { scale = "W/L", ...rest } = reading;
  const wanted = scale === "W/L" ? Math.max(1, planned / window) : scale;
  return readingTables(config, { ...rest, scale: takesScale(reading.schedule) ? wanted : 1, length, planned, window } as ReadingRequest);
}
