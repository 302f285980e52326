/** Losses beside the cross-entropy: what a prediction costs, for each element or over all of them. */
import { checkArgument, checkOptions, flag, integer, notNegative, type OptionKinds, oneOf, optional, positive } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { isHalf, promote } from "../ir/dtype.js";
import { broadcastShapes, normalizeAxis, sameShape, show } from "../ir/shape.js";
import { mean, square } from "./composites.js";
import { type ClassLossOptions, checkTargets, classLosses, classLossKinds, lossOfTargets } from "./cross-entropy.js";
import { softplus } from "./elementary.js";
import { tensorKind, tensorLikeKind } from "./kinds.js";
import { asFloat } from "./operations/operands.js";
import type { TensorLike } from "./operations.js";
import * as ops from "./operations.js";
import { norm } from "./reductions.js";
import type { Tensor } from "./tensor.js";

export interface ElementLossOptions {
  /** "mean" over all elements (default), "sum", or "none" for one loss per element. */
  readonly reduction?: "mean" | "sum" | "none";
}
const lossKinds: OptionKinds<ElementLossOptions> = { reduction: optional(oneOf("mean", "sum", "none")) };

/** A loss of each element of two tensors of one shape, in f32 where these are halves, reduced and in the dtype in which they meet. */
function elementwise(
  where: string,
  x: Tensor,
  y: Tensor,
  { reduction = "mean" }: ElementLossOptions,
  loss: (x: Tensor, y: Tensor) => Tensor,
): Tensor {
  if (!sameShape(x.shape, y.shape)) {
    throw new ShapeError(`${where}: ${show(x.shape)} with targets ${show(y.shape)}`, {
      hint: "both have one shape; expand one of them if it shall be repeated",
    });
  }
  const [a, b] = [asFloat(where, x), asFloat(where, y)];
  const dtype = promote(a.dtype, b.dtype);
  const wide = isHalf(dtype) ? "f32" : dtype;
  const losses = loss(ops.cast(a, wide), ops.cast(b, wide));
  const result = reduction === "none" ? losses : reduction === "sum" ? ops.sum(losses) : mean(losses);
  return ops.cast(result, dtype);
}

function checkLoss(where: string, tensors: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(tensors)) checkArgument(where, name, value, tensorKind);
}

/** (x − y)² of predictions x and targets y of one shape. Throws ShapeError for others: nothing is repeated by chance. */
export function mseLoss(predictions: Tensor, targets: Tensor, options: ElementLossOptions = {}): Tensor {
  checkLoss("mseLoss", { predictions, targets });
  checkOptions("mseLoss", options, lossKinds);
  return elementwise("mseLoss", predictions, targets, options, (x, y) => square(ops.sub(x, y)));
}

/** |x − y| of predictions x and targets y of one shape, with the derivative 0 where both are equal. */
export function l1Loss(predictions: Tensor, targets: Tensor, options: ElementLossOptions = {}): Tensor {
  checkLoss("l1Loss", { predictions, targets });
  checkOptions("l1Loss", options, lossKinds);
  return elementwise("l1Loss", predictions, targets, options, (x, y) => ops.abs(ops.sub(x, y)));
}

export interface HuberLossOptions extends ElementLossOptions {
  /** δ, the difference from which on the loss is a line. Default 1. */
  readonly delta?: number;
}
const huberKinds: OptionKinds<HuberLossOptions> = { ...lossKinds, delta: optional(positive) };

/** ½d² for |d| < δ and δ·(|d| − ½δ) beyond, with d = x − y of predictions and targets of one shape (Huber 1964). */
export function huberLoss(predictions: Tensor, targets: Tensor, options: HuberLossOptions = {}): Tensor {
  checkLoss("huberLoss", { predictions, targets });
  checkOptions("huberLoss", options, huberKinds);
  const { delta = 1 } = options;
  return elementwise("huberLoss", predictions, targets, options, (x, y) => huber(ops.sub(x, y), delta));
}

/** ½q² + δ·(|d| − |q|) with q = d up to δ: nothing in it is infinite but |d|, so that its derivative at ±∞ is ±δ. */
const huber = (d: Tensor, delta: number): Tensor => {
  const size = ops.abs(d);
  const near = ops.where(ops.less(size, delta), d, delta);
  return ops.add(ops.mul(0.5, square(near)), ops.mul(delta, ops.sub(size, ops.abs(near))));
};

export interface SmoothL1LossOptions extends ElementLossOptions {
  /** β, the difference from which on the loss is a line; 0 for |d| itself. Default 1. */
  readonly beta?: number;
}
const smoothL1Kinds: OptionKinds<SmoothL1LossOptions> = { ...lossKinds, beta: optional(notNegative) };

/** ½d²/β for |d| < β and |d| − ½β beyond, with d = x − y of predictions and targets of one shape (Girshick 2015): Huber's loss over β. */
export function smoothL1Loss(predictions: Tensor, targets: Tensor, options: SmoothL1LossOptions = {}): Tensor {
  checkLoss("smoothL1Loss", { predictions, targets });
  checkOptions("smoothL1Loss", options, smoothL1Kinds);
  const { beta = 1 } = options;
  return elementwise("smoothL1Loss", predictions, targets, options, (x, y) => {
    const d = ops.sub(x, y);
    return beta === 0 ? ops.abs(d) : ops.div(huber(d, beta), beta);
  });
}

