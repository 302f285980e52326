import {
  callable,
  checkOptions,
  integer,
  listOf,
  number,
  numbers,
  type OptionKinds,
  objectWith,
  oneOf,
  optional,
  plainObject,
  text,
} from "../arguments.js";
import { type Compiled, compile } from "../autograd/compile.js";
import { gather, reshape, sub } from "../autograd/operations.js";
import { data } from "../autograd/realize.js";
import { sync } from "../autograd/runtime.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { NonFiniteError, OptionError } from "../errors.js";
import { yieldToEvents } from "./events.js";
import { type GenerationCache, TurningCache } from "./generation-cache.js";
import { modelKind } from "./kinds.js";
import type { KeyValueCacheOptions } from "./kv-cache.js";
import type { Llama, RopeTensors } from "./llama.js";
import { bucket, checkedPrompts, checkToken, type Piece, promptRows } from "./prompt-rows.js";
import { createSampler, type Sampler, type SamplingOptions, samplingKinds, samplingOptions } from "./sampling.js";
import { StoppedText } from "./stop-strings.js";
import { StreamingCache, type StreamingSizes, streamingKinds } from "./streaming-cache.js";
import type { Tokenizer } from "./tokenizers.js";

/** What both forms of {@link generate} take. */
export interface GenerationOptions extends SamplingOptions {
  readonly model: Llama;
  /** How many to add to each prompt, at most. */
  readonly tokens: number;
  /**
   * Cosines and sines [1, length, D/2] of the places 0 … length − 1, for reading a text of `tokens` tokens. Asked before each token, so
   * that a scale may grow with the text; give the same tensors for as long as nothing changes, for then each key is turned once. With
   * `cache` no more than s + w tokens are ever read, however long the text is. Of several prompts the longest text counts.
   */
  readonly tables: (length: number, tokens: number) => RopeTensors;
  /**
   * Keeps the `sinks` first tokens (default 4) and the last `window` alone, at positions among themselves (StreamingLLM, see
   * `StreamingCache`): memory and time per token do not grow with the text. For one prompt at a time. Default: all tokens are kept.
   */
  readonly cache?: StreamingSizes;
  /** What keys and values are kept in; "bf16" and "f16" take half the memory. Default "f32". */
  readonly cacheDtype?: NonNullable<KeyValueCacheOptions["dtype"]>;
  /** Tokens of a prompt that are read at once, at most: a longer one is read in blocks, in memory that grows with its length. Default 1024. */
  readonly block?: number;
  /** Tokens that end a text, such as the end of a turn. They are no part of it. */
  readonly stopTokens?: ArrayLike<number>;
  /** Texts that end a text and are no part of it; they need a `tokenizer`. The tokens that they came in are returned. */
  readonly stopStrings?: readonly string[];
  /** Decodes tokens for `stopStrings` and `onText`. */
  readonly tokenizer?: Tokenizer;
  /** Called with each new token, its number among those of its row, and the number of its prompt. */
  readonly onToken?: (token: number, index: number, row: number) => void;
  /** Called with each piece of new text as soon as it is certain: characters are whole, and no part of a stop string is among it. Needs a `tokenizer`. */
  readonly onText?: (text: string, row: number) => void;
  /** Asked before each token, and between the blocks of a long prompt; true ends all texts there. */
  readonly shouldStop?: () => boolean;
}

export interface GenerateOptions extends GenerationOptions {
  /** The tokens to continue, at least one. */
  readonly prompt: ArrayLike<number>;
}

export interface GenerateManyOptions extends GenerationOptions {
  /** Prompts to continue side by side, each of at least one token; they may have different lengths. */
  readonly prompts: readonly ArrayLike<number>[];
}

const generationKinds: OptionKinds<GenerationOptions> = {
  ...samplingKinds,
  model: modelKind,
  tokens: number,
  tables: callable,
  cache: optional(plainObject),
  cacheDtype: optional(oneOf("f32", "f16", "bf16")),
  block: optional(integer(1)),
  stopTokens: optional(numbers),
  stopStrings: optional(listOf(text)),
  tokenizer: optional(objectWith("a tokenizer", "encode", "decoder")),
  onToken: optional(callable),
  onText: optional(callable),
  shouldStop: optional(callable),
};

