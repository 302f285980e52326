/** Losses of the last T places of rows of W tokens, which are read in blocks. */
import { callable, number, type OptionKinds, optional } from "../arguments.js";
import { type Compiled, compile } from "../autograd/compile.js";
import { add, arange, clip, gather, zeros } from "../autograd/operations.js";
import { data } from "../autograd/realize.js";
import { sync } from "../autograd/runtime.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { OptionError, ShapeError } from "../errors.js";
import { type HostTables, ropeTensors } from "../nn/batch.js";
import { type BlockPlan, blockMemory, blockRange, bytesPerRow, planBlocks, readInBlocks, type TableForm } from "../nn/block-reader.js";
import type { LlamaConfig } from "../nn/config.js";
import { modelKind } from "../nn/kinds.js";
import { KeyValueCache } from "../nn/kv-cache.js";
import type { Llama, RopeTensors } from "../nn/llama.js";
import { tensorBytes } from "../nn/tensor-bytes.js";
import { type AutomaticReading, automaticReading, readingScale, readingTables } from "./reading.js";

/** Progress of an evaluation, reported after each forward pass. */
export interface EvaluationProgress {
  /** Forward passes that are done, of all; each reads one block of some rows. */
  readonly done: number;
  readonly total: number;
  /** Tokens read by the last pass. */
  readonly tokens: number;
  /**
   * Multiply-adds that are done, of all: those of the products and of attention, of which a late block of a long row has many more
   * than an early one. The share of the time that has passed is that of the work, not that of the passes.
   */
  readonly work: number;
  readonly totalWork: number;
}

/** How texts are read, whatever is measured. */
export interface ReadingOptions {
  readonly model: Llama;
  /**
   * RoPE tables [1, W, D/2] for a context W. Default: by the schedule that the model's configuration says it was extended for
   * (`automaticReading`), else positions divided, at g = max(1, ceil(W/L)), where L is the model's `max_position_embeddings`.
   */
  readonly tables?: (context: number) => HostTables;
  /** B: sequences that are read together. Default: as many as need some 256 MiB beside the weights, from 1 to 8. */
  readonly batch?: number;
  /**
   * Tokens that are read at once, at most: a longer row is read in blocks that keep the keys and values of earlier ones, so that memory
   * grows with W and not with W². Rows of at most so many tokens are read whole. Default 1024.
   */
  readonly block?: number;
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Asked before each pass; true ends the evaluation, and its promise is resolved with what is complete by then. */
  readonly shouldStop?: () => boolean;
}

export const readingOptionKinds: OptionKinds<ReadingOptions> = {
  model: modelKind,
  tables: optional(callable),
  batch: optional(number),
  block: optional(number),
  onProgress: optional(callable),
  shouldStop: optional(callable),
};

/** What a model was extended for, else positions divided by g = max(1, ceil(W/L)). */
export const defaultTables =
  (model: Llama) =>
  (length: number): HostTables => {
    const window = model.config.max_position_embeddings;
    const reading: AutomaticReading = model.config.e2llm === undefined ? { schedule: "linear" } : automaticReading(model.config);
    return readingTables(model.config, { schedule: reading.schedule, scale: readingScale(reading, length, window), length, window });
  };

/** The tables of a reading. Throws ShapeError unless they are those of `length` places for all rows. */
export function checkTables(
  where: string,
  tables: HostTables,
  sizes: { readonly config: LlamaConfig; readonly length: number },
): HostTables {
  const { length, config } = sizes;
  const half = config.head_dim / 2;
  if (tables.rows !== 1 || tables.length !== length || tables.half !== half) {
    throw new ShapeError(
      `${where}: the tables for ${length} tokens are [${tables.rows}, ${tables.length}, ${tables.half}], expected [1, ${length}, ${half}]`,
      { hint: "tables is a function of the context: (context) => readingTables(model.config, { …, length: context })" },
    );
  }
  return tables;
}

