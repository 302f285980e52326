import { checkOptions, flag, integer, type OptionKinds, optional } from "../arguments.js";
import { memoryOf } from "../autograd/compile.js";
import { zeros } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import type { LanguageBatch } from "./batch.js";
import { hasDropout } from "./dropout.js";
import type { Llama } from "./llama.js";
import { tensorBytes } from "./tensor-bytes.js";
import { trainablePart } from "./trainable.js";
import { type LanguageStepOptions, languageStep, type TrainOptions, trainingKinds } from "./training.js";

export interface TrainingMemoryOptions<State> extends LanguageStepOptions<State>, Pick<TrainOptions<State>, "model" | "optimizerState"> {
  /** B: sequences of a batch. */
  readonly batch: number;
  /** T: tokens of a sequence. */
  readonly length: number;
  /** Rows of the RoPE tables: 1, or B where each sequence has its own. Default 1. */
  readonly tableRows?: number;
  /** Whether the training has an `onSave`, before which a copy of parameters and state is tried. Default false. */
  readonly saves?: boolean;
}

const { model, optimizer, optimizerState, maxNorm, trainable, checkpoint, microBatch } = trainingKinds;
const memoryKinds: OptionKinds<TrainingMemoryOptions<unknown>> = {
  ...{ model, optimizer, optimizerState, maxNorm, trainable, checkpoint, microBatch },
  batch: integer(1),
  length: integer(1),
  tableRows: optional(integer(1)),
  saves: optional(flag),
};

/** Bytes that a training takes on the current backend. */
export interface TrainingMemory {
  readonly parameterBytes: number;
  readonly optimizerBytes: number;
  /** One number for each trained parameter: part of the scratch. */
  readonly gradientBytes: number;
  /** Tokens, targets and tables of a step. */
  readonly batchBytes: number;
  /** What a step has between: gradients, and what the backward pass keeps. */
  readonly scratchBytes: number;
  /** A copy of trained parameters and state, which is tried before it is saved. */
  readonly trialBytes: number;
  /** The most at once, from the first step to the last. */
  readonly peakBytes: number;
  /** The largest tensor, which `info.maxTensorBytes` of the backend bounds. */
  readonly largestTensorBytes: number;
}

/**
 * What {@link train} with these options will take, from the plan of its step: nothing is computed and nothing allocated, and a model that was
 * just made needs no numbers. Sizes may be asked for that no machine could hold. Throws OptionError for options that `train` would refuse.
 */
export function trainingMemory<State>(options: TrainingMemoryOptions<State>): TrainingMemory {
  checkOptions("trainingMemory", options, memoryKinds);
  const { model, optimizer, trainable, batch, length, tableRows = 1, saves = false } = options;
  const step = languageStep(options);
  const [trained] = trainablePart(model, trainable);
  const state = options.optimizerState ?? optimizer.init(trained);
  const given = batchOf(model, { batch, length, tableRows });
  const found = step.memory(model, state, given, 0);
  const parameterBytes = tensorBytes(model);
  const optimizerBytes = tensorBytes(state);
  const trialBytes = saves ? tensorBytes(trained) + optimizerBytes : 0;
  return {
    parameterBytes,
    optimizerBytes,
    gradientBytes: tensorBytes(trained),
    batchBytes: tensorBytes(given),
    scratchBytes: found.scratchBytes,
    trialBytes,
    peakBytes: Math.max(startBytes(model, state), found.peakBytes + trialBytes),
    largestTensorBytes: found.largestTensorBytes,
  };
}

/** A batch of tokens and tables that hold no numbers. */
function batchOf(model: Llama, sizes: { readonly batch: number; readonly length: number; readonly tableRows: number }): LanguageBatch {
  const { batch, length, tableRows } = sizes;
  const tokens = (): Tensor => zeros([batch, length], { dtype: "i32" });
  const angles = (): Tensor => zeros([tableRows, length, model.config.head_dim / 2]);
  const keys = hasDropout(model) ? { dropoutKeys: zeros([batch, 2], { dtype: "u32" }) } : {};
  return { inputs: tokens(), targets: tokens(), tables: { cos: angles(), sin: angles() }, ...keys };
}

/** What making a model and a state takes whose tensors have no numbers yet. */
function startBytes(model: Llama, state: unknown): number {
  const pending = [...tensorsOf(model), ...tensorsOf(state)].map(({ tensor }) => tensor).filter(({ isRealised }) => !isRealised);
  return pending.length === 0 ? 0 : memoryOf(() => pending).peakBytes;
}
