/** How probable a model finds the tokens of a text, with what it finds more probable. */
import { type Compiled, compile } from "../autograd/compile.js";
import { data } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { type HostTables, ropeTensors } from "../nn/batch.js";
import type { Llama } from "../nn/llama.js";
import {
  checkTokens,
  PassCounter,
  planScoring,
  type ReadingOptions,
  type ScoringPlan,
  scoredBlocks,
  scoredPlaces,
  scoringCost,
} from "./scoring.js";

export interface LogProbsOptions extends Pick<ReadingOptions, "model" | "batch" | "onProgress" | "shouldStop"> {
  /** N ≥ 2 tokens of a text. */
  readonly tokens: Int32Array;
  /** The first token that is scored, from 1 to N − 1; what stands before it is read alone. */
  readonly from: number;
  /** W: tokens that are read at once. */
  readonly window: number;
  /** Tokens that the window moves, at most W, where the text is longer. */
  readonly stride: number;
  /** K: how many of the most probable tokens are told at each place. */
  readonly top: number;
  /** Tables of W places. */
  readonly tables: HostTables;
}

/** A token and ln p of it. */
export interface LikelyToken {
  readonly token: number;
  readonly logProb: number;
}

/** What a model thinks of a token. */
export interface ScoredToken extends LikelyToken {
  /** 1 and as many as are more probable. */
  readonly rank: number;
  /** The K most probable ones, the most probable first, of equal ones the lower number. */
  readonly top: readonly LikelyToken[];
}

/** A window that ends before token `end`, which its last place predicts, and the first token that is scored in it. */
interface Window {
  readonly end: number;
  readonly from: number;
}

/**
 * ln p(token | those before it in its window) for tokens from … N − 1, each once, in the first window that holds it: all tokens of the first have
 * whatever stands before them as context, those of later ones at least W − S + 1. Fewer only where `shouldStop` ended it.
 */
export async function logProbs(options: LogProbsOptions): Promise<ScoredToken[]> {
  const { model, tokens, from, stride, top, shouldStop } = options;
  checkTokens("logProbs", "the text", tokens, model.config);
  const last = tokens.length - 1;
  const window = Math.min(options.window, last);
  const windows = windowsOf({ last, from, window, stride });
  // Those that score as many tokens at most are read side by side.
  const groups = [windows.slice(0, 1), windows.slice(1)].filter((group) => group.length > 0);
  const readings = groups.map((group) => {
    const targetLength = Math.max(...group.map(({ end, from: first }) => end - first + 1));
    const batch = options.batch === undefined ? {} : { batch: options.batch };
    return { group, plan: planScoring(model.config, { context: window, targetLength, count: group.length, ...batch }) };
  });
  const counter = new PassCounter(
    readings.map(({ plan }) => scoringCost(model.config, plan)),
    options.onProgress,
  );
  const tables = ropeTensors(options.tables);
  const scores: ScoredToken[] = [];
  try {
    for (const { group, plan } of readings) {
      for (let first = 0; first < group.length; first += plan.rows) {
        const rows = group.slice(first, first + plan.rows);
        const found = await scoreWindows({ model, tokens, rows, plan, tables, counter, shouldStop, top });
        for (const [i, row] of found.entries()) {
          scores.push(...row);
          const { end, from: begin } = rows[i] as Window;
          if (row.length < end - begin + 1) return scores;
        }
      }
    }
    return scores;
  } finally {
    for (const { tensor: held } of tensorsOf(tables)) held.dispose();
  }
}

/** Windows that end at W, W + S, …, and at last token; those alone in which something is scored. */
function windowsOf(sizes: { readonly last: number; readonly from: number; readonly window: number; readonly stride: number }): Window[] {
  const { last, from, window, stride } = sizes;
  const found: Window[] = [];
  for (let end = window, before = 0; ; before = end, end = Math.min(last, end + stride)) {
    if (end >= from) found.push({ end, from: Math.max(from, before + 1) });
    if (end >= last) return found;
  }
}

const logitsOf: Compiled<[model: Llama, hidden: Tensor, first: Tensor, count: number], Tensor> = compile(
  (model, hidden, first, count) => model.head(scoredPlaces(hidden, count, first)),
  { static: [3], name: "logits" },
);

/** Logits that are on the host at a time. */
const mostLogits = 2 ** 22;

async function scoreWindows(options: {
  readonly model: Llama;
  readonly tokens: Int32Array;
  readonly rows: readonly Window[];
  readonly plan: ScoringPlan;
  readonly tables: ReturnType<typeof ropeTensors>;
  readonly counter: PassCounter;
  readonly shouldStop: (() => boolean) | undefined;
  readonly top: number;
}): Promise<ScoredToken[][]> {
  const { model, tokens, rows, plan, top } = options;
  const { blocks, targetLength, rows: B } = plan;
  const { vocab_size: V } = model.config;
  const count = Math.max(1, Math.min(targetLength, blocks.length, Math.floor(mostLogits / (B * V))));
  const inputs = rows.map(({ end }) => ({ inputs: tokens.subarray(end - blocks.context, end) }));
  const scores = rows.map((): ScoredToken[] => []);
  for await (const { hidden, from, first, to } of scoredBlocks(model, inputs, options)) {
    for (let place = first; place < to; place += count) {
      const logits = logitsOf(model, hidden, place - from, count);
      const values = await data(logits);
      logits.dispose();
      rows.forEach(({ end, from: begin }, row) => {
        for (let i = 0; i < Math.min(count, to - place); i++) {
          const token = end - blocks.context + place + i + 1; // which this place predicts
          if (token < begin) continue;
          const at = (row * count + i) * V;
          scores[row]?.push(scoreOf(values.subarray(at, at + V) as ArrayLike<number>, tokens[token] as number, top));
        }
      });
    }
  }
  return scores;
}

/** Of one place, summed in f64. */
function scoreOf(logits: ArrayLike<number>, token: number, top: number): ScoredToken {
  const own = logits[token] as number;
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i] as number);
  let sum = 0;
  let rank = 1;
  const best: { token: number; logit: number }[] = [];
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] as number;
    sum += Math.exp(logit - largest);
    if (logit > own) rank++;
    if (best.length === top && !(logit > (best[top - 1]?.logit ?? Number.POSITIVE_INFINITY))) continue;
    let at = best.length;
    while (at > 0 && logit > (best[at - 1] as { logit: number }).logit) at--;
    best.splice(at, 0, { token: i, logit });
    if (best.length > top) best.pop();
  }
  const total = largest + Math.log(sum);
  return { token, logProb: own - total, rank, top: best.map((one) => ({ token: one.token, logProb: one.logit - total })) };
}
