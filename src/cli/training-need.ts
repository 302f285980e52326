/** What a training needs of memory, said before its first step, and which options would make it fit. */
import type { BackendInfo } from "../backend/backend.js";
import { type ScoringPlan, scoringMemory } from "../e2llm/scoring.js";
import { bytesPerRow } from "../nn/block-reader.js";
import type { Llama } from "../nn/llama.js";
import { hasAdapters, loraTrainable } from "../nn/lora.js";
import type { AdamWState } from "../nn/optimizers.js";
import { type TrainingMemory, trainingMemory } from "../nn/training-memory.js";
import { type Room, roomOf } from "./fit.js";
import { heldOutPlan } from "./held-out.js";
import type { CommandIo } from "./io.js";
import { formatBytes } from "./machine.js";
import {
  type Alternative,
  alternative,
  alternativesInWords,
  fits,
  MemoryNeedError,
  mildest,
  refusal,
  roomFigures,
  sayNeed,
  type TrainingFigures,
} from "./memory-need.js";
import { divisorsOf, type StepOptions } from "./options.js";
import { type LearningRule, languageOptions, maxNormOf, optimizerOf } from "./training-run.js";
import type { Unit } from "./units.js";

export interface TrainingNeedOptions {
  readonly info: BackendInfo;
  readonly model: Llama;
  readonly optimizerState?: AdamWState;
  readonly rule: LearningRule;
  readonly computing: StepOptions;
  /** Tokens of a sequence. */
  readonly length: number;
  readonly unit: Unit;
  /** Rows of the RoPE tables: 1, or the batch where each sequence has its own. */
  readonly tableRows: number;
  /** Tokens of context of the held-out loss at the end, for sequences of so many tokens. */
  readonly heldOutContext: (length: number) => number;
  /** The option that makes sequences shorter; absent where the run has settled their length. */
  readonly shorter?: "--window" | "--length";
  /** Default: that of the backend. */
  readonly room?: Room;
}

/** What decides the memory of a training and may be chosen. */
interface Sizes extends StepOptions {
  readonly length: number;
}

/**
 * Says what a training will need, and warns where that is more than is free. Throws MemoryNeedError for one that cannot fit, which names
 * the options with which it would: each was planned as the run itself is.
 */
export function sayTrainingNeed(io: Pick<CommandIo, "note" | "warn">, options: TrainingNeedOptions): TrainingFigures {
  const { computing, length, rule, room = roomOf(options.info) } = options;
  const memoryOf = ({ length: T, ...step }: Sizes): TrainingMemory => memoryOfTraining(options, step, T);
  const sizes = { ...computing, length };
  const memory = memoryOf(sizes);
  const figures = figuresOf(memory, room);
  if (!fits(memory, room)) {
    const { alternatives, least } = alternativesTo(sizes, { options, room, memoryOf });
    const what = `training on batches of ${rule.batch} ${rule.batch === 1 ? "sequence" : "sequences"} of ${length} ${options.unit}`;
    throw new MemoryNeedError(refusal(what, memory, room), { ...figures, alternatives }, hintOf(alternatives, least, options));
  }
  sayNeed(io, memory, {
    room,
    parts: [
      ["parameters", memory.parameterBytes],
      ["AdamW", memory.optimizerBytes],
      ["a step", memory.scratchBytes],
      ["a copy that is tried before saving", memory.trialBytes],
    ],
    less: "--checkpoint blocks and --micro-batch need",
  });
  return figures;
}

function memoryOfTraining(options: TrainingNeedOptions, step: StepOptions, length: number): TrainingMemory {
  const { model, optimizerState, rule, tableRows } = options;
  const training = trainingMemory({
    model,
    optimizer: optimizerOf(rule),
    ...(optimizerState === undefined ? {} : { optimizerState }),
    maxNorm: maxNormOf(rule),
    ...(hasAdapters(model) && { trainable: loraTrainable }),
    ...languageOptions(step),
    batch: rule.batch,
    length,
    tableRows,
    saves: true,
  });
  return atItsMost(training, heldOutPlan(model.config, options.heldOutContext(length)), model);
}

