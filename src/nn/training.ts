import {
  callable,
  checkArgument,
  checkOptions,
  flag,
  integer,
  type OptionKinds,
  object,
  objectWith,
  optional,
  positive,
} from "../arguments.js";
import { item } from "../autograd/realize.js";
import { currentBackend } from "../autograd/runtime.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { combine } from "../autograd/tree-parts.js";
import { NonFiniteError, OptionError } from "../errors.js";
import type { LanguageBatch } from "./batch.js";
import { hasDropout, withDropout, withDropoutKeys } from "./dropout.js";
import { yieldToEvents } from "./events.js";
import { type LossOptions, lossKinds, modelKind, optimizerKind } from "./kinds.js";
import { type Llama, languageWeight, llamaLoss } from "./llama.js";
import { type Batches, microBatchesOf } from "./micro-batches.js";
import { copyTree } from "./module.js";
import type { Optimizer } from "./optimizers.js";
import type { Schedule } from "./schedules.js";
import { createTrainStep, type StepMetrics, type TrainStep } from "./train-step.js";
import { type Trainable, trainablePart } from "./trainable.js";

/** The loss of language modelling: mean negative log-likelihood of the next token, in nats. */
export function languageLoss(model: Llama, batch: LanguageBatch, options: LossOptions = {}): Tensor {
  checkArgument("languageLoss", "batch", batch, objectWith("a batch, as languageBatch(…) makes it", "inputs", "targets", "tables"));
  checkOptions("languageLoss", options, lossKinds);
  const { dropoutKeys: keys } = batch;
  return llamaLoss(keys === undefined ? model : withDropout(model, keys), batch, batch.tables, options);
}

/** What is known of a step once its numbers have come back. */
export interface StepInfo {
  /** Counted from 0. */
  readonly step: number;
  readonly loss: number;
  /** Norm of the gradients before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** Tokens of this step. */
  readonly tokens: number;
  /** Over the last ten steps. */
  readonly tokensPerSecond: number;
}

export interface TrainOptions<State> {
  /** Training takes its tensors over: use the model that comes back. `copyTree` makes a copy to keep. */
  readonly model: Llama;
  readonly optimizer: Optimizer<State>;
  /** Where an earlier run ended; a fresh state by default. Taken over like the model. */
  readonly optimizerState?: State;
  /** The batch of a step, or its micro-batches. A pure function of the step makes runs repeatable and resumable. */
  readonly batches: (step: number) => Batches<LanguageBatch> | Promise<Batches<LanguageBatch>>;
  /** The step to stop before: steps startStep … steps − 1 are run. */
  readonly steps: number;
  /** The first step. Default: `step`, else 0. */
  readonly startStep?: number;
  /** Where an earlier run ended: what `train` returns and `loadTraining` gives can be spread into the options. */
  readonly step?: number;
  /** What a checkpoint holds for its caller; training takes no notice of it. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Learning rate of each step. */
  readonly schedule: Schedule;
  /** Norm to which gradients are clipped, Infinity for none. Default 1. */
  readonly maxNorm?: number;
  /** Which parameters are trained; the others pass through untouched, see {@link createTrainStep}. Default: all. */
  readonly trainable?: Trainable;
  /** As in {@link LossOptions}: the backward pass computes each layer a second time instead of keeping what is in it. Default false. */
  readonly checkpoint?: boolean;
  /** As in {@link createTrainStep}: rows of a batch that are computed at once. Default: all. */
  readonly microBatch?: number;
  /** What dropout is drawn from, together with the number of the step; see `LoraOptions`. Default 0. */
  readonly dropoutSeed?: number;
  /** A step made by {@link createTrainStep} from the same optimizer and the same `trainable`, to share its program among several runs. */
  readonly trainStep?: TrainStep<Llama, State, LanguageBatch>;
  /** Called once for each step, in order, when its numbers are there: up to two steps later. */
  readonly onStep?: (info: StepInfo) => void;
  /** Asked before each step; true ends the training as if `steps` had been reached. */
  readonly shouldStop?: () => boolean;
  /**
   * Called with what a checkpoint needs after every `saveEvery` steps; training waits for it. Only with a state that has been tried: the
   * loss and the gradients that it gives are finite. Where there is an `onSave`, the state that comes back at the end has been tried too.
   */
  readonly onSave?: (state: TrainResult<State>) => Promise<void>;
  /** Default 0: never. */
  readonly saveEvery?: number;
}

