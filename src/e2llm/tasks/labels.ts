/** Many labelled examples in one sequence. */
import { checkOptions, fraction, integer, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { beginning, Draft, draw } from "./sequence.js";
import type { Task } from "./task.js";

export interface LabelOptions {
  /** Classes of words. Default 16. */
  readonly classes?: number;
  /** Words of each class. Default 4. */
  readonly words?: number;
  /** Labels that classes get in a sequence. Default: as many as classes. */
  readonly labels?: number;
  /** Share of the shots whose label is any one. Default 0. */
  readonly noise?: number;
  /** Shots at the end of an evaluated sequence that are asked for. Default 8. */
  readonly asked?: number;
}

const labelKinds: OptionKinds<LabelOptions> = {
  classes: optional(integer(1)),
  words: optional(integer(1)),
  labels: optional(integer(2)),
  noise: optional(fraction),
  asked: optional(integer(1)),
};

/**
 * In-context learning from many shots with many labels, after LongICLBench (Li et al. 2024), with words of a language that is made up:
 *
 *     place    0   1  2   3  4   5  6  …  N−1
 *     inputs  BOS  w ℓ₄   v ℓ₁   u ℓ₄  …   w         a shot is a word and its label; the target of each word is its label
 *
 * Which words are of one class is the same in every sequence and can be learnt; which label a class has is drawn for each sequence and has to be
 * read there. As in LongICLBench shots come in rounds that hold each class once, so classes × 2 tokens are one round, and more contexts
 * than that help where there is noise. A word whose class has not come before is not asked for. The distance is that to the latest label of
 * its class. An evaluated sequence ends with a word; one of odd length begins with the label of a word before it.
 *
 * Tokens: 0 begins a text; classes × words words; the labels.
 */
export function labelTask(options: LabelOptions = {}): Task {
  checkOptions("labelTask", options, labelKinds);
  const { classes = 16, words = 4, labels = classes, noise = 0, asked = 8 } = options;
  if (labels < classes) {
    throw new OptionError(`labelTask: ${classes} classes need labels of their own, and there are ${labels}`, {
      hint: "give at least as many labels as classes",
    });
  }
  const firstLabel = 1 + classes * words;
  return {
    name: "labels",
    vocabulary: firstLabel + labels,
    bos: beginning,
    kinds: { label: { chance: 1 / labels, description: "the label of a word's class" } },
    example({ length, random, purpose }) {
      const least = 2 * classes + 1;
      if (length < least) {
        throw new OptionError(`labelTask: a word of a class that was labelled before needs at least ${least} places, found ${length}`, {
          hint: "ask for a longer sequence, or for fewer classes",
        });
      }
      const draft = new Draft(length);
      const labelOf = draw(random, classes, labels);
      const latest = new Map<number, number>();
      let round: number[] = [];
      const firstAsked = purpose === "training" ? 1 : length - 2 * asked;
      // Words stand at places of the parity of the last one.
      for (let place = 1 - (length % 2); place < length; place += 2) {
        if (round.length === 0) round = random.permutation(classes);
        const kind = round.pop() as number;
        const word = 1 + kind * words + random.below(words);
        const label = random.unit() < noise ? random.below(labels) : (labelOf[kind] as number);
        if (place >= 1) {
          draft.inputs[place] = word;
          const shown = latest.get(kind);
          if (shown !== undefined && place >= firstAsked) {
            draft.ask({ place, kind: "label", distance: place - shown }, firstLabel + (labelOf[kind] as number));
          }
        }
        if (place + 1 < length) {
          draft.inputs[place + 1] = firstLabel + label;
          latest.set(kind, place + 1);
        }
      }
      return draft.finish();
    },
  };
}
