/**
 * RoPE settings of a Hugging Face `config.json`, written and read.
 *
 * Written are both forms: `rope_parameters` (transformers 5) and `rope_scaling` with a top-level `rope_theta` (transformers 4).
 * Key names and their meaning: transformers 5.18.0, `modeling_rope_utils.py`.
 */
import { checkArgument, checkOptions, didYouMean, integer, number, objectWith, optional, text } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import { ropeTypes } from "../nn/config.js";
import { isObject, isPresent, KeyReader } from "./key-reader.js";
import { type NtkByPartsScaling, ntkTheta, type RopeScaling, type RopeShape, ropeFrequencies, type YarnScaling } from "./schedules.js";

/** One `rope_scaling` or `rope_parameters` object. */
export type HfRopeParameters = Readonly<Record<string, string | number | boolean | readonly number[]>>;

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
 * For `yarn`, `llama3` and `longrope`, `original_max_position_embeddings` stands inside and at top level: Hugging Face replaces a missing
 * inner one by `max_position_embeddings`, and llama.cpp's converter reads the outer one only.
 *
 * Methods that Hugging Face has no name for are written as one that computes the same: `ntk` and `abf` as `default` at their base,
 * `ntk-by-parts` as `yarn` with attention factor 1 or, with the ramp in turns, as `llama3`; any other fixed schedule as `longrope` with
 * divisors λ_j = θ_j/θ'_j in both lists.
 *
 * @param options.window trained window L, for the schedules that do not carry it
 * @throws OptionError for a schedule that `ropeFrequencies` refuses, and for what no type of Hugging Face expresses: a method on top of
 *   `dynamic`, whose frequencies follow the length, and one that stops a dimension where `proportional` does not
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
    case "abf":
      return unscaled(scaling.theta, window);
    case "linear":
      return scaled(theta, { rope_type: "linear", factor: scaling.factor }, extended(window, scaling.factor));
    case "dynamic":
      return scaled(theta, { rope_type: "dynamic", factor: scaling.factor }, scaling.originalMaxPositions);
    case "proportional": {
      const { partialRotaryFactor = 1, factor } = scaling;
      const parameters = { rope_type: "proportional", partial_rotary_factor: partialRotaryFactor, ...given({ factor }) };
      return scaled(theta, parameters, extended(window, factor ?? 1));
    }
    case "yarn":
      if (scaling.ramp === "turns") return asLongrope(scaling, options);
      return windowed(theta, "yarn", scaling, {
        ...ramp(scaling),
        ...given({ attention_factor: scaling.attentionFactor, mscale: scaling.mscale, mscale_all_dim: scaling.mscaleAllDim }),
      });
    case "ntk-by-parts": {
      if (scaling.ramp === "index") return windowed(theta, "yarn", scaling, { ...ramp(scaling), attention_factor: 1 });
      const ends = { low_freq_factor: scaling.betaSlow ?? 1, high_freq_factor: scaling.betaFast ?? 32 };
      return windowed(theta, "llama3", scaling, ends);
    }
    case "llama3": {
      const ends = { low_freq_factor: scaling.lowFreqFactor ?? 1, high_freq_factor: scaling.highFreqFactor ?? 4 };
      return windowed(theta, "llama3", scaling, ends);
    }
    case "longrope":
      return windowed(theta, "longrope", scaling, {
        short_factor: scaling.shortFactor,
        long_factor: scaling.longFactor,
        ...given({ attention_factor: scaling.attentionFactor }),
      });
    case "ntk-mixed":
    case "resonance":
    case "power":
    case "truncated":
      return asLongrope(scaling, options);
  }
}