/** Reads `count` of the tokens [B, T] and returns the logits [B, V] after the last of them, and the longer cache. */
type Reader = Compiled<
  [model: Llama, tokens: Tensor, count: Tensor, tables: RopeTensors, cache: GenerationCache],
  [logits: Tensor, cache: GenerationCache]
>;

const read: Reader = compile(
  (model, tokens, count, tables, cache) => {
    const x = model.hidden(tokens, tables, cache); // [B, T, C]
    const last = gather(x, sub(count, 1), 1); // [B, 1, C]
    cache.advance(reshape(count, []));
    return [reshape(model.head(last), [tokens.shape[0] as number, -1]), cache];
  },
  { donate: [4], name: "generate" },
);

/** The text of one prompt. */
class Row {
  readonly found: number[] = [];
  readonly seen: Set<number>;
  readonly sample: Sampler;
  readonly text: StoppedText | undefined;
  ended = false;

  constructor(
    readonly number: number,
    readonly prompt: Int32Array,
    private readonly options: GenerationOptions,
  ) {
    const { seed = 0, tokenizer, stopStrings = [], onText } = options;
    this.seen = new Set(prompt);
    // What a row draws is what it would draw alone with this seed.
    this.sample = createSampler({ ...samplingOptions(options), seed: seed + number });
    if (tokenizer !== undefined && (stopStrings.length > 0 || onText !== undefined)) {
      this.text = new StoppedText(tokenizer.decoder(), stopStrings);
    }
  }

  /** Chooses the next token by the logits [V]. */
  add(logits: ArrayLike<number>, stops: ReadonlySet<number>): void {
    const { found, seen, number, prompt, options } = this;
    for (let token = 0; token < logits.length; token++) {
      if (Number.isFinite(logits[token])) continue;
      throw new NonFiniteError(`generate: the logit of token ${token} is ${logits[token]} at place ${prompt.length + found.length}`, {
        hint: "the checkpoint holds weights that are no numbers, or they overflow",
      });
    }
    const token = this.sample(logits, found.length, seen);
    if (stops.has(token)) {
      this.end();
      return;
    }
    found.push(token);
    seen.add(token);
    options.onToken?.(token, found.length - 1, number);
    const piece = this.text?.push(token);
    if (piece) options.onText?.(piece, number);
    if (this.text?.stopped || found.length >= options.tokens) this.end();
  }

