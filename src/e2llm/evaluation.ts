/** The loss of a model at several context lengths. */

import { callable, checkOptions, instanceOf, listOf, number, type OptionKinds, optional } from "../arguments.js";
import { compile } from "../autograd/compile.js";
import { crossEntropy } from "../autograd/cross-entropy.js";
import { slice } from "../autograd/operations.js";
import { data } from "../autograd/realize.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { OptionError } from "../errors.js";
import { type HostTables, ropeTensors } from "../nn/batch.js";
import type { TokenDocument } from "../nn/data.js";
import { type TargetBlock, targetWindows } from "../nn/evaluation-targets.js";
import { yieldToEvents } from "../nn/events.js";
import { blocksKind, documentsKind, modelKind } from "../nn/kinds.js";
import type { Llama, RopeTensors } from "../nn/llama.js";
import { automaticScale, readingTables } from "./reading.js";

/** The loss at one context length. */
export interface ContextLoss {
  /** W: tokens before the last target of a block. */
  readonly context: number;
  /** Mean over all targets of −ln p(target | context), in nats per token. */
  readonly nats: number;
  /** Targets that were scored: the same for every context. */
  readonly targets: number;
}

/** Progress of an evaluation: forward passes that are done, of all. */
export interface EvaluationProgress {
  readonly done: number;
  readonly total: number;
  /** Tokens read by the last pass. */
  readonly tokens: number;
}

interface ScoringOptions {
  readonly model: Llama;
  /** B: sequences per forward pass. Default 8. */
  readonly batch?: number;
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Asked before each pass; true ends the evaluation, and its promise is resolved with what is complete by then. */
  readonly shouldStop?: () => boolean;
}

export interface ContextEvaluationOptions extends ScoringOptions {
  readonly documents: readonly TokenDocument[];
  /** Blocks of T targets from `evaluationTargets` for these documents, with maxContext at least the longest context. */
  readonly blocks: readonly TargetBlock[];
  /** T: targets of a block. */
  readonly targetLength: number;
  /** Context lengths W, each at least T. */
  readonly contexts: readonly number[];
  /**
   * RoPE tables [1, W, D/2] for a context W. Default: positions divided by g = max(1, ceil(W/L)), where L is the model's
   * `max_position_embeddings`: how a model that E²-LLM extended is read.
   */
  readonly tables?: (context: number) => HostTables;
}

const scoringKinds: OptionKinds<ScoringOptions> = {
  model: modelKind,
  batch: optional(number),
  onProgress: optional(callable),
  shouldStop: optional(callable),
};
const contextKinds: OptionKinds<ContextEvaluationOptions> = {
  ...scoringKinds,
  documents: documentsKind,
  blocks: blocksKind,
  targetLength: number,
  contexts: listOf(number),
  tables: optional(callable),
};
const slidingKinds: OptionKinds<SlidingWindowOptions> = {
  ...scoringKinds,
  tokens: instanceOf("an Int32Array of tokens", Int32Array),
  window: number,
  stride: number,
  tables: optional(callable),
};

/**
 * The loss on the same target tokens with only the available context varied: for a context W the last target of a block sees exactly
 * the W tokens before it, the first W − T + 1. Nothing else differs between two contexts, so a difference of losses is what the
 * context is worth, together with the harm that positions past the trained window do.
 *
 * The truncation baseline (read only the last L tokens, unscaled) is this number at W = L with scale 1.
 *
 * Only the last T places of a row are scored, so the head computes logits of those alone. Losses are summed in f64 on the host;
 * the same arguments on the same device give the same bits. Throws OptionError for no contexts, no blocks, and contexts that the
 * blocks or documents do not have.
 */
export async function evaluateContexts(options: ContextEvaluationOptions): Promise<ContextLoss[]> {
  checkOptions("evaluateContexts", options, contextKinds);
  const { model, documents, blocks, targetLength, contexts, batch = 8, onProgress, shouldStop } = options;
  if (contexts.length === 0) throw new OptionError("an evaluation needs at least one context length");
  if (blocks.length === 0) throw new OptionError("an evaluation needs at least one block of targets");
  const tables = options.tables ?? defaultTables(model);
  const jobs = contexts.map((context) => ({ context, windows: targetWindows({ documents, blocks, targetLength, context }) }));
  const rows = Math.min(checkBatch(batch), blocks.length);
  const total = jobs.length * Math.ceil(blocks.length / rows);
  const found: ContextLoss[] = [];
  let done = 0;
  for (const { context, windows } of jobs) {
    const placed = ropeTensors(tables(context));
    let sum = 0;
    for (let first = 0; first < windows.count; first += rows) {
      if (shouldStop?.()) return found;
      const losses = await scoreRows(model, windows, { first, rows, tables: placed });
      for (const loss of losses) sum += loss;
      onProgress?.({ done: ++done, total, tokens: rows * context });
    }
    const targets = windows.count * targetLength;
    found.push({ context, nats: sum / targets, targets });
  }
  return found;
}

export interface SlidingWindowOptions extends ScoringOptions {
  /** The text, of at least two tokens. */
  readonly tokens: Int32Array;
  /** W: tokens that are read at once. */
  readonly window: number;
  /** S: tokens that the window moves, from 1 to W. Every scored token after the first window has between W − S + 1 and W tokens of context. */
  readonly stride: number;
  /** As in {@link ContextEvaluationOptions}. */
  readonly tables?: (context: number) => HostTables;
}

export interface SlidingWindowLoss {
  /** Mean over all scored tokens, in nats per token. */
  readonly nats: number;
  /** exp(nats). */
  readonly perplexity: number;
  /** Tokens that were scored: all but the first, each once. Fewer only where `shouldStop` ended the evaluation. */
  readonly targets: number;
}

