/** The loss at each position of a long text. */
import {
  checkArgument,
  checkOptions,
  either,
  flag,
  instanceOf,
  integer,
  type Kind,
  listOf,
  type OptionKinds,
  optional,
} from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import type { LlamaConfig } from "../nn/config.js";
import {
  checkTables,
  checkTokens,
  defaultTables,
  PassCounter,
  planScoring,
  type ReadingOptions,
  readingOptionKinds,
  scoreRows,
  scoringCost,
} from "./scoring.js";

export interface PositionLossOptions extends ReadingOptions {
  /** W + 1 tokens of a text, or of each of several texts. */
  readonly tokens: Int32Array | readonly Int32Array[];
  /** Whether to tell which tokens were the most probable ones too. Default false. */
  readonly accuracy?: boolean;
}

/** Losses by position. */
export interface PositionLosses {
  /** W: tokens of each text that have a token to predict. */
  readonly context: number;
  /**
   * For each text its W losses in nats: number i is −ln p(token i + 1 | tokens 0 … i), which i + 1 tokens of context come before. Fewer
   * only where `shouldStop` ended the evaluation.
   */
  readonly nats: readonly Float32Array[];
  /** 1 where no token has a higher probability than the one that came, else 0, as many as `nats`; only with `accuracy`. */
  readonly correct?: readonly Uint8Array[];
}

const tokensKind = instanceOf("an Int32Array of tokens", Int32Array);
const positionKinds: OptionKinds<PositionLossOptions> = {
  ...readingOptionKinds,
  tokens: either(tokensKind, listOf(tokensKind)),
  accuracy: optional(flag),
};

/**
 * The loss at every position of a text of W + 1 tokens, each token predicted from all that come before it:
 *
 *   nats[i] = −ln p(token[i + 1] | token[0 … i]),  i = 0 … W − 1.
 *
 * The text is read from its beginning to its end in blocks that keep keys and values, as by one forward pass over all of it, in memory
 * that grows with W: 4·(2·layers + 1)·Hkv·D·W bytes beside the weights and a block of activations. Where a model gains from context the
 * loss falls with the position, and where positions beyond the trained window break it, it rises from there. One text is noisy:
 * {@link positionBuckets} takes means.
 *
 * Throws OptionError for no texts, texts of fewer than two tokens and tokens outside of the vocabulary, and ShapeError for texts of
 * different lengths.
 */
export async function lossByPosition(options: PositionLossOptions): Promise<PositionLosses> {
  checkOptions("lossByPosition", options, positionKinds);
  const { model, shouldStop, onProgress, accuracy = false } = options;
  const texts = options.tokens instanceof Int32Array ? [options.tokens] : options.tokens;
  const [first] = texts;
  if (first === undefined) throw new OptionError("lossByPosition needs at least one text");
  if (first.length < 2) {
    throw new OptionError(`a text of ${first.length} tokens has nothing to predict`, { hint: "give at least two tokens" });
  }
  for (const [text, tokens] of texts.entries()) checkText(tokens, text, first.length, model.config);

  const context = first.length - 1;
  const plan = planScoring(model.config, { ...options, context, targetLength: context, count: texts.length });
  const nats: Float32Array[] = texts.map(() => new Float32Array());
  const correct: Uint8Array[] = texts.map(() => new Uint8Array());
  await scoreRows(
    model,
    (i) => {
      const tokens = texts[i] as Int32Array;
      return { inputs: tokens.subarray(0, context), targets: tokens.subarray(1) };
    },
    {
      plan,
      tables: checkTables("lossByPosition", (options.tables ?? defaultTables(model))(context), { config: model.config, length: context }),
      counter: new PassCounter([scoringCost(model.config, plan)], onProgress),
      shouldStop,
      answers: accuracy,
      onScores: ({ losses, answers, scored }, firstRow) => {
        losses.forEach((row, i) => {
          nats[firstRow + i] = row.subarray(0, scored);
        });
        answers?.forEach((row, i) => {
          const tokens = texts[firstRow + i] as Int32Array;
          correct[firstRow + i] = Uint8Array.from(row.subarray(0, scored), (answer, place) => Number(answer === tokens[place + 1]));
        });
      },
    },
  );
  return { context, nats, ...(accuracy ? { correct } : {}) };
}

function checkText(tokens: Int32Array, text: number, length: number, config: LlamaConfig): void {
  if (tokens.length !== length) {
    throw new ShapeError(`lossByPosition: text 0 has ${length} tokens and text ${text} has ${tokens.length}`, {
      hint: "texts that are read together have one length; cut them, or read each by itself",
    });
  }
  checkTokens("lossByPosition", `text ${text}`, tokens, config);
}

/** The mean loss over a range of positions. */
export interface PositionBucket {
  /** The first position. */
  readonly from: number;
  /** One more than the last position. */
  readonly to: number;
  /** Mean over the losses of all texts in from … to − 1, in nats per token. */
  readonly nats: number;
  /** Losses behind it. */
  readonly targets: number;
  /** Share of the tokens that were the most probable ones; only where `correct` was given. */
  readonly accuracy?: number;
}

const lossesKind: Kind = {
  wanted: "a list of losses by position, as lossByPosition(…) gives them",
  fits: (value) => Array.isArray(value) && value.every((row) => row instanceof Float32Array),
};

const correctKind: Kind = {
  wanted: "a list of right and wrong answers by position, as lossByPosition({ …, accuracy: true }) gives them",
  fits: (value) => Array.isArray(value) && value.every((row) => row instanceof Uint8Array),
};

/**
 * Means over positions 0 … first − 1, first … 2·first − 1, 2·first … 4·first − 1 and so on, the last bucket up to the longest row: each
 * holds as much text as all before it, so that its mean is as exact as theirs. Taken in f64; buckets without a loss are left out.
 *
 * @param nats losses of each text, as `lossByPosition` gives them
 * @param options.first positions of the first bucket. Default 64.
 * @param options.correct which tokens were the most probable ones, as `lossByPosition` gives them. Default: buckets tell no accuracy
 * @throws ShapeError where `correct` is not of the form of the losses
 */
export function positionBuckets(
  nats: readonly Float32Array[],
  options: { readonly first?: number; readonly correct?: readonly Uint8Array[] } = {},
): PositionBucket[] {
  checkArgument("positionBuckets", "nats", nats, lossesKind);
  checkOptions("positionBuckets", options, { first: optional(integer(1)), correct: optional(correctKind) });
  const { first = 64, correct } = options;
  if (correct !== undefined && (correct.length !== nats.length || correct.some((row, i) => row.length !== nats[i]?.length))) {
    throw new ShapeError("positionBuckets: nats and correct are not of the same texts", {
      hint: "give what one call of lossByPosition gave",
    });
  }
  const end = nats.reduce((most, row) => Math.max(most, row.length), 0);
  const buckets: PositionBucket[] = [];
  for (let from = 0, next = first; from < end; from = next, next *= 2) {
    const to = Math.min(next, end);
    let sum = 0;
    let targets = 0;
    let right = 0;
    nats.forEach((row, i) => {
      for (const loss of row.subarray(from, to)) sum += loss;
      for (const one of correct?.[i]?.subarray(from, to) ?? []) right += one;
      targets += Math.max(0, Math.min(to, row.length) - from);
    });
    buckets.push({ from, to, nats: sum / targets, targets, ...(correct === undefined ? {} : { accuracy: right / targets }) });
  }
  return buckets;
}
