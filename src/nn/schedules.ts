import { checkArgument, checkOptions, integer, type Kind, notNegative, number, oneOf, optional, positive } from "../arguments.js";
import { OptionError } from "../errors.js";

/** Learning rate as a function of the step, which counts from 0. */
export type Schedule = (step: number) => number;

export interface WarmupCosineOptions {
  /** Steps over which the rate rises linearly; step `warmup` − 1 has the peak. Default 0. */
  readonly warmup?: number;
  /** Steps in all; from there on the rate is `floor`. */
  readonly total: number;
  /** Largest rate. */
  readonly peak: number;
  /** Smallest rate, at the end. Default peak/10. */
  readonly floor?: number;
}

const renamed = { lr: "the largest rate is called peak", steps: "the number of steps is called total" };

/**
 * Linear warm-up, then half a period of a cosine (Loshchilov & Hutter 2017, without restarts). With s the step:
 *
 *   s < warmup:  peak·(s + 1)/warmup
 *   else:        floor + (peak − floor)·½(1 + cos(π·(s − warmup)/(total − warmup)))
 *
 * Throws OptionError for rates or counts that make no schedule.
 */
export function warmupCosine(options: WarmupCosineOptions): Schedule {
  checkOptions("warmupCosine", options, { warmup: optional(number), total: number, peak: number, floor: optional(number) }, renamed);
  const { warmup = 0, total, peak, floor = peak / 10 } = options;
  const counts = Number.isInteger(warmup) && Number.isInteger(total) && warmup >= 0 && total >= 1 && warmup <= total;
  if (!counts) throw new OptionError(`warmupCosine: ${warmup} steps of warm-up in ${total}`, { hint: "integers with 0 ≤ warmup ≤ total" });
  if (!(Number.isFinite(peak) && peak >= floor && floor >= 0))
    throw new OptionError(`warmupCosine: peak ${peak} with floor ${floor}`, { hint: "0 ≤ floor ≤ peak" });
  return (step) => {
    if (step < warmup) return (peak * (step + 1)) / warmup;
    if (step >= total) return floor;
    return floor + (peak - floor) * 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / (total - warmup)));
  };
}

/** The same rate at every step. Throws OptionError unless it is finite and not negative. */
export function constant(rate: number): Schedule {
  checkArgument("constant", "rate", rate, number);
  if (!(Number.isFinite(rate) && rate >= 0)) throw new OptionError(`constant: ${rate} is no learning rate`, { hint: "0 ≤ rate < ∞" });
  return () => rate;
}

export interface WarmupOptions {
  /** Steps over which the rate rises linearly; step `warmup` − 1 has the peak. Default 0. */
  readonly warmup?: number;
  /** Largest rate. */
  readonly peak: number;
}

const warmupKinds = { warmup: optional(integer(0)), peak: notNegative } as const;

/** peak·(s + 1)/warmup for steps s before `warmup`, and f(s − warmup) from there on. */
function warmedUp({ warmup = 0, peak }: WarmupOptions, f: (step: number) => number): Schedule {
  return (step) => (step < warmup ? (peak * (step + 1)) / warmup : f(step - warmup));
}

interface Ends extends WarmupOptions {
  readonly total: number;
  readonly floor?: number;
}

/** Throws OptionError unless the parts fit into the whole and the floor is no ceiling. */
function requireOrder(where: string, { warmup = 0, total, peak, floor = 0 }: Ends, decay = 0): void {
  if (warmup + decay > total) {
    const what = decay === 0 ? `${warmup} steps of warm-up` : `${warmup} steps of warm-up and ${decay} of decay`;
    throw new OptionError(`${where}: ${what} in ${total}`, { hint: "the parts of a schedule are no longer than the whole" });
  }
  if (floor > peak) throw new OptionError(`${where}: peak ${peak} with floor ${floor}`, { hint: "0 ≤ floor ≤ peak" });
}

