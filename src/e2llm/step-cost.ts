/** What a training step costs at different lengths. */
import { callable, checkOptions, integer, type Kind, type OptionKinds, optional } from "../arguments.js";
import { item } from "../autograd/realize.js";
import { tensorsOf } from "../autograd/tree.js";
import { OptionError } from "../errors.js";
import { randomStream } from "../ir/random-stream.js";
import { languageBatch } from "../nn/batch.js";
import { yieldToEvents } from "../nn/events.js";
import type { Llama } from "../nn/llama.js";
import { copyTree } from "../nn/module.js";
import { trainablePart } from "../nn/trainable.js";
import { type LanguageStepOptions, languageStep, trainingKinds } from "../nn/training.js";
import { type TrainingMemory, trainingMemory } from "../nn/training-memory.js";
import { readingTables } from "./reading.js";

/** Sequences of a training step. */
export interface StepSize {
  /** R: tokens of a sequence. */
  readonly length: number;
  /** B: sequences. */
  readonly batch: number;
}

export interface StepCostOptions<State> extends LanguageStepOptions<State> {
  /** Left as it is. */
  readonly model: Llama;
  /** E²-LLM trains at R = L, its comparator at full length: `[{ length: L, batch }, { length: 8 * L, batch }]`. */
  readonly sizes: readonly StepSize[];
  /** Steps that are timed, after one that is not. 0: memory alone, nothing is computed. Default 3. */
  readonly steps?: number;
  /** Called after each step. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Asked before each step; true ends the measuring. */
  readonly shouldStop?: () => boolean;
}

const sizesKind: Kind = {
  wanted: "a list of sizes { length, batch }, whole numbers of at least 1",
  fits: (value) =>
    Array.isArray(value) &&
    value.every((size: Partial<StepSize> | null) =>
      [size?.length, size?.batch].every((n) => Number.isSafeInteger(n) && (n as number) >= 1),
    ),
};
const { model, optimizer, maxNorm, trainable, checkpoint, microBatch } = trainingKinds;
const costKinds: OptionKinds<StepCostOptions<unknown>> = {
  ...{ model, optimizer, maxNorm, trainable, checkpoint, microBatch },
  sizes: sizesKind,
  steps: optional(integer(0)),
  onProgress: optional(callable),
  shouldStop: optional(callable),
};

/** What a step of one size costs. */
export interface StepCost extends StepSize {
  /** R·B */
  readonly tokens: number;
  /** Bytes on the current backend, planned. */
  readonly memory: TrainingMemory;
  /** Of each step that was timed, from its tokens on the host to its loss on the host. */
  readonly milliseconds: readonly number[];
  /** The median of these; absent where nothing was timed. */
  readonly median?: number;
}

/**
 * Memory and time of training steps of several sizes, on the current backend: the claim that training at R = L costs a fraction of training at
 * the full length. Every size takes steps on random tokens from a copy of the model with plain positions, which cost what any positions
 * cost that all rows share. Times vary with what else the machine does; compare their ratios. Fewer sizes only where `shouldStop` ended it.
 *
 * Throws OptionError for no sizes, and what `trainingMemory` throws, before anything is computed.
 */
export async function stepCost<State>(options: StepCostOptions<State>): Promise<StepCost[]> {
  checkOptions("stepCost", options, costKinds);
  const { sizes, steps = 3, onProgress, shouldStop, ...rest } = options;
  if (sizes.length === 0) throw new OptionError("stepCost needs at least one size");
  const step = { optimizer: rest.optimizer, ...given(rest) };
  const planned = sizes.map(({ length, batch }) => ({
    ...{ length, batch, tokens: length * batch },
    memory: trainingMemory({ ...step, model: options.model, length, batch }),
  }));
  const total = steps === 0 ? 0 : sizes.length * (steps + 1);
  let done = 0;
  const found: StepCost[] = [];
  for (const size of planned) {
    const milliseconds: number[] = [];
    for await (const time of timedSteps(options.model, step, size, steps === 0 ? 0 : steps + 1)) {
      milliseconds.push(time);
      onProgress?.({ done: ++done, total });
      if (shouldStop?.()) return found;
    }
    const timed = milliseconds.slice(1); // the first one compiles
    found.push({ ...size, milliseconds: timed, ...(timed.length === 0 ? {} : { median: medianOf(timed) }) });
  }
  return found;
}

/** The options that were given, without those that are undefined. */
function given<State>({
  maxNorm,
  trainable,
  checkpoint,
  microBatch,
}: LanguageStepOptions<State>): Omit<LanguageStepOptions<State>, "optimizer"> {
  return {
    ...(maxNorm === undefined ? {} : { maxNorm }),
    ...(trainable === undefined ? {} : { trainable }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(microBatch === undefined ? {} : { microBatch }),
  };
}

/** Keeps these tokens apart from others under the same seed. */
const PURPOSE = 0x636f_7374;

/** Takes steps on random tokens and gives the milliseconds of each. */
async function* timedSteps<State>(
  model: Llama,
  options: LanguageStepOptions<State>,
  { length, batch }: StepSize,
  count: number,
): AsyncGenerator<number, void, void> {
  if (count === 0) return;
  const { config } = model;
  const step = languageStep(options);
  const tables = readingTables(config, { schedule: "none", scale: 1, length, window: config.max_position_embeddings });
  let trained = copyTree(model);
  let state = options.optimizer.init(trainablePart(trained, options.trainable)[0]);
  try {
    for (let i = 0; i < count; i++) {
      const random = randomStream(0, PURPOSE, i);
      const tokens = (): Int32Array => Int32Array.from({ length: batch * length }, () => random.below(config.vocab_size));
      const host = { inputs: tokens(), targets: tokens(), batch, length };
      const start = performance.now();
      const given = languageBatch(host, tables);
      const [next, nextState, metrics] = step(trained, state, given, 0);
      [trained, state] = [next, nextState];
      await item(metrics.loss);
      const time = performance.now() - start;
      for (const { tensor } of [...tensorsOf(given), ...tensorsOf(metrics)]) tensor.dispose();
      yield time;
      await yieldToEvents(); // signals are heard here
    }
  } finally {
    for (const { tensor } of [...tensorsOf(trained), ...tensorsOf(state)]) tensor.dispose();
  }
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}
