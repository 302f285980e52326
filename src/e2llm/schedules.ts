/**
 * RoPE scaling schedules: how each method changes the rotary frequencies θ_j = theta^(−2j/D), and what it multiplies into cos and sin.
 *
 * Everything is computed in f64. Names and optional keys follow Hugging Face's `modeling_rope_utils`, in camel case, where it has them.
 * A method is an interface with its formula and source in `schedules/scalings.ts`, a record (kinds of its parameters, function) in a file
 * beside it, and a line in the table here; none can be forgotten.
 */
import { checkArgument, checkFields, checkOptions, didYouMean, objectWith } from "../arguments.js";
import { OptionError } from "../errors.js";
import { abf, defaultMethod, dynamic, linear, ntk, ntkMixed, shapeKinds } from "./schedules/bases.js";
import { checkShape, type Method, type RopeFrequencies, type RopeShape } from "./schedules/method.js";
import { llama3, ntkByParts, yarn } from "./schedules/ramps.js";
import type { RopeScaling } from "./schedules/scalings.js";
import { longrope, power, proportional, resonance, truncated } from "./schedules/spectra.js";

export { interpolatedFrequencies, ntkTheta } from "./schedules/bases.js";
export type { RopeFrequencies, RopeShape } from "./schedules/method.js";
export type {
  AbfScaling,
  DefaultScaling,
  DynamicScaling,
  LinearScaling,
  Llama3Scaling,
  LongropeScaling,
  NtkByPartsScaling,
  NtkMixedScaling,
  NtkScaling,
  PowerScaling,
  ProportionalScaling,
  ResonanceScaling,
  RopeScaling,
  TruncatedScaling,
  YarnScaling,
} from "./schedules/scalings.js";

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
