/**
 * RoPE settings of a Hugging Face `config.json`, written and read.
 *
 * Written are both forms: `rope_parameters` (transformers 5) and `rope_scaling` with a top-level `rope_theta` (transformers 4).
 * Key names and their meaning: transformers 5.18.0, `modeling_rope_utils.py`.
 */
import { checkArgument, checkOptions, integer, number, objectWith, optional, text } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import { ropeTypes } from "../nn/config.js";
import { ntkTheta, type RopeScaling, type RopeShape, ropeFrequencies } from "./schedules.js";

/** One `rope_scaling` or `rope_parameters` object. */
export type HfRopeParameters = Readonly<Record<string, string | number | boolean>>;

/** The keys of `config.json` that say how positions are encoded. */
export interface HfRopeConfig {
  readonly rope_theta: number;
  readonly rope_parameters: HfRopeParameters;
  readonly rope_scaling: HfRopeParameters | null;
  readonly max_position_embeddings: number;
  readonly original_max_position_embeddings?: number;
}

/** What a `config.json` says about positions. */
export interface HfRope {
  readonly scaling: RopeScaling;
  readonly theta: number;
  /** Trained window L. */
  readonly window: number;
}

/**
 * The position keys of `config.json` for a schedule. E²-LLM at scale g is `{ type: "linear", factor: g }`.
 *
 * `max_position_embeddings` is the extended window, except for `dynamic`, where Hugging Face reads the trained one from it.
 * For `yarn` and `llama3`, `original_max_position_embeddings` stands inside and at top level: Hugging Face replaces a missing inner one
 * by `max_position_embeddings`, and llama.cpp's converter reads the outer one only. `ntk` has no name in Hugging Face but equals
 * `default` at base theta·s^(D/(D−2)), which is what is written.
 *
 * @param options.window trained window L, for the schedules that do not carry it
 * @throws OptionError for a schedule that `ropeFrequencies` refuses, or YaRN with `ramp: "turns"`, which Hugging Face does not have
 */
export function toHfRope(scaling: RopeScaling, options: RopeShape & { readonly window: number }): HfRopeConfig {
  checkArgument("toHfRope", "scaling", scaling, objectWith('a method with its parameters, as { type: "linear", factor: 4 }', "type"));
  checkOptions("toHfRope", options, { headDim: number, theta: number, window: number });
  const { headDim, theta, window } = options;
  ropeFrequencies(scaling, { headDim, theta });
  if (!Number.isInteger(window) || window < 1) {
    throw new OptionError(`window must be an integer of at least 1, found ${window}`, { hint: "it is the trained context window" });
  }
  switch (scaling.type) {
    case "default":
      return unscaled(theta, window);
    case "ntk":
      return unscaled(ntkTheta(options, scaling.factor), extended(window, scaling.factor));
    case "linear":
      return scaled(theta, { rope_type: "linear", factor: scaling.factor }, extended(window, scaling.factor));
    case "dynamic":
      return scaled(theta, { rope_type: "dynamic", factor: scaling.factor }, scaling.originalMaxPositions);
    case "yarn": {
      if (scaling.ramp === "turns") {
        throw new OptionError('Hugging Face has no rope_type for yarn with ramp "turns"', {
          hint: 'export with ramp: "index", which is what Hugging Face and llama.cpp compute',
        });
      }
      const optional = {
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        attention_factor: scaling.attentionFactor,
        mscale: scaling.mscale,
        mscale_all_dim: scaling.mscaleAllDim,
        truncate: scaling.truncate,
      };
      const parameters = { rope_type: "yarn", factor: scaling.factor, ...windowKey(scaling), ...given(optional) };
      return { ...scaled(theta, parameters, extended(scaling.originalMaxPositions, scaling.factor)), ...windowKey(scaling) };
    }
    case "llama3": {
      const ends = { low_freq_factor: scaling.lowFreqFactor ?? 1, high_freq_factor: scaling.highFreqFactor ?? 4 };
      const parameters = { rope_type: "llama3", factor: scaling.factor, ...windowKey(scaling), ...ends };
      return { ...scaled(theta, parameters, extended(scaling.originalMaxPositions, scaling.factor)), ...windowKey(scaling) };
    }
  }
}

