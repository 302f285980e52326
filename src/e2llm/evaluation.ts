/** The loss of a model at several context lengths. */

import { checkArgument, checkOptions, flag, instanceOf, listOf, number, type OptionKinds, optional, positive } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { TokenDocument } from "../nn/data.js";
import { blocksKind, documentsKind } from "../nn/kinds.js";
import { type TargetBlock, targetWindow } from "../nn/target-window.js";
import {
  checkTables,
  checkTokens,
  defaultTables,
  PassCounter,
  planScoring,
  type ReadingOptions,
  readingOptionKinds,
  type ScoredRow,
  type ScoringPlan,
  scoreRows,
  scoringCost,
} from "./scoring.js";

export type { EvaluationProgress, ReadingOptions } from "./scoring.js";

/** The loss at one context length. */
export interface ContextLoss {
  /** W: tokens before the last target of a block. */
  readonly context: number;
  /** Mean over all targets of −ln p(target | context), in nats per token. */
  readonly nats: number;
  /** Targets that were scored: the same for every context. */
  readonly targets: number;
  /** Of each block its T losses, in nats: number i of two contexts, or of two models, is a pair. */
  readonly losses: readonly Float32Array[];
  /** Share of the targets that were the most probable token; only with `accuracy`. */
  readonly accuracy?: number;
  /** Of each block 1 where no token has a higher probability than the target, else 0; only with `accuracy`. */
  readonly correct?: readonly Uint8Array[];
}

export interface ContextEvaluationOptions extends ReadingOptions {
  readonly documents: readonly TokenDocument[];
  /** Blocks of T targets from `evaluationTargets` for these documents, with maxContext at least the longest context. */
  readonly blocks: readonly TargetBlock[];
  /** T: targets of a block. */
  readonly targetLength: number;
  /** Context lengths W, each at least T. */
  readonly contexts: readonly number[];
  /** Whether to tell which targets were the most probable tokens too. Default false. */
  readonly accuracy?: boolean;
}

const contextKinds: OptionKinds<ContextEvaluationOptions> = {
  ...readingOptionKinds,
  documents: documentsKind,
  blocks: blocksKind,
  targetLength: number,
  contexts: listOf(number),
  accuracy: optional(flag),
};
const slidingKinds: OptionKinds<SlidingWindowOptions> = {
  ...readingOptionKinds,
  tokens: instanceOf("an Int32Array of tokens", Int32Array),
  window: number,
  stride: number,
  bytes: optional(positive),
};

/**
 * The loss on the same target tokens with only the available context varied: for a context W the last target of a block sees exactly
 * the W tokens before it, the first W − T + 1. Nothing else differs between two contexts, so a difference of losses is what the
 * context is worth, together with the harm that positions past the trained window do.
 *
 * The truncation baseline (read only the last L tokens, as the model is read at that length) is this number at W = L: at scale 1, or at the
 * scale of a model that was trained at one alone.
 *
 * Only the last T places of a row are scored, so the head computes logits of those alone. Losses are summed in f64 on the host;
 * the same arguments on the same device give the same bits. Throws OptionError for no contexts, no blocks, and contexts that the
 * blocks or documents do not have.
 */
export async function evaluateContexts(options: ContextEvaluationOptions): Promise<ContextLoss[]> {
  checkOptions("evaluateContexts", options, contextKinds);
  const { model, documents, blocks, targetLength, contexts, accuracy = false, shouldStop } = options;
  if (contexts.length === 0) throw new OptionError("an evaluation needs at least one context length");
  if (blocks.length === 0) throw new OptionError("an evaluation needs at least one block of targets");
  const tables = options.tables ?? defaultTables(model);
  const jobs = contexts.map((context) => ({
    context,
    rows: blocks.map((block) => targetWindow({ documents, block, targetLength, context })),
    plan: planScoring(model.config, { ...options, context, count: blocks.length }),
  }));
  for (const { rows } of jobs) {
    for (const [i, { inputs, targets }] of rows.entries()) {
      for (const tokens of [inputs, targets]) checkTokens("evaluateContexts", `block ${i}`, tokens, model.config);
    }
  }
  const counter = new PassCounter(
    jobs.map(({ plan }) => scoringCost(model.config, plan)),
    options.onProgress,
  );
  const found: ContextLoss[] = [];
  for (const { context, rows, plan } of jobs) {
    const losses: Float32Array[] = [];
    const correct: Uint8Array[] = [];
    const complete = await scoreRows(model, (i) => rows[i] as ScoredRow, {
      plan,
      tables: tables(context),
      counter,
      shouldStop,
      answers: accuracy,
      onScores: ({ losses: group, answers }, first) => {
        losses.push(...group);
        answers?.forEach((row, i) => {
          const { targets } = rows[first + i] as ScoredRow;
          correct.push(Uint8Array.from(row, (answer, place) => Number(answer === targets[place])));
        });
      },
    });
    if (!complete) break;
    const targets = rows.length * targetLength;
    const mean = (values: readonly (Float32Array | Uint8Array)[]): number => {
      let sum = 0;
      for (const row of values) for (const one of row) sum += one;
      return sum / targets;
    };
    found.push({ context, nats: mean(losses), targets, losses, ...(accuracy ? { accuracy: mean(correct), correct } : {}) });
  }
  return found;
}

