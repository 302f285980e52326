/** Where attention goes: to the sinks, to the answer, and by distance. */
import { attentionMaps } from "../../attention-maps.js";
import { planScoring, scoringCost } from "../../scoring.js";
import { cutSets, freshSets, isTask } from "../data.js";
import type { PlannedAttention } from "../plan-evaluations.js";
import { type EvaluationKind, GroupSums } from "./kind.js";

const strongest = "strongest head";
const layerName = (layer: number): string => `layer ${layer + 1}`;

export const attentionKind: EvaluationKind<PlannedAttention> = {
  groups({ data, config }, { buckets }) {
    const parts = [...Array.from({ length: config.num_hidden_layers }, (_, layer) => layerName(layer)), strongest];
    return [
      ...(isTask(data) ? ["sinks", "answer"] : ["sinks"]).flatMap((kind) => [kind, ...parts.map((part) => `${kind}/${part}`)]),
      ...buckets.map(({ name }) => `distance/${name}`),
    ];
  },

  byPlace: () => ["distance"],

  sets: (data, evaluation, seed) => (isTask(data) ? freshSets(data, evaluation, seed) : cutSets(data, evaluation, seed)),

  work: (config, { contexts, count, targets }) =>
    contexts.reduce((sum, context) => sum + scoringCost(config, planScoring(config, { context, count, targetLength: targets })).work, 0),

  async measure({ model, tables, data, evaluation, set, onPass, shouldStop }) {
    const { sinks, buckets } = evaluation;
    const { context, examples } = set;
    const { config } = model;
    const found = new GroupSums(examples.length);
    const each = attentionKind.work(config, { ...evaluation, contexts: [context], count: 1 });
    for (const [i, { inputs, questions }] of examples.entries()) {
      if (shouldStop()) return undefined;
      const answers = new Map(questions.map(({ place, distance }) => [place, distance]));
      const maps = await attentionMaps({
        model,
        tokens: inputs,
        queries: [...answers.keys()],
        sinks,
        tables: (length) => tables(length, length),
      });
      const most = new Map<string, number>(); // for each query, and what it looks at, over all heads
      for (const { layer, query, probabilities, sinks: mass } of maps) {
        const shares = new Map([["sinks", mass]]);
        const distance = answers.get(query);
        if (distance !== undefined) shares.set("answer", probabilities[query - distance] as number);
        for (const [kind, share] of shares) {
          for (const group of [kind, `${kind}/${layerName(layer)}`]) found.add(group, i, { mass: share });
          const at = `${kind}/${query}`;
          most.set(at, Math.max(most.get(at) ?? 0, share));
        }
        for (const { name, from, to } of buckets) {
          // Keys from … to places back, without the sinks.
          const first = Math.max(sinks, query - to);
          const keys = probabilities.subarray(Math.min(first, query + 1), Math.max(0, query - from + 1));
          found.add(`distance/${name}`, i, { mass: keys.reduce((sum, p) => sum + p, 0) });
        }
      }
      for (const [at, share] of most) found.add(`${at.split("/")[0]}/${strongest}`, i, { mass: share });
      onPass(each, inputs.length);
    }
    return found.scores(attentionKind.groups({ data, config }, evaluation));
  },
};
