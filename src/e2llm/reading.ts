/** How a text of some length is read: which schedule, at which scale, by which RoPE tables. */
import {
  checkArgument,
  checkOptions,
  flag,
  integer,
  type Kind,
  type OptionKinds,
  objectWith,
  oneOf,
  optional,
  text,
} from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import type { HostTables } from "../nn/batch.js";
import { logNTables } from "./methods/log-n.js";
import {
  checkMethodOptions,
  isMethod,
  type MethodOptions,
  type MethodSchedule,
  methodKinds,
  methodSchedules,
  methodTables,
  takesScale,
} from "./methods/reading.js";
import { modelFrequencies, modelRope, type RopeConfig } from "./model-frequencies.js";
import { inferenceScale, plainPositions } from "./positions/index.js";
import { interpolatedFrequencies, type RopeScaling, ropeFrequencies } from "./schedules.js";
import { ropeTables } from "./tables.js";

/**
 * Names of the ways to read beyond the trained window L at scale s:
 * "none" as trained; "linear" positions divided by s (Position Interpolation, and E²-LLM at g = s); "ntk" a larger base; "yarn" with
 * the ramp and the ends (β = 32, α = 1) of Hugging Face's code; "yarn-turns" with the ramp of the paper and β = 4, α = 1, because
 * with β = 32 no dimension of a window below some 200 tokens would be kept; "dynamic" the base that Hugging Face's dynamic NTK takes at this length with factor s;
 * "llama3" the ramp of Llama 3.1; "ntk-by-parts" the frequencies of "yarn" without its attention factor; "ntk-mixed" Su's smooth ramp;
 * "resonance-yarn" "yarn" with wavelengths of whole positions.
 * By other places instead: "self-extend", "rerope" and "leaky-rerope" (see `selfExtendTables`, `reRopeTables` and `leakyReRopeTables`) for
 * s·L tokens; "log-n" with longer queries (`logNTables`) and "streaming" with the first tokens and the last (`streamingTables`), at any length.
 */
export type ReadingSchedule =
  | "none"
  | "linear"
  | "ntk"
  | "yarn"
  | "yarn-turns"
  | "dynamic"
  | "llama3"
  | "ntk-by-parts"
  | "ntk-mixed"
  | "resonance-yarn"
  | MethodSchedule;

/** All ways to read. */
export const readingSchedules: readonly ReadingSchedule[] = [
  "none",
  "linear",
  "ntk",
  "yarn",
  "yarn-turns",
  "dynamic",
  "llama3",
  "ntk-by-parts",
  "ntk-mixed",
  "resonance-yarn",
  ...methodSchedules,
];

/** A way to read. */
export interface Reading {
  readonly schedule: ReadingSchedule;
  /** s ≥ 1; at 1 every schedule is the identity within the window, up to the rounding of "resonance-yarn". */
  readonly scale: number;
}

/** A reading of a text of W tokens by a model of window L. */
export interface ReadingRequest extends Reading, MethodOptions {
  /** W: tokens that are read. */
  readonly length: number;
  /** L: the trained window. */
  readonly window: number;
  /** Tokens that the text will have, which "dynamic" follows, where tables are made for more or fewer. Default: `length`. */
  readonly planned?: number;
  /** Whether log-n scaling is put on top (see `logNTables`). Default false. */
  readonly logN?: boolean;
}

const scaleKind: Kind = { wanted: "a finite number of at least 1", fits: (scale) => Number.isFinite(scale) && (scale as number) >= 1 };
const requestKinds: OptionKinds<ReadingRequest> = {
  schedule: oneOf(...readingSchedules),
  scale: scaleKind,
  length: integer(0),
  window: integer(1),
  planned: optional(integer(0)),
  logN: optional(flag),
  ...methodKinds,
};

/** The scaling behind a reading, with every parameter that was chosen. */
export function readingScaling(request: ReadingRequest): RopeScaling {
  checkOptions("readingScaling", request, requestKinds);
  const { schedule, scale, length, window, planned = length } = request;
  switch (schedule) {
    case "none":
      return { type: "default" };
    case "linear":
      return { type: "linear", factor: scale };
    case "ntk":
      return { type: "ntk", factor: scale };
    case "yarn":
      return { type: "yarn", factor: scale, originalMaxPositions: window };
    case "yarn-turns":
      return { type: "yarn", factor: scale, originalMaxPositions: window, ramp: "turns", betaFast: 4, betaSlow: 1 };
    case "dynamic":
      return { type: "dynamic", factor: scale, originalMaxPositions: window, seqLen: planned };
    case "llama3":
      return { type: "llama3", factor: scale, originalMaxPositions: window };
    case "ntk-by-parts":
      return { type: "ntk-by-parts", factor: scale, originalMaxPositions: window, ramp: "index" };
    case "ntk-mixed":
      return { type: "ntk-mixed", factor: scale };
    case "resonance-yarn":
      return { type: "resonance", on: { type: "yarn", factor: scale, originalMaxPositions: window } };
    default:
      return { type: "default" };
  }
}