/** A training with the reading that follows it, through which the state of the optimizer stays. */
function atItsMost(training: TrainingMemory, plan: ScoringPlan, model: Llama): TrainingMemory {
  const { parameterBytes, optimizerBytes } = training;
  // The plan is worth its time only where the reading may be more.
  const roughly = parameterBytes + optimizerBytes + plan.rows * bytesPerRow(model.config, plan.blocks);
  if (2 * roughly < training.peakBytes) return training;
  const reading = scoringMemory(model, plan);
  return {
    ...training,
    peakBytes: Math.max(training.peakBytes, reading.peakBytes + optimizerBytes),
    largestTensorBytes: Math.max(training.largestTensorBytes, reading.largestTensorBytes),
  };
}

const figuresOf = (memory: TrainingMemory, room: Room): TrainingFigures => ({
  ...roomFigures(memory, room),
  parameters: memory.parameterBytes,
  optimizerState: memory.optimizerBytes,
  gradients: memory.gradientBytes,
  scratch: memory.scratchBytes,
  batch: memory.batchBytes,
  trial: memory.trialBytes,
});

/** Halvings of a length that are tried. */
const mostHalvings = 12;

interface Search {
  readonly options: TrainingNeedOptions;
  readonly room: Room;
  readonly memoryOf: (sizes: Sizes) => TrainingMemory;
}

/**
 * Changes that make a run fit, and where there is none, what it needs at least. Each change alone first, the mildest size of it that fits;
 * several together only where none does alone.
 */
function alternativesTo(sizes: Sizes, { options, room, memoryOf }: Search): { alternatives: Alternative[]; least: Alternative } {
  const { rule, shorter } = options;
  const tried = new Map<string, TrainingMemory>();
  const needOf = (change: Partial<Sizes>): TrainingMemory => {
    const name = flagsOf(change, shorter);
    const found = tried.get(name) ?? memoryOf({ ...sizes, ...change });
    tried.set(name, found);
    return found;
  };
  const offer = (changes: readonly Partial<Sizes>[]): Alternative[] => {
    const found = mildest(changes.length, (i) => needOf(changes[i] as Partial<Sizes>), room);
    return found === undefined ? [] : [alternative(flagsOf(changes[found.index] as Partial<Sizes>, shorter), found.needed)];
  };
  const atOnce = sizes.microBatch ?? rule.batch;
  const micro = divisorsOf(rule.batch)
    .filter((n) => n < atOnce)
    .reverse()
    .map((microBatch) => ({ microBatch }));
  const blocks = sizes.checkpoint === "blocks" ? [] : [{ checkpoint: "blocks" } as const];
  const both = blocks.flatMap((one) => micro.map((other) => ({ ...one, ...other })));
  const lengths: { length: number }[] = [];
  for (let length = sizes.length >> 1; shorter !== undefined && length >= 2 && lengths.length < mostHalvings; length >>= 1)
    lengths.push({ length });
  const strongest = both.at(-1) ?? micro.at(-1) ?? blocks.at(-1) ?? {};

  let alternatives = [...offer(blocks), ...offer(micro)];
  if (alternatives.length === 0) alternatives = offer(both);
  alternatives.push(...offer(lengths));
  if (alternatives.length === 0) alternatives = offer(lengths.map((length) => ({ ...strongest, ...length })));
  const last = { ...strongest, ...lengths.at(-1) };
  return { alternatives, least: alternative(flagsOf(last, shorter), needOf(last)) };
}

function flagsOf({ checkpoint, microBatch, length }: Partial<Sizes>, shorter: string | undefined): string {
  const flags: string[] = [];
  if (checkpoint !== undefined) flags.push(`--checkpoint ${checkpoint}`);
  if (microBatch !== undefined) flags.push(`--micro-batch ${microBatch}`);
  if (length !== undefined) flags.push(`${shorter} ${length}`);
  return flags.join(" ");
}

function hintOf(alternatives: readonly Alternative[], least: Alternative, { info }: TrainingNeedOptions): string {
  const other = info.name === "webgpu" ? ", or another adapter (dawngrad doctor)" : "";
  if (alternatives.length === 0) {
    const with_ = least.options === "" ? "it" : `it needs ${formatBytes(least.needed)} even with ${least.options}; it`;
    return `${with_} takes a smaller model (--hidden, --layers) to fit${other}`;
  }
  return alternativesInWords(alternatives) + other;
}
