/** What reports say of repeated measurements: means, ranges, paired differences and bootstrap intervals. */
import { checkArgument, checkOptions, either, integer, type Kind, listOf, type OptionKinds, oneOf, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { type RandomStream, randomStream } from "../ir/random-stream.js";

/** A measured value that stands for several: the mean over the `weight` targets of one example. Weights are at least 0. */
export interface Observation {
  readonly value: number;
  readonly weight: number;
}

/** What one unit of a bootstrap measured: a number counts 1. */
export type Measured = number | Observation;

const finiteNumber: Kind = { wanted: "a finite number", fits: Number.isFinite };
const observation: Kind = {
  wanted: "{ value, weight } with finite numbers and a weight of at least 0",
  fits: (value) => {
    const { value: measured, weight } = (value ?? {}) as Partial<Observation>;
    return Number.isFinite(measured) && Number.isFinite(weight) && (weight as number) >= 0;
  },
};
const measured = either(finiteNumber, observation);
const someMeasured: Kind = {
  wanted: "a list of at least one finite number or { value, weight }",
  fits: (value) => Array.isArray(value) && value.length > 0 && value.every(measured.fits),
};

const numberOf = (one: Measured): number => (typeof one === "number" ? one : one.value);
const weightOf = (one: Measured): number => (typeof one === "number" ? 1 : one.weight);

/** Mean and spread of some values. */
export interface ValueSummary {
  readonly count: number;
  /** Σ w·x / Σ w. */
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  /** √(Σ w·(x − mean)² / (Σ w · (n − 1)/n)), which for equal weights is the sample's; 0 for a single value. */
  readonly deviation: number;
}

/** Mean, range and standard deviation, in f64. Throws OptionError for no values, numbers that are not finite, and weights that are all 0. */
export function summarizeValues(values: readonly Measured[]): ValueSummary {
  checkArgument("summarizeValues", "values", values, someMeasured);
  const mean = weightedMean("summarizeValues", values);
  const count = values.length;
  let [squares, weights, min, max] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const one of values) {
    const [value, weight] = [numberOf(one), weightOf(one)];
    squares += weight * (value - mean) ** 2;
    weights += weight;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  const deviation = count === 1 ? 0 : Math.sqrt(squares / ((weights * (count - 1)) / count));
  return { count, mean, min, max, deviation };
}

function weightedMean(where: string, values: readonly Measured[]): number {
  let [sum, weights] = [0, 0];
  for (const one of values) {
    sum += weightOf(one) * numberOf(one);
    weights += weightOf(one);
  }
  if (!(weights > 0)) throw new OptionError(`${where}: all weights are 0, so there is no mean`);
  return sum / weights;
}

/**
 * first[i] − second[i], for values that were measured on the same things, such as the same examples read by two models: what varies from
 * example to example is in both and cancels, so that their interval is much narrower than those of the two means.
 *
 * @throws ShapeError for lists of different lengths, OptionError where the weights of a pair differ
 */
export function pairedDifferences(first: readonly Measured[], second: readonly Measured[]): Observation[] {
  checkArgument("pairedDifferences", "first", first, listOf(measured));
  checkArgument("pairedDifferences", "second", second, listOf(measured));
  if (first.length !== second.length) {
    throw new ShapeError(`pairedDifferences: ${first.length} values are to be paired with ${second.length}`, {
      hint: "pair what was measured on the same examples, in the same order",
    });
  }
  return first.map((one, i) => {
    const other = second[i] as Measured;
    if (weightOf(one) !== weightOf(other)) {
      throw new OptionError(`pairedDifferences: pair ${i} has the weights ${weightOf(one)} and ${weightOf(other)}`, {
        hint: "pair what was measured on the same targets",
      });
    }
    return { value: numberOf(one) - numberOf(other), weight: weightOf(one) };
  });
}

export interface BootstrapOptions {
  /** Share of the resampled means that lie in the interval, between 0 and 1. Default 0.95. */
  readonly level?: number;
  /** Default 2000. */
  readonly resamples?: number;
  /** Seed of the draws. Default 0. */
  readonly seed?: number;
  /**
   * What is drawn anew: "values" within every group, which says how well the examples are known for these very groups; "groups" whole, which
   * says how groups differ; "both", groups and then values within each that was drawn. Default "both"; a single group is never drawn.
   */
  readonly over?: "values" | "groups" | "both";
}

const share: Kind = { wanted: "a number between 0 and 1", fits: (value) => typeof value === "number" && value > 0 && value < 1 };
const bootstrapKinds: OptionKinds<BootstrapOptions> = {
  level: optional(share),
  resamples: optional(integer(1)),
  seed: optional(integer(0)),
  over: optional(oneOf("values", "groups", "both")),
};

/** A mean with its interval. */
export interface BootstrapInterval {
  /** Mean of the means of the groups. */
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  readonly level: number;
  readonly resamples: number;
}

/** Keeps these draws apart from others under the same seed. */
const PURPOSE = 0x626f_6f74;

/**
 * A percentile bootstrap interval (Efron 1979) of the mean of group means, each Σ w·x / Σ w: a group holds the values of one seed, a value
 * what one example measured, with the number of its targets as weight. Targets of one example depend on each other, so examples are drawn
 * and not targets, with replacement and as many as there are (Davison & Hinkley 1997, § 3.8, for groups with values).
 *
 * Few groups have few resamples (three seeds have ten different ones), so an interval over them is narrower than it should be: it tells of
 * the spread and proves nothing. Resample i is decided by (seed, i) alone.
 *
 * @param groups a list of values for each group, or a list of values as the only group
 * @throws OptionError for no groups, groups without values, and groups whose weights are all 0
 */
export function bootstrapMean(
  groups: readonly Measured[] | readonly (readonly Measured[])[],
  options: BootstrapOptions = {},
): BootstrapInterval {
  const place = "bootstrapMean";
  checkArgument(place, "groups", groups, either(someMeasured, groupsKind));
  checkOptions(place, options, bootstrapKinds);
  const { level = 0.95, resamples = 2000, seed = 0, over = "both" } = options;
  const all = (Array.isArray(groups[0]) ? groups : [groups]) as readonly (readonly Measured[])[];
  const means = all.map((values) => weightedMean(place, values));
  const found = Array.from({ length: resamples }, (_, i) => {
    const random = randomStream(seed, PURPOSE, i);
    let sum = 0;
    for (let k = 0; k < all.length; k++) {
      const group = over === "values" || all.length === 1 ? k : random.below(all.length);
      sum += over === "groups" ? (means[group] as number) : resampledMean(all[group] as readonly Measured[], random);
    }
    return sum / all.length;
  }).sort((a, b) => a - b);
  return {
    mean: means.reduce((sum, one) => sum + one, 0) / means.length,
    low: quantile(found, (1 - level) / 2),
    high: quantile(found, (1 + level) / 2),
    level,
    resamples,
  };
}

const groupsKind: Kind = {
  wanted: "a list of such lists",
  fits: (value) => Array.isArray(value) && value.length > 0 && value.every(someMeasured.fits),
};

/** The mean of as many values drawn with replacement. A draw that has no weight at all is drawn again. */
function resampledMean(values: readonly Measured[], random: RandomStream): number {
  for (;;) {
    let [sum, weights] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      const one = values[random.below(values.length)] as Measured;
      sum += weightOf(one) * numberOf(one);
      weights += weightOf(one);
    }
    if (weights > 0) return sum / weights;
  }
}

/** The quantile of ascending numbers, linear between neighbours: what stands at place q·(n − 1). */
function quantile(ascending: readonly number[], q: number): number {
  const at = q * (ascending.length - 1);
  const below = Math.floor(at);
  const [low, high] = [ascending[below] as number, ascending[Math.min(below + 1, ascending.length - 1)] as number];
  return low + (at - below) * (high - low);
}
