import { OptionError } from "../errors.js";

/**
 * Which tokens can be drawn, by the definitions and in the order of Hugging Face's logits processors:
 *
 *   scores  →  repetition penalty  →  ÷ temperature  →  top-k  →  top-p  →  min-p
 */

/** Tokens in ascending order, and what each weighs: e^((score − the largest score)/τ). Weights sum to no number in particular. */
export interface Candidates {
  readonly tokens: ArrayLike<number>;
  readonly weights: ArrayLike<number>;
}

/**
 * Scores with those of `seen` tokens made less likely, each once: above 0 divided by `penalty`, else multiplied by it (Keskar et al. 2019,
 * section 4.1, in Hugging Face's reading for scores below 0). A penalty below 1 makes them more likely.
 */
export function penalizeRepetition(logits: ArrayLike<number>, seen: Iterable<number>, penalty: number): Float64Array {
  const scores = Float64Array.from(logits);
  for (const token of new Set(seen)) {
    const score = scores[token];
    if (score === undefined) {
      throw new OptionError(`a sampler was told of token ${token}, and there are logits for ${logits.length}`, {
        hint: "tokens that have been seen are integers below the size of the vocabulary",
      });
    }
    scores[token] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

/** Position of the first largest value. */
export function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Tokens with their weights at the temperature τ > 0. */
export function weigh(scores: ArrayLike<number>, temperature: number, tokens: Int32Array): Candidates {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < tokens.length; i++) top = Math.max(top, scores[tokens[i] as number] as number);
  const weights = new Float64Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) weights[i] = Math.exp(((scores[tokens[i] as number] as number) - top) / temperature);
  return { tokens, weights };
}

/**
 * The k tokens with the largest scores, ascending; among equals the ones with smaller numbers. A heap of k of them with the least on top
 * takes each value that is larger: V + (those taken)·log k steps, and no sort of all V.
 */
export function topK(values: ArrayLike<number>, k: number): Int32Array {
  if (k >= values.length) return Int32Array.from({ length: values.length }, (_, token) => token);
  const heap = new Int32Array(k);
  let size = 0;
  /** Whether the value at a is less than that at b, or equal and behind it. */
  const isLess = (a: number, b: number): boolean => {
    const [x, y] = [values[a] as number, values[b] as number];
    return x < y || (x === y && a > b);
  };
  const rise = (position: number): void => {
    let at = size++;
    for (let parent = (at - 1) >> 1; at > 0 && isLess(position, heap[parent] as number); parent = (at - 1) >> 1) {
      heap[at] = heap[parent] as number;
      at = parent;
    }
    heap[at] = position;
  };
  const sink = (position: number): void => {
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && isLess(heap[child + 1] as number, heap[child] as number)) child++;
      if (!isLess(heap[child] as number, position)) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = position;
  };
  for (let i = 0; i < values.length; i++) {
    if (size < heap.length) rise(i);
    else if ((values[i] as number) > (values[heap[0] as number] as number)) sink(i);
  }
  return heap.sort();
}

const select = ({ tokens, weights }: Candidates, kept: ArrayLike<number>): Candidates => ({
  tokens: Int32Array.from(kept, (i) => tokens[i] as number),
  weights: Float64Array.from(kept, (i) => weights[i] as number),
});

/**
 * The likeliest tokens up to the one with which their probabilities sum to p or more (nucleus sampling, Holtzman et al. 2020): a token is
 * dropped where it and all that are less likely sum to 1 − p or less. One at least is kept.
 *
 * Tokens below (1 − p)/n of the sum of all n are dropped without being sorted: together they are less than 1 − p.
 */
export function topP(candidates: Candidates, p: number): Candidates {
  const { weights } = candidates;
  const n = weights.length;
  let total = 0;
  for (let i = 0; i < n; i++) total += weights[i] as number;
  const most = (1 - p) * total;
  const likely: number[] = [];
  let dropped = 0;
  for (let i = 0; i < n; i++) {
    const weight = weights[i] as number;
    if (weight * n < most) dropped += weight;
    else likely.push(i);
  }
  // From the least likely on; of equals the one that stands last is dropped first.
  likely.sort((a, b) => (weights[a] as number) - (weights[b] as number) || b - a);
  let first = 0;
  while (first < likely.length - 1) {
    dropped += weights[likely[first] as number] as number;
    if (dropped > most) break;
    first++;
  }
  return select(
    candidates,
    likely.slice(first).sort((a, b) => a - b),
  );
}

/** The tokens with at least `least` times the probability of the likeliest (min-p sampling, Nguyen et al. 2024, arXiv 2407.01082). */
export function minP(candidates: Candidates, least: number): Candidates {
  const { weights } = candidates;
  const limit = least * (weights[largest(weights)] as number);
  const kept: number[] = [];
  for (let i = 0; i < weights.length; i++) if ((weights[i] as number) >= limit) kept.push(i);
  return select(candidates, kept);
}