/**
 * Perplexity of a long text through a window of W tokens that moves by S. Every token but the first is scored once, in the first
 * window that holds it, and every token weighs the same (means of window means would give those of the last window more weight).
 * A text of at most W + 1 tokens is read in one pass. Throws OptionError for sizes that make no such windows.
 */
export async function slidingWindowPerplexity(options: SlidingWindowOptions): Promise<SlidingWindowLoss> {
  checkOptions("slidingWindowPerplexity", options, slidingKinds);
  const { model, tokens, stride, batch = 8, onProgress, shouldStop } = options;
  const scored = tokens.length - 1;
  if (scored < 1) throw new OptionError(`a text of ${tokens.length} tokens has nothing to predict`, { hint: "give at least two tokens" });
  if (!Number.isInteger(options.window) || options.window < 1) {
    throw new OptionError(`the window must be a positive integer, found ${options.window}`, {
      hint: "the trained window is a good choice",
    });
  }
  if (!Number.isInteger(stride) || stride < 1 || stride > options.window) {
    throw new OptionError(`the stride must be an integer from 1 to the window of ${options.window}, found ${stride}`, {
      hint: "a larger stride would leave tokens out",
    });
  }
  const window = Math.min(options.window, scored);
  const tables = ropeTensors((options.tables ?? defaultTables(model))(window));

  const head = windowsEndingAt(tokens, [window], window, window);
  // How many predictions are scored once each of the later windows is done.
  const ends = Array.from({ length: Math.ceil((scored - window) / stride) }, (_, i) => Math.min(window + (i + 1) * stride, scored));
  const rest = windowsEndingAt(tokens, ends, window, Math.min(stride, window));
  const rows = Math.max(1, Math.min(checkBatch(batch), ends.length));
  const total = 1 + Math.ceil(ends.length / rows);

  let sum = 0;
  let targets = 0;
  if (!shouldStop?.()) {
    for (const loss of await scoreRows(model, head, { first: 0, rows: 1, tables })) sum += loss;
    targets = window;
    onProgress?.({ done: 1, total, tokens: window });
  }
  for (let first = 0; first < ends.length && !shouldStop?.(); first += rows) {
    const losses = await scoreRows(model, rest, { first, rows, tables });
    const perRow = rest.targetLength;
    for (let row = first; row < Math.min(first + rows, ends.length); row++) {
      const end = ends[row] as number;
      const fresh = end - targets; // fewer than the stride in the last window
      for (let i = perRow - fresh; i < perRow; i++) sum += losses[(row - first) * perRow + i] as number;
      targets = end;
    }
    onProgress?.({ done: 2 + first / rows, total, tokens: rows * window });
  }
  const nats = targets === 0 ? 0 : sum / targets;
  return { nats, perplexity: Math.exp(nats), targets };
}

/** Rows whose last targets are the predictions number `end` (counted from 1), with `context` tokens before each. */
function windowsEndingAt(tokens: Int32Array, ends: readonly number[], context: number, targetLength: number): ScoredRows {
  const inputs = new Int32Array(ends.length * context);
  const targets = new Int32Array(ends.length * targetLength);
  ends.forEach((end, row) => {
    inputs.set(tokens.subarray(end - context, end), row * context);
    targets.set(tokens.subarray(end - targetLength + 1, end + 1), row * targetLength);
  });
  return { inputs, targets, count: ends.length, context, targetLength };
}

interface ScoredRows {
  readonly inputs: Int32Array; // [N, W]
  readonly targets: Int32Array; // [N, T]
  readonly count: number;
  readonly context: number;
  readonly targetLength: number;
}

/** Losses [B, T] of the last T places of tokens [B, W]. */
const scoreTargets = compile(
  (model: Llama, inputs: Tensor, targets: Tensor, tables: RopeTensors): Tensor => {
    const x = model.hidden(inputs, tables); // [B, W, C]
    const last = slice(x, [null, [-(targets.shape[1] as number)]]); // [B, T, C]
    return crossEntropy(model.head(last), targets, { reduction: "none" });
  },
  { name: "evaluate" },
);

/** Losses of rows first … first + rows − 1 that exist, row by row. A short last batch is filled up with zeros, whose losses are dropped. */
async function scoreRows(
  model: Llama,
  all: ScoredRows,
  options: { readonly first: number; readonly rows: number; readonly tables: RopeTensors },
): Promise<ArrayLike<number> & Iterable<number>> {
  const { first, rows, tables } = options;
  const { context: W, targetLength: T } = all;
  const inputs = new Int32Array(rows * W);
  const targets = new Int32Array(rows * T);
  inputs.set(all.inputs.subarray(first * W, (first + rows) * W));
  targets.set(all.targets.subarray(first * T, (first + rows) * T));
  const losses = scoreTargets(model, tensor(inputs, { shape: [rows, W] }), tensor(targets, { shape: [rows, T] }), tables);
  const values = await data(losses);
  losses.dispose();
  await yieldToEvents(); // signals are heard here
  return values.subarray(0, Math.min(rows, all.count - first) * T);
}

const defaultTables =
  (model: Llama) =>
  (length: number): HostTables => {
    const window = model.config.max_position_embeddings;
    return readingTables(model.config, { schedule: "linear", scale: automaticScale("linear", length, window), length, window });
  };

function checkBatch(batch: number): number {
  if (!Number.isInteger(batch) || batch < 1) throw new OptionError(`batch must be a positive integer, found ${batch}`);
  return batch;
}
