/** Means over the scores of single targets. */
import {
  checkArgument,
  checkOptions,
  integer,
  type Kind,
  listOf,
  type OptionKinds,
  objectWith,
  oneOf,
  optional,
  text,
} from "../arguments.js";
import { OptionError } from "../errors.js";
import type { Observation } from "./statistics.js";
import type { TargetScore } from "./target-evaluation.js";

/** Means over the scores of one kind. */
export interface TargetSummary {
  readonly kind: string;
  readonly targets: number;
  /** Mean loss in nats, Σ w·nats / Σ w. */
  readonly nats: number;
  /** Share of right answers, 0 … 1, by the same weights. */
  readonly accuracy: number;
}

/** Means over the scores of one kind whose answer is so far away. */
export interface DistanceSummary extends TargetSummary {
  /** The least distance, in places. */
  readonly from: number;
  /** One more than the largest distance; absent where there is no bound. */
  readonly to?: number;
}

const scoresKind = listOf(objectWith("a score, as evaluateTargets(…) gives them", "kind", "nats"));
export const edgesKind: Kind = {
  wanted: "a list of whole numbers of at least 1, ascending",
  fits: (value) =>
    Array.isArray(value) &&
    value.every((edge, i) => Number.isSafeInteger(edge) && edge >= 1 && (i === 0 || edge > (value[i - 1] as number))),
};

class Sums {
  targets = 0;
  private weights = 0;
  private nats = 0;
  private right = 0;

  add({ nats, correct, weight = 1 }: TargetScore): void {
    this.targets++;
    this.weights += weight;
    this.nats += weight * nats;
    this.right += weight * Number(correct);
  }

  means(kind: string): TargetSummary {
    const { targets, weights } = this;
    return { kind, targets, nats: this.nats / weights, accuracy: this.right / weights };
  }
}

/** Means for each kind, in order of first appearance, summed in f64. NaN for a kind whose weights are all 0. */
export function summarizeTargets(scores: readonly TargetScore[]): TargetSummary[] {
  checkArgument("summarizeTargets", "scores", scores, scoresKind);
  return [...grouped(scores, ({ kind }) => kind)].map(([kind, of]) => sumsOf(of).means(kind));
}

function grouped<Key>(scores: readonly TargetScore[], keyOf: (score: TargetScore) => Key): Map<Key, TargetScore[]> {
  const groups = new Map<Key, TargetScore[]>();
  for (const score of scores) {
    const group = groups.get(keyOf(score));
    if (group === undefined) groups.set(keyOf(score), [score]);
    else group.push(score);
  }
  return groups;
}

export function sumsOf(scores: readonly TargetScore[]): Sums {
  const sums = new Sums();
  for (const score of scores) sums.add(score);
  return sums;
}

/**
 * Means for each kind and each range of distances: below the first edge, from each edge to the next, and from the last one on. With the
 * trained window L as the only edge these are near, within reach of a window of L, and far. Ranges without a target and scores whose task
 * states no distance are left out.
 */
export function summarizeByDistance(scores: readonly TargetScore[], edges: readonly number[]): DistanceSummary[] {
  checkArgument("summarizeByDistance", "scores", scores, scoresKind);
  checkArgument("summarizeByDistance", "edges", edges, edgesKind);
  const known = scores.filter(({ distance }) => distance !== undefined);
  return [...grouped(known, ({ kind }) => kind)].flatMap(([kind, of]) =>
    [0, ...edges].flatMap((from, i): DistanceSummary[] => {
      const to = edges[i];
      const within = of.filter(({ distance = 0 }) => distance >= from && (to === undefined || distance < to));
      return within.length === 0 ? [] : [{ ...sumsOf(within).means(kind), from, ...(to === undefined ? {} : { to }) }];
    }),
  );
}

/** Which targets, and what of them. */
export interface ObservationOptions {
  readonly measure: "accuracy" | "nats";
  /** Only this kind. Default: all. */
  readonly kind?: string;
  /** Only distances of at least so much. */
  readonly from?: number;
  /** Only distances below this. */
  readonly to?: number;
}

const observationKinds: OptionKinds<ObservationOptions> = {
  measure: oneOf("accuracy", "nats"),
  kind: optional(text),
  from: optional(integer(0)),
  to: optional(integer(0)),
};

/**
 * The mean of each example that has such a target, with the sum of its targets' weights: what a bootstrap over examples draws from. The
 * observations of two models, or of two contexts, that were asked the same are pairs of `pairedDifferences`.
 *
 * @throws OptionError where no example has such a target
 */
export function exampleObservations(scores: readonly TargetScore[], options: ObservationOptions): Observation[] {
  checkArgument("exampleObservations", "scores", scores, scoresKind);
  checkOptions("exampleObservations", options, observationKinds);
  const { measure, kind, from, to } = options;
  const wanted = scores.filter(
    (score) =>
      (kind === undefined || score.kind === kind) &&
      (from === undefined || (score.distance !== undefined && score.distance >= from)) &&
      (to === undefined || (score.distance !== undefined && score.distance < to)),
  );
  if (wanted.length === 0) {
    const kinds = [...new Set(scores.map((score) => score.kind))].join(", ");
    throw new OptionError("exampleObservations: there is no such target", {
      hint: kinds === "" ? "there are no scores at all" : `kinds are ${kinds}; distances may be bounded too tightly`,
    });
  }
  return [...grouped(wanted, ({ example }) => example).values()].map((of) => {
    const { nats, accuracy } = sumsOf(of).means("");
    const weight = of.reduce((sum, score) => sum + (score.weight ?? 1), 0);
    return { value: weight === 0 ? 0 : measure === "nats" ? nats : accuracy, weight };
  });
}

/** What the repetition is worth at some range of distances. */
export interface InductionScore {
  /** The least distance, in places. */
  readonly from: number;
  /** One more than the largest distance; absent where there is no bound. */
  readonly to?: number;
  readonly targets: number;
  /** Mean loss of the repeated tokens minus that of the fresh ones, in nats: below 0 where the model copies. */
  readonly nats: number;
  /** Share of the repeated tokens that were predicted. */
  readonly accuracy: number;
}

/**
 * The in-context-learning score of `inductionTask` against the distance of the repetition: the loss on what stood before minus the loss on
 * what is new (Olsson et al. 2022 take that on token 500 minus that on token 50 of text).
 *
 * @param edges bounds of the ranges of distances, as for `summarizeByDistance`
 * @throws OptionError where either kind is missing
 */
export function inductionScores(scores: readonly TargetScore[], edges: readonly number[]): InductionScore[] {
  checkArgument("inductionScores", "scores", scores, scoresKind);
  checkArgument("inductionScores", "edges", edges, edgesKind);
  const fresh = summarizeTargets(scores).find(({ kind }) => kind === "fresh");
  const repeats = summarizeByDistance(
    scores.filter(({ kind }) => kind === "repeat"),
    edges,
  );
  if (fresh === undefined || repeats.length === 0) {
    throw new OptionError("inductionScores: there are no scores of both repeated and fresh tokens", {
      hint: "give the scores of examples of inductionTask",
    });
  }
  return repeats.map(({ kind: _, nats, ...rest }) => ({ ...rest, nats: nats - fresh.nats }));
}
