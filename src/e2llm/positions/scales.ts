/** Which scale g a source draws. */
import { integer, type Kind, optional, plainObject } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { largestPosition } from "./rows.js";

/**
 * How g is distributed: "uniform" on {1, …, gMax}; a fixed number (1 switches the scale off); or one of some `values` (default 1 … gMax), with a
 * probability in proportion to its weight (default: all the same).
 */
export type ScaleDistribution = "uniform" | number | { readonly values?: readonly number[]; readonly weights?: readonly number[] };

export interface ScaleOptions {
  /** Largest scale G. May be left out where `g` says which scales there are. */
  readonly gMax?: number;
  /** How the scale is drawn. Default "uniform": g is one of {1, …, G}, each as likely as the others. */
  readonly g?: ScaleDistribution;
}

const wholeScale = integer(1, largestPosition);
const isList = (value: unknown, item: (value: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length > 0 && value.every(item);
const isWeight = (value: unknown): boolean => Number.isFinite(value) && (value as number) >= 0;

const distributionKind: Kind = {
  wanted: '"uniform", a whole scale, or { values, weights } with whole scales and weights of at least 0',
  fits: (value) => {
    if (value === "uniform" || wholeScale.fits(value)) return true;
    if (!plainObject.fits(value)) return false;
    const { values, weights, ...others } = value as { values?: unknown; weights?: unknown };
    return (
      Object.keys(others).length === 0 &&
      (values !== undefined || weights !== undefined) &&
      (values === undefined || isList(values, wholeScale.fits)) &&
      (weights === undefined || isList(weights, isWeight))
    );
  },
};

export const scaleKinds = { gMax: optional(wholeScale), g: optional(distributionKind) } as const;

/** The scales of an option, ready to be drawn. */
export interface Scales {
  /** Those that there are, in any order. Absent where they are all whole numbers up to the largest. */
  readonly values?: readonly number[];
  readonly smallest: number;
  readonly largest: number;
  readonly draw: (random: RandomStream) => number;
}

/** Throws OptionError for scales above gMax, weights that do not fit the scales, and where nothing says which scales there are. */
export function scalesOf(where: string, { gMax, g = "uniform" }: ScaleOptions): Scales {
  if (typeof g === "number") return within(where, gMax, { values: [g], smallest: g, largest: g, draw: () => g });
  const { values, weights } = g === "uniform" ? {} : g;
  const count = values?.length ?? gMax;
  if (count === undefined) {
    throw new OptionError(`${where}: gMax is missing, so there is no largest scale`, {
      hint: "give gMax, or the scales themselves: g: 8, or g: { values: [2, 4, 8] }",
    });
  }
  const scale = (index: number): number => values?.[index] ?? index + 1;
  if (weights === undefined) {
    return within(where, gMax, {
      ...(values === undefined ? {} : { values }),
      smallest: values === undefined ? 1 : Math.min(...values),
      largest: values === undefined ? count : Math.max(...values),
      draw: (random) => scale(random.below(count)),
    });
  }
  const likely = weights.flatMap((weight, i) => (weight > 0 ? [{ weight, scale: scale(i) }] : []));
  if (weights.length !== count || likely.length === 0) {
    throw new OptionError(`${where}: expected ${count} weights of g, not all 0, found [${weights.join(", ")}]`, {
      hint: values === undefined ? "give one weight for each of 1 … gMax" : "give one weight for each of the values",
    });
  }
  const total = likely.reduce((sum, { weight }) => sum + weight, 0);
  const all = likely.map((one) => one.scale);
  return within(where, gMax, {
    values: all,
    smallest: Math.min(...all),
    largest: Math.max(...all),
    draw(random) {
      let left = random.unit() * total;
      const found = likely.find(({ weight }) => {
        left -= weight;
        return left < 0;
      });
      // Rounding may leave a rest.
      return found?.scale ?? (all.at(-1) as number);
    },
  });
}

function within(where: string, gMax: number | undefined, scales: Scales): Scales {
  if (gMax === undefined || scales.largest <= gMax) return scales;
  throw new OptionError(`${where}: g may be ${scales.largest}, which is above gMax ${gMax}`, { hint: "leave gMax out, or raise it" });
}
