/** E²-YaRN: E²-LLM's random scale and shift, with YaRN's frequencies in place of divided positions. */
import { checkOptions, flag, number, type OptionKinds, oneOf, optional } from "../../arguments.js";
import type { YarnScaling } from "../schedules.js";
import { type E2Draw, type E2Options, e2Kinds, sourceOf } from "./e2.js";
import type { PositionSource } from "./source.js";

type YarnParameters = Omit<YarnScaling, "type" | "factor" | "originalMaxPositions">;

/** Options of E²-YaRN: those of E²-LLM's sampler, and YaRN's own but for its factor and window. */
export interface E2YarnOptions extends Omit<E2Options, "scaling">, YarnParameters {}

const yarnKinds: OptionKinds<YarnParameters> = {
  ramp: optional(oneOf("index", "turns")),
  betaFast: optional(number),
  betaSlow: optional(number),
  attentionFactor: optional(number),
  mscale: optional(number),
  mscaleAllDim: optional(number),
  truncate: optional(flag),
};
const { scaling: _, ...samplerKinds } = e2Kinds;
export const e2YarnKinds: OptionKinds<E2YarnOptions> = { ...samplerKinds, ...yarnKinds };

/**
 * The scale g and the shift t of {@link createE2Source} (the same draws for the same seed), at whole positions i and i + t, with the frequencies of
 * YaRN at factor g.
 *
 * Dividing all positions by a scale that changes makes the step from one token to the next 1/g in every frequency, the fastest too, so a model
 * that must find the token one or two places back cannot know how far that is. YaRN keeps the fast frequencies as they are, at every g, and
 * divides the slow ones, which alone would leave the range that was trained. Not of a paper: made here, to be compared.
 *
 * Read such a model by YaRN at s = g with the same ramp and ends.
 *
 * @throws OptionError for options that make no sense, and without `shape`
 */
export function createE2YarnSource(options: E2YarnOptions): PositionSource<E2Draw> {
  checkOptions("createE2YarnSource", options, e2YarnKinds);
  const { ...sampler } = options;
  for (const name of Object.keys(yarnKinds)) Reflect.deleteProperty(sampler, name);
  return sourceOf("createE2YarnSource", { ...sampler, scaling: { type: "yarn", ...yarnParameters(options) } });
}

/** YaRN's own options, those that are given. */
export function yarnParameters(options: E2YarnOptions): YarnParameters {
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => Object.hasOwn(yarnKinds, name) && value !== undefined));
}