/** What `train` and `trainExtension` take alike. */
export const trainingKinds = {
  model: modelKind,
  optimizer: optimizerKind,
  optimizerState: optional(object),
  steps: integer(0),
  startStep: optional(integer(0)),
  step: optional(integer(0)),
  extra: optional(object),
  schedule: callable,
  maxNorm: optional(positive),
  trainable: optional(callable),
  checkpoint: optional(flag),
  microBatch: optional(integer(1)),
  dropoutSeed: optional(integer(0)),
  trainStep: optional(callable),
  onStep: optional(callable),
  shouldStop: optional(callable),
  onSave: optional(callable),
  saveEvery: optional(integer(0)),
} satisfies OptionKinds<Omit<TrainOptions<unknown>, "batches">>;

export interface TrainResult<State> {
  readonly model: Llama;
  readonly optimizerState: State;
  /** How many steps the model has seen: where to go on. */
  readonly step: number;
}

/** How many steps are queued on the device before the numbers of the first of them are waited for. */
const stepsInFlight = 2;

/**
 * Trains a model on the batches of steps startStep … steps − 1.
 *
 * Each step is one program (see {@link createTrainStep}), and its numbers are read while the next ones run. Throws
 * NonFiniteError, with the step, when a loss or a gradient is not finite, as where a batch asks nothing; that step left the parameters as they were. It is thrown too
 * where the update of a step made parameters from which no step can go on, before they are saved.
 */
export async function train<State>(options: TrainOptions<State>): Promise<TrainResult<State>> {
  checkOptions(
    "train",
    options,
    { ...trainingKinds, batches: callable },
    { lr: "the learning rate of each step is its schedule: constant(0.1)" },
  );
  refuseDecided(options.trainStep, options);
  const {
    optimizer,
    batches,
    steps,
    startStep = options.step ?? 0,
    schedule,
    onStep,
    shouldStop,
    onSave,
    saveEvery = 0,
    trainable,
    dropoutSeed: seed = 0,
  } = options;
  const trainStep = options.trainStep ?? languageStep(options);

  let model = options.model;
  const dropping = hasDropout(model);
  let optimizerState = options.optimizerState ?? optimizer.init(trainablePart(model, trainable)[0]);
  const inFlight: QueuedStep[] = [];
  const clock = new TokenClock();

  const finishOldest = async (): Promise<void> => {
    const oldest = inFlight.shift();
    if (oldest === undefined) return;
    const { step, lr, tokens, batch } = oldest;
    const [loss, gradNorm] = await Promise.all([item(oldest.metrics.loss), item(oldest.metrics.gradNorm)]);
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) throw (await askedNothing(step, batch)) ?? nonFinite(step, loss, gradNorm);
    onStep?.({ step, loss, gradNorm, lr, tokens, tokensPerSecond: clock.tick(tokens) });
  };

  /** Throws unless a step from here has a finite loss and finite gradients: what an update broke shows only in the step after it. */
  const tryState = async (batch: Batches<LanguageBatch>, step: number): Promise<void> => {
    const [trained, rest] = trainablePart(model, trainable);
    const [params, state, metrics] = trainStep(combine(copyTree(trained), rest), copyTree(optimizerState), batch, 0);
    const [loss, gradNorm] = await Promise.all([item(metrics.loss), item(metrics.gradNorm)]);
    for (const { tensor } of [...tensorsOf(trainablePart(params, trainable)[0]), ...tensorsOf(state)]) tensor.dispose();
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) throw brokenUpdate(step, loss, gradNorm);
  };

  let step = startStep;
  let last: Batches<LanguageBatch> | undefined;
  let tried = startStep;
  for (; step < steps && !shouldStop?.(); step++) {
    const given = await batches(step);
    const batch = dropping ? withDropoutKeys(given, { seed, step }) : given;
    last = batch;
    const lr = schedule(step);
    let metrics: StepMetrics;
    [model, optimizerState, metrics] = trainStep(model, optimizerState, batch, lr);
    inFlight.push({ step, lr, tokens: tokensIn(batch), batch, metrics });
    await currentBackend().throttle?.();
    if (inFlight.length > stepsInFlight) await finishOldest();

    if (onSave && saveEvery > 0 && (step + 1) % saveEvery === 0) {
      while (inFlight.length > 0) await finishOldest();
      await tryState(batch, step);
      tried = step + 1;
      await onSave({ model, optimizerState, step: step + 1 });
    }
    await yieldToEvents(); // signals and timers are heard here
  }
  while (inFlight.length > 0) await finishOldest();
  if (onSave && last !== undefined && tried < step) await tryState(last, step - 1);
  return { model, optimizerState, step };
}