/** How much of a fall is left at a part x of it, 0 ≤ x ≤ 1. */
const shapes = {
  linear: (x: number): number => 1 - x,
  cosine: (x: number): number => 0.5 * (1 + Math.cos(Math.PI * x)),
  sqrt: (x: number): number => 1 - Math.sqrt(x),
} as const;

export interface WarmupLinearOptions extends WarmupOptions {
  /** Steps in all; from there on the rate is `floor`. */
  readonly total: number;
  /** Smallest rate, at the end. Default 0. */
  readonly floor?: number;
}

/**
 * Linear warm-up, then a straight line down:
 *
 *   s < warmup:  peak·(s + 1)/warmup
 *   else:        floor + (peak − floor)·(1 − (s − warmup)/(total − warmup))
 *
 * Throws OptionError for rates or counts that make no schedule.
 */
export function warmupLinear(options: WarmupLinearOptions): Schedule {
  checkOptions("warmupLinear", options, { ...warmupKinds, total: integer(1), floor: optional(notNegative) }, renamed);
  requireOrder("warmupLinear", options);
  const { warmup = 0, total } = options;
  return warmedUp(options, falling(options, total - warmup, shapes.linear));
}

/** From `peak` to `floor` over some steps. */
function falling({ peak, floor = 0 }: Pick<Ends, "peak" | "floor">, steps: number, left: (x: number) => number): Schedule {
  return (step) => (step >= steps ? floor : floor + (peak - floor) * left(step / steps));
}

export interface WarmupStableDecayOptions extends WarmupOptions {
  /** Steps in all; from there on the rate is `floor`. */
  readonly total: number;
  /** Steps of decay, the last of `total`. */
  readonly decay: number;
  /** Smallest rate, at the end. Default 0. */
  readonly floor?: number;
  /** How the rate falls: a line, half a period of a cosine, or 1 − √x (Hägele et al. 2024). Default "linear". */
  readonly shape?: "linear" | "cosine" | "sqrt";
}

/**
 * WSD (Hu et al. 2024, MiniCPM): linear warm-up, the peak for as long as one likes, then a fall. What was trained at the peak can be gone on with. With
 * x = (s − total + decay)/decay, where that is positive:
 *
 *   linear: floor + (peak − floor)·(1 − x)      cosine: … ·½(1 + cos πx)      sqrt: … ·(1 − √x)
 *
 * Throws OptionError for rates or counts that make no schedule.
 */
export function warmupStableDecay(options: WarmupStableDecayOptions): Schedule {
  const kinds = {
    ...warmupKinds,
    total: integer(1),
    decay: integer(0),
    floor: optional(notNegative),
    shape: optional(oneOf(...Object.keys(shapes))),
  };
  checkOptions("warmupStableDecay", options, kinds, renamed);
  const { warmup = 0, total, decay, peak, shape = "linear" } = options;
  requireOrder("warmupStableDecay", options, decay);
  const fall = falling(options, decay, shapes[shape]);
  const stable = total - decay - warmup;
  return warmedUp(options, (step) => (step < stable ? peak : fall(step - stable)));
}

export interface InverseSquareRootOptions extends WarmupOptions {
  /** Steps over which the rate rises linearly, at least 1: the more, the slower it falls. */
  readonly warmup: number;
}

/**
 * Linear warm-up, then the inverse square root of the step (Vaswani et al. 2017, equation 3, with the peak given):
 *
 *   peak·min((s + 1)/warmup, √(warmup/(s + 1)))
 */
export function inverseSquareRoot(options: InverseSquareRootOptions): Schedule {
  checkOptions("inverseSquareRoot", options, { warmup: integer(1), peak: notNegative }, renamed);
  const { warmup, peak } = options;
  return warmedUp(options, (step) => peak * Math.sqrt(warmup / (step + warmup + 1)));
}

