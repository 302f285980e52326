/** Variable tracking: chains of assignments. */
import { checkOptions, integer, type OptionKinds, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { asksInBetween, beginning, Draft, draw, layOut } from "./sequence.js";
import type { QuestionKind, Task } from "./task.js";

export interface VariableOptions {
  /** Chains of assignments, each with a value of its own. Default 2. */
  readonly chains?: number;
  /** Assignments of a chain that name another variable. Default 4. */
  readonly hops?: number;
  /** Different variables. Default 24. */
  readonly names?: number;
  /** Different values. Default 8. */
  readonly values?: number;
  /** Different tokens that mean nothing. Default 8. */
  readonly fillers?: number;
  /** Variables that are asked for at the end. Default 4. */
  readonly asked?: number;
}

const variableKinds: OptionKinds<VariableOptions> = {
  chains: optional(integer(1)),
  hops: optional(integer(0)),
  names: optional(integer(1)),
  values: optional(integer(2)),
  fillers: optional(integer(1)),
  asked: optional(integer(1)),
};

/**
 * Variable tracking (Hsieh et al. 2024, RULER), token by token:
 *
 *     b:= 3  ·  d:= b  ·  ·  a:= d  …  a?      the target of "a?" is 3, over two hops: the kind "hops2"
 *
 * A chain sets one variable to a value and each further one to the variable before it. Chains are mixed, each in its order, among fillers.
 * RULER has one chain by default and lets the model list its variables; with the answers before it each of those would be one hop. Here
 * each variable is asked for by itself, so that the number of hops is known, and there are two chains, as one alone would leave nothing to
 * track. The distance is that to the value, the furthest token that is needed. In a training window half of the fillers are questions.
 *
 * Tokens: 0 begins a text; then "name :=", "name" as a source, "name ?", the fillers and the values.
 */
export function variableTask(options: VariableOptions = {}): Task {
  checkOptions("variableTask", options, variableKinds);
  const { chains = 2, hops = 4, names = 24, values = 8, fillers = 8, asked = 4 } = options;
  const count = chains * (hops + 1);
  if (count > names || asked > count || chains > values) {
    throw new OptionError(
      `variableTask: ${chains} chains of ${hops} hops have ${count} variables of ${names}, ${asked} of which are asked for, and ${chains} of ${values} values`,
      { hint: "take more names or values, or fewer chains, hops or questions" },
    );
  }
  const firstSource = 1 + names;
  const firstQuestion = firstSource + names;
  const firstFiller = firstQuestion + names;
  const firstValue = firstFiller + fillers;
  const kindOf = (hop: number): string => `hops${hop}`;
  return {
    name: "variables",
    vocabulary: firstValue + values,
    bos: beginning,
    kinds: Object.fromEntries(
      Array.from({ length: hops + 1 }, (_, hop): [string, QuestionKind] => [
        kindOf(hop),
        { chance: 1 / values, description: `the value of a variable over ${hop} ${hop === 1 ? "hop" : "hops"}` },
      ]),
    ),
    example({ length, random, purpose }) {
      const end = length - asked;
      const { entries, free } = layOut(random, { name: "variableTask", count, width: 2, end });
      const draft = new Draft(length);
      const nameOf = draw(random, count, names);
      const valueOfChain = draw(random, chains, values);
      const chainOf = random.permutation(count).map((i) => i % chains); // of each assignment, in the order of the text
      const hopsOf = new Array<number>(chains).fill(0);
      const origin = new Array<number>(chains).fill(0);
      /** The variable of each assignment: its chain, how many hops its value is away, and its name. */
      const variables = entries.map((place, i) => {
        const chain = chainOf[i] as number;
        const hop = hopsOf[chain] as number;
        hopsOf[chain] = hop + 1;
        const index = chain * (hops + 1) + hop;
        const name = nameOf[index] as number;
        draft.inputs[place] = 1 + name;
        draft.inputs[place + 1] = hop === 0 ? firstValue + (valueOfChain[chain] as number) : firstSource + (nameOf[index - 1] as number);
        if (hop === 0) origin[chain] = place + 1;
        return { chain, hop, name };
      });
      const ask = (place: number, i: number): void => {
        const { chain, hop, name } = variables[i] as (typeof variables)[number];
        draft.inputs[place] = firstQuestion + name;
        draft.ask({ place, kind: kindOf(hop), distance: place - (origin[chain] as number) }, firstValue + (valueOfChain[chain] as number));
      };
      for (const place of free) {
        const before = entries.filter((entry) => entry < place).length;
        if (purpose === "training" && before > 0 && asksInBetween(random)) ask(place, random.below(before));
        else draft.inputs[place] = firstFiller + random.below(fillers);
      }
      draw(random, asked, count).forEach((i, nth) => {
        ask(end + nth, i);
      });
      return draft.finish();
    },
  };
}