export interface SlidingWindowOptions extends ReadingOptions {
  /** The text, of at least two tokens. */
  readonly tokens: Int32Array;
  /** W: tokens that are read at once. */
  readonly window: number;
  /** S: tokens that the window moves, from 1 to W. Every scored token after the first window has between W − S + 1 and W tokens of context. */
  readonly stride: number;
  /** Bytes of the text that all tokens but the first stand for. Default: as many as tokens for a vocabulary of 256, which is bytes; else unknown. */
  readonly bytes?: number;
}

export interface SlidingWindowLoss {
  /** Mean over all scored tokens, in nats per token. */
  readonly nats: number;
  /** exp(nats). */
  readonly perplexity: number;
  /** nats/ln 2 · tokens/bytes: what a code by this model takes for a byte, comparable between tokenizers. Only where the bytes are known. */
  readonly bitsPerByte?: number;
  /** Tokens that were scored: all but the first, each once. Fewer only where `shouldStop` ended the evaluation. */
  readonly targets: number;
}

/**
 * Perplexity of a long text through a window of W tokens that moves by S. Every token but the first is scored once, in the first
 * window that holds it, and every token weighs the same (means of window means would give those of the last window more weight).
 * A text of at most W + 1 tokens is read in one pass. Throws OptionError for sizes that make no such windows and for tokens outside of the
 * vocabulary, ShapeError for tables of another length, all before anything is read.
 */
export async function slidingWindowPerplexity(options: SlidingWindowOptions): Promise<SlidingWindowLoss> {
  checkOptions("slidingWindowPerplexity", options, slidingKinds);
  const { model, tokens, stride, shouldStop } = options;
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
  checkTokens("slidingWindowPerplexity", "the text", tokens, model.config);
  const window = Math.min(options.window, scored);
  const tables = checkTables("slidingWindowPerplexity", (options.tables ?? defaultTables(model))(window), {
    config: model.config,
    length: window,
  });

  /** How many predictions are scored once each of the later windows is done. */
  const later = Math.ceil((scored - window) / stride);
  const endOf = (i: number): number => Math.min(window + (i + 1) * stride, scored);
  const planOf = (count: number, targetLength: number): ScoringPlan =>
    planScoring(model.config, { ...options, context: window, count, targetLength });
  const [head, rest] = [planOf(1, window), planOf(later, Math.min(stride, window))];
  const counter = new PassCounter(
    [head, rest].map((plan) => scoringCost(model.config, plan)),
    options.onProgress,
  );

  let sum = 0;
  let targets = 0;
  const whole = await scoreRows(model, () => windowEndingAt(tokens, window, head), {
    plan: head,
    tables,
    counter,
    shouldStop,
    onScores: ({ losses: [row], scored: found }) => {
      for (const loss of (row as Float32Array).subarray(0, found)) sum += loss;
      targets = found;
    },
  });
  if (whole) {
    await scoreRows(model, (i) => windowEndingAt(tokens, endOf(i), rest), {
      plan: rest,
      tables,
      counter,
      shouldStop,
      onScores: ({ losses, scored: found }, first) => {
        if (found < rest.targetLength) return; // a window that was not read to its end
        losses.forEach((row, i) => {
          const end = endOf(first + i);
          const fresh = end - targets; // fewer than the stride in the last window
          for (const loss of row.subarray(rest.targetLength - fresh)) sum += loss;
          targets = end;
        });
      },
    });
  }
  const nats = targets === 0 ? 0 : sum / targets;
  const bytes = options.bytes ?? (model.config.vocab_size === 256 ? scored : undefined);
  return { nats, perplexity: Math.exp(nats), ...(bytes === undefined ? {} : { bitsPerByte: bitsPerByte(nats, bytes / scored) }), targets };
}

/**
 * Nats per token as bits per byte: nats / (ln 2 · bytes per token).
 *
 * @param bytesPerToken bytes of the text, as UTF-8, over its tokens. Default 1: the tokens are bytes
 */
export function bitsPerByte(nats: number, bytesPerToken = 1): number {
  checkArgument("bitsPerByte", "nats", nats, number);
  checkArgument("bitsPerByte", "bytesPerToken", bytesPerToken, positive);
  return nats / (Math.LN2 * bytesPerToken);
}

/** The row whose last T targets are the predictions up to number `end` (counted from 1). */
function windowEndingAt(tokens: Int32Array, end: number, { blocks, targetLength }: ScoringPlan): ScoredRow {
  return { inputs: tokens.subarray(end - blocks.context, end), targets: tokens.subarray(end - targetLength + 1, end + 1) };
}