/** Throws OptionError for a token that the model does not know. */
export function checkTokens(where: string, what: string, tokens: Int32Array, { vocab_size }: LlamaConfig): void {
  const wrong = tokens.findIndex((token) => token < 0 || token >= vocab_size);
  if (wrong < 0) return;
  throw new OptionError(`${where}: token ${tokens[wrong]} at place ${wrong} of ${what} is not in the vocabulary of ${vocab_size}`, {
    hint: "read the text with the tokenizer of the model",
  });
}

/** W tokens, and what the last T places should predict. */
export interface ScoredRow {
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
}

/** How rows of one context are read. */
export interface ScoringPlan {
  readonly blocks: BlockPlan;
  /** T */
  readonly targetLength: number;
  /** N: rows in all. */
  readonly count: number;
  /** B: rows that are read together; a short last group is filled up with zeros. */
  readonly rows: number;
}

/** Tokens that are read at once, so many that products and attention are large and what is done once for a block is small beside them. */
const defaultBlock = 1024;
/** Rows that are read together where nobody says how many: so many, and no more than fit into the memory. */
const mostRows = 8;
const rowsMemory = 2 ** 28;

/** Divides rows into groups and their tokens into blocks. Throws OptionError for a batch or a block that is no positive integer. */
export function planScoring(
  config: LlamaConfig,
  sizes: {
    readonly context: number;
    readonly targetLength: number;
    readonly count: number;
    readonly batch?: number | undefined;
    readonly block?: number | undefined;
  },
): ScoringPlan {
  const { context, targetLength, count, block = defaultBlock } = sizes;
  const blocks = planBlocks(context, checkCount("block", block));
  const fitting = Math.floor(rowsMemory / bytesPerRow(config, blocks));
  const most = sizes.batch === undefined ? Math.max(1, Math.min(mostRows, fitting)) : checkCount("batch", sizes.batch);
  const groups = Math.max(1, Math.ceil(count / most));
  return { blocks, targetLength, count, rows: Math.max(1, Math.ceil(count / groups)) };
}

