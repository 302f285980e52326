/** How positions that reach beyond the trained window are brought back to what the model knows: divided, or by other frequencies. */
import { integer, type Kind, type OptionKinds, objectWith, oneOf, optional, plainObject } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { type RopeFrequencies, type RopeScaling, type RopeShape, ropeFrequencies } from "../schedules.js";

/** Schedules that a number s decides, beside the window. */
type Scaled = Exclude<Extract<RopeScaling, { factor: number }>, { seqLen: number }>;
type Parameters<Scaling> = Scaling extends unknown ? Omit<Scaling, "factor" | "originalMaxPositions"> : never;

/**
 * What a source does with positions beyond the window, by the name of a schedule, or with its parameters but for the factor and the
 * window, which the source puts in: `"ntk"`, `{ type: "yarn", ramp: "turns", betaFast: 4 }`. "linear" at whole scales divides the positions; all
 * others leave the positions whole and draw the frequencies, which then take the place of the model's. "default" does nothing.
 */
export type DrawnScaling = "default" | Scaled["type"] | { readonly type: "default" } | Parameters<Scaled>;

/** What frequencies are computed from, for the sources that draw them. */
export interface ScalingOptions {
  readonly scaling?: DrawnScaling;
  /** L: the window that the model was trained with. */
  readonly window?: number;
  /** Head dimension D and base theta of the model. */
  readonly shape?: RopeShape;
}

/** The schedules, and whether one depends on the trained window. */
const usesWindow: { readonly [T in Scaled["type"] | "default"]: boolean } = {
  default: false,
  linear: false,
  ntk: false,
  "ntk-mixed": false,
  "ntk-by-parts": true,
  yarn: true,
  llama3: true,
};

const scalingName = oneOf(...Object.keys(usesWindow));
const scalingKind: Kind = {
  wanted: `${scalingName.wanted}, or an object with such a type`,
  fits: (value) => scalingName.fits(value) || (plainObject.fits(value) && scalingName.fits((value as { type?: unknown }).type)),
  hint: (value) => scalingName.hint?.(plainObject.fits(value) ? (value as { type?: unknown }).type : value),
};

export const windowKind = integer(1, 0x7fff_ffff);
export const scalingKinds: OptionKinds<ScalingOptions> = {
  scaling: optional(scalingKind),
  window: optional(windowKind),
  shape: optional(objectWith("the shape of the model's heads, { headDim, theta }", "headDim", "theta")),
};

/** Any scale s ≥ 1, whole or not. */
export const factorKind: Kind = {
  wanted: "a finite number of at least 1",
  fits: (value) => Number.isFinite(value) && (value as number) >= 1,
};

/** The name of a drawn scaling. */
export const scalingType = (scaling: DrawnScaling): keyof typeof usesWindow => (typeof scaling === "string" ? scaling : scaling.type);

/** A drawn scaling as a schedule, with the factor and the window that the source puts in. */
export function scalingAt(scaling: DrawnScaling, factor: number, window: number): RopeScaling {
  const named = typeof scaling === "string" ? { type: scaling } : scaling;
  if (named.type === "default") return { type: "default" };
  return { ...named, factor, ...(usesWindow[named.type] ? { originalMaxPositions: window } : {}) } as RopeScaling;
}

/** What a scale adds to whole positions: the number that they are divided by, or frequencies. */
export type RowScaling = { readonly scale?: number; readonly frequencies?: RopeFrequencies };

/**
 * The function from a scale s ≥ 1 to what it adds to a row. Throws OptionError at once for a schedule whose parameters make no sense, or that needs
 * a window or a shape that is not given.
 *
 * @param largest the largest scale that will be asked for
 */
export function rowScaling(where: string, options: ScalingOptions, initial: DrawnScaling, largest: number): (factor: number) => RowScaling {
  const { scaling = initial, window, shape } = options;
  const type = scalingType(scaling);
  if (type === "default") return () => ({});
  const known = new Map<number, RowScaling>();
  const at = (factor: number): RowScaling => {
    if (type === "linear" && Number.isInteger(factor)) return { scale: factor };
    let found = known.get(factor);
    if (found === undefined) {
      const whole = scalingAt(scaling, factor, usesWindow[type] ? need("window", window) : 0);
      found = { frequencies: ropeFrequencies(whole, need("shape", shape)) };
      known.set(factor, found);
    }
    return found;
  };
  const need = <T>(name: keyof ScalingOptions, value: T | undefined): T => {
    if (value !== undefined) return value;
    throw new OptionError(`${where}: scaling "${type}" at ${largest} is computed from the ${name} of the model, which is missing`, {
      hint: `give ${name === "shape" ? "shape: { headDim, theta }" : "window"}, or the model's configuration: createPositionSource(options, model.config)`,
    });
  };
  // Where positions are divided nothing else would notice a parameter that Position Interpolation has not.
  if (type === "linear") ropeFrequencies(scalingAt(scaling, 1, 0), { headDim: 2, theta: 10_000 });
  at(largest);
  return at;
}
