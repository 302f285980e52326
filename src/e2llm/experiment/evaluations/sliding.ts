/** A text through a window that slides over it. */
import { slidingWindowPerplexity } from "../../evaluation.js";
import { planScoring, scoringCost } from "../../scoring.js";
import { askedEverywhere, textKind } from "../data.js";
import type { PlannedSliding } from "../plan-evaluations.js";
import { type EvaluationKind, GroupSums, passes, rowsAtOnce } from "./kind.js";

export const slidingKind: EvaluationKind<PlannedSliding> = {
  groups: () => [textKind],

  byPlace: () => [],

  sets(data, { contexts, count, targets }, seed) {
    const examples = askedEverywhere(data, targets, count, seed);
    return contexts.map((context) => ({ context, examples }));
  },

  work(config, { contexts, strides, count, targets }) {
    return contexts.reduce((sum, context, i) => {
      const stride = strides[i] as number;
      const windows = Math.ceil((targets - context) / stride);
      const cost = (number: number, targetLength: number): number =>
        scoringCost(config, planScoring(config, { context, count: number, targetLength, batch: rowsAtOnce(context) })).work;
      return sum + count * (cost(1, context) + cost(windows, stride));
    }, 0);
  },

  async measure({ model, tables, evaluation, set, onPass, shouldStop }) {
    const { context, examples } = set;
    const found = new GroupSums(examples.length);
    for (const [i, { inputs, targets: asked }] of examples.entries()) {
      const { nats, bitsPerByte, targets } = await slidingWindowPerplexity({
        model,
        tokens: Int32Array.of(...inputs, asked.at(-1) as number),
        window: context,
        stride: evaluation.strides[evaluation.contexts.indexOf(context)] as number,
        bytes: inputs.length, // the tokens of a text are its bytes
        tables: (length) => tables(length, length),
        batch: rowsAtOnce(context),
        shouldStop,
        onProgress: passes(onPass),
      });
      if (shouldStop()) return undefined;
      found.add(textKind, i, { nats, bitsPerByte: bitsPerByte as number }, targets);
    }
    return found.scores([textKind]);
  },
};
