import type { BackendInfo } from "../../backend/backend.js";
import { logProbs, type ScoredToken } from "../../e2llm/log-probs.js";
import { planScoring } from "../../e2llm/scoring.js";
import { OptionError } from "../../errors.js";
import type { StoredModel } from "../../nn/stored-model.js";
import { bytesOfTokens } from "../../nn/token-bytes.js";
import { encodeText, type Tokenizer } from "../../nn/tokenizers.js";
import type { LogprobsOptions } from "../commands/logprobs.js";
import { lossPerUnit } from "../corpus.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import { exitCodes } from "../exit.js";
import { inputBytes } from "../input-text.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { load, readingDtype, shapeOf, withModel } from "../opened-model.js";
import { withoutEnd } from "../prompts.js";
import { beyondReach, type ModelReading, modelReading, unseenScale } from "../reading.js";
import { sayReadingNeed } from "../reading-need.js";
import type { CommandContext, Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { lossInWords, oneOf, type Unit, unitOf } from "../units.js";
import { pieceText } from "../used-tokenizer.js";

/**
 * ln p of the tokens of a text. JSON: { command, model, backend, adapter, tokenizer (its name), unit, dtype, memory (ReadingFigures), window (L), schedule (what "auto" stands for), scale, context (tokens that were
 * read at once), stride (null where the text was read at once), tokens: [{ token, piece (how the vocabulary writes it), text (what it stands for), logprob, rank (both null where it is not
 * scored: the first token, and those of a prompt), top: [{ token, piece, text, logprob }] }], scored (how many are), logprob (their sum), nats and natsPerByte (means, positive), perplexity (by token), greedy (whether
 * each was the most probable one), interrupted, seconds }. A number that is none is null, and then the exit code is 1.
 */
export const run: Runner<LogprobsOptions> = async (options, context) => {
  const text = await inputBytes(options, context);
  if (text.length === 0) throw new OptionError("the text is empty", { hint: "give some text to score" });
  return onBackend(options, context.io, (computedOn, info) =>
    withModel(options.model, (stored) => score(stored, { ...context, options, text, computedOn, info })),
  );
};

/** Milliseconds after which somebody who waits is told how far it is. */
const worthShowing = 2000;

interface Circumstances extends CommandContext {
  readonly options: LogprobsOptions;
  readonly text: Uint8Array;
  readonly computedOn: ComputedOn;
  readonly info: BackendInfo;
}

async function score(stored: StoredModel, { options, text, io, onInterrupt, computedOn, info }: Circumstances): Promise<number> {
  const begun = performance.now();
  const { config } = stored;
  const tokenizer = await modelTokenizer(options.model, config, options.tokenizer);
  const unit = unitOf(tokenizer);
  const reading = modelReading(config, options.model, options, unit);
  if (reading.chosen !== undefined) io.note(reading.chosen);
  const { tokens, from } = await encoded(options, text, tokenizer);
  const window = windowOf(options, reading, { length: tokens.length - 1, reach: config.max_position_embeddings });
  const stride = Math.min(window, options.stride ?? Math.max(1, Math.floor(window / 2)));
  const moves = window < tokens.length - 1;
  if (moves) io.note(`${tokens.length} ${unit}, read by a window of ${window} that moves by ${stride}`);
  const beyond = beyondReach(config, reading, window);
  if (beyond !== undefined)
    io.warn(`${window} ${unit} are read at once and ${beyond}; see \`dawngrad eval --help\` for schedules that reach further`);
  const unseen = unseenScale(reading, window, unit);
  if (unseen !== undefined) io.warn(unseen);
  const dtype = readingDtype(stored, options.dtype, info);
  const batch = options.batch === undefined ? {} : { batch: options.batch };
  const memory = sayReadingNeed(io, {
    ...{ info, unit, model: shapeOf(stored, dtype), tables: reading.tables, sizes: { contexts: [window], ...batch } },
    plansOf: (sizes) => [
      planScoring(config, { context: window, targetLength: window, count: 1, batch: sizes.batch }),
      ...(moves
        ? [planScoring(config, { context: window, targetLength: stride, count: Math.ceil(tokens.length / stride), batch: sizes.batch })]
        : []),
    ],
  });
  const model = await load(stored, dtype);
  const stop = onInterrupt();
  const meter = new EvaluationMeter(io, "logprobs");
  const started = performance.now();
  const scores = await logProbs({
    ...{ model, tokens, from, window, stride, top: options.top, tables: reading.tables(window), ...batch },
    shouldStop: () => stop.requested !== undefined,
    onProgress: (progress) => {
      if (performance.now() - started > worthShowing) meter.update(progress);
    },
  });
  meter.finish();
  const sum = scores.reduce((total, { logProb }) => total + logProb, 0);
  const bytes = bytesOfTokens(tokenizer, tokens.subarray(from, from + scores.length));
  const mean = scores.length === 0 ? undefined : lossPerUnit(-sum / scores.length, scores.length, bytes);
  const greedy = scores.every(({ rank }) => rank === 1);
  io.print(table(tokens, { tokenizer, scores, from, unit }));
  if (mean !== undefined) {
    const first = scores.length === 1 ? oneOf(unit) : unit;
    io.print(
      `${scores.length} ${first} scored, ln p ${sum.toFixed(4)} in all: ${lossInWords(unit, mean)}, perplexity ${Math.exp(mean.nats).toFixed(3)}`,
    );
  }
  const named = (token: number) => ({ token, piece: tokenizer.tokenText(token), text: pieceText(tokenizer, token) });
  io.result({
    command: "logprobs",
    model: options.model,
    ...computedOn,
    tokenizer: tokenizer.name,
    ...{ unit, dtype, memory, window: reading.window, schedule: reading.schedule, scale: reading.scaleAt(window), context: window },
    stride: moves ? stride : null,
    tokens: Array.from(tokens, (token, i) => {
      const found = scores[i - from];
      const top = found?.top.map((one) => ({ ...named(one.token), logprob: orNull(one.logProb) }));
      return {
        ...named(token),
        logprob: orNull(found?.logProb),
        rank: found?.rank ?? null,
        ...(options.top === 0 ? {} : { top: top ?? [] }),
      };
    }),
    scored: scores.length,
    logprob: orNull(sum),
    nats: orNull(mean?.nats),
    natsPerByte: orNull(mean?.natsPerByte),
    perplexity: orNull(mean && Math.exp(mean.nats)),
    greedy,
    interrupted: stop.requested !== undefined,
    seconds: (performance.now() - begun) / 1000,
  });
  if (Number.isFinite(sum)) return stop.exitCode;
  io.warn("a probability is not a number: the weights hold NaN or infinities, or the numbers of the forward pass overflow");
  return stop.exitCode || exitCodes.failed;
}

/** JSON knows no NaN and no infinity. */
const orNull = (value: number | undefined): number | null => (value !== undefined && Number.isFinite(value) ? value : null);

/** The tokens of prompt and text as one, and the first that the prompt alone does not have. Throws OptionError where nothing is left to score. */
async function encoded(
  { prompt = "" }: LogprobsOptions,
  text: Uint8Array,
  tokenizer: Tokenizer,
): Promise<{ readonly tokens: Int32Array; readonly from: number }> {
  const before = new TextEncoder().encode(prompt);
  const whole = new Uint8Array(before.length + text.length);
  whole.set(before);
  whole.set(text, before.length);
  const tokens = withoutEnd(await encodeText(tokenizer, whole, { special: true }), tokenizer);
  const given = prompt === "" ? [] : withoutEnd(tokenizer.encode(before, { special: true }), tokenizer);
  let from = 1;
  while (from < given.length && given[from] === tokens[from]) from++;
  if (from < tokens.length) return { tokens, from };
  throw new OptionError(
    `there is nothing to score: ${tokens.length === 1 ? "the text is one token, with nothing before it" : "the text adds no token to the prompt"}`,
    {
      hint: "give a longer text, or what stands before it: --prompt",
    },
  );
}

/** Tokens that are read at once: as many as were named, or all, or the window of a model that is read as it was trained. */
function windowOf(
  { context }: LogprobsOptions,
  { schedule }: ModelReading,
  { length, reach }: { readonly length: number; readonly reach: number },
): number {
  return Math.min(length, context ?? (schedule === "none" ? reach : length));
}

/** A line for each token. */
function table(
  tokens: Int32Array,
  found: { readonly tokenizer: Tokenizer; readonly scores: readonly ScoredToken[]; readonly from: number; readonly unit: Unit },
): string {
  const { tokenizer, scores, from, unit } = found;
  const shown = (token: number): string => {
    const text = pieceText(tokenizer, token);
    return text === "" || text.includes("\ufffd") ? tokenizer.tokenText(token) : JSON.stringify(text);
  };
  const line = (cells: readonly string[], rest: readonly string[]): string =>
    [...cells.map((cell, i) => cell.padStart([7, 8, 10, 7][i] ?? 0)), ...rest].join("  ");
  const lines = [line(["place", oneOf(unit), "ln p", "rank"], ["text"])];
  for (let i = 0; i < from + scores.length; i++) {
    const token = tokens[i] as number;
    const score = scores[i - from];
    const top = score?.top.map((one) => `${shown(one.token)} ${one.logProb.toFixed(2)}`) ?? [];
    const numbers = score === undefined ? ["-", "-"] : [score.logProb.toFixed(4), String(score.rank)];
    lines.push(line([String(i), String(token), ...numbers], [shown(token), ...(top.length === 0 ? [] : [`(${top.join(", ")})`])]));
  }
  return lines.join("\n");
}
