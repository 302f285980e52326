/** The types of evaluations, by name. */
import { attentionKind } from "./evaluations/attention.js";
import { generationKind } from "./evaluations/generation.js";
import type { EvaluationKind, PlanSubject } from "./evaluations/kind.js";
import { slidingKind } from "./evaluations/sliding.js";
import { targetKind } from "./evaluations/targets.js";
import type { PlannedEvaluation } from "./plan-evaluations.js";

const kinds: { readonly [T in PlannedEvaluation["type"]]: EvaluationKind<Extract<PlannedEvaluation, { readonly type: T }>> } = {
  contexts: targetKind,
  lengths: targetKind,
  positions: targetKind,
  sliding: slidingKind,
  attention: attentionKind,
  generation: generationKind,
};

/** How an evaluation is done. */
export const kindOf = ({ type }: PlannedEvaluation): EvaluationKind<PlannedEvaluation> => kinds[type] as EvaluationKind<PlannedEvaluation>;

/** The groups that an evaluation may have, in order. */
export const groupsOf = (subject: PlanSubject, evaluation: PlannedEvaluation): readonly string[] =>
  kindOf(evaluation).groups(subject, evaluation);
