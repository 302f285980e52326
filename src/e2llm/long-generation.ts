/** What becomes of a text that a model writes far beyond its window: repetition, surprise and drift by position. */
import { callable, checkOptions, instanceOf, integer, listOf, type OptionKinds, objectWith, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { type HostTables, ropeTensors } from "../nn/batch.js";
import { generate } from "../nn/generate.js";
import { modelKind } from "../nn/kinds.js";
import type { Llama, RopeTensors } from "../nn/llama.js";
import { type SamplingOptions, samplingKinds, samplingOptions } from "../nn/sampling.js";
import { lossByPosition } from "./position-loss.js";
import { type AutomaticReading, automaticReading, readingScale, readingTables } from "./reading.js";
import type { ReadingOptions } from "./scoring.js";

/** Measures over the new tokens from … to − 1, counted from the first new one, as means over all texts. */
export interface ContinuationBucket {
  readonly from: number;
  /** One more than the last. */
  readonly to: number;
  /** Share of the n-grams that end here and have occurred before in the same continuation, 0 … 1 (rep-n of Welleck et al. 2019, arXiv 1908.04319). */
  readonly repeated: number;
  /** Distinct n-grams of the bucket over all of its n-grams, 0 … 1 (distinct-n of Li et al. 2016, arXiv 1510.03055). */
  readonly distinct: number;
  /**
   * How far the tokens of this bucket are distributed from those of the first one: the Jensen–Shannon divergence of the two, over all texts, in nats from 0
   * to ln 2.
   */
  readonly drift: number;
  /** Mean loss of the tokens under the judge, in nats; absent without a judge. Low and falling where a text repeats itself, high where it decays. */
  readonly nats?: number;
}

/** A model that knows the length, such as one that was trained at it, and how it reads. */
export type Judge = Pick<ReadingOptions, "model" | "tables" | "batch" | "block">;

export interface ContinuationOptions {
  /** Prompts with what continues them, all of one length. Real text is the line to compare with. */
  readonly texts: readonly Int32Array[];
  /** Tokens of each text that are its prompt and are not measured, at least 1. */
  readonly promptLength: number;
  readonly judge?: Judge;
  /** Number of buckets, of equal size but for rounding. Default 8. */
  readonly buckets?: number;
  /** n of the n-grams. Default 4. */
  readonly ngram?: number;
  /** Asked between the passes of the judge; true ends the measurement without losses of the judge. */
  readonly shouldStop?: () => boolean;
}

const judgeKind = objectWith("a judge { model, tables? }", "model");
const continuationKinds: OptionKinds<ContinuationOptions> = {
  texts: listOf(instanceOf("an Int32Array of tokens", Int32Array)),
  promptLength: integer(1),
  judge: optional(judgeKind),
  buckets: optional(integer(1)),
  ngram: optional(integer(1)),
  shouldStop: optional(callable),
};

/**
 * Repetition, drift and the judge's loss of continuations, by position. Throws OptionError for no texts or none longer than their prompt, ShapeError for texts of
 * different lengths.
 */
export async function measureContinuations(options: ContinuationOptions): Promise<ContinuationBucket[]> {
  checkOptions("measureContinuations", options, continuationKinds);
  const { texts, promptLength, judge, ngram = 4, shouldStop } = options;
  const length = texts[0]?.length ?? 0;
  const odd = texts.findIndex((text) => text.length !== length);
  if (odd >= 0) throw new ShapeError(`measureContinuations: text 0 has ${length} tokens and text ${odd} has ${texts[odd]?.length}`);
  const written = length - promptLength;
  if (written < 1) throw new OptionError(`measureContinuations: texts of ${length} tokens have nothing after a prompt of ${promptLength}`);
  const count = Math.min(options.buckets ?? 8, written);
  const losses = judge === undefined ? undefined : await judged(texts, judge, shouldStop);

  const continuations = texts.map((text) => text.subarray(promptLength));
  const repeats = continuations.map((tokens) => repetitions(tokens, ngram));
  let first: Map<number, number> | undefined;
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * written) / count);
    const to = Math.floor(((i + 1) * written) / count);
    const frequencies = countTokens(continuations, from, to);
    first ??= frequencies;
    let [grams, repeated, distinct] = [0, 0, 0];
    for (const { known, names } of repeats) {
      const own = new Set<string>();
      for (let end = Math.max(from, ngram - 1); end < to; end++) {
        grams++;
        repeated += known[end] as number;
        own.add(names[end] as string);
      }
      distinct += own.size;
    }
    const sum = losses?.reduce(
      (total, row) => total + row.subarray(from + promptLength - 1, to + promptLength - 1).reduce((a, b) => a + b, 0),
      0,
    );
    return {
      from,
      to,
      repeated: grams === 0 ? 0 : repeated / grams,
      distinct: grams === 0 ? 1 : distinct / grams,
      drift: divergence(first, frequencies),
      ...(sum === undefined ? {} : { nats: sum / (texts.length * (to - from)) }),
    };
  });
}

/** Losses of the judge, number i that of token i + 1; undefined where it was stopped. */
async function judged(
  texts: readonly Int32Array[],
  judge: Judge,
  shouldStop: (() => boolean) | undefined,
): Promise<readonly Float32Array[] | undefined> {
  const { nats, context } = await lossByPosition({ ...judge, tokens: texts, ...(shouldStop === undefined ? {} : { shouldStop }) });
  return nats.every((row) => row.length === context) ? nats : undefined;
}

