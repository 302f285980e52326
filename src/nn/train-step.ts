import { callable, checkOptions, optional, positive } from "../arguments.js";
import { type Compiled, compile } from "../autograd/compile.js";
import { valueAndGrad } from "../autograd/grad.js";
import { add, and, bitcast, cast, mul, notEqual, type TensorLike, where } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { zipTensors } from "../autograd/tree.js";
import { OptionError } from "../errors.js";
import { clipByGlobalNorm } from "./clip.js";
import { optimizerKind } from "./kinds.js";
import type { Optimizer } from "./optimizers.js";

export interface TrainStepOptions<Params, State, Batch> {
  readonly optimizer: Optimizer<State>;
  /** The mean loss over a batch, a scalar. */
  readonly loss: (params: Params, batch: Batch) => Tensor;
  /** Common norm to which gradients are clipped; Infinity leaves them as they are. Default 1. */
  readonly maxNorm?: number;
}

/** What a step reports, as scalars on the device. */
export interface StepMetrics {
  readonly loss: Tensor;
  /** Norm of all gradients before clipping. */
  readonly gradNorm: Tensor;
}

/**
 * A batch, or micro-batches of one size whose gradients are averaged: as if they were one batch, in the memory of one of them.
 */
export type Batches<Batch> = Batch | readonly Batch[];

export type TrainStep<Params, State, Batch> = Compiled<
  [params: Params, state: State, batch: Batches<Batch>, lr: TensorLike],
  [params: Params, state: State, metrics: StepMetrics]
>;

const givenToStep = { lr: "the learning rate is an argument of each step: step(params, state, batch, lr)" };

/**
 * One step of training as one program: loss, gradients, clipping, update. It takes over the memory of the parameters and of the
 * optimizer state; use what it returns instead. Where the loss or the norm of the gradients is not finite, parameters and state
 * come back unchanged: the device decides that by itself, without waiting for anybody to look.
 */
export function createTrainStep<Params, State, Batch>(options: TrainStepOptions<Params, State, Batch>): TrainStep<Params, State, Batch> {
  checkOptions("createTrainStep", options, { optimizer: optimizerKind, loss: callable, maxNorm: optional(positive) }, givenToStep);
  const { optimizer, loss, maxNorm = 1 } = options;

  function trainStep(params: Params, state: State, batch: Batches<Batch>, lr: TensorLike): [Params, State, StepMetrics] {
    const [value, grads] = meanGradients(loss, params, Array.isArray(batch) ? (batch as readonly Batch[]) : [batch as Batch]);
    const [clipped, gradNorm] = clipByGlobalNorm(grads, maxNorm);
    const [newParams, newState] = optimizer.update(params, clipped, state, { lr });
    const sound = and(finite(value), finite(gradNorm));
    const choose = ([fresh, old]: Tensor[]): Tensor => where(sound, fresh as Tensor, old as Tensor);
    return [zipTensors(choose, newParams, params), zipTensors(choose, newState, state), { loss: value, gradNorm }];
  }

  return compile(trainStep, { donate: [0, 1] });
}

/** The averages of the losses and gradients of several batches. */
function meanGradients<Params, Batch>(
  loss: (params: Params, batch: Batch) => Tensor,
  params: Params,
  batches: readonly Batch[],
): [loss: Tensor, grads: Params] {
  if (batches.length === 0) throw new OptionError("a training step needs at least one batch");
  const parts = batches.map((batch) => valueAndGrad((at: Params) => loss(at, batch))(params));
  const [first, ...rest] = parts as [[Tensor, Params], ...[Tensor, Params][]];
  if (rest.length === 0) return first;
  const average = (tensors: Tensor[]): Tensor => mul(tensors.reduce(add), 1 / tensors.length);
  return [average(parts.map(([value]) => value)), zipTensors(average, first[1], ...rest.map(([, grads]) => grads))];
}

/** The exponent bits of an f32, all of them set in NaN and in the infinities alone. */
const exponentBits = 0x7f800000;

/** True where x is neither NaN nor infinite. By its bits, because shading languages may assume that there are no such values. */
export const finite = (x: Tensor): Tensor => notEqual(and(bitcast(cast(x, "f32"), "u32"), exponentBits), exponentBits);