/**
 * Reads the position keys of a Hugging Face `config.json`, in either form.
 *
 * `window` is `original_max_position_embeddings` where the type has one, `max_position_embeddings / factor` for `linear`, and
 * `max_position_embeddings` otherwise. As in Hugging Face, a top-level `original_max_position_embeddings` wins over an inner one.
 *
 * @param config the parsed JSON
 * @param options.file name of the file, for messages. Default "config.json".
 * @param options.seqLen length of the sequence for `dynamic`. Default: the trained window, at which nothing is scaled.
 * @throws FormatError for missing or ill-typed keys, for types that this library does not compute (`longrope`, `proportional`, one
 *   dictionary per layer type) and for partial rotary embeddings
 */
export function fromHfRope(config: unknown, options: { readonly file?: string; readonly seqLen?: number } = {}): HfRope {
  checkOptions("fromHfRope", options, { file: optional(text), seqLen: optional(integer(1)) });
  const file = options.file ?? "config.json";
  if (!isObject(config))
    throw new FormatError("fromHfRope: expected the JSON object of a config", { file, hint: "pass the parsed config.json of a model" });
  const rope = ropeObject(config, file);
  const read = new KeyReader(rope, file);
  const top = new KeyReader(config, file);
  if ([read, top].some((keys) => (keys.optionalNumber("partial_rotary_factor") ?? 1) !== 1)) {
    throw new FormatError("partial_rotary_factor other than 1 is not supported", { file, hint: "all channels of a head are rotated here" });
  }
  const theta = read.optionalNumber("rope_theta") ?? top.optionalNumber("rope_theta") ?? 10_000;
  const positions = top.number("max_position_embeddings");
  const original =
    top.optionalNumber("original_max_position_embeddings") ?? read.optionalNumber("original_max_position_embeddings") ?? positions;
  const factor = (): number => read.optionalNumber("factor") ?? missingFactor(rope, positions / original, file);
  const type: unknown = rope["rope_type"] ?? rope["type"] ?? "default";
  const window = type === "linear" ? Math.round(positions / factor()) : type === "default" || type === "dynamic" ? positions : original;
  if (!Number.isInteger(positions) || window < 1) {
    throw new FormatError(`expected a window of at least one whole position, found max_position_embeddings ${positions}`, {
      file,
      hint: "max_position_embeddings is the number of tokens that the model reads",
    });
  }
  const scaling = readScaling();
  refuseImpossible(scaling, { headDim: headDimension(top), theta }, file);
  return { scaling, theta, window };

  function readScaling(): RopeScaling {
    switch (type) {
      case "default":
        return { type: "default" };
      case "linear":
        return { type: "linear", factor: factor() };
      case "dynamic":
        return { type: "dynamic", factor: factor(), originalMaxPositions: positions, seqLen: options.seqLen ?? positions };
      case "yarn":
        return {
          type: "yarn",
          factor: factor(),
          originalMaxPositions: original,
          ...given({
            betaFast: read.optionalNumber("beta_fast"),
            betaSlow: read.optionalNumber("beta_slow"),
            attentionFactor: read.optionalNumber("attention_factor"),
            mscale: read.optionalNumber("mscale"),
            mscaleAllDim: read.optionalNumber("mscale_all_dim"),
            truncate: read.optionalBoolean("truncate"),
          }),
        };
      case "llama3":
        return {
          type: "llama3",
          factor: factor(),
          originalMaxPositions: original,
          lowFreqFactor: read.number("low_freq_factor"),
          highFreqFactor: read.number("high_freq_factor"),
        };
      default:
        throw new FormatError(`unsupported rope_type ${JSON.stringify(type)}`, {
          file,
          hint: `known types: ${ropeTypes.join(", ")}`,
        });
    }
  }
}

