/** LongRoPE's search for divisors of the rotary frequencies, and the tables of its untouched first tokens. */
import {
  callable,
  checkArgument,
  checkOptions,
  integer,
  type Kind,
  listOf,
  number,
  type OptionKinds,
  objectWith,
  optional,
} from "../arguments.js";
import { NonFiniteError, OptionError, ShapeError } from "../errors.js";
import { type RandomStream, randomStream } from "../ir/random-stream.js";
import { type RopeScaling, ropeFrequencies } from "./schedules.js";
import type { RopeTables } from "./tables.js";

/** What is searched for. */
export interface LongropeCandidate {
  /** λ_j ≥ 1, non-decreasing in j: frequencies are θ_j/λ_j. They make `{ type: "longrope", longFactor: factors, … }`. */
  readonly factors: readonly number[];
  /** n̂: so many first tokens keep the frequencies θ_j (`untouchedStart`). */
  readonly start: number;
}

export interface LongropeSearchOptions {
  /** The loss of a model that is read so: smaller is better; NaN and infinities count as the worst. Asked once for each candidate. */
  readonly evaluate: (candidate: LongropeCandidate) => Promise<number> | number;
  /** D. */
  readonly headDim: number;
  /** s ≥ 1: extended window / trained window. Divisors lie in 1 … 1.25·s. */
  readonly factor: number;
  /** L, from which YaRN's divisors are computed. At least 8. */
  readonly originalMaxPositions: number;
  /** Base of the frequencies, for NTK's and YaRN's divisors. Default 10,000. */
  readonly theta?: number;
  readonly seed: number;
  /** Candidates that the search begins with: PI's, NTK's and YaRN's divisors, and mutations of them. Default 64. */
  readonly population?: number;
  /** Best candidates that are kept and have children, at least 2. Default: half of the population. */
  readonly parents?: number;
  /** Default 40. */
  readonly generations?: number;
  /** Children of one parent, in each generation. Default: a quarter of the population. */
  readonly mutations?: number;
  /** Children of two parents, in each generation. Default: a quarter of the population. */
  readonly crossovers?: number;
  /** Probability with which a mutation changes a divisor. Default 0.3. */
  readonly mutationRate?: number;
  /** Mutated divisors are multiples of this. Default 0.01. */
  readonly step?: number;
  /** Values of n̂ that may be chosen. Default [0]: every token is scaled. */
  readonly starts?: readonly number[];
  /** Called after each generation. */
  readonly onGeneration?: (progress: LongropeProgress) => void;
}

export interface LongropeProgress {
  /** 0 is the first population. */
  readonly generation: number;
  readonly generations: number;
  readonly best: LongropeIndividual;
  /** Calls of `evaluate` so far. */
  readonly evaluations: number;
}

/** A candidate with its loss. */
export interface LongropeIndividual extends LongropeCandidate {
  readonly loss: number;
}

export interface LongropeSearchResult extends LongropeIndividual {
  /** PI's, NTK's and YaRN's divisors, from which the search began. */
  readonly initial: readonly LongropeIndividual[];
  /** Smallest loss after each generation, the first population's first; never increasing. */
  readonly history: readonly number[];
  readonly evaluations: number;
}

const probability: Kind = { wanted: "a number above 0 and up to 1", fits: (value) => typeof value === "number" && value > 0 && value <= 1 };
const optionKinds: OptionKinds<LongropeSearchOptions> = {
  evaluate: callable,
  headDim: integer(4),
  factor: number,
  originalMaxPositions: integer(8),
  theta: optional(number),
  seed: integer(0),
  population: optional(integer(4)),
  parents: optional(integer(2)),
  generations: optional(integer(0)),
  mutations: optional(integer(0)),
  crossovers: optional(integer(0)),
  mutationRate: optional(probability),
  step: optional({ wanted: "a number above 0 and up to 1, such as 0.01", fits: probability.fits }),
  starts: optional(listOf(integer(0))),
  onGeneration: optional(callable),
};

const PURPOSE = { population: 71, children: 72 } as const;
/** After so many candidates that were seen before, or whose divisors decrease, another kind of child is made, or none. */
const TRIES = 20;

