/**
 * Draws from named distributions, each a pure function of a key as those of `random.ts` are. The random bits below them are the same on every
 * backend, so results are the same up to the rounding of logarithms and sines; which of them are derived from a parameter that is a tensor can be
 * differentiated by it.
 */
import { checkArgument, checkOptions, either, notNegative, number, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import { broadcastShapes, normalizeAxis, readShape, type Shape, sameShape, show } from "../ir/shape.js";
import { log1p } from "./elementary.js";
import { keyKind, tensorKind, tensorLikeKind } from "./kinds.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { randn, randomBits, uniform } from "./random.js";
import type { Tensor } from "./tensor.js";

export interface NormalOptions {
  /** μ: a number, or a tensor that broadcasts to the shape. Default 0. */
  readonly mean?: TensorLike;
  /** σ ≥ 0: a number, or a tensor that broadcasts to the shape. Default 1. */
  readonly std?: TensorLike;
}

export interface TruncatedNormalOptions extends NormalOptions {
  /** The smallest number of standard deviations from the mean. Default −2. */
  readonly low?: number;
  /** The largest. Default 2. */
  readonly high?: number;
}

const deviationKind = either(tensorKind, notNegative);
const normalKinds = { mean: optional(tensorLikeKind), std: optional(deviationKind) };

/** Throws ShapeError unless a parameter broadcasts to the shape of the draws. */
function fitsDraws(where: string, name: string, parameter: TensorLike, shape: Shape): void {
  if (typeof parameter === "number" || sameShape(broadcastShapes(parameter.shape, shape, where), shape)) return;
  throw new ShapeError(`${where}: ${name} of ${show(parameter.shape)} for draws of ${show(shape)}`, {
    hint: `${name} broadcasts to the shape, and not the other way round`,
  });
}

/** μ + σ·z, which is z for the default of both. */
function scaled(where: string, z: Tensor, { mean = 0, std = 1 }: NormalOptions): Tensor {
  fitsDraws(where, "mean", mean, z.shape);
  fitsDraws(where, "std", std, z.shape);
  const spread = std === 1 ? z : ops.mul(z, std);
  return mean === 0 ? spread : ops.add(spread, mean);
}

/**
 * Normal with mean μ and standard deviation σ, μ + σ·z with z = `randn(key, shape)`; f32, or as wide as tensors μ and σ are, which it can be
 * differentiated by. Throws OptionError for a number σ below 0, ShapeError where a parameter does not broadcast to the shape.
 */
export function normal(k: Tensor, shape: Shape | number, options: NormalOptions = {}): Tensor {
  checkArgument("normal", "key", k, keyKind);
  checkOptions("normal", options, normalKinds);
  return scaled("normal", randn(k, readShape(shape, "normal")), options);
}

/**
 * Uniform on (0, 1), f32, from all 32 bits of a word, so that neighbours near 0 are 2⁻³² apart: the smallest is 2⁻³³, the largest 1 − 2⁻²⁴.
 * Every step is exact but for the rounding of the sum.
 */
function openUniform(word: Tensor): Tensor {
  const high = ops.cast(ops.truncDiv(word, 512), "f32");
  const low = ops.cast(ops.and(word, 511), "f32");
  return ops.minimum(ops.add(ops.mul(high, 2 ** -23), ops.mul(ops.add(low, 0.5), 2 ** -32)), 1 - 2 ** -24);
}

/** −ln(1 − u) of words. */
const exponentialOf = (word: Tensor): Tensor => ops.neg(log1p(ops.neg(openUniform(word))));

function wordsFor(where: string, k: Tensor, shape: Shape | number): Tensor {
  checkArgument(where, "key", k, keyKind);
  return randomBits(k, readShape(shape, where));
}

/** Exponential with rate 1, f32: density e⁻ˣ for x > 0. With rate λ it is that divided by λ. The largest draw is 24·ln 2 ≈ 16.6. */
export const exponential = (k: Tensor, shape: Shape | number): Tensor => exponentialOf(wordsFor("exponential", k, shape));

/**
 * Standard Gumbel, f32: −ln E with E exponential, so P(G ≤ x) = e^(−e⁻ˣ). The position of the largest logit + Gumbel noise is a draw from the
 * softmax of the logits (Gumbel 1954). Draws lie between −2.8 and 22.9.
 */
export const gumbel = (k: Tensor, shape: Shape | number): Tensor => ops.neg(ops.log(exponentialOf(wordsFor("gumbel", k, shape))));

/** Standard Laplace, f32: an exponential of either sign, density e^(−|x|)/2. */
export function laplace(k: Tensor, shape: Shape | number): Tensor {
  checkArgument("laplace", "key", k, keyKind);
  const words = randomBits(k, [2, ...readShape(shape, "laplace")]);
  const [size, side] = [0, 1].map((i) => ops.squeeze(ops.slice(words, [[i, i + 1]]), 0)) as [Tensor, Tensor];
  const magnitude = exponentialOf(size);
  return ops.where(ops.less(side, 2 ** 31), magnitude, ops.neg(magnitude));
}

/**
 * A draw from each row of logits along `axis` (the last by default), i32: class c with probability softmax(logits)[c], as the position of the
 * largest logit + Gumbel noise. The shape is that of the logits without the axis, or `shape`, which that broadcasts to: `shape: [1000, …]`
 * gives a thousand draws from each row. Logits of −∞ are never drawn where there are others. Probabilities below 10⁻⁹ of the largest are
 * drawn too rarely.
 *
 * @throws ShapeError for an axis without classes and a shape that the rows do not broadcast to, DtypeError for logits that are no floats
 */
export function categorical(k: Tensor, logits: Tensor, options: { axis?: number; shape?: Shape | number } = {}): Tensor {
  checkArgument("categorical", "key", k, keyKind);
  checkArgument("categorical", "logits", logits, floatsKind);
  checkOptions("categorical", options, { axis: optional(number), shape: optional(shapeKind) });
  const axis = normalizeAxis(options.axis ?? -1, logits.rank, "categorical");
  const rows = logits.shape.filter((_, i) => i !== axis);
  const shape = options.shape === undefined ? rows : readShape(options.shape, "categorical");
  if (!sameShape(broadcastShapes(rows, shape, "categorical"), shape)) {
    throw new ShapeError(`categorical: rows of ${show(rows)} do not broadcast to the shape ${show(shape)}`, {
      hint: "write the number of draws before the extents of the rows: shape: [1000, ...rows]",
    });
  }
  const classes = logits.shape[axis] as number;
  if (classes === 0)
    throw new ShapeError(`categorical: axis ${axis} of ${show(logits.shape)} has no classes`, { hint: "logits are […, classes]" });
  const order = [...rows.map((_, i) => (i < axis ? i : i + 1)), axis];
  const noise = gumbel(k, [...shape, classes]);
  return ops.argmax(ops.add(noise, ops.stopGradient(ops.permute(logits, order))), -1);
}

const floatsKind = {
  ...tensorKind,
  wanted: "a tensor of floats",
  fits: (value: unknown) => tensorKind.fits(value) && isFloat((value as Tensor).dtype),
};
const shapeKind = { wanted: "a shape", fits: (value: unknown) => number.fits(value) || Array.isArray(value) };

/**
 * μ + σ·z with z standard normal given that low ≤ z ≤ high, f32: z = Φ⁻¹(Φ(low) + u·(Φ(high) − Φ(low))) with u uniform, taken on the side
 * where Φ is small, so that tails are as exact as the middle (Wichura 1988, algorithm AS 241, to 7 digits).
 *
 * @throws OptionError unless low < high, with some of the normal distribution between them as far as f32 can tell (|bound| < 12.8)
 */
export function truncatedNormal(k: Tensor, shape: Shape | number, options: TruncatedNormalOptions = {}): Tensor {
  checkArgument("truncatedNormal", "key", k, keyKind);
  checkOptions("truncatedNormal", options, { ...normalKinds, low: optional(number), high: optional(number) });
  const { low = -2, high = 2 } = options;
  // Mirrored where the interval lies above 0: there 1 − Φ is what has digits.
  const mirrored = low > 0;
  const [from, to] = mirrored ? [-high, -low] : [low, high];
  const [least, most] = [normalCdf(from), normalCdf(to)];
  if (!(low < high) || Math.fround(most - least) < 2 ** -125) {
    throw new OptionError(`truncatedNormal: nothing of the normal distribution lies between ${low} and ${high}`, {
      hint: "low < high, counted in standard deviations from the mean",
    });
  }
  const u = uniform(k, readShape(shape, "truncatedNormal"));
  const z = ops.clip(normalQuantile(ops.add(ops.mul(u, most - least), least)), from, to);
  return scaled("truncatedNormal", mirrored ? ops.neg(z) : z, options);
}

/** Φ(x), with a small relative error also where it is small: by its series, and far out by the continued fraction of the tail. */
export function normalCdf(x: number): number {
  if (x > 0) return 1 - normalCdf(-x);
  const density = Math.exp(-x * x * 0.5) / Math.sqrt(2 * Math.PI);
  if (x < -2.5) {
    // 1/(t + 1/(t + 2/(t + 3/(t + …)))) with t = −x, from the innermost term outwards (Abramowitz & Stegun 26.2.14).
    let below = -x;
    for (let i = 120; i >= 1; i--) below = -x + i / below;
    return density / below;
  }
  // ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …), Abramowitz & Stegun 26.2.11.
  let [term, sum] = [x, x];
  for (let i = 3; Math.abs(term) > 1e-18; i += 2) {
    term *= (x * x) / i;
    sum += term;
  }
  return 0.5 + density * sum;
}

const ratio = (x: Tensor, above: readonly number[], below: readonly number[]): Tensor => {
  const at = (coefficients: readonly number[]): Tensor =>
    coefficients.slice(0, -1).reduceRight<Tensor>((sum, c) => ops.add(ops.mul(sum, x), c), ops.full([], coefficients.at(-1) as number));
  return ops.div(at(above), at(below));
};

/** Φ⁻¹(p) for 0 < p < 1 by rational functions in three ranges (Wichura 1988, PPND7). */
function normalQuantile(p: Tensor): Tensor {
  const q = ops.sub(p, 0.5);
  const middle = ops.mul(
    q,
    ratio(
      ops.sub(0.180625, ops.mul(q, q)),
      [3.3871327179, 50.434271938, 159.29113202, 59.10937472],
      [1, 17.895169469, 78.757757664, 67.1875636],
    ),
  );
  // The tail of p below the smallest number that is not flushed to 0 has no quantile.
  const tail = ops.maximum(ops.minimum(p, ops.sub(1, p)), 2 ** -126);
  const r = ops.sqrt(ops.neg(ops.log(tail)));
  const near = ratio(ops.sub(r, 1.6), [1.4234372777, 2.75681539, 1.3067284816, 0.17023821103], [1, 0.7370016425, 0.12021132975]);
  const far = ratio(ops.sub(r, 5), [6.657905115, 3.081226386, 0.42868294337, 0.017337203997], [1, 0.24197894225, 0.012258202635]);
  const size = ops.where(ops.lessEqual(r, 5), near, far);
  return ops.where(ops.lessEqual(ops.abs(q), 0.425), middle, ops.where(ops.less(q, 0), ops.neg(size), size));
}
