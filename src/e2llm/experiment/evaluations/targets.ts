/** Questions answered, and tokens of a text predicted. */
import { bitsPerByte } from "../../evaluation.js";
import { planScoring, scoringCost } from "../../scoring.js";
import { evaluateTargets } from "../../target-evaluation.js";
import { askedEverywhere, cutSets, freshSets, isTask, kindsOfData } from "../data.js";
import type { PlannedTargets } from "../plan-evaluations.js";
import { type EvaluationKind, GroupSums, passes, rowsAtOnce } from "./kind.js";

const depthGroup = (kind: string, part: number, depths: number): string => `${kind}/depth ${part + 1} of ${depths}`;

export const targetKind: EvaluationKind<PlannedTargets> = {
  groups: ({ data }, { buckets, depths }) =>
    kindsOfData(data).flatMap((kind) => [
      kind,
      ...buckets.map(({ name }) => `${kind}/${name}`),
      ...Array.from({ length: depths }, (_, part) => depthGroup(kind, part, depths)),
    ]),

  byPlace: ({ data }, { type }) => (type === "positions" ? kindsOfData(data) : []),

  sets(data, evaluation, seed) {
    const { type, contexts, count } = evaluation;
    if (type === "positions") {
      const context = contexts.at(-1) as number;
      return [{ context, examples: askedEverywhere(data, context, count, seed) }];
    }
    return type === "lengths" && isTask(data) ? freshSets(data, evaluation, seed) : cutSets(data, evaluation, seed);
  },

  work(config, { type, contexts, count, targets }) {
    return contexts.reduce((sum, context) => {
      const targetLength = type === "positions" ? context : targets;
      return sum + scoringCost(config, planScoring(config, { context, count, targetLength, batch: rowsAtOnce(context) })).work;
    }, 0);
  },

  async measure({ model, tables, data, evaluation, set, onPass, shouldStop }) {
    const { type, buckets, depths } = evaluation;
    const { context, examples } = set;
    const scores = await evaluateTargets({
      model,
      examples,
      tables: (length) => tables(length, length),
      batch: rowsAtOnce(context),
      shouldStop,
      onProgress: passes(onPass),
    });
    if (shouldStop()) return undefined;
    const found = new GroupSums(examples.length);
    for (const { kind, place, distance, example, correct, nats } of scores) {
      // The tokens of a text are its bytes.
      const values = { nats, accuracy: Number(correct), ...(isTask(data) ? {} : { bitsPerByte: bitsPerByte(nats) }) };
      found.add(kind, example, values);
      const measured = type === "positions" ? place : distance;
      if (measured === undefined) continue;
      for (const { name, from, to, kind: of } of buckets) {
        if (measured >= from && measured <= to && (of === null || of === kind)) found.add(`${kind}/${name}`, example, values);
      }
      if (depths > 0 && distance !== undefined) {
        const depth = Math.min(1, Math.max(0, 1 - distance / context));
        found.add(depthGroup(kind, Math.min(depths - 1, Math.floor(depth * depths)), depths), example, values);
      }
    }
    return found.scores(targetKind.groups({ data, config: model.config }, evaluation));
  },
};