/** What decides the step of a training of language. */
export type LanguageStepOptions<State> = Pick<TrainOptions<State>, "optimizer" | "maxNorm" | "trainable" | "checkpoint" | "microBatch">;

/** The step that {@link train} makes for itself. */
export function languageStep<State>(options: LanguageStepOptions<State>): TrainStep<Llama, State, LanguageBatch> {
  const { optimizer, maxNorm = 1, trainable, checkpoint = false, microBatch } = options;
  return createTrainStep({
    optimizer,
    loss: (model: Llama, batch: LanguageBatch) => languageLoss(model, batch, { checkpoint }),
    weight: languageWeight,
    maxNorm,
    ...(trainable && { trainable }),
    ...(microBatch === undefined ? {} : { microBatch }),
  });
}

/** Throws OptionError for options that a step which was handed in has decided already. */
function refuseDecided(trainStep: unknown, { checkpoint, microBatch }: Pick<TrainOptions<unknown>, "checkpoint" | "microBatch">): void {
  if (trainStep === undefined || (checkpoint === undefined && microBatch === undefined)) return;
  const name = checkpoint === undefined ? "microBatch" : "checkpoint";
  throw new OptionError(`train: ${name} was given beside a trainStep, which decides it`, {
    hint: name === "checkpoint" ? "give it to the loss of that step" : "give it to createTrainStep",
  });
}

interface QueuedStep {
  readonly step: number;
  readonly lr: number;
  readonly tokens: number;
  readonly batch: Batches<LanguageBatch>;
  readonly metrics: StepMetrics;
}

const tokensIn = (batch: Batches<LanguageBatch>): number => microBatchesOf(batch).reduce((sum, { targets }) => sum + targets.size, 0);

const brokenNumber = (loss: number, gradNorm: number): string =>
  Number.isFinite(loss) ? `the norm of the gradients is ${gradNorm}` : `the loss is ${loss}`;

const divergenceHint = "lower the learning rate, lengthen the warm-up, or go on from the last checkpoint";

const nonFinite = (step: number, loss: number, gradNorm: number): NonFiniteError =>
  new NonFiniteError(`step ${step}: ${brokenNumber(loss, gradNorm)}; its update was left out`, { step, hint: divergenceHint });

/** The error of a step whose batch has no target that counts, of which the mean loss is no number; undefined for any other. */
async function askedNothing(step: number, batch: Batches<LanguageBatch>): Promise<NonFiniteError | undefined> {
  for (const one of microBatchesOf(batch)) {
    // Whoever disposed of the batch in the meantime is told of the loss alone.
    const weight = await Promise.resolve(one)
      .then((given) => item(languageWeight(given)))
      .catch(() => undefined);
    if (weight !== 0) return undefined;
  }
  return new NonFiniteError(`step ${step}: nothing is asked in its batch, so there is no mean loss; its update was left out`, {
    step,
    hint: "each batch needs a target that is not −100, with a weight above 0: make sequences longer, or batches larger",
  });
}

const brokenUpdate = (step: number, loss: number, gradNorm: number): NonFiniteError =>
  new NonFiniteError(`after the update of step ${step} ${brokenNumber(loss, gradNorm)}; that state was not saved`, {
    step,
    hint: divergenceHint,
  });

/** Tokens per second over a window of recent steps. */
class TokenClock {
  private readonly window = 10;
  private readonly ticks: { readonly time: number; readonly tokens: number }[] = [{ time: performance.now(), tokens: 0 }];

  tick(tokens: number): number {
    this.ticks.push({ time: performance.now(), tokens });
    if (this.ticks.length > this.window + 1) this.ticks.shift();
    const [first, last] = [this.ticks[0], this.ticks.at(-1)] as [{ time: number }, { time: number }];
    const counted = this.ticks.slice(1).reduce((sum, tick) => sum + tick.tokens, 0);
    return (1000 * counted) / Math.max(last.time - first.time, 1e-3);
  }
}
