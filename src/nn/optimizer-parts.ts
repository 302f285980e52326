/** What optimizers are made of. */
import { callable, notNegative, type OptionKinds, optional } from "../arguments.js";
import { add, cast, mul, sub, type TensorLike, zeros } from "../autograd/operations.js";
import { realizeNow } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { isTracing } from "../autograd/tracing.js";
import { mapTensors, type Tree, tensorsOf, zipNamed } from "../autograd/tree.js";
import { combine, type Part, partition } from "../autograd/tree-parts.js";
import { ShapeError } from "../errors.js";
import { isFloat, summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";

/**
 * Optimizers as pure functions over trees. The state is a tree of tensors and nothing else:
 * whatever changes from step to step is data, so one compiled program serves all of them. Parameters of halves are updated in f32, from
 * moments that are f32, and rounded once.
 */
export interface Optimizer<State> {
  /** The state before the first step. Tensors that are no floats have none. */
  init(params: Tree): State;
  /**
   * New parameters and state from gradients of the tree of the parameters. `lr` is the learning rate of this step. Where there is no
   * gradient (null, as in a part of a tree), parameter and state stay as they are: nothing decays and no moment fades.
   */
  update<P>(params: P, grads: NoInfer<P> | Part<P>, state: State, step: { readonly lr: TensorLike }): [params: P, state: State];
}

/** In the dtype that an update is computed in: f32 for halves. */
export const wide = (x: Tensor): Tensor => cast(x, summableDtype(x.dtype));

/** The floats of a tree with null elsewhere, each as f makes it. */
export const mapFloats = (params: Tree, f: (tensor: Tensor) => Tensor): Tree =>
  mapTensors(partition(params, ({ dtype }) => isFloat(dtype))[0], f);

/** Zeros like the floats of a tree, f32 for halves; null elsewhere. */
export const zerosLikeFloats = (params: Tree): Tree =>
  mapFloats(params, ({ shape, dtype }) => zeros(shape, { dtype: summableDtype(dtype) }));

/** A tensor for each of some trees. */
type TensorOfEach<Trees extends readonly Tree[]> = { [K in keyof Trees]: Tensor };

/** f of the tensors at the same places where `grads` has one; elsewhere the leaf of the first tree stays. Throws where forms differ. */
export function zipGradients<T, Others extends readonly Tree[]>(
  f: (tensors: [Tensor, ...TensorOfEach<Others>], path: string) => Tensor,
  grads: Tree,
  first: T,
  ...others: Others
): T {
  const present = new Set(tensorsOf(grads).map(({ path }) => path));
  const moving = (tree: Tree): Tree => partition(tree, (_, path) => present.has(path))[0];
  const [moved, still] = partition(first, (_, path) => present.has(path));
  const names = ["the parameters or their state", ...others.map(() => "the state or the gradients"), "the gradients"];
  const ofTrees = (tensors: Tensor[], path: string): Tensor => f(tensors.slice(0, -1) as [Tensor, ...TensorOfEach<Others>], path);
  return combine(zipNamed("update", names, ofTrees, moved, ...others.map(moving), grads), still);
}

/** {@link zipGradients} of trees whose tensors have one shape at each place. Throws where shapes differ. */
export function whereGradients<T, Others extends readonly Tree[]>(
  f: (tensors: [Tensor, ...TensorOfEach<Others>], path: string) => Tensor,
  grads: Tree,
  first: T,
  ...others: Others
): T {
  const ofOneShape = (tensors: [Tensor, ...TensorOfEach<[...Others, Tree]>], path: string): Tensor => {
    const [{ shape }] = tensors;
    const odd = (tensors as Tensor[]).find((tensor) => !sameShape(tensor.shape, shape));
    if (odd === undefined) return f(tensors.slice(0, -1) as [Tensor, ...TensorOfEach<Others>], path);
    throw new ShapeError(`update: parameters, state and gradients have one shape, found ${show(shape)} and ${show(odd.shape)}`, {
      hint: "give the gradients and the state of these parameters",
    });
  };
  return zipGradients(ofOneShape, grads, first, ...others, grads);
}

/** θ − Δ, computed in the dtype of Δ and rounded once to that of θ. */
export const moved = (theta: Tensor, by: Tensor): Tensor => cast(sub(wide(theta), by), theta.dtype);

/** β·old + (1 − β)·fresh */
export const blend = (beta: number, old: Tensor, fresh: TensorLike): Tensor => add(mul(old, beta), mul(fresh, 1 - beta));

/** Ends a step: outside of a trace the new values are computed now, so that the graph of the next step starts from numbers. */
export function settled<R>(result: R): R {
  if (!isTracing()) realizeNow(tensorsOf(result).map(({ tensor }) => tensor));
  return result;
}

export interface DecayOptions {
  /** λ. Default 0. */
  readonly weightDecay?: number;
  /** Which parameters decay. Default: those of rank 2 and above, so that norms and biases do not. */
  readonly decayMask?: (path: string, tensor: Tensor) => boolean;
}

export const decayKinds: OptionKinds<DecayOptions> = { weightDecay: optional(notNegative), decayMask: optional(callable) };

/** λ of a parameter: 0 where it does not decay. */
export const decayRate =
  ({ weightDecay = 0, decayMask = (_, tensor) => tensor.rank >= 2 }: DecayOptions) =>
  (theta: Tensor, path: string): number =>
    weightDecay > 0 && decayMask(path, theta) ? weightDecay : 0;

/** x + λ·θ for parameters that decay, x for others. */
export function decayOf(options: DecayOptions): (x: Tensor, theta: Tensor, path: string) => Tensor {
  const rateOf = decayRate(options);
  return (x, theta, path) => {
    const lambda = rateOf(theta, path);
    return lambda === 0 ? x : add(x, mul(wide(theta), lambda));
  };
}

const rate = "the learning rate belongs to each step: update(params, grads, state, { lr })";
export const givenToUpdate = { lr: rate, learningRate: rate, learning_rate: rate };