export interface BinaryCrossEntropyOptions extends ElementLossOptions {
  /** What a target of 1 weighs beside one of 0: a number, or a tensor that is repeated to the shape of the logits. Default 1. */
  readonly posWeight?: TensorLike;
}
const binaryKinds: OptionKinds<BinaryCrossEntropyOptions> = { ...lossKinds, posWeight: optional(tensorLikeKind) };

/**
 * −w·y·ln σ(x) − (1 − y)·ln(1 − σ(x)) in nats, of logits x and targets y from 0 to 1 of one shape, by logarithms of sums that do not
 * overflow. w is `posWeight`. Throws ShapeError for one that does not repeat to the shape of the logits.
 */
export function binaryCrossEntropyWithLogits(logits: Tensor, targets: Tensor, options: BinaryCrossEntropyOptions = {}): Tensor {
  const where = "binaryCrossEntropyWithLogits";
  checkLoss(where, { logits, targets });
  checkOptions(where, options, binaryKinds);
  const { posWeight = 1 } = options;
  const shape = typeof posWeight === "number" ? [] : posWeight.shape;
  if (!sameShape(broadcastShapes(logits.shape, shape, `${where}: posWeight`), logits.shape)) {
    throw new ShapeError(`${where}: posWeight ${show(shape)} for logits ${show(logits.shape)}`, {
      hint: "give one weight for each class of the last axis, or one for all",
    });
  }
  return elementwise(where, logits, targets, options, (x, y) => {
    const weight = typeof posWeight === "number" ? posWeight : ops.cast(posWeight, x.dtype);
    return ops.add(ops.mul(ops.mul(weight, y), softplus(ops.neg(x))), ops.mul(ops.sub(1, y), softplus(x)));
  });
}

export interface KlDivOptions extends ElementLossOptions {
  /** Whether targets are logarithms of probabilities as well. Default false. */
  readonly logTarget?: boolean;
}
const klKinds: OptionKinds<KlDivOptions> = { ...lossKinds, logTarget: optional(flag) };

/**
 * p·(ln p − ln q), the terms of the Kullback–Leibler divergence D(p‖q), from ln q and the targets p of one shape, PyTorch's order. What has
 * p = 0 adds nothing and passes no derivative. The divergence of a distribution is the sum of its terms; "mean" is over all of them, as in
 * PyTorch, so for the mean over a batch of B divide the sum by B.
 */
export function klDiv(logProbabilities: Tensor, targets: Tensor, options: KlDivOptions = {}): Tensor {
  checkLoss("klDiv", { logProbabilities, targets });
  checkOptions("klDiv", options, klKinds);
  const { logTarget = false } = options;
  return elementwise("klDiv", logProbabilities, targets, options, (x, t) => {
    const nothing = ops.equal(t, logTarget ? Number.NEGATIVE_INFINITY : 0);
    const there = ops.where(nothing, logTarget ? 0 : 1, t);
    const [p, logP] = logTarget ? [ops.exp(there), there] : [there, ops.log(there)];
    return ops.where(nothing, 0, ops.mul(p, ops.sub(logP, ops.where(nothing, 0, x))));
  });
}

/**
 * −ln q[target] of logarithms of probabilities ln q: […, V], as `logSoftmax` gives them, and targets […] of integers: the cross-entropy
 * after its softmax. Targets that are `ignoreIndex`, and those that are no class, are as in {@link crossEntropy}.
 */
export function nllLoss(logProbabilities: Tensor, targets: Tensor, options: ClassLossOptions = {}): Tensor {
  checkTargets("nllLoss", "logProbabilities", logProbabilities, targets);
  checkOptions("nllLoss", options, classLossKinds);
  return lossOfTargets(logProbabilities, targets, options, (wide, settings) => classLosses(wide, targets, settings));
}

/**
 * a·b / (max(‖a‖, ε)·max(‖b‖, ε)) over an axis (the last by default): the cosine of the angle between vectors, 0 for vectors of zeros. The
 * operands broadcast.
 */
export function cosineSimilarity(a: Tensor, b: Tensor, axis = -1, eps = 1e-8): Tensor {
  checkLoss("cosineSimilarity", { a, b });
  checkArgument("cosineSimilarity", "axis", axis, integer());
  checkArgument("cosineSimilarity", "eps", eps, notNegative);
  const [x, y] = [asFloat("cosineSimilarity", a), asFloat("cosineSimilarity", b)];
  const dtype = promote(x.dtype, y.dtype);
  const wide = isHalf(dtype) ? "f32" : dtype;
  const shape = broadcastShapes(x.shape, y.shape, "cosineSimilarity");
  const at = normalizeAxis(axis, shape.length, "cosineSimilarity");
  const [u, v] = [x, y].map((t) => {
    const whole = ops.broadcastTo(ops.cast(t, wide), shape);
    return ops.div(whole, ops.maximum(norm(whole, at, { keepDims: true }), eps));
  }) as [Tensor, Tensor];
  return ops.cast(ops.sum(ops.mul(u, v), at), dtype);
}