/**
 * Divisors λ_j for a model that is read at s times its window, found by evolution (Ding et al. 2024, arXiv 2402.13753, §3.2, alg. 1).
 *
 * The first population holds the divisors of Position Interpolation (λ_j = s), NTK (s^(2j/(D−2))) and YaRN, and mutations of each. In every
 * generation the best candidates are kept and have children: a *mutation* draws divisors anew, each between its neighbours on a grid of
 * `step`; a *crossover* puts a run of one parent's divisors into the other's, and is drawn again while they decrease. So λ_j never
 * decreases with j, the paper's constraint. All draws are functions of the seed.
 *
 * The cost is population + generations·(mutations + crossovers) evaluations at most: 1,344 with the defaults, which are the paper's. A small model
 * does with a tenth.
 *
 * ```ts
 * const window = 128, factor = 8, headDim = 32, theta = 10_000;
 * const { factors } = await searchLongropeFactors({ headDim, theta, factor, originalMaxPositions: window, seed: 0, evaluate });
 * const scaling = { type: "longrope", factor, originalMaxPositions: window, shortFactor: ones, longFactor: factors, seqLen };
 * ```
 *
 * @throws OptionError for options that make no sense, NonFiniteError where no candidate has a finite loss
 */
export async function searchLongropeFactors(options: LongropeSearchOptions): Promise<LongropeSearchResult> {
  checkOptions("searchLongropeFactors", options, optionKinds);
  const space = searchSpace(options);
  const { population = 64, generations = 40, seed, evaluate, onGeneration } = options;
  const { parents = Math.max(2, population >> 1), mutations = population >> 2, crossovers = population >> 2 } = options;
  if (parents > population) {
    throw new OptionError(`searchLongropeFactors: found ${parents} parents in a population of ${population}`, {
      hint: "parents are the best of the population",
    });
  }
  const seen = new Set<string>();
  const living: LongropeIndividual[] = [];
  const isNew = (candidate: LongropeCandidate): boolean => !seen.has(JSON.stringify(candidate));
  const add = async (candidate: LongropeCandidate): Promise<LongropeIndividual> => {
    seen.add(JSON.stringify(candidate));
    const loss = await evaluate(candidate);
    checkArgument("searchLongropeFactors", "the loss that evaluate gives", loss, number);
    const individual = { ...candidate, loss: Number.isFinite(loss) ? loss : Number.POSITIVE_INFINITY };
    living.push(individual);
    return individual;
  };
  const history: number[] = [];
  const select = (generation: number): void => {
    // Sorting is stable: of equal losses the older one comes first.
    living.sort((a, b) => (a.loss === b.loss ? 0 : a.loss - b.loss));
    living.splice(Math.max(parents, 1));
    const best = living[0] as LongropeIndividual;
    history.push(best.loss);
    onGeneration?.({ generation, generations, best, evaluations: seen.size });
  };

  const initial: LongropeIndividual[] = [];
  for (const candidate of firstCandidates(options, space)) if (isNew(candidate)) initial.push(await add(candidate));
  for (let i = initial.length; i < population; i++) {
    const random = randomStream(seed, PURPOSE.population, 0, i);
    const child = firstNew(() => mutated(initial[i % initial.length] as LongropeCandidate, space, random), isNew);
    if (child !== undefined) await add(child);
  }
  select(0);
  for (let generation = 1; generation <= generations; generation++) {
    const elders = [...living];
    for (let i = 0; i < mutations + crossovers; i++) {
      const random = randomStream(seed, PURPOSE.children, generation, i);
      const pick = (): LongropeIndividual => elders[random.below(elders.length)] as LongropeIndividual;
      const mutant = () => mutated(pick(), space, random);
      const child =
        i < mutations ? firstNew(mutant, isNew) : (firstNew(() => crossed(pick(), pick(), random), isNew) ?? firstNew(mutant, isNew));
      if (child !== undefined) await add(child);
    }
    select(generation);
  }
  const best = living[0] as LongropeIndividual;
  if (!Number.isFinite(best.loss)) {
    throw new NonFiniteError(`searchLongropeFactors: none of ${seen.size} candidates has a finite loss`, {
      hint: "evaluate one candidate by hand: factors of 1 read the model as it was trained",
    });
  }
  return { ...best, initial, history, evaluations: seen.size };
}

interface Space {
  readonly largest: number;
  readonly step: number;
  readonly rate: number;
  readonly starts: readonly number[];
}

function searchSpace({ factor, step = 0.01, mutationRate = 0.3, starts = [0] }: LongropeSearchOptions): Space {
  if (!(Number.isFinite(factor) && factor >= 1)) {
    throw new OptionError(`searchLongropeFactors: factor must be a finite number of at least 1, found ${factor}`, {
      hint: "factor = extended window / trained window",
    });
  }
  if (starts.length === 0) {
    throw new OptionError("searchLongropeFactors: starts is empty", {
      hint: "[0] scales every token; the paper tries 0, 1, 2, 4, 8, … 256",
    });
  }
  return { largest: 1.25 * factor, step, rate: mutationRate, starts };
}