/** The n-gram that ends at each place, as text, and whether it has ended at an earlier place. */
function repetitions(tokens: Int32Array, n: number): { readonly known: Uint8Array; readonly names: readonly string[] } {
  const known = new Uint8Array(tokens.length);
  const seen = new Set<string>();
  const names = Array.from(tokens, (_, end) => (end < n - 1 ? "" : tokens.subarray(end - n + 1, end + 1).join()));
  names.forEach((name, end) => {
    if (end < n - 1) return;
    if (seen.has(name)) known[end] = 1;
    seen.add(name);
  });
  return { known, names };
}

function countTokens(texts: readonly Int32Array[], from: number, to: number): Map<number, number> {
  const counts = new Map<number, number>();
  for (const text of texts) for (const token of text.subarray(from, to)) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}

/** ½·KL(p‖m) + ½·KL(q‖m), m = (p + q)/2, of two counts. */
function divergence(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): number {
  const totalOf = (counts: ReadonlyMap<number, number>): number => [...counts.values()].reduce((x, y) => x + y, 0);
  const [allA, allB] = [totalOf(a), totalOf(b)];
  let sum = 0;
  for (const token of new Set([...a.keys(), ...b.keys()])) {
    const [p, q] = [(a.get(token) ?? 0) / allA, (b.get(token) ?? 0) / allB];
    const m = (p + q) / 2;
    for (const x of [p, q]) if (x > 0) sum += (x / 2) * Math.log(x / m);
  }
  return Math.max(0, sum);
}

export interface LongGenerationOptions extends Omit<ContinuationOptions, "texts" | "promptLength">, SamplingOptions {
  readonly model: Llama;
  /** Prompts of one length, each continued by itself. Real text before the place where real text is to be compared. */
  readonly prompts: readonly Int32Array[];
  /** Tokens to write after each prompt. */
  readonly tokens: number;
  /**
   * RoPE tables [1, length, D/2] for texts of `planned` tokens: one scale for the whole of them. Default: by the schedule that the model was
   * made for (`automaticReading`, else "linear") at g = max(1, ceil(planned/L)).
   */
  readonly tables?: (length: number, planned: number) => HostTables;
  /** Called with each new token: how many of all are written. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

export interface LongGeneration {
  /** Each prompt with its continuation. */
  readonly texts: readonly Int32Array[];
  /** Empty where `shouldStop` ended it. */
  readonly buckets: readonly ContinuationBucket[];
}

const generationKinds: OptionKinds<LongGenerationOptions> = {
  ...samplingKinds,
  ...(({ texts: _texts, promptLength: _promptLength, ...rest }) => rest)(continuationKinds),
  model: modelKind,
  prompts: listOf(instanceOf("an Int32Array of tokens", Int32Array)),
  tokens: integer(1),
  tables: optional(callable),
  onProgress: optional(callable),
};

/**
 * Lets a model continue prompts at one fixed scale, and measures what it wrote (see {@link measureContinuations}): the question of whether long output holds, asked of
 * a base model at any size (Que et al. 2024, HelloBench, arXiv 2409.16191, ask it of assistants).
 */
export async function longGeneration(options: LongGenerationOptions): Promise<LongGeneration> {
  checkOptions("longGeneration", options, generationKinds);
  const { model, prompts, tokens, seed = 0, onProgress, shouldStop, judge, buckets, ngram } = options;
  const promptLength = prompts[0]?.length ?? 0;
  if (promptLength === 0) throw new OptionError("longGeneration needs prompts of at least one token");
  const planned = promptLength + tokens;
  const tablesOf = options.tables ?? ((length: number, all: number): HostTables => plannedTables(model, length, all));
  let made: RopeTensors | undefined;
  const texts: Int32Array[] = [];
  try {
    for (const [i, prompt] of prompts.entries()) {
      const found = await generate({
        model,
        prompt,
        tokens,
        ...samplingOptions(options),
        seed: seed + i,
        tables: (length) => {
          made ??= ropeTensors(tablesOf(length, planned));
          return made;
        },
        onToken: (_, index) => onProgress?.({ done: i * tokens + index + 1, total: prompts.length * tokens }),
        ...(shouldStop === undefined ? {} : { shouldStop }),
      });
      texts.push(Int32Array.of(...prompt, ...found));
      if (found.length < tokens) return { texts, buckets: [] };
    }
  } finally {
    made?.cos.dispose();
    made?.sin.dispose();
  }
  const measured = await measureContinuations({
    texts,
    promptLength,
    ...(judge === undefined ? {} : { judge }),
    ...(buckets === undefined ? {} : { buckets }),
    ...(ngram === undefined ? {} : { ngram }),
    ...(shouldStop === undefined ? {} : { shouldStop }),
  });
  return { texts, buckets: measured };
}

function plannedTables({ config }: Llama, length: number, planned: number): HostTables {
  const window = config.max_position_embeddings;
  const reading: AutomaticReading = config.e2llm === undefined ? { schedule: "linear" } : automaticReading(config);
  return readingTables(config, { schedule: reading.schedule, scale: readingScale(reading, planned, window), length, planned, window });
}
