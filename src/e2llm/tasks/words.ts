/** Words that are counted: common words and frequent words. */
import { checkOptions, integer, type OptionKinds, optional, positive } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { apportion, beginning, Draft, draw } from "./sequence.js";
import type { QuestionKind, Task } from "./task.js";

export interface CommonWordOptions {
  /** Different words. Default 64. */
  readonly words?: number;
  /** Words of a sequence that are common. Default 4. */
  readonly common?: number;
  /** Words of a sequence that are rare. Default 16. */
  readonly rare?: number;
  /** How many times as often a common word stands. Default 10. */
  readonly ratio?: number;
  /** Words that are asked for, common and rare in turn. Default 8. */
  readonly asked?: number;
}

const commonKinds: OptionKinds<CommonWordOptions> = {
  words: optional(integer(2)),
  common: optional(integer(1)),
  rare: optional(integer(1)),
  ratio: optional(positive),
  asked: optional(integer(1)),
};

/**
 * Common words (Hsieh et al. 2024, RULER's "cwe", where ten words stand 30 times and others 3 times), token by token: a list of words in
 * random order, of which some stand `ratio` times as often as the others, and at the end
 *
 *     … c a b a d a c b   a?   d?        the targets are "yes" and "no"
 *
 * RULER lets the model name the common words, whose order means nothing; here each word is asked for by itself: the kinds "common" and
 * "rare". The answer needs the whole list, but a part of it tells much: a context that is cut short need not do badly.
 *
 * Tokens: 0 begins a text; the words; "word ?" for each; yes and no.
 */
export function commonWordTask(options: CommonWordOptions = {}): Task {
  checkOptions("commonWordTask", options, commonKinds);
  const { words = 64, common = 4, rare = 16, ratio = 10, asked = 8 } = options;
  if (common + rare > words) {
    throw new OptionError(`commonWordTask: ${common} common and ${rare} rare words of ${words}`, {
      hint: "take more words, or fewer of each",
    });
  }
  if (ratio <= 1) throw new OptionError(`commonWordTask: ratio must be above 1, found ${ratio}`);
  if (Math.ceil(asked / 2) > common || Math.floor(asked / 2) > rare) {
    throw new OptionError(`commonWordTask: ${asked} questions, common and rare in turn, are more than ${common} and ${rare} words have`, {
      hint: "ask for fewer words, each is asked for once",
    });
  }
  const firstQuestion = 1 + words;
  const yes = firstQuestion + words;
  return {
    name: "common-words",
    vocabulary: yes + 2,
    bos: beginning,
    kinds: {
      common: { chance: 1 / 2, description: "whether a common word is common" },
      rare: { chance: 1 / 2, description: "whether a rare word is common" },
    },
    example({ length, random }) {
      const count = length - 1 - asked;
      const counts = apportion(Math.max(0, count), [...new Array<number>(common).fill(ratio), ...new Array<number>(rare).fill(1)]);
      const least = Math.min(...counts.slice(0, common));
      if (least <= Math.max(...counts.slice(common))) {
        throw new OptionError(
          `commonWordTask: in a list of ${Math.max(0, count)} words the common ones are not more frequent than the rare ones`,
          {
            hint: "ask for a longer sequence, fewer words, or a larger ratio",
          },
        );
      }
      const draft = new Draft(length);
      const chosen = draw(random, common + rare, words);
      write(random, draft, chosen, counts);
      const order = { common: draw(random, common, common), rare: draw(random, rare, rare) };
      for (let i = 0; i < asked; i++) {
        const kind = i % 2 === 0 ? "common" : "rare";
        const nth = order[kind][i >> 1] as number;
        const place = length - asked + i;
        draft.inputs[place] = firstQuestion + (chosen[kind === "common" ? nth : common + nth] as number);
        draft.ask({ place, kind }, kind === "common" ? yes : yes + 1);
      }
      return draft.finish();
    },
  };
}

/** Puts each chosen word as often as its count says into the places from 1 on, in random order. */
function write(random: RandomStream, draft: Draft, chosen: readonly number[], counts: readonly number[]): void {
  const list = counts.flatMap((count, i) => new Array<number>(count).fill(1 + (chosen[i] as number)));
  random.permutation(list.length).forEach((from, i) => {
    draft.inputs[1 + i] = list[from] as number;
  });
}

export interface FrequentWordOptions {
  /** Different words. Default 64. */
  readonly words?: number;
  /** Different words of a sequence. Default 16. */
  readonly used?: number;
  /** α: the word of rank r stands ∝ r^(−α) times. Default 2. */
  readonly alpha?: number;
  /** Ranks that are asked for, from the first on. Default 3. */
  readonly asked?: number;
}

const frequentKinds: OptionKinds<FrequentWordOptions> = {
  words: optional(integer(2)),
  used: optional(integer(2)),
  alpha: optional(positive),
  asked: optional(integer(1)),
};

/**
 * Frequent words (Hsieh et al. 2024, RULER's "fwe"): words in random order whose numbers fall as a zeta distribution, r^(−α) for the word of rank
 * r, and at the end "first ?", "second ?" …, whose targets are the words of these ranks: the kinds "rank1", "rank2" … Numbers of occurrences
 * are exact and, for the ranks that are asked for, all different; RULER draws them.
 *
 * Tokens: 0 begins a text; the words; the questions.
 */
export function frequentWordTask(options: FrequentWordOptions = {}): Task {
  checkOptions("frequentWordTask", options, frequentKinds);
  const { words = 64, used = 16, alpha = 2, asked = 3 } = options;
  if (used > words || asked >= used) {
    throw new OptionError(`frequentWordTask: ${asked} ranks of ${used} words, of ${words} that there are`, {
      hint: "asked is less than used, and used at most words",
    });
  }
  const firstQuestion = 1 + words;
  return {
    name: "frequent-words",
    vocabulary: firstQuestion + asked,
    bos: beginning,
    kinds: Object.fromEntries(
      Array.from({ length: asked }, (_, i): [string, QuestionKind] => [
        `rank${i + 1}`,
        { chance: 1 / words, description: `the word of rank ${i + 1}` },
      ]),
    ),
    example({ length, random }) {
      const count = length - 1 - asked;
      const counts = apportion(
        Math.max(0, count),
        Array.from({ length: used }, (_, i) => (i + 1) ** -alpha),
      );
      if (counts.slice(0, asked).some((here, i) => here <= (counts[i + 1] as number))) {
        throw new OptionError(`frequentWordTask: in a list of ${Math.max(0, count)} words the first ${asked} ranks are not apart`, {
          hint: "ask for a longer sequence, for fewer ranks, or for a larger alpha",
        });
      }
      const draft = new Draft(length);
      const chosen = draw(random, used, words);
      write(random, draft, chosen, counts);
      for (let i = 0; i < asked; i++) {
        const place = length - asked + i;
        draft.inputs[place] = firstQuestion + i;
        draft.ask({ place, kind: `rank${i + 1}` }, 1 + (chosen[i] as number));
      }
      return draft.finish();
    },
  };
}
