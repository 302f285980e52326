/** Multi-query associative recall. */
import { checkOptions, integer, type OptionKinds, optional, positive } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { beginning, Draft, draw } from "./sequence.js";
import type { Task } from "./task.js";

export interface RecallOptions {
  /** Pairs of a key and its value at the beginning of a sequence. Default 8. */
  readonly pairs?: number;
  /** Different keys. Default 32. */
  readonly keys?: number;
  /** Different values. Default 32. */
  readonly values?: number;
  /** Different tokens that mean nothing. Default 8. */
  readonly fillers?: number;
  /** Questions for each key. Default 1, as in Zoology; more make a sequence teach more. */
  readonly asked?: number;
  /** a: the gap between the pairs and a question is drawn with probability ∝ (gap + 1)^(a − 1); 1 is uniform. Default 0.01, as in Zoology. */
  readonly power?: number;
}

const recallKinds: OptionKinds<RecallOptions> = {
  pairs: optional(integer(1)),
  keys: optional(integer(1)),
  values: optional(integer(2)),
  fillers: optional(integer(1)),
  asked: optional(integer(1)),
  power: optional(positive),
};

/**
 * Multi-query associative recall, MQAR (Arora et al. 2023, Zoology, `multiquery_ar`):
 *
 *     place    0  1 2  3 4   5  6  7  8  9 …
 *     inputs  BOS k v  k′v′  ·  ·  k′ ·  ·  k  ·      the target of each k after the pairs is its v
 *
 * Pairs of distinct keys and distinct values come first; then slots of two places, in some of which each key stands `asked` times more. The distance of
 * a question is that to its value. Where Zoology fills the other places with any tokens, keys included, these are fillers, so that every key
 * is bound once. The gaps of its power law are mostly short: for the same questions at many contexts take `power: 1`.
 *
 * Tokens: 0 begins a text; then keys, values and fillers.
 */
export function recallTask(options: RecallOptions = {}): Task {
  checkOptions("recallTask", options, recallKinds);
  const { pairs = 8, keys = 32, values = 32, fillers = 8, asked = 1, power = 0.01 } = options;
  if (pairs > keys || pairs > values) {
    throw new OptionError(`recallTask: ${pairs} pairs need as many of the ${keys} keys and ${values} values`, {
      hint: "ask for fewer pairs, or for more keys and values",
    });
  }
  const firstValue = beginning + 1 + keys;
  const firstFiller = firstValue + values;
  return {
    name: "recall",
    vocabulary: firstFiller + fillers,
    bos: beginning,
    kinds: { recall: { chance: 1 / values, description: "the value that came after a key" } },
    example({ length, random }) {
      const from = 1 + 2 * pairs;
      const slots = Math.floor((length - from) / 2);
      if (slots < pairs * asked) {
        const needed = from + 2 * pairs * asked;
        throw new OptionError(`recallTask: ${pairs} pairs and their questions need at least ${needed} places, found ${length}`);
      }
      const draft = new Draft(length);
      const keyOf = draw(random, pairs, keys);
      const valueTo = draw(random, pairs, values);
      for (let place = from; place < length; place++) draft.inputs[place] = firstFiller + random.below(fillers);
      const valueAt = (pair: number): number => 2 * (pair + 1);
      for (let pair = 0; pair < pairs; pair++) {
        draft.inputs[valueAt(pair) - 1] = beginning + 1 + (keyOf[pair] as number);
        draft.inputs[valueAt(pair)] = firstValue + (valueTo[pair] as number);
      }
      drawGaps(random, { count: pairs * asked, slots, power }).forEach((gap, i) => {
        const pair = i % pairs;
        const place = from + 2 * gap;
        draft.inputs[place] = beginning + 1 + (keyOf[pair] as number);
        draft.ask({ place, kind: "recall", distance: place - valueAt(pair) }, firstValue + (valueTo[pair] as number));
      });
      return draft.finish();
    },
  };
}

/** Distinct gaps of {0, …, slots − 1}, one after another with probability ∝ (gap + 1)^(power − 1) among those that are left. */
function drawGaps(random: RandomStream, sizes: { readonly count: number; readonly slots: number; readonly power: number }): number[] {
  const { count, slots, power } = sizes;
  const weights = Array.from({ length: slots }, (_, gap) => (gap + 1) ** (power - 1));
  return Array.from({ length: count }, () => {
    let at = random.unit() * weights.reduce((sum, weight) => sum + weight, 0);
    let gap = weights.findIndex((weight) => {
      at -= weight;
      return at < 0 && weight > 0;
    });
    if (gap < 0) gap = weights.findLastIndex((weight) => weight > 0); // the sum was rounded up
    weights[gap] = 0;
    return gap;
  });
}
