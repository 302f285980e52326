import { callable, checkOptions, integer, number, numbers, type OptionKinds, optional, plainObject } from "../arguments.js";
import { type Compiled, compile } from "../autograd/compile.js";
import { gather, reshape, sub } from "../autograd/operations.js";
import { data } from "../autograd/realize.js";
import { sync } from "../autograd/runtime.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { NonFiniteError, OptionError } from "../errors.js";
import { blockRange, planBlocks } from "./block-reader.js";
import { yieldToEvents } from "./events.js";
import { modelKind } from "./kinds.js";
import { KeyValueCache } from "./kv-cache.js";
import type { Llama, RopeTensors } from "./llama.js";
import { createSampler, type SamplingOptions, samplingKinds, samplingOptions } from "./sampling.js";
import { StreamingCache, type StreamingSizes, streamingKinds } from "./streaming-cache.js";

export interface GenerateOptions extends SamplingOptions {
  readonly model: Llama;
  /** The tokens to continue, at least one. */
  readonly prompt: ArrayLike<number>;
  /** How many to add. */
  readonly tokens: number;
  /**
   * Cosines and sines [1, length, D/2] of the places 0 … length − 1, for reading a text of `tokens` tokens. Asked before each token, so
   * that a scale may grow with the text; give the same tensors for as long as nothing changes. With `cache` no more than s + w tokens are
   * ever read, however long the text is.
   */
  readonly tables: (length: number, tokens: number) => RopeTensors;
  /**
   * Keeps the `sinks` first tokens (default 4) and the last `window` alone, at positions among themselves (StreamingLLM, see
   * `StreamingCache`): memory and time per token do not grow with the text. Default: all tokens are kept.
   */
  readonly cache?: StreamingSizes;
  /** Tokens of the prompt that are read at once, at most: a longer one is read in blocks, in memory that grows with its length. Default 1024. */
  readonly block?: number;
  /** Called with each new token. */
  readonly onToken?: (token: number, index: number) => void;
  /** Asked before each token, and between the blocks of a long prompt; true ends the text there. */
  readonly shouldStop?: () => boolean;
}

const generateKinds: OptionKinds<GenerateOptions> = {
  ...samplingKinds,
  model: modelKind,
  prompt: numbers,
  tokens: number,
  tables: callable,
  cache: optional(plainObject),
  block: optional(integer(1)),
  onToken: optional(callable),
  shouldStop: optional(callable),
};

type Cache = KeyValueCache | StreamingCache;

/** Reads `count` of the tokens [1, T] and returns the logits [V] after the last of them, and the longer cache. */
type Reader = Compiled<[model: Llama, tokens: Tensor, count: Tensor, tables: RopeTensors, cache: Cache], [logits: Tensor, cache: Cache]>;

const read: Reader = compile(
  (model, tokens, count, tables, cache) => {
    const x = model.hidden(tokens, tables, cache); // [1, T, C]
    const last = gather(x, sub(count, 1), 1); // [1, 1, C]
    cache.advance(reshape(count, []));
    return [reshape(model.head(last), [-1]), cache];
  },
  { donate: [4], name: "generate" },
);

/**
 * Continues a prompt and returns the new tokens.
 *
 * The prompt is read at once, padded to a length from a short list, or in blocks of one length; then each token is one run of one
 * program over the {@link KeyValueCache}. The logits of a token are those of a forward pass over the whole text so far, with `cache` by the
 * tables of `streamingTables`.
 * Throws OptionError for an empty prompt, for tokens outside of the vocabulary and for impossible sampling options, and
 * NonFiniteError where the model gives logits that are no numbers.
 */
export async function generate(options: GenerateOptions): Promise<Int32Array> {
  checkOptions("generate", options, generateKinds);
  if (options.cache !== undefined) checkOptions("generate: cache", options.cache, streamingKinds);
  const { model, tokens: wanted, block = 1024, onToken, shouldStop } = options;
  const prompt = Int32Array.from(options.prompt);
  const { vocab_size: V } = model.config;
  if (prompt.length === 0) throw new OptionError("generate: the prompt is empty", { hint: "give at least one token to go on from" });
  for (let i = 0; i < prompt.length; i++) {
    const token = options.prompt[i] as number;
    if (!Number.isInteger(token) || token < 0 || token >= V) {
      throw new OptionError(`generate: token ${token} at place ${i} is not in the vocabulary of ${V}`);
    }
  }
  if (!Number.isInteger(wanted) || wanted < 0) throw new OptionError(`generate: ${wanted} is no count of tokens`);
  const sample = createSampler(samplingOptions(options));

  const unread = piecesOf(prompt, block);
  const found: number[] = [];
  const seen = new Set(prompt);
  const capacity = bucket(prompt.length + wanted);
  const rolling = options.cache === undefined ? undefined : new StreamingCache(model.config, options.cache);
  /** Places that tables are made for, and tokens that are read at a time, at most. */
  const places = rolling?.tableLength(unread[0]?.tokens.length as number) ?? capacity;
  const mostRead = rolling?.capacity ?? capacity;
  let cache: Cache = rolling ?? new KeyValueCache(model.config, { capacity });
  try {
    while (found.length < wanted && !shouldStop?.()) {
      const tables = options.tables(places, Math.min(mostRead, prompt.length + found.length));
      const { tokens, count } = unread.shift() as Piece;
      let logits: Tensor;
      [logits, cache] = read(model, tensor(tokens, { shape: [1, tokens.length] }), tensor(Int32Array.of(count)), tables, cache);
      if (unread.length > 0) {
        logits.dispose();
        await sync();
        await yieldToEvents();
        continue;
      }
      const values = await data(logits);
      logits.dispose();
      const broken = values.findIndex((value) => !Number.isFinite(value));
      if (broken >= 0) {
        throw new NonFiniteError(`generate: the logit of token ${broken} is ${values[broken]} at place ${prompt.length + found.length}`, {
          hint: "the checkpoint holds weights that are no numbers, or they overflow",
        });
      }
      const token = sample(values, found.length, seen);
      seen.add(token);
      found.push(token);
      onToken?.(token, found.length - 1);
      unread.push({ tokens: Int32Array.of(token), count: 1 });
      await yieldToEvents();
    }
  } finally {
    cache.dispose();
  }
  return Int32Array.from(found);
}

/** Tokens to read next, the first `count` of them; the others fill up. */
interface Piece {
  readonly tokens: Int32Array;
  readonly count: number;
}

/** A prompt in one piece, or in pieces of one length, at most `longest`. */
function piecesOf(prompt: Int32Array, longest: number): Piece[] {
  const plan = planBlocks(prompt.length, longest);
  const length = plan.count === 1 ? bucket(plan.length) : plan.length;
  return Array.from({ length: plan.count }, (_, i) => {
    const { from, to } = blockRange(plan, i);
    const tokens = new Int32Array(length);
    tokens.set(prompt.subarray(from, to));
    return { tokens, count: to - from };
  });
}

/** A length of at least 16 from a short list, at most a quarter larger than needed: few lengths mean few programs. */
function bucket(length: number): number {
  const step = Math.max(16, 2 ** (Math.ceil(Math.log2(length)) - 3));
  return step * Math.ceil(length / step);
}