/**
 * Reads the position keys of a Hugging Face `config.json`, in either form.
 *
 * `window` is `original_max_position_embeddings` where the type has one, `max_position_embeddings / factor` for `linear` and `proportional`,
 * and `max_position_embeddings` otherwise. As in Hugging Face, a top-level `original_max_position_embeddings` wins over an inner one.
 *
 * @param config the parsed JSON
 * @param options.file name of the file, for messages. Default "config.json".
 * @param options.seqLen length of the sequence, for `dynamic` and `longrope`. Default: the trained window, at which `dynamic` scales nothing
 *   and `longrope` takes its short list.
 * @throws FormatError for missing or ill-typed keys, for types that this library does not compute, for one dictionary per layer type, and
 *   for partial rotary embeddings other than those of `proportional`
 */
export function fromHfRope(config: unknown, options: { readonly file?: string; readonly seqLen?: number } = {}): HfRope {
  checkOptions("fromHfRope", options, { file: optional(text), seqLen: optional(integer(1)) });
  const file = options.file ?? "config.json";
  if (!isObject(config))
    throw new FormatError("fromHfRope: expected the JSON object of a config", { file, hint: "pass the parsed config.json of a model" });
  const rope = ropeObject(config, file);
  refuseMisspelled(rope, file);
  const read = new KeyReader(rope, file);
  const top = new KeyReader(config, file);
  const type: unknown = rope["rope_type"] ?? rope["type"] ?? "default";
  const part = read.optionalNumber("partial_rotary_factor") ?? top.optionalNumber("partial_rotary_factor") ?? 1;
  if (part !== 1 && type !== "proportional") {
    throw new FormatError(`partial_rotary_factor other than 1 is supported for rope_type "proportional" only, found ${part}`, {
      file,
      hint: "all channels of a head are rotated here",
    });
  }
  const theta = read.optionalNumber("rope_theta") ?? top.optionalNumber("rope_theta") ?? 10_000;
  const positions = top.number("max_position_embeddings");
  const original =
    top.optionalNumber("original_max_position_embeddings") ?? read.optionalNumber("original_max_position_embeddings") ?? positions;
  const factor = (): number => read.optionalNumber("factor") ?? missingFactor(rope, positions / original, file);
  const window = trainedWindow();
  if (!Number.isInteger(positions) || window < 1) {
    throw new FormatError(`expected a window of at least one whole position, found max_position_embeddings ${positions}`, {
      file,
      hint: "max_position_embeddings is the number of tokens that the model reads",
    });
  }
  const scaling = readScaling();
  refuseImpossible(scaling, { headDim: headDimension(top, scaling), theta }, file);
  return { scaling, theta, window };

  function trainedWindow(): number {
    if (type === "linear") return Math.round(positions / factor());
    if (type === "proportional") return Math.round(positions / (read.optionalNumber("factor") ?? 1));
    return type === "default" || type === "dynamic" ? positions : original;
  }

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
      case "longrope":
        return {
          type: "longrope",
          // As in Hugging Face, the ratio of the windows stands in for a factor; a model that was not extended has a ratio of 1 or less.
          factor: read.optionalNumber("factor") ?? Math.max(1, positions / original),
          originalMaxPositions: original,
          shortFactor: read.numbers("short_factor"),
          longFactor: read.numbers("long_factor"),
          seqLen: options.seqLen ?? original,
          ...given({ attentionFactor: read.optionalNumber("attention_factor") }),
        };
      case "proportional":
        return { type: "proportional", partialRotaryFactor: part, ...given({ factor: read.optionalNumber("factor") }) };
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

/** A type that states its trained window, inside and at top level. */
function windowed(
  theta: number,
  rope_type: string,
  scaling: { readonly factor: number; readonly originalMaxPositions: number },
  others: HfRopeParameters,
): HfRopeConfig {
  const window = { original_max_position_embeddings: scaling.originalMaxPositions };
  const parameters = { rope_type, factor: scaling.factor, ...window, ...others };
  return { ...scaled(theta, parameters, extended(scaling.originalMaxPositions, scaling.factor)), ...window };
}

function ramp(scaling: YarnScaling | NtkByPartsScaling): HfRopeParameters {
  return given({ beta_fast: scaling.betaFast, beta_slow: scaling.betaSlow, truncate: scaling.truncate });
}

/** Any schedule whose frequencies do not follow the length, as the divisors λ_j = θ_j/θ'_j of `longrope`. */
function asLongrope(scaling: RopeScaling, options: RopeShape & { readonly window: number }): HfRopeConfig {
  const { headDim, theta, window } = options;
  const chain = [scaling];
  for (let next = scaling; "on" in next && next.on !== undefined; next = next.on) chain.push(next.on);
  if (chain.some(({ type }) => type === "dynamic")) {
    throw new OptionError(`Hugging Face has no rope_type for "${scaling.type}" on top of "dynamic", whose frequencies follow the length`, {
      hint: 'put it on "ntk", at the scale that is wanted',
    });
  }
  // What lies innermost was there first: its window is the trained one.
  const stated = chain.flatMap((one) => ("originalMaxPositions" in one ? [one.originalMaxPositions] : []));
  const trained = stated.at(-1) ?? window;
  const factor = chain.flatMap((one) => ("factor" in one ? [one.factor ?? 1] : [])).at(-1) ?? 1;
  const at = (seqLen: number) => ropeFrequencies(withLength(scaling, seqLen), { headDim, theta });
  const plain = ropeFrequencies({ type: "default" }, { headDim, theta }).invFreq;
  const divisors = (seqLen: number): number[] => Array.from(at(seqLen).invFreq, (frequency, j) => (plain[j] as number) / frequency);
  const lists = { short_factor: divisors(trained), long_factor: divisors(trained + 1) };
  const still = lists.short_factor.findIndex((divisor) => !Number.isFinite(divisor));
  if (still >= 0) {
    throw new OptionError(`Hugging Face has no rope_type for "${scaling.type}" with dimensions that do not turn, as dimension ${still}`, {
      hint: 'only "proportional" stops dimensions there, all from one on',
    });
  }
  return windowed(
    theta,
    "longrope",
    { factor, originalMaxPositions: trained },
    { ...lists, attention_factor: at(trained).attentionFactor },
  );
}

/** The schedule for a text of another length. */
function withLength(scaling: RopeScaling, seqLen: number): RopeScaling {
  if (scaling.type === "longrope") return { ...scaling, seqLen };
  return "on" in scaling && scaling.on !== undefined ? { ...scaling, on: withLength(scaling.on, seqLen) } : scaling;
}

function extended(window: number, factor: number): number {
  return Math.round(window * factor);
}

/** The entries that have a value. */
function given<Fields extends object>(fields: Fields): { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> };
}

