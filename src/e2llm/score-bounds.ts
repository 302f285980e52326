/**
 * How far the scores of rotary attention can stray: between positions that a model knows (interpolation), beyond them (extrapolation), and
 * from one token to the next when positions are divided (resolution). Everything is computed in f64.
 *
 * A score depends on the distance s of two places alone: a(s) = ⟨R(s)·q, k⟩ = Re Σ_j h_j·e^{isθ_j}, with h_j = (q pair j)·conj(k pair j), pair
 * j being the channels j and j + D/2.
 */
import { checkArgument, checkFields, checkOptions, finiteNumber, type Kind, number, numbers, positive } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { type RopeShape, ropeFrequencies } from "./schedules.js";

/** h_j of a query and a key, j = 0 … D/2 − 1. */
export interface ScoreProducts {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

const productsKind: Kind = {
  wanted: "products of a query and a key, as scoreProducts(…) makes them",
  fits: (value) => {
    const { re, im } = (value ?? {}) as Partial<ScoreProducts>;
    return re instanceof Float64Array && im instanceof Float64Array && re.length === im.length;
  },
};

/** h_j = (q_j + i·q_{j+D/2})·(k_j − i·k_{j+D/2}). |h_j| is the same for rotated and for raw vectors. Throws ShapeError for vectors that do not fit. */
export function scoreProducts(q: ArrayLike<number>, k: ArrayLike<number>): ScoreProducts {
  checkArgument("scoreProducts", "q", q, numbers);
  checkArgument("scoreProducts", "k", k, numbers);
  if (q.length !== k.length || q.length % 2 !== 0 || q.length === 0) {
    throw new ShapeError(`scoreProducts: q has ${q.length} channels and k ${k.length}`, { hint: "both have the same even number" });
  }
  const half = q.length / 2;
  const re = new Float64Array(half);
  const im = new Float64Array(half);
  for (let j = 0; j < half; j++) {
    const [a, b, c, d] = [q[j] as number, q[j + half] as number, k[j] as number, k[j + half] as number];
    re[j] = a * c + b * d;
    im[j] = b * c - a * d;
  }
  return { re, im };
}

/** a(s) = Re Σ_j h_j·e^{isθ_j}, the score at distance s, a real number of any size. */
export function scoreAtDistance(products: ScoreProducts, invFreq: ArrayLike<number>, distance: number): number {
  checkPair("scoreAtDistance", products, invFreq);
  checkArgument("scoreAtDistance", "distance", distance, finiteNumber);
  return total(products, (j) => {
    const angle = distance * (invFreq[j] as number);
    return (products.re[j] as number) * Math.cos(angle) - (products.im[j] as number) * Math.sin(angle);
  });
}

/** A distance s between two known ones, s1 ≤ s ≤ s2. */
export interface InterpolatedDistance {
  readonly s: number;
  readonly s1: number;
  readonly s2: number;
}

/**
 * The farthest that a(s) can be from the line through a(s1) and a(s2):
 *
 *   |a(s) − a_lin(s)| ≤ ½·(s − s1)(s2 − s)·Σ_j |h_j|·θ_j²,
 *
 * the error of linear interpolation with |a″| ≤ Σ_j |h_j|·θ_j². Throws OptionError for a distance outside of s1 … s2.
 */
export function interpolationBound(products: ScoreProducts, invFreq: ArrayLike<number>, distance: InterpolatedDistance): number {
  checkPair("interpolationBound", products, invFreq);
  return (gapOf("interpolationBound", distance) / 2) * total(products, (j) => sizeAt(products, j) * (invFreq[j] as number) ** 2);
}

/** A bound that holds for every query and key with |h_j| ≤ 1, beside the one in print. */
export interface WorstInterpolation {
  /** ½·(s − s1)(s2 − s)·Σ_j θ_j² = ½·(s − s1)(s2 − s)·(1 − b⁻²)/(1 − b^(−4/D)), b = theta. */
  readonly bound: number;
  /**
   * D·(s − s1)(s2 − s)/(8·ln b), what theorem 2.1 of Chen et al. 2023 (arXiv 2306.15595) prints. **It is false**: its proof takes c^x ≤ 1 + x·ln c
   * for x < 0, and c^x is convex. See {@link interpolationCounterexample}.
   */
  readonly printed: number;
}

/** The farthest from the line for the worst of all queries and keys with |h_j| ≤ 1. */
export function worstInterpolation(shape: RopeShape, distance: InterpolatedDistance): WorstInterpolation {
  checkFields<RopeShape>("worstInterpolation", "shape", shape, { headDim: number, theta: number });
  const { invFreq } = ropeFrequencies({ type: "default" }, shape);
  const gap = gapOf("worstInterpolation", distance);
  const squares = invFreq.reduce((sum, frequency) => sum + frequency ** 2, 0);
  return { bound: (gap / 2) * squares, printed: (shape.headDim * gap) / (8 * Math.log(shape.theta)) };
}

/** A query and a key whose score between two positions strays farther than theorem 2.1 of Position Interpolation allows. */
export interface InterpolationCounterexample extends WorstInterpolation {
  readonly q: Float64Array;
  readonly k: Float64Array;
  /** |a(½) − (a(0) + a(1))/2|: above `printed` and below `bound`. */
  readonly deviation: number;
}

/** h_j = e^{−iθ_j/2}, |h_j| = 1, with which every pair of channels deviates by its most at s = ½ between s1 = 0 and s2 = 1. */
export function interpolationCounterexample(shape: RopeShape): InterpolationCounterexample {
  checkFields<RopeShape>("interpolationCounterexample", "shape", shape, { headDim: number, theta: number });
  const { invFreq } = ropeFrequencies({ type: "default" }, shape);
  const half = invFreq.length;
  const q = new Float64Array(2 * half);
  const k = new Float64Array(2 * half);
  for (let j = 0; j < half; j++) {
    k[j] = 1;
    q[j] = Math.cos((invFreq[j] as number) / 2);
    q[j + half] = -Math.sin((invFreq[j] as number) / 2);
  }
  const products = scoreProducts(q, k);
  const at = (s: number): number => scoreAtDistance(products, invFreq, s);
  return { ...worstInterpolation(shape, { s: 0.5, s1: 0, s2: 1 }), q, k, deviation: Math.abs(at(0.5) - (at(0) + at(1)) / 2) };
}

/**
 * The largest |a(s)| that RoFormer's argument allows at a distance s (Su et al. 2021, § 3.4.3), by summation by parts:
 *
 *   |a(s)| ≤ max_j |h_j − h_{j+1}| · Σ_k |A_{k+1}(s)|,   A_k(s) = Σ_{j<k} e^{isθ_j},   h_{D/2} = 0,
 *
 * or Σ_j |h_j| where that is less. Nothing keeps a score at an unseen distance from being that large, far from all that training saw.
 */
export function extrapolationBound(products: ScoreProducts, invFreq: ArrayLike<number>, distance: number): number {
  checkPair("extrapolationBound", products, invFreq);
  checkArgument("extrapolationBound", "distance", distance, finiteNumber);
  const { re, im } = products;
  let [x, y, sums, step] = [0, 0, 0, 0];
  for (let j = 0; j < re.length; j++) {
    const angle = distance * (invFreq[j] as number);
    x += Math.cos(angle);
    y += Math.sin(angle);
    sums += Math.hypot(x, y);
    step = Math.max(step, Math.hypot((re[j] as number) - (re[j + 1] ?? 0), (im[j] as number) - (im[j + 1] ?? 0)));
  }
  return Math.min(
    step * sums,
    total(products, (j) => sizeAt(products, j)),
  );
}

/** What dividing positions by g leaves of the difference between one token and the next. */
export interface Resolution {
  /** θ_0/g: the angle between neighbours in the fastest pair, in radians; 1/g for plain frequencies. */
  readonly angle: number;
  /** Σ_j |h_j|·θ_j/g: no score changes by more from one token to the next. */
  readonly change: number;
}

/**
 * The resolution at scale g: |a(s) − a(s + 1/g)| ≤ Σ_j |h_j|·θ_j/g. A head that tells offset 1 from offset 2 has to do it by so much less at
 * g = 8 than in training at g = 1: exact offsets are what every method loses that only divides positions.
 */
export function resolutionAt(products: ScoreProducts, invFreq: ArrayLike<number>, scale: number): Resolution {
  checkPair("resolutionAt", products, invFreq);
  checkArgument("resolutionAt", "scale", scale, positive);
  return {
    angle: (invFreq[0] as number) / scale,
    change: total(products, (j) => (sizeAt(products, j) * (invFreq[j] as number)) / scale),
  };
}

const sizeAt = ({ re, im }: ScoreProducts, j: number): number => Math.hypot(re[j] as number, im[j] as number);

function total({ re }: ScoreProducts, term: (j: number) => number): number {
  let sum = 0;
  for (let j = 0; j < re.length; j++) sum += term(j);
  return sum;
}

const distanceKinds = { s: finiteNumber, s1: finiteNumber, s2: finiteNumber } as const;

/** (s − s1)(s2 − s) */
function gapOf(where: string, distance: InterpolatedDistance): number {
  checkOptions(where, distance, distanceKinds);
  const { s, s1, s2 } = distance;
  if (!(s1 <= s && s <= s2)) throw new OptionError(`${where}: s = ${s} does not lie between s1 = ${s1} and s2 = ${s2}`);
  return (s - s1) * (s2 - s);
}

function checkPair(where: string, products: ScoreProducts, invFreq: ArrayLike<number>): void {
  checkArgument(where, "products", products, productsKind);
  checkArgument(where, "invFreq", invFreq, numbers);
  if (invFreq.length !== products.re.length) {
    throw new ShapeError(`${where}: ${products.re.length} products and ${invFreq.length} frequencies`, {
      hint: "both are one for each pair",
    });
  }
}
