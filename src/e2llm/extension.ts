/** Training whose positions are drawn: ordinary training, and the extension of a trained model by E²-LLM. */
import { callable, checkArgument, checkOptions, objectWith, optional } from "../arguments.js";
import { type LanguageBatch, languageBatch } from "../nn/batch.js";
import type { LlamaConfig } from "../nn/config.js";
import type { WindowSampler } from "../nn/data.js";
import { type TrainOptions, type TrainResult, train } from "../nn/training.js";
import type { PositionSource } from "./positions.js";
import { type RopeFrequencies, ropeFrequencies } from "./schedules.js";
import { ropeTables } from "./tables.js";

/** The positions of one training step, for a log. */
export interface StepDraws {
  /** Counted from 0. */
  readonly step: number;
  /** One (scale g, shift t) for the batch, or one per sample. */
  readonly draws: readonly { readonly g: number; readonly t: number }[];
}

export interface PositionedBatchesOptions {
  /** Where the tokens [B, R] of a step come from. */
  readonly windows: WindowSampler;
  /** Where they stand: `createPlainSource()` or `createE2Source(…)`. */
  readonly positions: PositionSource;
  /** θ' and attention factor; see {@link trainedFrequencies}. */
  readonly frequencies: RopeFrequencies;
  /** Called with the draws of each step when its batch is made. */
  readonly onDraws?: (draws: StepDraws) => void;
}

/** The frequencies of a model as it is trained: θ_j = rope_theta^(−2j/D), unscaled. */
export function trainedFrequencies(config: Pick<LlamaConfig, "head_dim" | "rope_theta">): RopeFrequencies {
  checkArgument("trainedFrequencies", "config", config, objectWith("the configuration of a model", "head_dim", "rope_theta"));
  return ropeFrequencies({ type: "default" }, { headDim: config.head_dim, theta: config.rope_theta });
}

const frequenciesKind = objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor");
const placedKinds = {
  windows: objectWith("a sampler, as createWindowSampler(…) makes it", "at"),
  positions: callable,
  onDraws: optional(callable),
} as const;

/**
 * Batches for `train`: tokens [B, R] with RoPE tables [1 or B, R, D/2] of the drawn positions, made in f64 and uploaded as data.
 *
 * Scale and shift reach the device only through the tables, so one compiled step serves every draw. A batch is a pure function
 * of its step as long as the sampler and the source are, which those of this library are: training can be resumed to the bit.
 */
export function positionedBatches(options: PositionedBatchesOptions): (step: number) => LanguageBatch {
  checkOptions("positionedBatches", options, { ...placedKinds, frequencies: frequenciesKind });
  const { windows, positions, frequencies, onDraws } = options;
  return (step) => {
    const tokens = windows.at(step);
    const placed = positions({ batch: tokens.batch, length: tokens.length, step });
    onDraws?.({ step, draws: placed.draws });
    return languageBatch(tokens, ropeTables(placed, frequencies));
  };
}

export interface ExtensionOptions<State>
  extends Omit<TrainOptions<State>, "batches">,
    Pick<PositionedBatchesOptions, "windows" | "positions" | "onDraws"> {
  /** Default: the model's own frequencies, unscaled, as E²-LLM has them. */
  readonly frequencies?: RopeFrequencies;
}

/**
 * Goes on training a model at positions from a source. With `createE2Source` this is E²-LLM (arXiv 2401.06951v3, algorithm 1): the
 * sequences keep the trained window L, each step (or sample) sees them scaled by 1/g and shifted by t, and afterwards the model
 * reads g·L tokens at positions divided by g, for any g up to gMax. With `createPlainSource` it is ordinary training, the control.
 *
 * The model is taken over; `copyTree` keeps a copy. Throws what {@link train} throws, and OptionError where the sequences are longer
 * than any scale of the source can hold.
 */
export function trainExtension<State>(options: ExtensionOptions<State>): Promise<TrainResult<State>> {
  const { windows, positions, onDraws, frequencies = trainedFrequencies(options.model.config), ...training } = options;
  const batches = positionedBatches({ windows, positions, frequencies, ...(onDraws === undefined ? {} : { onDraws }) });
  return train({ ...training, batches });
}