/** The divisors of Position Interpolation, NTK and YaRN, in that order. */
function firstCandidates(options: LongropeSearchOptions, { starts }: Space): LongropeCandidate[] {
  const { headDim, theta = 10_000, factor, originalMaxPositions } = options;
  const of = (scaling: RopeScaling): number[] => [...ropeFrequencies(scaling, { headDim, theta }).invFreq];
  const plain = of({ type: "default" });
  const scalings: RopeScaling[] = [
    { type: "linear", factor },
    { type: "ntk", factor },
    { type: "yarn", factor, originalMaxPositions },
  ];
  return scalings.map((scaling) => ({
    // Divisors are at least 1 and never decrease, up to the last bit.
    factors: ascending(of(scaling).map((frequency, j) => (plain[j] as number) / frequency)),
    start: starts[0] as number,
  }));
}

function ascending(factors: readonly number[]): number[] {
  let least = 1;
  return factors.map((factor) => {
    least = Math.max(least, factor);
    return least;
  });
}

/** The first candidate of a few that was not seen before. */
function firstNew(
  make: () => LongropeCandidate | undefined,
  isNew: (candidate: LongropeCandidate) => boolean,
): LongropeCandidate | undefined {
  for (let i = 0; i < TRIES; i++) {
    const candidate = make();
    if (candidate !== undefined && isNew(candidate)) return candidate;
  }
  return undefined;
}

function mutated(parent: LongropeCandidate, { largest, step, rate, starts }: Space, random: RandomStream): LongropeCandidate {
  const factors = [...parent.factors];
  factors.forEach((_, j) => {
    if (random.unit() >= rate) return;
    const first = Math.ceil((factors[j - 1] ?? 1) / step);
    const last = Math.floor((factors[j + 1] ?? largest) / step);
    if (last >= first) factors[j] = within(step * (first + random.below(last - first + 1)), factors[j - 1] ?? 1, factors[j + 1] ?? largest);
  });
  const start = random.unit() < rate ? (starts[random.below(starts.length)] as number) : parent.start;
  return { factors, start };
}

/** A multiple of the step is off by its rounding. */
const within = (value: number, least: number, most: number): number => Math.min(Math.max(value, least), most);

function crossed(one: LongropeCandidate, other: LongropeCandidate, random: RandomStream): LongropeCandidate | undefined {
  const half = one.factors.length;
  const [a, b] = [random.below(half + 1), random.below(half + 1)];
  const [from, to] = [Math.min(a, b), Math.max(a, b)];
  const factors = one.factors.map((factor, j) => (j >= from && j < to ? (other.factors[j] as number) : factor));
  const start = random.below(2) === 0 ? one.start : other.start;
  return factors.every((factor, j) => j === 0 || factor >= (factors[j - 1] as number)) ? { factors, start } : undefined;
}

/**
 * Tables whose first tokens are turned as without scaling: rows n < n̂ of `original` and the others of `scaled`. LongRoPE's n̂ (eq. 3 of
 * the paper). Scores between one of the first tokens and a later one then depend on both positions and no longer on their distance.
 * No format of others has a key for it: an exported model has n̂ = 0.
 *
 * @param scaled tables [rows, T, D/2] of the divided frequencies
 * @param original tables of the same shape, of the frequencies as trained
 * @param start n̂ ≥ 0; from T on all of `original` is taken
 * @throws ShapeError for tables of different shapes
 */
export function untouchedStart(scaled: RopeTables, original: RopeTables, start: number): RopeTables {
  const tablesKind = objectWith("tables, as ropeTables(…) makes them", "cos", "sin", "rows", "length", "half");
  checkArgument("untouchedStart", "scaled", scaled, tablesKind);
  checkArgument("untouchedStart", "original", original, tablesKind);
  checkArgument("untouchedStart", "start", start, integer(0));
  const { rows, length, half } = scaled;
  if (original.rows !== rows || original.length !== length || original.half !== half) {
    throw new ShapeError(
      `untouchedStart: expected two tables of one shape, found [${[rows, length, half].join(", ")}] and [${[original.rows, original.length, original.half].join(", ")}]`,
      { hint: "make both from the same positions" },
    );
  }
  const joined = (ofScaled: Float32Array, ofOriginal: Float32Array): Float32Array => {
    const values = Float32Array.from(ofScaled);
    const count = Math.min(start, length) * half;
    for (let row = 0; row < rows; row++) {
      const at = row * length * half;
      values.set(ofOriginal.subarray(at, at + count), at);
    }
    return values;
  };
  return { cos: joined(scaled.cos, original.cos), sin: joined(scaled.sin, original.sin), rows, length, half };
}
