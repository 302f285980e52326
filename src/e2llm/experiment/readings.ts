/** How rows are read: the tables of a reading by its name. */
import { checkOptions, flag, type Kind, number, optional, text } from "../../arguments.js";
import type { HostTables } from "../../nn/batch.js";
import type { LlamaConfig } from "../../nn/config.js";
import {
  leakyReRopeFactor,
  leakyReRopeTables,
  logNTables,
  reRopeTables,
  selfExtendGroup,
  selfExtendTables,
  streamingTables,
} from "../methods/index.js";
import { modelFrequencies } from "../model-frequencies.js";
import { type ReadingRequest, readingTables } from "../reading.js";
import type { RopeFrequencies } from "../schedules.js";
import type { ReadingOf, TablesRequest } from "./definition.js";

/** What a method makes its tables from: those of its options that a reading gives, and defaults that follow from window and length. */
interface MethodRequest {
  readonly frequencies: RopeFrequencies;
  readonly length: number;
  readonly window: number;
  readonly given: Readonly<Record<string, number | undefined>>;
}

interface Method {
  /** Names of the numbers that it takes. */
  readonly options: readonly string[];
  readonly tables: (request: MethodRequest) => HostTables;
}

/** Keys nearer than that keep their distances, where nobody says it: half of the window. */
const half = (window: number): number => Math.max(1, Math.floor(window / 2));

/** Methods that read beyond the window without training and are no schedules, by their names in a definition. */
const methods: Readonly<Record<string, Method>> = {
  "self-extend": {
    options: ["near", "group"],
    tables: ({ frequencies, length, window, given: { near = half(window), group = selfExtendGroup({ length, window, near }) } }) =>
      selfExtendTables(frequencies, { length, near, group }),
  },
  rerope: {
    options: ["near"],
    tables: ({ frequencies, length, window, given: { near = half(window) } }) => reRopeTables(frequencies, { length, near }),
  },
  "leaky-rerope": {
    options: ["near", "factor"],
    tables: ({ frequencies, length, window, given: { near = half(window), factor = leakyReRopeFactor({ length, window, near }) } }) =>
      leakyReRopeTables(frequencies, { length, near, factor }),
  },
  streaming: {
    options: ["near", "sinks"],
    tables: ({ frequencies, length, window, given: { sinks = Math.min(4, window - 1), near = window - sinks } }) =>
      streamingTables(frequencies, { length, near, sinks }),
  },
};

/**
 * The tables by which a reading reads W tokens. Beside the schedules of `readingTables` there are "self-extend", "rerope", "leaky-rerope" and
 * "streaming" with the options of their functions, and `logN: true` puts log-n scaling on any of them. Throws OptionError for names and options
 * that there are not.
 */
export function tablesOf(reading: ReadingOf, { config, length, window }: TablesRequest): HostTables {
  if (typeof reading === "function") return reading({ config, length, window });
  const { logN = false, ...rest } = reading as typeof reading & { readonly logN?: boolean };
  const found = withoutLogN(rest, { config, length, window });
  return logN ? logNTables(found, { window }) : found;
}

function withoutLogN(reading: Exclude<ReadingOf, (request: never) => unknown>, { config, length, window }: TablesRequest): HostTables {
  const { schedule, scale, ...given } = reading;
  const method = Object.hasOwn(methods, schedule) ? methods[schedule] : undefined;
  if (method === undefined)
    return readingTables(config, { ...given, ...scaled(reading, length, window), length, window } as ReadingRequest);
  const kinds: Record<string, Kind> = { schedule: text, logN: optional(flag) };
  for (const name of method.options) kinds[name] = optional(number);
  checkOptions(`the reading "${schedule}"`, reading as Record<string, unknown>, kinds);
  return method.tables({ frequencies: frequenciesOf(config, length), length, window, given: given as MethodRequest["given"] });
}

/** The scale of a schedule: a number, or how many windows the text has. */
function scaled({ schedule, scale }: { readonly schedule: string; readonly scale?: number | "W/L" }, length: number, window: number) {
  const wanted = scale ?? (schedule === "none" ? 1 : "W/L");
  return { schedule, scale: wanted === "W/L" ? Math.max(1, length / window) : wanted };
}

const frequenciesOf = (config: LlamaConfig, length: number): RopeFrequencies => modelFrequencies(config, { length });