/** How a model is read where nobody says it. */
export interface AutomaticReading {
  readonly schedule: ReadingSchedule;
  /** The largest scale that the model has seen in training; beyond it losses rise. Absent where none was trained. */
  readonly gMax?: number;
  /** The scales that the model was trained at, ascending, where these are not all whole ones up to gMax: one alone after PoSE. */
  readonly scales?: readonly number[];
}

/**
 * The schedule that a model was made for. One that was extended says so in its configuration (`e2llm`), and is read by the schedule named there, "linear"
 * unless another is, at the scale of {@link readingScale}; any other is read as its configuration states, "none".
 *
 * @throws FormatError for the name of a schedule that is not known here
 */
export function automaticReading(config: RopeConfig, options: { readonly file?: string } = {}): AutomaticReading {
  checkArgument("automaticReading", "config", config, objectWith("the configuration of a model", "head_dim", "rope_theta"));
  checkOptions("automaticReading", options, { file: optional(text) });
  const notes = config.e2llm;
  if (notes === undefined) return { schedule: "none" };
  const { schedule = "linear", g_max: gMax, trained_window: window, every_scale: everyScale = true, scales = [gMax] } = notes;
  const known = readingSchedules.find((name) => name === schedule);
  if (known === undefined) {
    throw new FormatError(`e2llm.schedule is ${JSON.stringify(schedule)}, which is not computed here`, {
      file: options.file ?? "config.json",
      hint: `say how to read it: ${readingSchedules.join(", ")}`,
    });
  }
  if (everyScale) return { schedule: known, gMax };
  // A scaling that the configuration states already, as an exported one does, covers a part of it.
  const left = scales.map((scale) => Math.max(1, (scale * window) / (config.max_position_embeddings ?? window)));
  return { schedule: known, gMax, scales: [...new Set(left)].sort((a, b) => a - b) };
}

/**
 * The scale at which W tokens are read by a model of window L: that of {@link automaticScale}, or where the model was trained at some scales alone, the smallest
 * of these that is as large. Beyond the largest of them no trained scale fits, and it is that of `automaticScale` again.
 */
export function readingScale(reading: AutomaticReading, length: number, window: number): number {
  checkArgument("readingScale", "reading", reading, objectWith("a reading, as automaticReading(…) gives it", "schedule"));
  const needed = automaticScale(reading.schedule, length, window);
  return takesScale(reading.schedule) ? (reading.scales?.find((scale) => scale >= needed) ?? needed) : needed;
}

/**
 * RoPE tables [1, W, D/2] for a reading. "none" reads a model as its configuration states, a scaling of its own included. "linear"
 * divides its positions: whole scales are divided into the positions, so that position g·k has the very bits of position k at scale 1,
 * other scales into the frequencies. The other schedules take the place of what the configuration states.
 *
 * @throws OptionError for scales below 1, for YaRN at a window below 8, and for a schedule other than "none" and "linear" on a model
 *   whose configuration scales its positions already; FormatError for a configuration that `modelFrequencies` refuses
 */
export function readingTables(config: RopeConfig, request: ReadingRequest): HostTables {
  checkArgument("readingTables", "config", config, objectWith("the configuration of a model", "head_dim", "rope_theta"));
  checkOptions("readingTables", request, requestKinds);
  checkMethodOptions("readingTables", request.schedule, request);
  const tables = scheduledTables(config, request);
  return request.logN ? logNTables(tables, { window: request.window }) : tables;
}

function scheduledTables(config: RopeConfig, request: ReadingRequest): HostTables {
  const { schedule, length, planned = length } = request;
  const scale = schedule === "none" ? 1 : request.scale;
  if (schedule === "none" || schedule === "linear") {
    const own = modelFrequencies(config, { length: scale >= 1 ? Math.ceil(planned / scale) : planned });
    if (Number.isInteger(scale)) return ropeTables(plainPositions({ length, scale }), own);
    return ropeTables(plainPositions({ length }), interpolatedFrequencies(own, scale));
  }
  const { scaling, theta } = modelRope(config);
  if (scaling.type !== "default") {
    throw new OptionError(
      `the configuration scales the positions already ("${scaling.type}"), so schedule "${schedule}" cannot be put on it`,
      {
        hint: 'read the model as its configuration says, schedule "none"',
      },
    );
  }
  const frequencies = ropeFrequencies(readingScaling(request), { headDim: config.head_dim, theta });
  return isMethod(schedule) ? methodTables(schedule, frequencies, request) : ropeTables(plainPositions({ length }), frequencies);
}

/**
 * The scale that "auto" stands for: g = max(1, ceil(W/L)) (see `inferenceScale`), and 1 where the schedule takes none ("none", "log-n",
 * "streaming") or follows the length by itself ("dynamic", whose scale then is W/L).
 */
export function automaticScale(schedule: ReadingSchedule, length: number, window: number): number {
  for (const [name, value] of Object.entries({ schedule, length, window })) {
    checkArgument("automaticScale", name, value, name === "schedule" ? requestKinds.schedule : integer(name === "window" ? 1 : 0));
  }
  return !takesScale(schedule) || schedule === "dynamic" ? 1 : inferenceScale(length, window);
}
