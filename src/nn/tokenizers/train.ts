/** Training of byte-level byte-pair encodings (Sennrich et al. 2016; Radford et al. 2019). */
import {
  callable,
  checkArgument,
  checkOptions,
  integer,
  type Kind,
  listOf,
  type OptionKinds,
  oneOf,
  optional,
  text,
} from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { yieldToEvents } from "../events.js";
import { byteCharacters, toByteCharacters } from "./byte-characters.js";
import { Fields } from "./fields.js";
import { readPreTokenizer } from "./pre-tokenizers.js";
import { textOf } from "./tokenizer.js";

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const cutting = (numbers: string): Readonly<Record<string, unknown>> => ({
  type: "Sequence",
  pretokenizers: [
    {
      type: "Split",
      pattern: {
        Regex: `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
      },
      behavior: "Isolated",
      invert: false,
    },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ],
});
const words = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** How texts are cut before pairs are counted, as tokenizer.json says it. */
const patterns = {
  gpt2: words,
  llama3: cutting("\\p{N}{1,3}"),
  qwen2: cutting("\\p{N}"),
  smollm: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, words] },
} as const;

/**
 * How a text is cut into words that no token spans: "gpt2" (with numbers of any length), "llama3" (three digits at most, line breaks with the
 * signs before them), "qwen2" (single digits), "smollm" (as gpt2, with single digits).
 */
export type TokenizerPattern = keyof typeof patterns;

export interface TrainTokenizerOptions {
  /** V: special tokens, the 256 bytes, and one token for each merge. */
  readonly vocabSize: number;
  /** Pairs that occur less often are not merged. Default 2. */
  readonly minFrequency?: number;
  /** Tokens that stand for no text, numbered from 0. The first one begins and ends texts. Default `["<|endoftext|>"]`. */
  readonly specialTokens?: readonly string[];
  /** Default "gpt2". */
  readonly pattern?: TokenizerPattern;
  /** Told how much has been done, from 0 to 1. */
  readonly onProgress?: (done: number) => void;
}

const optionKinds: OptionKinds<TrainTokenizerOptions> = {
  vocabSize: integer(256, 2 ** 20),
  minFrequency: optional(integer(1)),
  specialTokens: optional(listOf(text)),
  pattern: optional(oneOf(...Object.keys(patterns))),
  onProgress: optional(callable),
};

/** The files of a tokenizer, for `loadTokenizer` and to be written beside a model. */
export type TokenizerFiles = Readonly<Record<"tokenizer.json" | "tokenizer_config.json", string>>;

/**
 * Learns a byte-level byte-pair encoding from texts: from the 256 bytes, whichever two neighbours inside of words are the most frequent become a
 * token, V − 256 − (special tokens) times or until none occurs `minFrequency` times. Of equally frequent pairs the one of the smaller tokens goes
 * first, so that the same texts give the same tokenizer, which is that of Hugging Face's `BpeTrainer`.
 *
 * Pairs are counted once, and changed where a merge changes words: 1.2 MB give 4,096 tokens in seconds. Timers and signals get their turn.
 *
 * @returns `tokenizer.json` and `tokenizer_config.json`, which `tokenizers` and `transformers` read, too
 * @throws OptionError for texts with halves of surrogate pairs, or a vocabulary that the special tokens and bytes do not fit into
 */
export async function trainTokenizer(texts: readonly string[], options: TrainTokenizerOptions): Promise<TokenizerFiles> {
  const textsKind: Kind = listOf(text);
  checkArgument("trainTokenizer", "texts", texts, textsKind);
  checkOptions("trainTokenizer", options, optionKinds);
  const { vocabSize, minFrequency = 2, specialTokens = ["<|endoftext|>"], pattern = "gpt2", onProgress } = options;
  const alphabet = [...byteCharacters].sort();
  if (new Set(specialTokens).size < specialTokens.length || specialTokens.some((token) => token === "" || alphabet.includes(token))) {
    throw new OptionError("special tokens must differ from each other and from single characters", {
      hint: 'write them like "<|endoftext|>"',
    });
  }
  if (vocabSize < 256 + specialTokens.length) {
    throw new OptionError(`a vocabulary of ${vocabSize} has no place for 256 bytes and ${specialTokens.length} special tokens`, {
      hint: `give vocabSize: ${256 + specialTokens.length} or more`,
    });
  }
  const turn = turns(onProgress);
  const counts = await countWords(texts, patterns[pattern], turn);
  const tokens = [...specialTokens, ...alphabet];
  const merges = await learnMerges(counts, tokens, { vocabSize, minFrequency, firstByte: specialTokens.length, turn });
  return {
    "tokenizer.json": tokenizerJson(tokens, merges, specialTokens, patterns[pattern]),
    "tokenizer_config.json": configJson(specialTokens[0]),
  };
}

/** Share of the progress that counting words is. */
const COUNTING = 0.2;
/** Milliseconds after which timers, signals and input get their turn. */
const TURN = 30;

type Turn = (done: number) => Promise<void>;

function turns(onProgress: ((done: number) => void) | undefined): Turn {
  let last = Date.now();
  return async (done) => {
    if (Date.now() - last < TURN) return;
    onProgress?.(done);
    await yieldToEvents();
    last = Date.now();
  };
}

async function countWords(texts: readonly string[], preTokenizer: unknown, turn: Turn): Promise<Map<string, number>> {
  const { steps } = readPreTokenizer(Fields.of(preTokenizer, "tokenizer.json"));
  const counts = new Map<string, number>();
  const total = texts.reduce((sum, { length }) => sum + length, 0);
  let read = 0;
  function* pieces(piece: string, first: boolean, step: number): Generator<string> {
    const next = steps[step];
    if (next === undefined) yield piece;
    else for (const one of next(piece, first)) yield* pieces(one, false, step + 1);
  }
  for (const one of texts) {
    for (const word of pieces(textOf(one), true, 0)) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
      read += word.length;
      if ((read & 0xfff) < word.length) await turn((COUNTING * read) / total);
    }
  }
  return counts;
}

/** Two tokens as one number. */
const PAIR = 2 ** 21;

interface MergeSettings {
  readonly vocabSize: number;
  readonly minFrequency: number;
  /** The token of the first character of the alphabet. */
  readonly firstByte: number;
  readonly turn: Turn;
}

/** Learns merges and adds their results to `tokens`. */
async function learnMerges(counts: ReadonlyMap<string, number>, tokens: string[], settings: MergeSettings): Promise<[string, string][]> {
  const { vocabSize, minFrequency, firstByte, turn } = settings;
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const symbolOf = new Map(tokens.slice(firstByte).map((character, i) => [character, firstByte + i]));
  const spelled: { symbols: number[]; count: number }[] = [];
  for (const [word, count] of counts) {
    spelled.push({ symbols: [...toByteCharacters(word)].map((character) => symbolOf.get(character) as number), count });
  }
  const frequency = new Map<number, number>();
  /** Words that a pair may be in, by pair. */
  const places = new Map<number, number[]>();
  const add = (pair: number, change: number, word: number): void => {
    frequency.set(pair, (frequency.get(pair) ?? 0) + change);
    if (change < 0) return;
    const known = places.get(pair);
    if (known === undefined) places.set(pair, [word]);
    else if (known.at(-1) !== word) known.push(word);
  };
  for (const [word, { symbols, count }] of spelled.entries()) {
    for (let i = 0; i + 1 < symbols.length; i++) add((symbols[i] as number) * PAIR + (symbols[i + 1] as number), count, word);
  }
  const queue = new PairQueue();
  for (const [pair, count] of frequency) queue.push(pair, count);

  const merges: [string, string][] = [];
  const wanted = vocabSize - tokens.length;
  const begun = tokens.length;
  while (tokens.length < vocabSize) {
    const top = queue.pop();
    if (top === undefined) break;
    const now = frequency.get(top.pair) ?? 0;
    if (now !== top.count) {
      if (now > 0) queue.push(top.pair, now);
      continue;
    }
    if (now < minFrequency) break;
    const [left, right] = [Math.floor(top.pair / PAIR), top.pair % PAIR];
    const result = `${tokens[left]}${tokens[right]}`;
    // Two ways to spell it give one token.
    let id = ids.get(result);
    if (id === undefined) {
      id = tokens.push(result) - 1;
      ids.set(result, id);
    }
    merges.push([tokens[left] as string, tokens[right] as string]);
    const changed = new Set<number>();
    for (const word of places.get(top.pair) ?? []) {
      const { symbols, count } = spelled[word] as { symbols: number[]; count: number };
      mergeIn(symbols, left, right, id, (pair, change) => {
        add(pair, change * count, word);
        if (change > 0) changed.add(pair);
      });
    }
    frequency.delete(top.pair);
    places.delete(top.pair);
    for (const pair of changed) queue.push(pair, frequency.get(pair) ?? 0);
    await turn(COUNTING + ((1 - COUNTING) * (tokens.length - begun)) / wanted);
  }
  return merges;
}

/** Joins left and right to one symbol wherever they are neighbours, and tells which pairs are gone and which are new. */
function mergeIn(symbols: number[], left: number, right: number, id: number, changed: (pair: number, change: 1 | -1) => void): void {
  let kept = 0;
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] !== left || symbols[i + 1] !== right) {
      symbols[kept++] = symbols[i] as number;
      continue;
    }
    const before = kept > 0 ? symbols[kept - 1] : undefined;
    const after = symbols[i + 2];
    if (before !== undefined) {
      changed(before * PAIR + left, -1);
      changed(before * PAIR + id, 1);
    }
    if (after !== undefined) {
      changed(right * PAIR + after, -1);
      changed(id * PAIR + after, 1);
    }
    symbols[kept++] = id;
    i++;
  }
  symbols.length = kept;
}

/** Pairs by count, the most frequent first, of equal ones the smaller. */
class PairQueue {
  private readonly pairs: number[] = [];
  private readonly counts: number[] = [];

  private comesFirst(pair: number, count: number, other: number): boolean {
    const than = this.counts[other] as number;
    return count > than || (count === than && pair < (this.pairs[other] as number));
  }

  push(pair: number, count: number): void {
    let at = this.pairs.push(pair) - 1;
    this.counts.push(count);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.comesFirst(pair, count, parent)) break;
      this.move(parent, at);
      at = parent;
    }
    this.pairs[at] = pair;
    this.counts[at] = count;
  }

  pop(): { readonly pair: number; readonly count: number } | undefined {
    const [pair, count] = [this.pairs[0], this.counts[0]];
    const [lastPair, lastCount] = [this.pairs.pop(), this.counts.pop()];
    if (pair === undefined || count === undefined || lastPair === undefined || lastCount === undefined) return undefined;
    const size = this.pairs.length;
    if (size === 0) return { pair, count };
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && this.comesFirst(this.pairs[child + 1] as number, this.counts[child + 1] as number, child)) child++;
      if (this.comesFirst(lastPair, lastCount, child)) break;
      this.move(child, at);
      at = child;
    }
    this.pairs[at] = lastPair;
    this.counts[at] = lastCount;
    return { pair, count };
  }

  private move(from: number, to: number): void {
    this.pairs[to] = this.pairs[from] as number;
    this.counts[to] = this.counts[from] as number;
  }
}

function tokenizerJson(
  tokens: readonly string[],
  merges: readonly [string, string][],
  special: readonly string[],
  preTokenizer: unknown,
): string {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return `${JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: preTokenizer,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  })}\n`;
}

const configJson = (end: string | undefined): string =>
  `${JSON.stringify(
    {
      tokenizer_class: "PreTrainedTokenizerFast",
      clean_up_tokenization_spaces: false,
      ...(end === undefined ? {} : { bos_token: end, eos_token: end }),
    },
    undefined,
    2,
  )}\n`;
