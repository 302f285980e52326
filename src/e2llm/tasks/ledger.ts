/** The ledger with echoes: recall over any distance, and copying over exact offsets, in one text. */
import { checkOptions, flag, integer, notNegative, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { noTarget, type Question, type Task } from "./task.js";

export interface LedgerOptions {
  /** Names that values are written for. Default 24. */
  readonly names?: number;
  /** Values of each name. Default 4. */
  readonly values?: number;
  /** Different tokens that mean nothing. Default 8. */
  readonly fillers?: number;
  /** Places of an evaluated sequence, counted from its end, in which questions are asked. Default 16. */
  readonly asked?: number;
  /** Places that come before a sequence and are not shown, so that it begins in the middle of things. Default 512. */
  readonly warmUp?: number;
  /**
   * What a question counts in training whose entry stands before the sequence, so that it can only be guessed. Default 1: the loss then is honest
   * about what cannot be known. At 0 recall is learned sooner, and losses of short contexts are too large.
   */
  readonly unanswerable?: number;
  /** Whether token 0 stands at place 0 of every sequence, a sink that is always there. Default true. */
  readonly bos?: boolean;
}

const ledgerKinds: OptionKinds<LedgerOptions> = {
  names: optional(integer(1)),
  values: optional(integer(2)),
  fillers: optional(integer(1)),
  asked: optional(integer(1)),
  warmUp: optional(integer(0)),
  unanswerable: optional(notNegative),
  bos: optional(flag),
};

/** Of 20 places, 5 are entries, 9 questions, 4 echoes and 2 fillers. */
const shares = { entry: 5, question: 9, echo: 4, all: 20 } as const;

/**
 * A document is a sequence of places, each one token:
 *
 *   entry      "name := value", of probability ¼; a name comes at a rate ∝ 1/(rank + 4), with ranks in an order of each document's own, so that
 *              some names were set long ago
 *   question   "name ?", .45; the target is the value that was last set for the name, a token of its own that never stands in the text.
 *              Nothing is asked where the name was never set
 *   echo1/2    .2; the target is the token 1 or 2 places back
 *   filler     one of some tokens without meaning
 *
 * Questions need recall over distances that are spread widely, so that more context means more right answers: the kind "question". Echoes
 * need exact offsets, which is what divided positions blur: the kinds "echo1" and "echo2". A question whose entry is outside of the context
 * can only be guessed, 1 of 4.
 *
 * Tokens: 0 begins a text, unless it is left out; then names × values entries, names questions, two echoes, the fillers, and the values, which are answers alone.
 */
export function ledgerTask(options: LedgerOptions = {}): Task {
  checkOptions("ledgerTask", options, ledgerKinds);
  const { names = 24, values = 4, fillers = 8, asked = 16, warmUp = 512, unanswerable = 1, bos = true } = options;
  /** The first place of the text itself. */
  const first = bos ? 1 : 0;
  const firstEntry = 1;
  const firstQuestion = firstEntry + names * values;
  const firstEcho = firstQuestion + names;
  const firstFiller = firstEcho + 2;
  const firstValue = firstFiller + fillers;
  const vocabulary = firstValue + values;

  /** Σ 1/(rank + 4) up to each rank. */
  const rates: number[] = [];
  for (let rank = 0; rank < names; rank++) rates.push((rates[rank - 1] ?? 0) + 1 / (rank + 4));
  const allRates = rates.at(-1) as number;

  return {
    name: "ledger",
    vocabulary,
    bos: bos ? 0 : null,
    kinds: {
      question: { chance: 1 / values, description: "the value last set for a name" },
      echo1: { chance: 1 / firstValue, description: "the token one place back" },
      echo2: { chance: 1 / firstValue, description: "the token two places back" },
    },
    example({ length, random, purpose }) {
      if (length < 4) throw new OptionError(`a ledger needs at least 4 places, found ${length}`);
      const inputs = new Int32Array(length);
      const targets = new Int32Array(length).fill(noTarget);
      const weights = unanswerable === 1 ? undefined : new Float32Array(length).fill(1);
      const questions: Question[] = [];
      const nameOfRank = random.permutation(names);
      const entries: { readonly value: number; readonly place: number }[] = new Array(names);
      const firstAsked = purpose === "training" ? first : length - asked;
      for (let place = first - warmUp; place < length; place++) {
        const sort = random.below(shares.all);
        let token: number;
        let answer = noTarget;
        let question: Omit<Question, "place"> | undefined;
        if (sort < shares.entry) {
          const at = random.unit() * allRates;
          const rank = rates.findIndex((sum) => at < sum);
          const name = nameOfRank[rank] as number;
          const value = random.below(values);
          entries[name] = { value, place };
          token = firstEntry + name * values + value;
        } else if (sort < shares.entry + shares.question) {
          const name = random.below(names);
          token = firstQuestion + name;
          const entry = entries[name];
          if (entry !== undefined) {
            answer = firstValue + entry.value;
            question = { kind: "question", distance: place - entry.place };
          }
        } else if (sort < shares.entry + shares.question + shares.echo) {
          const offset = 1 + random.below(2);
          token = firstEcho + offset - 1;
          if (place - offset >= first) {
            answer = inputs[place - offset] as number;
            question = { kind: `echo${offset}`, distance: offset };
          }
        } else token = firstFiller + random.below(fillers);
        if (place < first) continue;
        inputs[place] = token;
        if (question !== undefined && place >= firstAsked) {
          targets[place] = answer;
          if (weights !== undefined && (question.distance ?? 0) > place - first) weights[place] = unanswerable;
          questions.push({ place, ...question });
        }
      }
      return { inputs, targets, ...(weights === undefined ? {} : { weights }), questions };
    },
  };
}
