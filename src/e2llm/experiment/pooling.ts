/** Numbers over seeds: means, ranges, bootstrap intervals, and paired differences to a row of reference. */
import { randomStream } from "../../ir/random-stream.js";
import type { Measure } from "./definition.js";
import type { Cell, ContextScores, GroupScores, Measures, Pooled, RowRecord } from "./results.js";

/** Times that seeds and examples are drawn anew. */
const draws = 1000;
/** The interval leaves out so much at either end. */
const tail = 0.025;
/** Keeps these draws apart from others. */
const purpose = 0x626f_6f74;

/** What a resampling counts: for each of S places a seed, and how often each of its examples. */
interface Resample {
  readonly seeds: Uint16Array; // [S]
  readonly counts: Uint16Array; // [S, N]
}

/**
 * Resamplings of S seeds of N examples (a bootstrap of two levels: Davison & Hinkley 1997, § 3.8). They are the same for all cells, so that
 * a difference of rows is resampled in pairs. With `shared`, where all seeds are measured on the same examples, every place counts them alike.
 */
export class Resampler {
  private readonly made = new Map<number, readonly Resample[]>();

  constructor(
    private readonly seeds: number,
    private readonly shared: boolean,
  ) {}

  of(examples: number): readonly Resample[] {
    const known = this.made.get(examples);
    if (known !== undefined) return known;
    const S = this.seeds;
    const fresh = Array.from({ length: draws }, (_, draw): Resample => {
      const random = randomStream(0, purpose, draw, examples);
      const seeds = Uint16Array.from({ length: S }, () => random.below(S));
      const counts = new Uint16Array(S * examples);
      for (let place = 0; place < S; place++) {
        if (this.shared && place > 0) counts.copyWithin(place * examples, 0, examples);
        else for (let i = 0; i < examples; i++) bump(counts, place * examples + random.below(examples));
      }
      return { seeds, counts };
    });
    this.made.set(examples, fresh);
    return fresh;
  }
}

const bump = (counts: Uint16Array, at: number): void => {
  counts[at] = (counts[at] as number) + 1;
};

/** Sums of one measure, example by example, and what they are divided by. */
interface Sums {
  readonly sums: readonly number[];
  readonly asked: readonly number[];
}

const sumsOf = ({ sums, asked }: GroupScores, measure: Measure): Sums => ({
  sums: sums[measure]?.map((sum) => sum ?? Number.NaN) ?? asked.map(() => Number.NaN),
  asked,
});

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const ratio = ({ sums, asked }: Sums): number => sums.reduce((a, b) => a + b, 0) / asked.reduce((a, b) => a + b, 0);
const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** A measure of each seed, less that of another row where there is one. */
function pooled(bySeed: readonly Sums[], less: readonly Sums[] | undefined, resamples: readonly Resample[]): Pooled {
  const values = bySeed.map((one, seed) => ratio(one) - (less === undefined ? 0 : ratio(less[seed] as Sums)));
  const bySeedOrNull = values.map(orNull);
  if (bySeedOrNull.includes(null)) return { mean: null, min: null, max: null, low: null, high: null, bySeed: bySeedOrNull };
  const examples = bySeed[0]?.asked.length ?? 0;
  const resampled = (all: readonly Sums[], { seeds, counts }: Resample): number => {
    let sum = 0;
    for (let place = 0; place < seeds.length; place++) {
      const { sums, asked } = all[seeds[place] as number] as Sums;
      let above = 0;
      let below = 0;
      for (let i = 0, at = place * examples; i < examples; i++, at++) {
        above += (counts[at] as number) * (sums[i] as number);
        below += (counts[at] as number) * (asked[i] as number);
      }
      // A group may have no target among the examples that were drawn.
      sum += below === 0 ? ratio(all[seeds[place] as number] as Sums) : above / below;
    }
    return sum / seeds.length;
  };
  const spread = resamples.map((resample) => resampled(bySeed, resample) - (less === undefined ? 0 : resampled(less, resample)));
  spread.sort((a, b) => a - b);
  const at = (share: number): number => spread[Math.min(draws - 1, Math.max(0, Math.round(share * (draws - 1))))] as number;
  return {
    mean: mean(values),
    min: Math.min(...values),
    max: Math.max(...values),
    low: at(tail),
    high: at(1 - tail),
    bySeed: bySeedOrNull,
  };
}

/** Pools what was measured of each row, seed by seed. Rows that lack a seed are left out. */
export function poolCells(
  records: readonly (readonly RowRecord[])[],
  options: { readonly rows: readonly string[]; readonly reference: string; readonly shared: boolean },
): Cell[] {
  const { rows, reference } = options;
  const resampler = new Resampler(records.length, options.shared);
  const ofRow = (name: string): readonly RowRecord[] | undefined => {
    const found = records.map((seed) => seed.find(({ row }) => row === name));
    return found.every((one) => one !== undefined) ? (found as RowRecord[]) : undefined;
  };
  const others = ofRow(reference);
  return rows.flatMap((row): Cell[] => {
    const seeds = ofRow(row);
    return seeds?.[0]?.scores.flatMap((scores) => cellsOf(row, scores, seeds, row === reference ? undefined : others, resampler)) ?? [];
  });
}

function cellsOf(
  row: string,
  { evaluation, context, groups }: ContextScores,
  seeds: readonly RowRecord[],
  others: readonly RowRecord[] | undefined,
  resampler: Resampler,
): Cell[] {
  return groups.flatMap(({ group }): Cell[] => {
    const own = groupOf(seeds, evaluation, context, group);
    if (own === undefined) return [];
    const resamples = resampler.of(own[0]?.asked.length ?? 0);
    const less = others && groupOf(others, evaluation, context, group);
    const all = (from: readonly GroupScores[] | undefined): Measures =>
      Object.fromEntries(
        (Object.keys(own[0]?.sums ?? {}) as Measure[]).map((measure) => [
          measure,
          pooled(
            own.map((one) => sumsOf(one, measure)),
            from?.map((one) => sumsOf(one, measure)),
            resamples,
          ),
        ]),
      );
    const targets = own.reduce((sum, { asked }) => sum + asked.reduce((a, b) => a + b, 0), 0);
    return [{ row, evaluation, context, group, targets, ...all(undefined), difference: less === undefined ? null : all(less) }];
  });
}

/** A group of every seed; undefined where a seed has no target in it. */
function groupOf(seeds: readonly RowRecord[], evaluation: string, context: number, group: string): readonly GroupScores[] | undefined {
  const found = seeds.map(({ scores }) =>
    scores.find((one) => one.evaluation === evaluation && one.context === context)?.groups.find((one) => one.group === group),
  );
  return found.every((one) => one !== undefined) ? (found as GroupScores[]) : undefined;
}
