/** Induction: a random segment that comes a second time. */
import { checkOptions, integer, notNegative, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { beginning, Draft, draw } from "./sequence.js";
import type { Task } from "./task.js";

export interface InductionOptions {
  /** Different tokens. Default 64. */
  readonly symbols?: number;
  /** S: tokens of the segment, at most half of the symbols. Default 16. */
  readonly segment?: number;
  /** What a token that nothing foretells counts in training. Default 1, as in a language model. */
  readonly freshWeight?: number;
}

const inductionKinds: OptionKinds<InductionOptions> = {
  symbols: optional(integer(4)),
  segment: optional(integer(2)),
  freshWeight: optional(notNegative),
};

/**
 * Random tokens in which one segment of S tokens is repeated once, each token to be predicted from those before it (Olsson et al. 2022,
 * In-context Learning and Induction Heads):
 *
 *     …  q w e  …  …  q w e        kind "repeat": w after the second q, e after the second w; their distance is that to the first w and e
 *
 * The tokens of the segment are distinct and stand nowhere else, so the token before tells where to look, and two layers can do it. All other
 * tokens are "fresh": nothing foretells them, and no loss below about ln(symbols − S) is to be had. What the repetition is worth, the
 * difference of the losses of the two kinds, is the in-context-learning score ({@link inductionScores}). A sequence to evaluate on ends with the
 * repetition, at any distance that fits, and asks for it and for the S − 1 fresh tokens before it; a training window asks everywhere.
 *
 * Tokens: 0 begins a text; then the symbols.
 */
export function inductionTask(options: InductionOptions = {}): Task {
  checkOptions("inductionTask", options, inductionKinds);
  const { symbols = 64, segment = 16, freshWeight = 1 } = options;
  if (2 * segment > symbols) {
    throw new OptionError(`inductionTask: a segment of ${segment} tokens is more than half of ${symbols} symbols`, {
      hint: `take a segment of at most ${Math.floor(symbols / 2)}`,
    });
  }
  return {
    name: "induction",
    vocabulary: 1 + symbols,
    bos: beginning,
    kinds: {
      repeat: { chance: 1 / symbols, description: "a token of the second segment after its first" },
      fresh: { chance: 1 / symbols, description: "a random token, which nothing foretells" },
    },
    example({ length, random, purpose }) {
      if (length < 2 * segment) {
        throw new OptionError(
          `inductionTask: a segment of ${segment} that is repeated needs at least ${2 * segment} places, found ${length}`,
        );
      }
      // The token at place `length` is only a target.
      const text = new Int32Array(length + 1);
      const order = draw(random, symbols, symbols).map((symbol) => 1 + symbol);
      const others = order.slice(segment);
      for (let place = 1; place <= length; place++) text[place] = others[random.below(others.length)] as number;
      const latest = length - segment + 1;
      const second = purpose === "evaluation" ? latest : 1 + segment + random.below(latest - segment);
      const first = 1 + random.below(second - segment);
      for (const start of [first, second]) text.set(order.slice(0, segment), start);

      const draft = new Draft(length);
      draft.inputs.set(text.subarray(0, length));
      const from = purpose === "training" ? 0 : second - segment;
      const weights = new Float32Array(length).fill(1);
      for (let place = from; place < length; place++) {
        const repeated = place >= second && place < second + segment - 1;
        if (purpose === "evaluation" && place === second - 1) continue; // it leads into the segment
        if (!repeated) weights[place] = freshWeight;
        draft.ask(repeated ? { place, kind: "repeat", distance: second - first - 1 } : { place, kind: "fresh" }, text[place + 1] as number);
      }
      return draft.finish(purpose === "evaluation" || freshWeight === 1 ? undefined : weights);
    },
  };
}
