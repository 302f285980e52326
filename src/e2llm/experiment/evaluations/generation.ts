/** A text continued far beyond the window. */
import { type ContinuationBucket, longGeneration, measureContinuations } from "../../long-generation.js";
import { planScoring, scoringCost } from "../../scoring.js";
import { askedEverywhere } from "../data.js";
import type { PlannedGeneration } from "../plan-evaluations.js";
import { type EvaluationKind, GroupSums } from "./kind.js";

/** Products of one token at a time leave most of a machine idle: such a token takes as long as so many that are read together, about. */
const asLongAs = 16;

/** The parts of what is written, as ranges of its tokens, counted from 0. */
const partNames = ({ tokens, parts }: PlannedGeneration): string[] =>
  Array.from({ length: parts }, (_, i) => `${Math.floor((i * tokens) / parts)}–${Math.floor(((i + 1) * tokens) / parts) - 1}`);

const kinds = ["written", "real"] as const;

export const generationKind: EvaluationKind<PlannedGeneration> = {
  groups: (_, evaluation) => kinds.flatMap((kind) => [kind, ...partNames(evaluation).map((part) => `${kind}/${part}`)]),

  byPlace: () => kinds,

  sets(data, { prompt, tokens, count }, seed) {
    const context = prompt + tokens;
    return [{ context, examples: askedEverywhere(data, context, count, seed) }];
  },

  work(config, { prompt, tokens, count, judge }) {
    const context = prompt + tokens;
    const { work } = scoringCost(config, planScoring(config, { context, count: 1, targetLength: tokens, batch: 1 }));
    return count * work * (asLongAs + (judge === null ? 0 : 1));
  },

  async measure({ model, tables, data, evaluation, set, judge, first, onPass, shouldStop }) {
    const { prompt, tokens, parts, ngram, temperature, topK } = evaluation;
    const found = new GroupSums(set.examples.length);
    const perToken = generationKind.work(model.config, { ...evaluation, count: 1 }) / tokens;
    const measured = (text: Int32Array): Promise<ContinuationBucket[]> =>
      measureContinuations({
        texts: [text],
        promptLength: prompt,
        buckets: parts,
        ngram,
        ...(judge === undefined ? {} : { judge: { model: judge.model, tables: (length: number) => judge.tables(length, length) } }),
      });
    const names = partNames(evaluation);
    const add = (kind: (typeof kinds)[number], example: number, all: readonly ContinuationBucket[]): void => {
      for (const [part, { from, to, ...values }] of all.entries()) {
        for (const group of [kind, `${kind}/${names[part]}`]) found.add(group, example, values, to - from);
      }
    };
    for (const [i, { inputs }] of set.examples.entries()) {
      const { texts } = await longGeneration({
        model,
        prompts: [inputs.subarray(0, prompt)],
        tokens,
        seed: i,
        tables,
        buckets: 1,
        ...(temperature === null ? {} : { temperature }),
        ...(topK === null ? {} : { topK }),
        onProgress: () => onPass(perToken, 1),
        shouldStop,
      });
      if (shouldStop()) return undefined;
      add("written", i, await measured(texts[0] as Int32Array));
      if (first) add("real", i, await measured(inputs));
    }
    return found.scores(generationKind.groups({ data, config: model.config }, evaluation));
  },
};
