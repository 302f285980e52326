/** Retrieval of what was written once, somewhere in a long sequence of fillers. */
import { checkOptions, integer, type Kind, type OptionKinds, oneOf, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { asksInBetween, beginning, Draft, draw, layOut } from "./sequence.js";
import type { Task } from "./task.js";

export interface PasskeyOptions {
  /** Keys that are written in a sequence. Default 1: the passkey; more make it retrieval among distractors. */
  readonly keys?: number;
  /** Values that are written for each key, one after another; the i-th question for a key asks for the i-th of them. Default 1. */
  readonly valuesPerKey?: number;
  /** Keys that are asked for at the end. Default 1. */
  readonly asked?: number;
  /** Different keys that there are. Default 16. */
  readonly names?: number;
  /** Different values. Default 16. */
  readonly values?: number;
  /** Different tokens that mean nothing. Default 8. */
  readonly fillers?: number;
  /**
   * "joined": an entry is one token, "key = value", so that one layer can find it; "pair": the key and then the value, two tokens, so that the
   * model has to look one place back first. Default "joined".
   */
  readonly form?: "joined" | "pair";
  /** d, 0 ≤ d ≤ 1: the entry that is asked for stands behind a share d of the others and the fillers, and it alone is asked for. Default: anywhere. */
  readonly depth?: number;
}

const share: Kind = { wanted: "a number with 0 ≤ x ≤ 1", fits: (x) => typeof x === "number" && x >= 0 && x <= 1 };

const passkeyKinds: OptionKinds<PasskeyOptions> = {
  keys: optional(integer(1)),
  valuesPerKey: optional(integer(1)),
  asked: optional(integer(1)),
  names: optional(integer(1)),
  values: optional(integer(2)),
  fillers: optional(integer(1)),
  form: optional(oneOf("joined", "pair")),
  depth: optional(share),
};

/**
 * Passkey retrieval (Mohtashami & Jaggi 2023, landmark attention), and with several keys, values and questions the multi-key, multi-value and
 * multi-query needles of RULER (Hsieh et al. 2024), token by token:
 *
 *     place    0   1   2   3    4   5   …  N−1
 *     inputs  BOS  ·   ·  b=3   ·  a=1  ·   b?        the target of "b?" is 3
 *
 * Entries stand anywhere among fillers, the questions at the end; in a training window half of the other places ask for entries that came
 * before them. The answer is a token that an entry in the form "joined" does not show. `atDepth(d)` makes the task for one column of a grid
 * of depth by length: one question, whose entry stands at depth d.
 *
 * Tokens: 0 begins a text; the entries (names × values, or the names); names × valuesPerKey questions; the fillers; the values.
 */
export function passkeyTask(options: PasskeyOptions = {}): Task {
  checkOptions("passkeyTask", options, passkeyKinds);
  const { keys = 1, valuesPerKey: each = 1, asked = 1, names = 16, values = 16, fillers = 8, form = "joined", depth } = options;
  if (keys > names || asked > keys) {
    throw new OptionError(`passkeyTask: ${asked} of ${keys} keys are asked for, of ${names} that there are`, {
      hint: "asked is at most keys, and keys at most names",
    });
  }
  const joined = form === "joined";
  const width = joined ? 1 : 2;
  const firstEntry = beginning + 1;
  const firstQuestion = firstEntry + (joined ? names * values : names);
  const firstFiller = firstQuestion + names * each;
  const firstValue = firstFiller + fillers;
  const questions = depth === undefined ? asked * each : 1;

  return {
    name: "passkey",
    vocabulary: firstValue + values,
    bos: beginning,
    kinds: { key: { chance: 1 / values, description: "the value that was written for a key" } },
    atDepth: (depth) => passkeyTask({ ...options, depth }),
    example({ length, random, purpose }) {
      const end = length - questions;
      const { entries, free, fixed } = layOut(random, { name: "passkeyTask", count: keys * each, width, end, depth });
      const draft = new Draft(length);
      const nameOf = draw(random, keys, names); // of each key of this sequence
      const keyOf = random.permutation(keys * each).map((i) => i % keys); // of each entry
      /** What was written for each key. */
      const written = nameOf.map((): { readonly value: number; readonly place: number }[] => []);
      const answerOf = entries.map((place, i) => {
        const key = keyOf[i] as number;
        const value = random.below(values);
        const token = firstEntry + (nameOf[key] as number) * (joined ? values : 1) + (joined ? value : 0);
        draft.inputs[place] = token;
        if (!joined) draft.inputs[place + 1] = firstValue + value;
        (written[key] as { value: number; place: number }[]).push({ value, place: place + width - 1 });
        return { key, nth: (written[key] as unknown[]).length - 1 };
      });
      const ask = (place: number, key: number, nth: number): void => {
        const entry = written[key]?.[nth] as { readonly value: number; readonly place: number };
        draft.inputs[place] = firstQuestion + (nameOf[key] as number) * each + nth;
        draft.ask({ place, kind: "key", distance: place - entry.place }, firstValue + entry.value);
      };
      for (const place of free) {
        const before = entries.filter((entry) => entry < place).length;
        if (purpose === "training" && before > 0 && asksInBetween(random)) {
          const { key, nth } = answerOf[random.below(before)] as { key: number; nth: number };
          ask(place, key, nth);
        } else draft.inputs[place] = firstFiller + random.below(fillers);
      }
      const last =
        fixed >= 0
          ? [answerOf[fixed] as { key: number; nth: number }]
          : draw(random, asked, keys).flatMap((key) => Array.from({ length: each }, (_, nth) => ({ key, nth })));
      last.forEach(({ key, nth }, i) => {
        ask(end + i, key, nth);
      });
      return draft.finish();
    },
  };
}
