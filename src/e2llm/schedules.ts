/**
 * RoPE scaling schedules: how each method changes the rotary frequencies θ_j = theta^(−2j/D), and what it multiplies into cos and sin.
 *
 * Everything is computed in f64. Names and optional keys follow Hugging Face's `modeling_rope_utils`, in camel case, where it has them.
 * A method is one record (kinds of its parameters, formula) in the files of `schedules/`, and one line in the table here.
 */
import { checkArgument, checkFields, checkOptions, didYouMean, objectWith } from "../arguments.js";
import { OptionError } from "../errors.js";
import {
  type AbfScaling,
  abf,
  type DefaultScaling,
  type DynamicScaling,
  defaultMethod,
  dynamic,
  type LinearScaling,
  linear,
  type NtkMixedScaling,
  type NtkScaling,
  ntk,
  ntkMixed,
  shapeKinds,
} from "./schedules/bases.js";
import { checkShape, type Method, type RopeFrequencies, type RopeShape } from "./schedules/method.js";
import { type Llama3Scaling, llama3, type NtkByPartsScaling, ntkByParts, type YarnScaling, yarn } from "./schedules/ramps.js";
import {
  type LongropeScaling,
  longrope,
  type PowerScaling,
  type ProportionalScaling,
  power,
  proportional,
  type ResonanceScaling,
  resonance,
  type TruncatedScaling,
  truncated,
} from "./schedules/spectra.js";

export {
  type AbfScaling,
  type DefaultScaling,
  type DynamicScaling,
  interpolatedFrequencies,
  type LinearScaling,
  type NtkMixedScaling,
  type NtkScaling,
  ntkTheta,
} from "./schedules/bases.js";
export type { RopeFrequencies, RopeShape } from "./schedules/method.js";
export type { Llama3Scaling, NtkByPartsScaling, YarnScaling } from "./schedules/ramps.js";
export type { LongropeScaling, PowerScaling, ProportionalScaling, ResonanceScaling, TruncatedScaling } from "./schedules/spectra.js";

/** A RoPE scaling method with its parameters. `factor` is the scale s ≥ 1, `originalMaxPositions` the trained window L. */
export type RopeScaling =
  | DefaultScaling
  | LinearScaling
  | NtkScaling
  | DynamicScaling
  | NtkMixedScaling
  | AbfScaling
  | NtkByPartsScaling
  | YarnScaling
  | Llama3Scaling
  | LongropeScaling
  | ProportionalScaling
  | ResonanceScaling
  | PowerScaling
  | TruncatedScaling;

const methods = {
  default: defaultMethod,
  linear,
  ntk,
  dynamic,
  "ntk-mixed": ntkMixed,
  abf,
  "ntk-by-parts": ntkByParts,
  yarn,
  llama3,
  longrope,
  proportional,
  resonance,
  power,
  truncated,
} as const satisfies { readonly [T in RopeScaling["type"]]: Method<Extract<RopeScaling, { readonly type: T }>> };

/**
 * The frequencies θ'_j and the attention factor of a schedule, in f64.
 *
 * @param scaling the method and its parameters
 * @param shape head dimension D and base theta
 * @returns `invFreq` of length D/2 and the attention factor
 * @throws OptionError for an odd or non-positive head dimension, theta ≤ 1, a factor below 1, and parameters of a method (windows, ramp
 *   ends, lists of divisors) that make no sense
 */
export function ropeFrequencies(scaling: RopeScaling, shape: RopeShape): RopeFrequencies {
  checkArgument(
    "ropeFrequencies",
    "scaling",
    scaling,
    objectWith('a method with its parameters, as { type: "linear", factor: 4 }', "type"),
  );
  checkFields<RopeShape>("ropeFrequencies", "shape", shape, shapeKinds);
  checkShape(shape);
  const types = Object.keys(methods);
  if (!Object.hasOwn(methods, scaling.type)) {
    throw new OptionError(`unknown RoPE scaling type ${JSON.stringify(scaling.type)}`, {
      hint: didYouMean(String(scaling.type), types) ?? `known types: ${types.join(", ")}`,
    });
  }
  const method: Method<RopeScaling> = methods[scaling.type];
  checkOptions<unknown>(`ropeFrequencies (${scaling.type})`, scaling, method.kinds);
  return method.frequencies(scaling, shape, (on) => ropeFrequencies(on ?? { type: "default" }, shape));
}