/** What a rate is multiplied by. */
const factorKind: Kind = { wanted: "a number with 0 < x ≤ 1", fits: (value) => typeof value === "number" && value > 0 && value <= 1 };

export interface StepDecayOptions extends WarmupOptions {
  /** What the rate is multiplied by, in (0, 1]. */
  readonly factor: number;
  /** After how many steps, each time. */
  readonly every: number;
}

/** The rate in steps: peak·factor^⌊s/every⌋, with s counted from the end of a linear warm-up. */
export function stepDecay(options: StepDecayOptions): Schedule {
  checkOptions("stepDecay", options, { ...warmupKinds, factor: factorKind, every: integer(1) }, renamed);
  const { peak, factor, every } = options;
  return warmedUp(options, (step) => peak * factor ** Math.floor(step / every));
}

export interface ExponentialDecayOptions extends WarmupOptions {
  /** What the rate is multiplied by, in (0, 1]. */
  readonly factor: number;
  /** Over how many steps. Default 1. */
  readonly every?: number;
}

/** peak·factor^(s/every), with s counted from the end of a linear warm-up. */
export function exponentialDecay(options: ExponentialDecayOptions): Schedule {
  checkOptions("exponentialDecay", options, { ...warmupKinds, factor: factorKind, every: optional(integer(1)) }, renamed);
  const { peak, factor, every = 1 } = options;
  return warmedUp(options, (step) => peak * factor ** (step / every));
}

export interface PolynomialDecayOptions extends WarmupLinearOptions {
  /** p > 0. Default 1, a line. */
  readonly power?: number;
}

/**
 * floor + (peak − floor)·(1 − (s − warmup)/(total − warmup))ᵖ after a linear warm-up. Throws OptionError for rates or counts that make no schedule.
 */
export function polynomialDecay(options: PolynomialDecayOptions): Schedule {
  const kinds = { ...warmupKinds, total: integer(1), floor: optional(notNegative), power: optional(positive) };
  checkOptions("polynomialDecay", options, kinds, renamed);
  requireOrder("polynomialDecay", options);
  const { warmup = 0, total, power = 1 } = options;
  return warmedUp(
    options,
    falling(options, total - warmup, (x) => (1 - x) ** power),
  );
}

export interface OneCycleOptions {
  /** Steps over which the rate rises; step `warmup` − 1 has the peak. Default: three tenths of `total`, rounded. */
  readonly warmup?: number;
  /** Steps in all; the last of them has `floor`, and so have those after it. */
  readonly total: number;
  /** Largest rate. */
  readonly peak: number;
  /** Rate of the first step. Default peak/25. */
  readonly start?: number;
  /** Rate of the last step. Default start/10⁴. */
  readonly floor?: number;
  /** How the rate rises and falls. Default "cosine". */
  readonly shape?: "linear" | "cosine";
}

/**
 * One cycle (Smith & Topin 2018; in PyTorch's form): from `start` to `peak` and on to `floor`, along cosines or lines. Throws OptionError for rates or
 * counts that make no schedule.
 */
export function oneCycle(options: OneCycleOptions): Schedule {
  const kinds = {
    warmup: optional(integer(1)),
    total: integer(2),
    peak: notNegative,
    start: optional(notNegative),
    floor: optional(notNegative),
    shape: optional(oneOf("linear", "cosine")),
  };
  checkOptions("oneCycle", options, kinds, renamed);
  const { total, peak, start = peak / 25, floor = start / 1e4, shape = "cosine" } = options;
  const { warmup = Math.max(1, Math.round(0.3 * total)) } = options;
  requireOrder("oneCycle", { warmup, total, peak, floor: Math.max(start, floor) });
  const top = warmup - 1;
  const between = (from: number, to: number, x: number): number => to + (from - to) * shapes[shape](x);
  return (step) => {
    if (step < top) return between(start, peak, step / top);
    return step >= total - 1 ? floor : between(peak, floor, (step - top) / (total - 1 - top));
  };
}
