import { integer, type Kind, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { HostTables } from "../../nn/batch.js";
import type { RopeFrequencies } from "../schedules.js";
import { logNTables } from "./log-n.js";
import { nearKind, plainTables } from "./near-far.js";
import { leakyReRopeFactor, leakyReRopeTables, reRopeTables } from "./rerope.js";
import { selfExtendGroup, selfExtendTables } from "./self-extend.js";
import { streamingTables } from "./streaming.js";

/** Names of the methods that read farther by other places and not by other frequencies. */
export type MethodSchedule = "self-extend" | "rerope" | "leaky-rerope" | "log-n" | "streaming";

export interface MethodOptions {
  /** w: keys nearer than that keep their distances. Default ⌊L/2⌋; for "streaming" L − s, so that all positions are trained ones. */
  readonly near?: number;
  /** G of "self-extend". Default: the smallest that reads s·L tokens. */
  readonly group?: number;
  /** k of "leaky-rerope". Default: the smallest that reads s·L tokens. */
  readonly factor?: number;
  /** s of "streaming". Default 4. */
  readonly sinks?: number;
}

const factorKind: Kind = { wanted: "a finite number of at least 1", fits: (value) => Number.isFinite(value) && (value as number) >= 1 };
export const methodKinds: OptionKinds<MethodOptions> = {
  near: optional(nearKind),
  group: optional(integer(1)),
  factor: optional(factorKind),
  sinks: optional(integer(0, 2 ** 30)),
};

export interface MethodRequest extends MethodOptions {
  readonly scale: number;
  /** Tokens that tables are made for. */
  readonly length: number;
  /** L */
  readonly window: number;
}

interface Method {
  readonly options: readonly (keyof MethodOptions)[];
  /** Whether it reads farther at a larger scale; at 1 the text is read as trained. The others take none. */
  readonly scaled: boolean;
  readonly tables: (frequencies: RopeFrequencies, request: MethodRequest) => HostTables;
}

const half = (window: number): number => Math.max(1, Math.floor(window / 2));
const reached = ({ scale, window }: MethodRequest): number => Math.ceil(scale * window);

const methods: { readonly [name in MethodSchedule]: Method } = {
  "self-extend": {
    options: ["near", "group"],
    scaled: true,
    tables: (frequencies, request) => {
      const { length, window, near = half(window), group = selfExtendGroup({ length: reached(request), window, near }) } = request;
      return selfExtendTables(frequencies, { length, near, group });
    },
  },
  rerope: {
    options: ["near"],
    scaled: true,
    tables: (frequencies, { length, window, near = half(window) }) => reRopeTables(frequencies, { length, near }),
  },
  "leaky-rerope": {
    options: ["near", "factor"],
    scaled: true,
    tables: (frequencies, request) => {
      const { length, window, near = half(window), factor = leakyReRopeFactor({ length: reached(request), window, near }) } = request;
      return leakyReRopeTables(frequencies, { length, near, factor });
    },
  },
  "log-n": {
    options: [],
    scaled: false,
    tables: (frequencies, { length, window }) => logNTables(plainTables(frequencies, length), { window }),
  },
  streaming: {
    options: ["near", "sinks"],
    scaled: false,
    tables: (frequencies, { length, window, sinks = 4, near = Math.max(1, window - sinks) }) =>
      streamingTables(frequencies, { length, near, sinks }),
  },
};

export const methodSchedules = Object.keys(methods) as readonly MethodSchedule[];
export const isMethod = (schedule: string): schedule is MethodSchedule => Object.hasOwn(methods, schedule);

/** Whether a scale means something to a schedule. */
export const takesScale = (schedule: string): boolean => schedule !== "none" && (!isMethod(schedule) || methods[schedule].scaled);

/** Throws OptionError for an option of another method. */
export function checkMethodOptions(where: string, schedule: string, options: MethodOptions): void {
  const own = isMethod(schedule) ? methods[schedule].options : [];
  for (const name of Object.keys(methodKinds) as (keyof MethodOptions)[]) {
    if (options[name] === undefined || own.includes(name)) continue;
    throw new OptionError(`${where}: schedule "${schedule}" has no option "${name}"`, {
      hint: own.length === 0 ? "leave it out" : `its options are ${own.join(", ")}`,
    });
  }
}

/** The tables of a method, with what is not given chosen for the scale. */
export function methodTables(schedule: MethodSchedule, frequencies: RopeFrequencies, request: MethodRequest): HostTables {
  const { scaled, tables } = methods[schedule];
  return scaled && request.scale === 1 ? plainTables(frequencies, request.length) : tables(frequencies, request);
}
