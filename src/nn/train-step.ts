import { callable, checkOptions, integer, optional, positive } from "../arguments.js";
import { type Compiled, compileAny, type NumbersArriveAsTensors } from "../autograd/compile.js";
import { and, bitcast, cast, notEqual, type TensorLike, where } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf, zipTensors } from "../autograd/tree.js";
import { combine, type Part } from "../autograd/tree-parts.js";
import { clipByGlobalNorm } from "./clip.js";
import { optimizerKind } from "./kinds.js";
import { type Batches, meanGradients } from "./micro-batches.js";
import { type LossResult, type Moved, movedBy, withMoved } from "./moved-tensors.js";
import type { Optimizer } from "./optimizers.js";
import { type Trainable, trainablePart } from "./trainable.js";

export interface TrainStepOptions<Params, State, Batch> {
  readonly optimizer: Optimizer<State>;
  /**
   * The mean loss over a batch, a scalar; or [loss, next] with the model as the pass leaves it, as `train` of layers gives it. Tensors of `next` that are
   * not those of `params`, such as running averages, are state: they go to the next step as they are, and whatever gradients and the
   * optimizer would make of them does not count. From one micro-batch to the next they go on, too.
   */
  readonly loss: ((params: Params, batch: Batch) => LossResult<Params>) &
    ([NumberFields<Batch>] extends [never] ? unknown : NumbersArriveAsTensors);
  /** Common norm to which gradients are clipped; Infinity leaves them as they are. Default 1. */
  readonly maxNorm?: number;
  /**
   * Which parameters are trained. Default: every tensor of floats. The others pass through untouched: they have no gradient, no place in
   * the norm and none in the optimizer's state, which is `optimizer.init(trainablePart(params, trainable)[0])`.
   */
  readonly trainable?: Trainable;
  /**
   * N: rows that are computed at once. The batch is cut along the first axis of its tensors into B/N micro-batches whose losses and gradients
   * are averaged, in the memory of one of them; tensors whose first extent is 1 are shared. N divides B. Default: all rows. For a loss that
   * is the mean over rows of equal weight the gradient is that of the whole batch, but for rounding; for other means see `weight`.
   */
  readonly microBatch?: number;
  /**
   * w: what a micro-batch counts where there are several, a scalar of at least 0; losses and gradients are averaged as Σ w·x / Σ w. With the sum of
   * the weights that a loss divides by, as `languageWeight` is for `languageLoss`, that is the mean over all of them, however targets with
   * weights or without a loss are spread. One that counts nothing adds nothing. Default: all count the same.
   */
  readonly weight?: (batch: Batch) => Tensor;
}

/** The fields of a batch that ask for plain numbers, which the loss would receive as tensors: their type is `TensorLike`. */
type NumberFields<Batch> = Batch extends Tensor
  ? never
  : { [K in keyof Batch]-?: number extends Batch[K] ? (Tensor extends Batch[K] ? never : K) : never }[keyof Batch];

/** What a step reports, as scalars on the device. */
export interface StepMetrics {
  readonly loss: Tensor;
  /** Norm of all gradients before clipping. */
  readonly gradNorm: Tensor;
}

export type TrainStep<Params, State, Batch> = Compiled<
  [params: Params, state: State, batch: Batches<Batch>, lr: TensorLike],
  [params: Params, state: State, metrics: StepMetrics]
>;

const givenToStep = { lr: "the learning rate is an argument of each step: step(params, state, batch, lr)" };

/**
 * One step of training as one program: loss, gradients, clipping, update. It takes over the memory of the trained parameters and of the
 * optimizer state; use what it returns instead. Where the loss or the norm of the gradients is not finite, parameters and state
 * come back unchanged: the device decides that by itself, without waiting for anybody to look.
 */
export function createTrainStep<Params, State, Batch>(options: TrainStepOptions<Params, State, Batch>): TrainStep<Params, State, Batch> {
  const kinds = {
    optimizer: optimizerKind,
    loss: callable,
    maxNorm: optional(positive),
    trainable: optional(callable),
    microBatch: optional(integer(1)),
    weight: optional(callable),
  };
  checkOptions("createTrainStep", options, kinds, givenToStep);
  const { optimizer, loss, maxNorm = 1, trainable, microBatch: rows, weight } = options;
  type Trained = Part<Params>;
  type Carried = Readonly<Record<string, Tensor>>;

  function trainStep(
    trained: Trained,
    rest: Trained,
    state: State,
    batch: Batches<Batch>,
    lr: TensorLike,
  ): [Trained, State, StepMetrics, Carried] {
    const lossOf = (at: Trained, one: Batch, before: Moved): [Tensor, Moved] => {
      const model = withMoved(combine(at, rest), before);
      return movedBy("createTrainStep", model, loss(model, one));
    };
    const places = new Map(tensorsOf(combine(trained, rest)).map(({ path, tensor }) => [path, tensor]));
    const [value, grads, moved] = meanGradients(lossOf, trained, batch, { rows, weight, places });
    const [clipped, gradNorm] = clipByGlobalNorm(grads, maxNorm);
    const [newTrained, newState] = optimizer.update(trained, clipped, state, { lr });
    const sound = and(finite(value), finite(gradNorm));
    const choose = ([fresh, old]: Tensor[]): Tensor => where(sound, fresh as Tensor, old as Tensor);
    const carried = Object.fromEntries([...moved].map(([path, fresh]) => [path, choose([fresh, places.get(path) as Tensor])]));
    const metrics = { loss: value, gradNorm };
    return [zipTensors(choose, newTrained, trained), zipTensors(choose, newState, state), metrics, carried];
  }

  const step = compileAny(trainStep, { donate: [0, 2] });
  const whole = (params: Params, ...others: [State, Batches<Batch>, TensorLike]): [Params, State, StepMetrics] => {
    const [trained, rest] = trainablePart(params, trainable);
    const [next, state, metrics, carried] = step(trained, rest, ...others);
    return [withMoved(combine(next, rest), new Map(Object.entries(carried))), state, metrics];
  };
  return Object.defineProperties(whole as TrainStep<Params, State, Batch>, {
    traces: { get: () => step.traces },
    explain: {
      value: Object.assign(
        (params: Params, ...others: [State, Batches<Batch>, TensorLike]) => step.explain(...trainablePart(params, trainable), ...others),
        {
          object: (params: Params, ...others: [State, Batches<Batch>, TensorLike]) =>
            step.explain.object(...trainablePart(params, trainable), ...others),
        },
      ),
    },
    memory: {
      value: (params: Params, ...others: [State, Batches<Batch>, TensorLike]) =>
        step.memory(...trainablePart(params, trainable), ...others),
    },
  });
}

/** The exponent bits of an f32, all of them set in NaN and in the infinities alone. */
const exponentBits = 0x7f800000;

/** True where x is neither NaN nor infinite. By its bits, because shading languages may assume that there are no such values. */
export const finite = (x: Tensor): Tensor => notEqual(and(bitcast(cast(x, "f32"), "u32"), exponentBits), exponentBits);