function checkCount(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${name} must be a positive integer, found ${value}`);
  return value;
}

/** What a reading costs. */
export interface ScoringCost {
  readonly passes: number;
  /** In multiply-adds. */
  readonly work: number;
}

const groupsOf = ({ count, rows }: ScoringPlan): number => Math.ceil(count / rows);

/** Passes and multiply-adds of all rows. */
export function scoringCost(config: LlamaConfig, plan: ScoringPlan): ScoringCost {
  const groups = groupsOf(plan);
  let work = 0;
  for (let block = 0; block < plan.blocks.count; block++) work += groups * passWork(config, plan, block);
  return { passes: groups * plan.blocks.count, work };
}

/**
 * Multiply-adds of a pass over B rows of tokens a … b − 1: those of the weights for each token, 2·H·D a layer for each key that a query
 * sees (Σ i + 1 for i = a … b − 1), and those of the head for each target.
 */
function passWork(config: LlamaConfig, plan: ScoringPlan, block: number): number {
  const { hidden_size: C, intermediate_size: F, num_hidden_layers: layers, vocab_size: V } = config;
  const { num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = config;
  const { from, to } = blockRange(plan.blocks, block);
  const weights = layers * (2 * C * H * D + 2 * C * Hkv * D + 3 * C * F);
  const seen = (to * (to + 1) - from * (from + 1)) / 2;
  const scored = to - scoredFrom(plan, block);
  return plan.rows * ((to - from) * weights + 2 * layers * H * D * seen + scored * C * V);
}

/** The first place of a block that is scored; its end where none is. */
function scoredFrom({ blocks, targetLength }: ScoringPlan, block: number): number {
  const { from, to } = blockRange(blocks, block);
  return Math.min(to, Math.max(from, blocks.context - targetLength));
}

/** Counts passes over several readings and tells of each. */
export class PassCounter {
  private done = 0;
  private work = 0;
  private readonly total: number;
  private readonly totalWork: number;

  constructor(
    costs: readonly ScoringCost[],
    private readonly onProgress: ((progress: EvaluationProgress) => void) | undefined,
  ) {
    this.total = costs.reduce((sum, { passes }) => sum + passes, 0);
    this.totalWork = costs.reduce((sum, { work }) => sum + work, 0);
  }

  add(pass: { readonly tokens: number; readonly work: number }): void {
    const { total, totalWork } = this;
    this.done++;
    this.work += pass.work;
    this.onProgress?.({ done: this.done, total, tokens: pass.tokens, work: this.work, totalWork });
  }
}

/** What the head reads at the places first … first + count − 1 of a block [B, b, C]. */
export function scoredPlaces(hidden: Tensor, count: number, first: Tensor): Tensor {
  const places = clip(add(arange(count), first), 0, (hidden.shape[1] as number) - 1);
  return gather(hidden, places, 1);
}

/** Losses [B, t] of the places first … first + t − 1 of a block [B, b, C]. */
const scoreBlock: Compiled<[model: Llama, hidden: Tensor, targets: Tensor, first: Tensor], Tensor> = compile(
  (model, hidden, targets, first) =>
    model.headLoss(scoredPlaces(hidden, targets.shape[1] as number, first), targets, { reduction: "none" }),
  { name: "score" },
);

/** Losses as of {@link scoreBlock}, and the most probable token of each of those places, the first of equal ones. */
const answerBlock: Compiled<[model: Llama, hidden: Tensor, targets: Tensor, first: Tensor], [losses: Tensor, answers: Tensor]> = compile(
  (model, hidden, targets, first) => model.headAnswers(scoredPlaces(hidden, targets.shape[1] as number, first), targets),
  { name: "answer" },
);

/** A target that is not there. */
const noTarget = -100;

/** Bytes that scoring takes on the current backend. */
export interface ScoringMemory {
  /** The weights that a block reads. */
  readonly parameterBytes: number;
  /** What is kept of rows from block to block. */
  readonly keptBytes: number;
  /** Within a block, or within the head. */
  readonly scratchBytes: number;
  readonly peakBytes: number;
  readonly largestTensorBytes: number;
}

/**
 * What {@link scoreRows} will take, from the plans of its programs. Nothing is read and nothing allocated.
 *
 * @param tables the form of the tables that rows are read by. Default: one pair, as of all schedules that are no methods of near and far
 */
export function scoringMemory(model: Llama, { blocks, rows, targetLength }: ScoringPlan, tables?: TableForm): ScoringMemory {
  const { hidden_size: C } = model.config;
  const t = Math.min(targetLength, blocks.length);
  const read = blockMemory(model, blocks, rows, tables);
  const score = scoreBlock.memory(model, zeros([rows, blocks.length, C]), zeros([rows, t], { dtype: "i32" }), 0);
  // Beside the head there are all weights, the tables, the cache, and the block that it reads.
  const beside = read.inputBytes + read.resultBytes + read.programBytes;
  const scoring = beside + score.scratchBytes + score.resultBytes + score.programBytes;
  return {
    parameterBytes: tensorBytes(model),
    keptBytes: blocks.count === 1 ? 0 : tensorBytes(new KeyValueCache(model.config, { capacity: blocks.context, batch: rows })),
    scratchBytes: Math.max(read.scratchBytes, score.scratchBytes),
    peakBytes: Math.max(read.peakBytes, scoring),
    largestTensorBytes: Math.max(read.largestTensorBytes, score.largestTensorBytes),
  };
}

export interface ScoringOptions {
  readonly plan: ScoringPlan;
  readonly tables: RopeTensors;
  readonly counter: PassCounter;
  readonly shouldStop: (() => boolean) | undefined;
  /** Whether the most probable tokens are wanted too. */
  readonly answers?: boolean;
}

/** Losses of some rows. */
export interface RowScores {
  /** In nats, row by row. */
  readonly losses: readonly Float32Array[];
  /** The most probable tokens, row by row, where they are wanted. */
  readonly answers?: readonly Int32Array[];
  /** Targets of each row that have a loss, from the first: T, or fewer where `shouldStop` ended the reading. */
  readonly scored: number;
}

/** A block with places that are scored. */
export interface ScoredBlock {
  /** What the head reads of the block, [B, b, C]. It is let go when the next block is asked for. */
  readonly hidden: Tensor;
  /** Place of a row at which the block begins. */
  readonly from: number;
  /** Places first … to − 1 are scored. */
  readonly first: number;
  readonly to: number;
}

/** Reads one group of at most B rows of W tokens, and gives those blocks in which there is something to score. */
export async function* scoredBlocks(
  model: Llama,
  group: readonly Pick<ScoredRow, "inputs">[],
  { plan, tables, counter, shouldStop }: Omit<ScoringOptions, "answers">,
): AsyncGenerator<ScoredBlock, void, void> {
  const { blocks, rows: B } = plan;
  const inputs = new Int32Array(B * blocks.context);
  group.forEach((row, i) => {
    inputs.set(row.inputs, i * blocks.context);
  });
  let block = 0;
  for await (const { hidden, from, to } of readInBlocks(model, inputs, { plan: blocks, tables, shouldStop })) {
    const first = scoredFrom(plan, block);
    if (first < to) yield { hidden, from, first, to };
    else await sync(); // a block that is only read is done before it is counted
    hidden.dispose();
    counter.add({ tokens: group.length * (to - from), work: passWork(model.config, plan, block) });
    block++;
  }
}

/** Reads one group of at most B rows. The head computes logits of the last T places alone, block by block. */
export async function scoreGroup(model: Llama, group: readonly ScoredRow[], options: ScoringOptions): Promise<RowScores> {
  const { blocks, targetLength: T, rows: B } = options.plan;
  const losses = group.map(() => new Float32Array(T));
  const answers = options.answers ? group.map(() => new Int32Array(T)) : undefined;
  const t = Math.min(T, blocks.length); // targets of a run of the program, which is one for all blocks
  let scored = 0;
  for await (const { hidden, from, first, to } of scoredBlocks(model, group, options)) {
    const nth = first - (blocks.context - T); // of the targets of a row
    const wanted = new Int32Array(B * t).fill(noTarget);
    group.forEach((row, i) => {
      wanted.set(row.targets.subarray(nth, nth + to - first), i * t);
    });
    const targets = tensor(wanted, { shape: [B, t] });
    const keep = async (found: Tensor, into: readonly { set(values: ArrayLike<number>, at: number): void }[]): Promise<void> => {
      const values = await data(found);
      found.dispose();
      into.forEach((row, i) => {
        row.set(values.subarray(i * t, i * t + to - first) as ArrayLike<number>, nth);
      });
    };
    if (answers === undefined) await keep(scoreBlock(model, hidden, targets, first - from), losses);
    else {
      const [ofLosses, ofAnswers] = answerBlock(model, hidden, targets, first - from);
      await keep(ofLosses, losses);
      await keep(ofAnswers, answers);
    }
    targets.dispose();
    scored = nth + to - first;
  }
  return { losses, ...(answers === undefined ? {} : { answers }), scored };
}

/**
 * Reads rows 0 … N − 1 in groups and hands on the losses of each group with the number of its first row. Returns false where `shouldStop`
 * ended it; what the last group has by then is handed on too.
 */
export async function scoreRows(
  model: Llama,
  rowAt: (index: number) => ScoredRow,
  options: Omit<ScoringOptions, "tables"> & {
    readonly tables: HostTables;
    readonly onScores: (scores: RowScores, firstRow: number) => void;
  },
): Promise<boolean> {
  const { plan, onScores } = options;
  const tables = ropeTensors(options.tables);
  try {
    for (let first = 0; first < plan.count; first += plan.rows) {
      const group = Array.from({ length: Math.min(plan.rows, plan.count - first) }, (_, i) => rowAt(first + i));
      const scores = await scoreGroup(model, group, { ...options, tables });
      onScores(scores, first);
      if (scores.scored < plan.targetLength) return false;
    }
    return true;
  } finally {
    for (const { tensor: held } of tensorsOf(tables)) held.dispose();
  }
}
