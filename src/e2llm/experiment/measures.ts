/** What evaluations measure, by name. */

/** How a measure is written and judged. */
interface MeasureInfo {
  /** Of an axis. */
  readonly title: string;
  /** Of a table. */
  readonly unit: string;
  /** Whether a better model has less or more of it. */
  readonly better: "less" | "more";
  /** The range of a figure, where that is always the same. */
  readonly domain?: readonly [low: number, high: number];
}

/**
 * A measure is a number of each group of a row: Σ over its examples of what they sum up to, over what was asked of them. So it can be pooled over
 * seeds, resampled by examples and paired with that of another row, whatever it counts.
 */
export const measures = {
  nats: { title: "loss (nats)", unit: "nats per target", better: "less" },
  accuracy: { title: "right answers", unit: "share of right answers", better: "more", domain: [0, 1] },
  bitsPerByte: { title: "bits per byte", unit: "bits per byte", better: "less" },
  mass: { title: "share of attention", unit: "share of attention", better: "more" },
  repeated: { title: "repeated n-grams", unit: "share of n-grams that came before", better: "less", domain: [0, 1] },
  distinct: { title: "distinct n-grams", unit: "share of n-grams that are distinct", better: "more", domain: [0, 1] },
  drift: { title: "drift (nats)", unit: "nats from the tokens of the first part", better: "less" },
} as const satisfies Readonly<Record<string, MeasureInfo>>;

export type Measure = keyof typeof measures;

export const measureNames = Object.keys(measures) as readonly Measure[];

export const measureInfo = (measure: Measure): MeasureInfo => measures[measure];