function ropeObject(config: Record<string, unknown>, file: string): Record<string, unknown> {
  // Hugging Face lets the older key win where both stand; files written here hold the same in both.
  const older = config["rope_scaling"];
  const key = isPresent(older) && !(isObject(older) && Object.keys(older).length === 0) ? "rope_scaling" : "rope_parameters";
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

const knownKeys = [
  ...["rope_type", "type", "rope_theta", "factor", "partial_rotary_factor", "original_max_position_embeddings", "attention_factor"],
  ...["beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
  ...["low_freq_factor", "high_freq_factor", "short_factor", "long_factor"],
];

/** Hugging Face warns of a key that it does not know and computes without it. Others' keys pass here too, but not a slip of the pen. */
function refuseMisspelled(rope: Record<string, unknown>, file: string): void {
  for (const key of Object.keys(rope)) {
    const meant = knownKeys.includes(key) ? undefined : didYouMean(key, knownKeys);
    if (meant !== undefined) throw new FormatError(`the key "${key}" is not one of RoPE scaling`, { file, hint: meant });
  }
}

/** D from the model's own keys; where a fragment of a file has none, the size of a list or a usual one serves to check the schedule. */
function headDimension(config: KeyReader, scaling: RopeScaling): number {
  const otherwise = scaling.type === "longrope" ? 2 * scaling.shortFactor.length : 64;
  const hidden = config.optionalNumber("hidden_size");
  const heads = config.optionalNumber("num_attention_heads");
  return config.optionalNumber("head_dim") ?? (hidden === undefined || heads === undefined ? otherwise : hidden / heads);
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