  /** Hands out the text that was held back. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    const rest = this.text?.end();
    if (rest) this.options.onText?.(rest, this.number);
  }
}

/**
 * Continues a prompt and returns the new tokens, or many prompts side by side and returns those of each.
 *
 * A prompt is read at once, padded to a length from a short list, or in blocks of one length; then each token is one run of one
 * program over the {@link KeyValueCache}. The logits of a token are those of a forward pass over the whole text so far, with `cache` by the
 * tables of `streamingTables`. Of many prompts the shorter ones are padded at their beginning, which nobody sees, so each row is continued
 * as it would be alone, where it draws with the seed `seed` + the number of its prompt.
 *
 * A text ends after `tokens` tokens, before a token of `stopTokens`, and where its own new text comes to one of `stopStrings`.
 *
 * Throws OptionError for an empty prompt, for tokens outside of the vocabulary, for impossible sampling options, and for options that do
 * not go together; UsageError for prompts of different lengths where tables have far pairs or layers a position encoding of their own;
 * and NonFiniteError where the model gives logits that are no numbers.
 */
export async function generate(options: GenerateOptions): Promise<Int32Array>;
export async function generate(options: GenerateManyOptions): Promise<Int32Array[]>;
export async function generate(options: GenerateOptions | GenerateManyOptions): Promise<Int32Array | Int32Array[]> {
  const has = (name: string): boolean => plainObject.fits(options) && (options as unknown as Record<string, unknown>)[name] !== undefined;
  if (!has("prompts")) {
    checkOptions("generate", options as GenerateOptions, { ...generationKinds, prompt: numbers });
    const [found] = await continued(options, [(options as GenerateOptions).prompt], true);
    return found as Int32Array;
  }
  if (has("prompt")) throw new OptionError("generate: there are a prompt and prompts", { hint: "give one of the two" });
  checkOptions("generate", options as GenerateManyOptions, { ...generationKinds, prompts: listOf(numbers) });
  return continued(options, (options as GenerateManyOptions).prompts, false);
}

async function continued(options: GenerationOptions, given: readonly ArrayLike<number>[], isOne: boolean): Promise<Int32Array[]> {
  const { model, tokens: wanted, block = 1024, cacheDtype, shouldStop } = options;
  const { vocab_size: V } = model.config;
  const prompts = checkedPrompts(given, V, isOne);
  const stops = checkedStops(options, V);
  if (options.cache !== undefined) {
    checkOptions("generate: cache", options.cache, streamingKinds);
    if (prompts.length > 1)
      throw new OptionError("generate: a rolling cache continues one prompt", { hint: "leave out cache, or give them one by one" });
    if (cacheDtype !== undefined) throw new OptionError("generate: a rolling cache keeps f32", { hint: "leave out cacheDtype" });
  }
  if (!Number.isInteger(wanted) || wanted < 0) throw new OptionError(`generate: ${wanted} is no count of tokens`);
  const rows = prompts.map((prompt, number) => new Row(number, prompt, options));
  if (wanted === 0) for (const row of rows) row.end();

  const { length, first, pieces } = promptRows(prompts, block);
  const unread = [...pieces];
  const capacity = bucket(length + wanted);
  const rolling = options.cache === undefined ? undefined : new StreamingCache(model.config, options.cache);
  /** Places that tables are made for, and tokens that are read at a time, at most. */
  const places = rolling?.tableLength(unread[0]?.tokens.length as number) ?? capacity;
  const mostRead = rolling?.capacity ?? capacity;
  const kept = new TurningCache(model, rolling ?? { capacity, dtype: cacheDtype, first });
  let steps = 0;
  try {
    while (rows.some(({ ended }) => !ended) && !shouldStop?.()) {
      const tables = options.tables(places, Math.min(mostRead, length + steps));
      const logits = readPiece(model, unread.shift() as Piece, rows.length, tables, kept);
      if (unread.length > 0) {
        logits.dispose();
        await sync();
      } else {
        const values = (await data(logits)) as Float32Array;
        logits.dispose();
        for (const row of rows) if (!row.ended) row.add(values.subarray(row.number * V, (row.number + 1) * V), stops);
        // Rows that have ended go on with anything, which nobody looks at.
        unread.push({ tokens: Int32Array.from(rows, ({ ended, found }) => (ended ? 0 : (found.at(-1) as number))), count: 1 });
        steps++;
      }
      await yieldToEvents();
    }
    for (const row of rows) row.end();
  } finally {
    kept.dispose();
  }
  return rows.map(({ found }) => Int32Array.from(found));
}

/** Reads one piece of each row, and gives the logits [B, V] after it. */
function readPiece(model: Llama, { tokens, count }: Piece, rows: number, tables: RopeTensors, kept: TurningCache): Tensor {
  const input = tensor(tokens, { shape: [rows, tokens.length / rows] });
  const [logits, cache] = read(model, input, tensor(Int32Array.of(count)), tables, kept.readyFor(tables));
  kept.keep(cache);
  return logits;
}

/** The tokens that end a text. Throws OptionError for options about texts that do not go together. */
function checkedStops({ stopTokens = [], stopStrings = [], tokenizer, onText }: GenerationOptions, V: number): Set<number> {
  for (const [i, token] of Array.from(stopTokens).entries()) checkToken(token, V, `at place ${i} of stopTokens`);
  if (stopStrings.includes("")) throw new OptionError("generate: an empty stop string ends a text before it begins");
  if (tokenizer === undefined && (stopStrings.length > 0 || onText !== undefined)) {
    throw new OptionError(`generate: ${stopStrings.length > 0 ? "stopStrings" : "onText"} without a tokenizer`, {
      hint: "give the tokenizer of the model, which makes text of its tokens",
    });
  }
  return new Set(Array.from(stopTokens));
}
