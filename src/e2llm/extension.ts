/** Training whose positions are drawn: ordinary training, and the extension of a trained model by E²-LLM. */
import { callable, checkOptions, either, objectWith, optional } from "../arguments.js";
import { type LanguageBatch, languageBatch } from "../nn/batch.js";
import type { TokenSource } from "../nn/data.js";
import { type TrainOptions, type TrainResult, train, trainingKinds } from "../nn/training.js";
import { modelFrequencies } from "./model-frequencies.js";
import type { DrawRecord, PositionSource, RationalPositions } from "./positions/index.js";
import type { RopeFrequencies } from "./schedules.js";
import { ropeTables } from "./tables.js";

/** The positions of one training step, for a log. */
export interface StepDraws {
  /** Counted from 0. */
  readonly step: number;
  /** What the source drew for the batch, or for each sample. */
  readonly draws: readonly DrawRecord[];
}

export interface PositionedBatchesOptions {
  /** Where the tokens [B, R] of a step come from: `createWindowSampler(…)` for text, `trainingWindows(…)` for a task. */
  readonly windows: TokenSource;
  /** Where they stand: `createPlainSource()`, `createE2Source(…)`, any of `createPositionSource(…)`, or one of your own, see `rowSource`. */
  readonly positions: PositionSource;
  /**
   * θ' and attention factor; see `modelFrequencies`. A function gets how far the positions of a batch reach, in tokens. A source that draws
   * frequencies too has the last word.
   */
  readonly frequencies: RopeFrequencies | ((reach: number) => RopeFrequencies);
  /** Called with the draws of each step when its batch is made. */
  readonly onDraws?: (draws: StepDraws) => void;
}

const frequenciesKind = either(
  objectWith("frequencies, as ropeFrequencies(…) or modelFrequencies(…) makes them", "invFreq", "attentionFactor"),
  callable,
);
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
    const own = (): RopeFrequencies => (typeof frequencies === "function" ? frequencies(reachOf(placed)) : frequencies);
    return languageBatch(tokens, ropeTables(placed, placed.frequencies ?? own()));
  };
}

/** Tokens up to the farthest position: max ⌈(numerator + 1)/denominator⌉. */
function reachOf({ numerators, denominators, rows }: RationalPositions): number {
  const length = numerators.length / rows;
  let reach = 0;
  for (let row = 0; row < rows; row++) {
    let farthest = -1;
    for (const numerator of numerators.subarray(row * length, (row + 1) * length)) farthest = Math.max(farthest, numerator);
    reach = Math.max(reach, Math.ceil((farthest + 1) / (denominators[row] as number)));
  }
  return reach;
}

export interface ExtensionOptions<State>
  extends Omit<TrainOptions<State>, "batches">,
    Pick<PositionedBatchesOptions, "windows" | "positions" | "onDraws"> {
  /** Default: those that the model's configuration states, a scaling of its own included. */
  readonly frequencies?: PositionedBatchesOptions["frequencies"];
}

/**
 * Goes on training a model at positions from a source. With `createE2Source` this is E²-LLM (arXiv 2401.06951v3, algorithm 1): the
 * sequences keep the trained window L, each step (or sample) sees them scaled by 1/g and shifted by t, and afterwards the model
 * reads g·L tokens at positions divided by g, for any g up to gMax. With `createPlainSource` it is ordinary training, the control. A fresh
 * model may begin with any source, too: nothing here supposes that it was trained before.
 *
 * The model is taken over; `copyTree` keeps a copy. Throws what {@link train} throws, and OptionError where the sequences are longer
 * than any scale of the source can hold.
 */
export function trainExtension<State>(options: ExtensionOptions<State>): Promise<TrainResult<State>> {
  checkOptions("trainExtension", options, { ...trainingKinds, ...placedKinds, frequencies: optional(frequenciesKind) });
  const { config } = options.model;
  const { windows, positions, onDraws, frequencies = (length: number) => modelFrequencies(config, { length }), ...training } = options;
  const batches = positionedBatches({ windows, positions, frequencies, ...(onDraws === undefined ? {} : { onDraws }) });
  return train({ ...training, batches });
}
