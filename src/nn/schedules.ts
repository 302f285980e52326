import { checkArgument, checkOptions, number, optional } from "../arguments.js";
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
