import { checkArgument, checkOptions, integer, type OptionKinds, oneOf, optional, share } from "../arguments.js";
import { DtypeError, ShapeError } from "../errors.js";
import { type DType, isFloat, isInteger, promote, summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";
import { logSumExp } from "./composites.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { pullThrough } from "./pullback.js";
import { callOf, evaluate, extend, traceBody } from "./region.js";
import { scan } from "./scan.js";
import { apply, type CallPullback, type Tensor } from "./tensor.js";

/** Options of losses whose targets are classes. */
export interface ClassLossOptions {
  /** "mean" over the targets that count (default), "sum", or "none" for one loss per target. */
  readonly reduction?: "mean" | "sum" | "none";
  /** Targets of this number do not count: their loss and its derivative are 0. Default −100. */
  readonly ignoreIndex?: number;
}

export interface CrossEntropyOptions extends ClassLossOptions {
  /**
   * ε, 0 ≤ ε ≤ 1: the share of the probability that all classes have alike, so that the target has 1 − ε + ε/V and each other class ε/V
   * (Szegedy et al. 2016, § 7). Default 0.
   */
  readonly labelSmoothing?: number;
}

export const classLossKinds: OptionKinds<ClassLossOptions> = {
  reduction: optional(oneOf("mean", "sum", "none")),
  ignoreIndex: optional(integer()),
};
const crossEntropyKinds: OptionKinds<CrossEntropyOptions> = { ...classLossKinds, labelSmoothing: optional(share) };

type Settings = Required<CrossEntropyOptions>;

const withDefaults = ({ reduction = "mean", ignoreIndex = -100, labelSmoothing = 0 }: CrossEntropyOptions): Settings => ({
  reduction,
  ignoreIndex,
  labelSmoothing,
});

/**
 * Negative log-likelihood in nats, −ln softmax(logits)[target], or with label smoothing −Σⱼ qⱼ·ln softmax(logits)[j] for the smoothed
 * distribution q. logits: […, V] float; targets: […] integers, classes in 0…V − 1 or `ignoreIndex`. Any other target makes its loss and
 * derivative NaN, and with it the sum and the mean; so does, as in PyTorch, the mean where no target counts (0/0).
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  checkTargets("crossEntropy", "logits", logits, targets);
  checkOptions("crossEntropy", options, crossEntropyKinds);
  return lossOfTargets(logits, targets, options, (wide, settings) => lossesOf(wide, targets, settings));
}

/** Throws unless targets are integers of the shape of the scores, which are named `name`, without its last axis. */
export function checkTargets(where: string, name: string, scores: Tensor, targets: Tensor): void {
  for (const [parameter, value] of Object.entries({ [name]: scores, targets })) checkArgument(where, parameter, value, tensorKind);
  if (sameShape(scores.shape.slice(0, -1), targets.shape) && scores.rank > 0 && isInteger(targets.dtype)) return;
  throw new ShapeError(`${where}: ${name} ${show(scores.shape)} with targets ${targets.dtype}${show(targets.shape)}`, {
    hint: `targets are integers of the shape of ${name} without its last axis`,
  });
}

/** Losses of scores in a dtype that can be summed, reduced as the options say and in the dtype of the scores. */
export function lossOfTargets(
  scores: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions,
  lossesOf: (scores: Tensor, settings: Settings) => Tensor,
): Tensor {
  const settings = withDefaults(options);
  const dtype = isFloat(scores.dtype) ? scores.dtype : "f32";
  return ops.cast(reduced(lossesOf(ops.cast(scores, summableDtype(dtype)), settings), targets, settings), dtype);
}

/** One loss for each target. */
function lossesOf(logits: Tensor, targets: Tensor, settings: Settings): Tensor {
  const { labelSmoothing } = settings;
  const classes = logits.shape.at(-1) as number;
  const picked = pickedBy(targets, logits);
  const wanted =
    labelSmoothing === 0
      ? picked
      : ops.add(ops.mul(picked, 1 - labelSmoothing), ops.mul(ops.sum(logits, -1), labelSmoothing / Math.max(1, classes)));
  return ofCounting(ops.sub(logSumExp(logits, -1), wanted), targets, classes, settings);
}

/** −ln q[target] of logarithms of probabilities, one for each target. */
export const classLosses = (logProbabilities: Tensor, targets: Tensor, settings: Settings): Tensor =>
  ofCounting(ops.neg(pickedBy(targets, logProbabilities)), targets, logProbabilities.shape.at(-1) as number, settings);

/** The score of each target; 0 where it is no class. */
function pickedBy(targets: Tensor, scores: Tensor): Tensor {
  const hit = ops.equal(ops.iota(scores.shape, -1, { dtype: targets.dtype }), ops.unsqueeze(targets, targets.rank));
  return ops.sum(ops.where(hit, scores, 0), -1);
}

/** Losses of the targets that count, 0 for those that do not, and NaN for those that are no class. */
function ofCounting(losses: Tensor, targets: Tensor, classes: number, { ignoreIndex }: Settings): Tensor {
  const counts = ops.notEqual(targets, ignoreIndex);
  const exists = ops.and(ops.greaterEqual(targets, 0), ops.less(targets, classes));
  // A factor, so that the derivative is NaN as well.
  const factor = ops.where(ops.and(counts, ops.not(exists)), Number.NaN, ops.full([], 1, { dtype: losses.dtype }));
  return ops.where(counts, ops.mul(losses, factor), 0);
}

/** How many targets count, in f32. */
const countOf = (targets: Tensor, { ignoreIndex }: Settings): Tensor => ops.sum(ops.cast(ops.notEqual(targets, ignoreIndex), "f32"));

function reduced(losses: Tensor, targets: Tensor, settings: Settings): Tensor {
  if (settings.reduction === "none") return losses;
  const total = ops.sum(losses);
  return settings.reduction === "sum" ? total : ops.div(total, countOf(targets, settings));
}

/**
 * The cross-entropy of a linear layer, `crossEntropy(matmul(x, transpose(weight)), targets, options)`, in blocks of rows, so that the
 * logits of all rows are never there at once: the memory of some 48 MiB of them, whatever N and V are. x: […, C] and weight: [V, C] floats;
 * targets: […] integers, with N of them. Logits and sums are f32 where x and weight are halves, and the loss has the dtype in
 * which these meet.
 *
 * Differentiated, the mean and the sum compute their gradients in the pass that computes the loss, three products for each block, because
 * the cotangent of a scalar only scales them; "none" computes the logits of each block a second time (after Wijmans et al. 2025, Cut Your
 * Losses, and Hsu et al. 2025, Liger Kernel). Throws ShapeError, DtypeError and OptionError.
 */
export function linearCrossEntropy(x: Tensor, weight: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  for (const [name, value] of Object.entries({ x, weight, targets })) checkArgument("linearCrossEntropy", name, value, tensorKind);
  checkOptions("linearCrossEntropy", options, crossEntropyKinds);
  const found = `linearCrossEntropy: x ${show(x.shape)}, weight ${show(weight.shape)}, targets ${targets.dtype}${show(targets.shape)}`;
  const hint = "x is […, C], weight [V, C] as a Linear has it, targets integers […]";
  if (weight.rank !== 2 || x.rank === 0 || x.shape.at(-1) !== weight.shape[1] || !sameShape(x.shape.slice(0, -1), targets.shape))
    throw new ShapeError(found, { hint });
  if (!isInteger(targets.dtype) || !isFloat(x.dtype) || !isFloat(weight.dtype))
    throw new DtypeError(`linearCrossEntropy: x ${x.dtype}, weight ${weight.dtype} and targets ${targets.dtype}`, {
      hint: "x and weight are floats, targets integers",
    });
  return linearCrossEntropyBy(rowsOfBlock(weight.shape[0] as number), { x, weight, targets }, options);
}

/** Bytes that the logits of one block may take, as f32. */
const blockBytes = 48 << 20;
/** Rows from which on a product runs at its full rate, however many classes there are. */
const fewestRows = 32;
/** Blocks are cut to a multiple of so many rows, as products are. */
const rowMultiple = 8;

/** Rows whose logits make up one block. */
const rowsOfBlock = (classes: number): number => Math.max(fewestRows, Math.floor(blockBytes / 4 / Math.max(1, classes)));

/** x: [N, C], weight: [V, C], targets: [N]. */
interface Head {
  readonly x: Tensor;
  readonly weight: Tensor;
  readonly targets: Tensor;
}

interface Blocking extends Settings {
  /** Rows of a block, at most. */
  readonly rows: number;
  /** The dtype of logits, sums and unscaled gradients. */
  readonly wide: DType;
}

/** {@link linearCrossEntropy} in blocks of at most `rows` rows. */
export function linearCrossEntropyBy(rows: number, { x, weight, targets }: Head, options: CrossEntropyOptions): Tensor {
  const dtype = promote(x.dtype, weight.dtype);
  const how: Blocking = { ...withDefaults(options), rows, wide: summableDtype(dtype) };
  const N = targets.size;
  const inputs = [ops.reshape(x, [N, x.shape.at(-1) as number]), weight, ops.reshape(targets, [N])];
  const lossOf = (given: readonly Tensor[]): Tensor[] => [
    ops.cast(reduced(lossesInBlocks(headOf(given), how), given[2] as Tensor, how), dtype),
  ];
  const pullback = how.reduction === "none" ? pullLosses(how) : pullTotal(how, dtype);
  const [loss] = callOf("linearCrossEntropy", how, inputs, lossOf, pullback).results as [Tensor];
  return how.reduction === "none" ? ops.reshape(loss, targets.shape) : loss;
}

const headOf = ([x, weight, targets]: readonly Tensor[]): Head => ({
  x: x as Tensor,
  weight: weight as Tensor,
  targets: targets as Tensor,
});

const logitsOf = (x: Tensor, weight: Tensor, dtype: DType): Tensor => ops.matmul(x, ops.transpose(weight), { dtype });

/** Losses [N]. */
function lossesInBlocks({ x, weight, targets }: Head, how: Blocking): Tensor {
  const { stacked } = inBlocks([x, targets], how.rows, [], (_, [xs, ts]) => ({
    carry: [],
    stacked: [lossesOf(logitsOf(xs as Tensor, weight, how.wide), ts as Tensor, how)],
  }));
  return stacked[0] as Tensor;
}

/** Losses [N], and the cotangents [N, C] of x and [V, C] of the weight for cotangents of the losses: [N], or one for all of them. */
function gradientsInBlocks({ x, weight, targets }: Head, cts: Tensor, how: Blocking): { losses: Tensor; ofX: Tensor; ofWeight: Tensor } {
  const { rows, wide } = how;
  const none = ops.zeros(weight.shape, { dtype: wide });
  const each = cts.rank === 1 ? [cts] : [];
  const { carry, stacked } = inBlocks([x, targets, ...each], rows, [none], ([sum], [xs, ts, ct = cts]) => {
    const [x, targets] = [xs as Tensor, ts as Tensor];
    const logits = apply("alias", [logitsOf(x, weight, wide)], {});
    const losses = lossesOf(logits, targets, how);
    const [ofLogits] = pullThrough([losses], [logits], [ops.broadcastTo(ct, losses.shape)], [true]) as [Tensor];
    const ofX = ops.matmul(ofLogits, weight, { dtype: wide });
    const ofWeight = ops.matmul(ops.transpose(ofLogits), x, { dtype: wide });
    return { carry: [ops.add(sum as Tensor, ofWeight)], stacked: [losses, ofX] };
  });
  return { losses: stacked[0] as Tensor, ofX: stacked[1] as Tensor, ofWeight: carry[0] as Tensor };
}

type BlockStep = (
  carry: readonly Tensor[],
  blocks: readonly Tensor[],
) => { readonly carry: readonly Tensor[]; readonly stacked: readonly Tensor[] };

/**
 * Runs a step over blocks of rows of tensors [N, …] and puts what it stacks together again: a scan, or the step itself where one block
 * holds all. The last block is filled up with rows of zeros, which add nothing to a product with them, and whose results are cut off.
 */
function inBlocks(tensors: readonly Tensor[], rows: number, carry: readonly Tensor[], step: BlockStep): ReturnType<BlockStep> {
  const N = (tensors[0] as Tensor).shape[0] as number;
  if (N <= rows) return step(carry, tensors);
  const least = Math.ceil(N / rows);
  const height = Math.ceil(N / least / rowMultiple) * rowMultiple;
  const count = Math.ceil(N / height);
  const cut = tensors.map((x) => {
    const others = x.shape.slice(1);
    return ops.reshape(ops.pad(x, [[0, count * height - N], ...others.map((): [number, number] => [0, 0])]), [count, height, ...others]);
  });
  const [last, stacks] = scan(
    (sofar: readonly Tensor[], blocks: readonly Tensor[]): [readonly Tensor[], readonly Tensor[]] => {
      const next = step(sofar, blocks);
      return [next.carry, next.stacked];
    },
    carry,
    cut,
  );
  const joined = stacks.map((y) => ops.slice(ops.reshape(y, [count * height, ...y.shape.slice(2)]), [[0, N]]));
  return { carry: last, stacked: joined };
}

/**
 * Losses as of {@link linearCrossEntropy} with reduction "none", and beside each the class of the largest logit, the first of equal ones: both
 * from the same blocks of logits, so that all of them are never there at once. Both have the shape of the targets.
 */
export function linearAnswers(
  { x, weight, targets }: Head,
  rows = rowsOfBlock(weight.shape[0] as number),
): [losses: Tensor, answers: Tensor] {
  const N = targets.size;
  const how: Blocking = { ...withDefaults({ reduction: "none" }), rows, wide: summableDtype(promote(x.dtype, weight.dtype)) };
  const given = [ops.reshape(x, [N, x.shape.at(-1) as number]), ops.reshape(targets, [N])];
  const { stacked } = inBlocks(given, rows, [], (_, [xs, ts]) => {
    const logits = logitsOf(xs as Tensor, weight, how.wide);
    return { carry: [], stacked: [lossesOf(logits, ts as Tensor, how), ops.argmax(logits, -1)] };
  });
  return stacked.map((found) => ops.reshape(found, targets.shape)) as [Tensor, Tensor];
}

/** The gradients of single losses: a call that computes the logits anew, when their cotangents are there. */
const pullLosses =
  (how: Blocking): CallPullback =>
  ({ inputs }, [ct]) => {
    const [x, weight] = inputs as readonly [Tensor, Tensor];
    const { results } = callOf("linearCrossEntropyBackward", how, [...inputs.slice(0, 3), ct as Tensor], (given) => {
      const { ofX, ofWeight } = gradientsInBlocks(headOf(given), ops.cast(given[3] as Tensor, how.wide), how);
      return [ops.cast(ofX, x.dtype), ops.cast(ofWeight, weight.dtype)];
    });
    return [results[0], results[1]];
  };

/**
 * The gradients of a mean or a sum: the call itself computes them for the cotangent 1, as further results after the loss. Where these are
 * differentiated, the body is.
 */
const pullTotal =
  (how: Blocking, dtype: DType): CallPullback =>
  (call, [ct, ...ctsOfGradients], needs) => {
    if (call.results.length === 1) {
      const { body, captured } = traceBody(call.inputs, (given) => {
        const head = headOf(given);
        const one = ops.full([], 1, { dtype: how.wide });
        // Where none counts, all gradients are 0.
        const each = how.reduction === "sum" ? one : ops.div(one, ops.maximum(countOf(head.targets, how), 1));
        const { losses, ofX, ofWeight } = gradientsInBlocks(head, each, how);
        return [ops.cast(reduced(losses, head.targets, how), dtype), ofX, ofWeight];
      });
      extend(call, body, [...call.inputs, ...captured]);
    }
    const gradients = call.results.slice(1);
    const found = needs.map((need, i) => {
      const [input, gradient] = [call.inputs[i] as Tensor, gradients[i]];
      return ct && need && gradient ? ops.cast(ops.mul(ops.cast(ct, how.wide), gradient), input.dtype) : null;
    });
    if (ctsOfGradients.every((each) => each === null)) return found;
    const variables = call.inputs.map((input) => apply("alias", [input], {}));
    const through = pullThrough(evaluate(call.body, variables), variables, [null, ...ctsOfGradients], needs);
    return through.map((part, i) => {
      const other = found[i];
      return part && other ? ops.add(part, other) : (part ?? other ?? null);
    });
  };
