/** What a training needs of memory, said before its first step, and which options would make it fit. */
import type { BackendInfo } from "../backend/backend.js";
import type { Llama } from "../nn/llama.js";
import type { AdamWState } from "../nn/optimizers.js";
import { type TrainingMemory, trainingMemory } from "../nn/training-memory.js";
import { type Room, roomOf } from "./fit.js";
import type { CommandIo } from "./io.js";
import { formatBytes } from "./machine.js";
import { type Alternative, type MemoryFigures, MemoryNeedError } from "./memory-need.js";
import { divisorsOf, type StepOptions } from "./options.js";
import { type LearningRule, languageOptions, maxNormOf, optimizerOf } from "./training-run.js";

export interface TrainingNeedOptions {
  readonly info: BackendInfo;
  readonly model: Llama;
  readonly optimizerState?: AdamWState;
  readonly rule: LearningRule;
  readonly computing: StepOptions;
  /** Bytes of a sequence. */
  readonly length: number;
  /** Rows of the RoPE tables: 1, or the batch where each sequence has its own. */
  readonly tableRows: number;
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
export function sayTrainingNeed(io: Pick<CommandIo, "note" | "warn">, options: TrainingNeedOptions): MemoryFigures {
  const { computing, length, rule, room = roomOf(options.info) } = options;
  const memoryOf = ({ length: T, ...step }: Sizes): TrainingMemory => memoryOfTraining(options, step, T);
  const sizes = { ...computing, length };
  const memory = memoryOf(sizes);
  const figures = figuresOf(memory, room);
  if (!fits(memory, room)) {
    const { alternatives, least } = alternativesTo(sizes, { options, room, memoryOf });
    throw new MemoryNeedError(
      refusal(memory, room, rule.batch, length),
      { ...figures, alternatives },
      hintOf(alternatives, least, options),
    );
  }
  const { peakBytes, parameterBytes, optimizerBytes, scratchBytes, trialBytes } = memory;
  const [all, parameters, state, scratch, trial] = [peakBytes, parameterBytes, optimizerBytes, scratchBytes, trialBytes].map(formatBytes);
  const there = room.known ? `; ${room.name} has ${formatBytes(room.bytes)}` : "";
  io.note(
    `needs ${all} of memory${there}: parameters ${parameters}, AdamW ${state}, a step ${scratch}, a copy that is tried before saving ${trial}`,
  );
  if (figures.free !== null && peakBytes > figures.free) {
    io.warn(
      `only ${formatBytes(figures.free)} of memory are free at the moment; the run may be slowed down or ended by the system ` +
        "(--checkpoint blocks and --micro-batch need less)",
    );
  }
  return figures;
}

function memoryOfTraining(options: TrainingNeedOptions, step: StepOptions, length: number): TrainingMemory {
  const { model, optimizerState, rule, tableRows } = options;
  return trainingMemory({
    model,
    optimizer: optimizerOf(rule),
    ...(optimizerState === undefined ? {} : { optimizerState }),
    maxNorm: maxNormOf(rule),
    ...languageOptions(step),
    batch: rule.batch,
    length,
    tableRows,
    saves: true,
  });
}

const fits = ({ peakBytes, largestTensorBytes }: TrainingMemory, room: Room): boolean =>
  peakBytes <= room.bytes && largestTensorBytes <= room.tensorBytes;

const figuresOf = (memory: TrainingMemory, room: Room): MemoryFigures => ({
  needed: memory.peakBytes,
  parameters: memory.parameterBytes,
  optimizerState: memory.optimizerBytes,
  gradients: memory.gradientBytes,
  scratch: memory.scratchBytes,
  batch: memory.batchBytes,
  trial: memory.trialBytes,
  available: room.known ? room.bytes : null,
  free: room.free,
  largestTensor: memory.largestTensorBytes,
  availableTensor: room.tensorBytes,
});

function refusal({ peakBytes, largestTensorBytes }: TrainingMemory, room: Room, batch: number, length: number): string {
  const what = `training on batches of ${batch} ${batch === 1 ? "sequence" : "sequences"} of ${length} bytes needs`;
  if (peakBytes > room.bytes) return `${what} ${formatBytes(peakBytes)} of memory, and ${room.name} has ${formatBytes(room.bytes)}`;
  return `${what} a tensor of ${formatBytes(largestTensorBytes)}, and ${room.holder} holds ${formatBytes(room.tensorBytes)} in one`;
}

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
  const tried = new Map<string, Alternative & { readonly fits: boolean }>();
  const attempt = (change: Partial<Sizes>): Alternative & { readonly fits: boolean } => {
    const name = flagsOf(change, shorter);
    let found = tried.get(name);
    if (found === undefined) {
      const memory = memoryOf({ ...sizes, ...change });
      found = { options: name, needed: memory.peakBytes, largestTensor: memory.largestTensorBytes, fits: fits(memory, room) };
      tried.set(name, found);
    }
    return found;
  };
  /** The first of ever smaller changes that fits, by bisection; undefined where the smallest does not. */
  const mildest = (changes: readonly Partial<Sizes>[]): Alternative | undefined => {
    let [low, high] = [0, changes.length - 1];
    if (high < 0 || !attempt(changes[high] as Partial<Sizes>).fits) return undefined;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (attempt(changes[middle] as Partial<Sizes>).fits) high = middle;
      else low = middle + 1;
    }
    return attempt(changes[high] as Partial<Sizes>);
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

  const known = (found: readonly (Alternative | undefined)[]): Alternative[] => found.filter((one) => one !== undefined);
  let alternatives = known([mildest(blocks), mildest(micro)]);
  if (alternatives.length === 0) alternatives = known([mildest(both)]);
  alternatives.push(...known([mildest(lengths)]));
  if (alternatives.length === 0) alternatives = known([mildest(lengths.map((length) => ({ ...strongest, ...length })))]);
  const least = attempt({ ...strongest, ...lengths.at(-1) });
  return {
    alternatives: alternatives.map(({ options: flags, needed, largestTensor }) => ({ options: flags, needed, largestTensor })),
    least,
  };
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
  return alternatives.map(({ options, needed }) => `${options} needs ${formatBytes(needed)}`).join("; ") + other;
}
