import { integer, type Kind, optional, positive } from "../../arguments.js";
import { isObject, showValue } from "../json.js";

/** A bias that depends on the places of query and key alone, as `config.json` names it. */
export type StaticEncodingConfig =
  /** No positions at all: order is known by the causal mask alone. */
  | { readonly type: "nope" }
  | { readonly type: "alibi" }
  | { readonly type: "kerple" }
  /** `width`: hidden units, default 32. `length`: L at the start, default 512. `rows`: see {@link DapeOptions}. */
  | { readonly type: "fire"; readonly width?: number; readonly length?: number; readonly rows?: number };

/** What DAPE and DAPE V2 have in common. */
export interface DapeOptions {
  /** B, which is adapted. */
  readonly bias: StaticEncodingConfig;
  /** Hidden units. Default 32. */
  readonly width?: number;
  /** Queries that are taken at once, which decides memory and changes no value. Default: as many as make some 4 million numbers. */
  readonly rows?: number;
}

/** How a model without RoPE knows positions, as `config.json` names it. */
export type PositionEncodingConfig =
  | StaticEncodingConfig
  | ({ readonly type: "dape" } & DapeOptions)
  /** `kernel`: keys that an entry of the score map is computed from, an odd number. Default 3. */
  | ({ readonly type: "dape-v2"; readonly kernel?: number } & DapeOptions);

/** Bounds that every real model keeps, so that a file cannot ask for memory that no model needs. */
const width = optional(integer(1, 2 ** 16));
const rows = optional(integer(1, 2 ** 28));
const odd: Kind = { wanted: "an odd number from 1 to 63", fits: (value) => integer(1, 63).fits(value) && (value as number) % 2 === 1 };
/** Stands for a config of its own, which is checked by itself. */
const nested: Kind = { wanted: "an object", fits: isObject };

const statics = {
  nope: {},
  alibi: {},
  kerple: {},
  fire: { width, length: optional({ ...positive, fits: (value) => positive.fits(value) && (value as number) <= 2 ** 28 }), rows },
} satisfies Fields;
const all = {
  ...statics,
  dape: { bias: nested, width, rows },
  "dape-v2": { bias: nested, width, rows, kernel: optional(odd) },
} satisfies Fields & Record<PositionEncodingConfig["type"], unknown>;

/** Names and kinds of the fields of each type. */
type Fields = Readonly<Record<string, Readonly<Record<string, Kind>>>>;

/** What is wrong with something that should be a {@link PositionEncodingConfig}, or undefined. */
export const encodingProblem = (config: unknown): Problem | undefined => problemAt("position_encoding", config, all);

interface Problem {
  readonly message: string;
  readonly hint: string;
}

function problemAt(place: string, config: unknown, known: Fields): Problem | undefined {
  const types = Object.keys(known);
  const hint = `types are ${types.join(", ")}`;
  if (!isObject(config)) return { message: `expected ${place} to be an object with a type, found ${showValue(config)}`, hint };
  const { type, ...given } = config;
  const kinds = typeof type === "string" && Object.hasOwn(known, type) ? known[type] : undefined;
  if (kinds === undefined) return { message: `expected a ${place} of a known type, found ${showValue(type)}`, hint };
  const foreign = Object.keys(given).find((name) => !Object.hasOwn(kinds, name));
  if (foreign !== undefined) {
    const names = Object.keys(kinds);
    return {
      message: `there is no field ${showValue(foreign)} in a ${place} of type "${type}"`,
      hint: names.length === 0 ? "it has no fields" : `its fields are ${names.join(", ")}`,
    };
  }
  for (const [name, kind] of Object.entries(kinds)) {
    if (kind === nested) {
      const problem = problemAt(`${place}.${name}`, given[name], statics);
      if (problem !== undefined) return problem;
    } else if (!kind.fits(given[name])) {
      return { message: `expected ${place}.${name} to be ${kind.wanted}, found ${showValue(given[name])}`, hint: `correct ${name}` };
    }
  }
  return undefined;
}
