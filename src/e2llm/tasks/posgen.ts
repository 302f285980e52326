/** PosGen: tokens that follow from earlier ones by modular addition. */
import { checkOptions, integer, type OptionKinds, oneOf, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { beginning, Draft } from "./sequence.js";
import type { Task } from "./task.js";

/** Which earlier tokens decide the next one, beside its near ones. */
export type PosgenRule = "recursive" | "cot" | "semi-recursive";

export interface PosgenOptions {
  readonly rule: PosgenRule;
  /** k: tokens right before the one that they decide. Default 3. */
  readonly near?: number;
  /** j: tokens further away. Default 1. */
  readonly far?: number;
  /** m. Default 17. */
  readonly modulus?: number;
  /** Places of an evaluated sequence, counted from its end, in which the next token is asked for. Default 16. */
  readonly asked?: number;
}

const posgenKinds: OptionKinds<PosgenOptions> = {
  rule: oneOf("recursive", "cot", "semi-recursive"),
  near: optional(integer(1)),
  far: optional(integer(1)),
  modulus: optional(integer(2)),
  asked: optional(integer(1)),
};

/** Index of the first far token of x_l, where c = j + k tokens were given. */
const farFrom: Readonly<Record<PosgenRule, (l: number, c: number) => number>> = {
  recursive: (l, c) => l - c,
  cot: () => 0,
  "semi-recursive": (l, c) => Math.floor((l - c) / 2),
};

/**
 * The three tasks of PosGen (Wang et al. 2024, Resonance RoPE, § 5; the rules of its code): x₀ … x_{c−1} are random, c = j + k, and from there
 *
 *     x_l = (x_f + … + x_{f+j−1} + x_{l−k} + … + x_{l−1}) mod m
 *     recursive       f = l − c             the far tokens are at a fixed distance
 *     cot             f = 0                 they are at a fixed place
 *     semi-recursive  f = ⌊(l − c)/2⌋       they move at half the speed
 *
 * Every position can be computed with offsets and places of the kinds that a short window has already, so what fails at a longer one is the
 * encoding of positions. Answers are asked for with the true tokens before them (their code generates), the kind "next"; its distance is that to the
 * furthest token that is needed. A context that leaves that one out can only guess.
 *
 * Tokens: 0 begins a text; x + 1 is the number x.
 */
export function posgenTask(options: PosgenOptions): Task {
  checkOptions("posgenTask", options, posgenKinds);
  const { rule, near = 3, far = 1, modulus = 17, asked = 16 } = options;
  const given = near + far;
  return {
    name: `posgen-${rule}`,
    vocabulary: 1 + modulus,
    bos: beginning,
    kinds: { next: { chance: 1 / modulus, description: "the number that follows" } },
    example({ length, random, purpose }) {
      if (length <= given) throw new OptionError(`posgenTask: a sequence needs at least ${given + 1} places, found ${length}`);
      const x: number[] = Array.from({ length: given }, () => random.below(modulus));
      for (let l = given; l < length; l++) {
        const from = farFrom[rule](l, given);
        const terms = [...x.slice(from, from + far), ...x.slice(l - near, l)];
        x.push(terms.reduce((sum, term) => sum + term, 0) % modulus);
      }
      const draft = new Draft(length);
      for (let place = 1; place < length; place++) draft.inputs[place] = 1 + (x[place - 1] as number);
      // x_l is predicted at place l, where x_{l−1} stands.
      for (let l = Math.max(given, purpose === "training" ? 0 : length - asked); l < length; l++) {
        const furthest = Math.min(farFrom[rule](l, given), l - near);
        draft.ask({ place: l, kind: "next", distance: l - 1 - furthest }, 1 + (x[l] as number));
      }
      return draft.finish();
    },
  };
}