function unscaled(theta: number, positions: number): HfRopeConfig {
  return {
    rope_theta: theta,
    rope_parameters: { rope_type: "default", rope_theta: theta },
    rope_scaling: null,
    max_position_embeddings: positions,
  };
}

function scaled(theta: number, parameters: HfRopeParameters & { readonly rope_type: string }, positions: number): HfRopeConfig {
  return {
    rope_theta: theta,
    rope_parameters: { ...parameters, rope_theta: theta },
    // Releases before 4.43 know the key `type` only.
    rope_scaling: { type: parameters.rope_type, ...parameters },
    max_position_embeddings: positions,
  };
}

function extended(window: number, factor: number): number {
  return Math.round(window * factor);
}

function windowKey(scaling: { readonly originalMaxPositions: number }): { original_max_position_embeddings: number } {
  return { original_max_position_embeddings: scaling.originalMaxPositions };
}

/** The entries that have a value. */
function given<Fields extends object>(fields: Fields): { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> };
}

function ropeObject(config: Record<string, unknown>, file: string): Record<string, unknown> {
  // Hugging Face lets the older key win where both stand; files written here hold the same in both.
  const key = isPresent(config["rope_scaling"]) ? "rope_scaling" : "rope_parameters";
  const rope = config[key] ?? {};
  if (!isObject(rope))
    throw new FormatError(`${key} must be an object or null`, { file, hint: 'such as {"rope_type": "linear", "factor": 8}' });
  if (Object.values(rope).some(isObject)) {
    throw new FormatError(`${key} holds one object per layer type, which is not supported`, {
      file,
      hint: "all layers share one schedule here",
    });
  }
  // Hugging Face keeps rope_theta beside the older object; both forms may stand in one file.
  const parameters = config["rope_parameters"];
  return key === "rope_scaling" && isObject(parameters) ? { rope_theta: parameters["rope_theta"], ...rope } : rope;
}

/** D from the model's own keys; where a fragment of a file has none, a usual size serves to check the schedule. */
function headDimension(config: KeyReader): number {
  const hidden = config.optionalNumber("hidden_size");
  const heads = config.optionalNumber("num_attention_heads");
  return config.optionalNumber("head_dim") ?? (hidden === undefined || heads === undefined ? 64 : hidden / heads);
}

/** A number that no schedule takes is a defect of the file, not of the caller's options. */
function refuseImpossible(scaling: RopeScaling, shape: RopeShape, file: string): void {
  try {
    ropeFrequencies(scaling, shape);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw new FormatError(error.message, { file, hint: error.hint, cause: error });
  }
}

function missingFactor(rope: Record<string, unknown>, ratio: number, file: string): number {
  if (rope["factor"] === null && ratio > 1) return ratio;
  throw new FormatError('the key "factor" is missing', { file, hint: "factor = extended window / trained window" });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Typed access to the keys of a JSON object; null counts as absent, as in Hugging Face. */
class KeyReader {
  constructor(
    private readonly object: Record<string, unknown>,
    private readonly file: string,
  ) {}

  number(key: string): number {
    const value = this.optionalNumber(key);
    if (value === undefined) throw new FormatError(`the key "${key}" is missing`, { file: this.file, hint: `add "${key}" as a number` });
    return value;
  }

  optionalNumber(key: string): number | undefined {
    const value = this.object[key];
    if (!isPresent(value)) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw new FormatError(`"${key}" must be a number, found ${JSON.stringify(value)}`, {
        file: this.file,
        hint: `write "${key}" as a number`,
      });
    }
    return value;
  }

  optionalBoolean(key: string): boolean | undefined {
    const value = this.object[key];
    if (!isPresent(value)) return undefined;
    if (typeof value !== "boolean") {
      throw new FormatError(`"${key}" must be true or false, found ${JSON.stringify(value)}`, {
        file: this.file,
        hint: `write "${key}" as true or false`,
      });
    }
    return value;
  }
}
