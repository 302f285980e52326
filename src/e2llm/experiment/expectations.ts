/** Whether what was expected is so. */
import type { Expectation, Measure, Requirement, Selector } from "./definition.js";
import { measureInfo } from "./measures.js";
import { tokensOf } from "./names.js";
import type { ExperimentPlan } from "./plan.js";
import type { Cell, Pooled, Verdict } from "./results.js";

/** Finds pooled numbers by what expectations call them. */
export class Numbers {
  constructor(
    private readonly plan: ExperimentPlan,
    private readonly cells: readonly Cell[],
  ) {}

  /** The numbers of a row; undefined where it was not measured or has no such group. */
  of({ row, evaluation, context, group }: Selector, measure: Measure): Pooled | undefined {
    const { window, evaluations } = this.plan;
    const name = evaluation ?? evaluations[0]?.name;
    const length = tokensOf(context, window);
    return this.cells.find(
      (cell) => cell.row === row && cell.evaluation === name && cell.context === length && (group === undefined || cell.group === group),
    )?.[measure];
  }
}

const shown = (value: number | null | undefined): string => (value === null || value === undefined ? "not a number" : value.toFixed(3));
const at = ({ row, context, group }: Selector): string => `${row} at ${context}${group === undefined ? "" : ` (${group})`}`;

/** A verdict from a test of numbers: on the means, and on each seed alone. Undefined where a number is missing that was not measured. */
function verdict(
  name: string,
  numbers: readonly (Pooled | undefined)[],
  holds: (values: readonly number[]) => boolean,
  found: (means: readonly (number | null)[]) => string,
): Verdict | undefined {
  if (numbers.some((one) => one === undefined)) return undefined;
  const all = numbers as readonly Pooled[];
  const test = (values: readonly (number | null)[]): boolean => values.every((value) => value !== null) && holds(values as number[]);
  const means = all.map(({ mean }) => mean);
  const seeds = all[0]?.bySeed.length ?? 0;
  const seedsHeld = Array.from({ length: seeds }, (_, seed) => test(all.map(({ bySeed }) => bySeed[seed] ?? null))).filter(Boolean).length;
  return { name, held: test(means), found: found(means), seedsHeld, seeds };
}

/** Verdicts on all expectations whose rows were measured. */
export function judgeExpectations(expectations: readonly Expectation[], numbers: Numbers): Verdict[] {
  return expectations.flatMap((one) => {
    const found = judge(one, numbers);
    return found === undefined ? [] : [found];
  });
}

function judge(expectation: Expectation, numbers: Numbers): Verdict | undefined {
  const { name, measure = "nats" } = expectation;
  switch (expectation.type) {
    case "less":
    case "greater": {
      const { of, than, margin } = expectation;
      const sign = expectation.type === "less" ? 1 : -1;
      const pair = [numbers.of(of, measure), numbers.of(than, measure)];
      return verdict(
        name,
        pair,
        ([a, b]) => sign * ((b as number) - (a as number)) > margin,
        ([a, b]) => `${at(of)}: ${shown(a)}; ${at(than)}: ${shown(b)}; margin ${margin}`,
      );
    }
    case "flat": {
      const { row, evaluation, group, contexts, within } = expectation;
      const selectors = contexts.map((context) => ({ row, context, ...optional({ evaluation, group }) }));
      return verdict(
        name,
        selectors.map((selector) => numbers.of(selector, measure)),
        (values) => Math.max(...values) - Math.min(...values) <= within,
        (means) => `${row}: ${means.map((mean, i) => `${shown(mean)} at ${contexts[i]}`).join(", ")}; within ${within}`,
      );
    }
    case "gradual": {
      const { rows, evaluation, group, context, within } = expectation;
      const selectors = rows.map((row) => ({ row, context, ...optional({ evaluation, group }) }));
      const sign = measureInfo(measure).better === "less" ? 1 : -1;
      return verdict(
        name,
        selectors.map((selector) => numbers.of(selector, measure)),
        (values) => values.every((value, i) => i === 0 || sign * (value - (values[i - 1] as number)) <= within),
        (means) => `at ${context}: ${means.map((mean, i) => `${rows[i]} ${shown(mean)}`).join(", ")}; within ${within}`,
      );
    }
  }
}

/** Verdicts on requirements, each of which has to hold for every seed. */
export function judgeRequirements(requirements: readonly Requirement[], numbers: Numbers): Verdict[] {
  return requirements.flatMap((one) => {
    const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY, measure = "accuracy" } = one;
    const bounds = [one.atLeast === undefined ? "" : `at least ${atLeast}`, one.atMost === undefined ? "" : `at most ${atMost}`]
      .filter(Boolean)
      .join(", ");
    const pooled = numbers.of(one, measure);
    const found = verdict(
      one.name ?? `${measure} of ${at(one)} is ${bounds}`,
      [pooled],
      ([value]) => (value as number) >= atLeast && (value as number) <= atMost,
      () => `${(pooled?.bySeed ?? []).map(shown).join(", ")} by seed; ${bounds}`,
    );
    return found === undefined ? [] : [{ ...found, held: found.seedsHeld === found.seeds }];
  });
}

const optional = (fields: { readonly evaluation: string | undefined; readonly group: string | undefined }): Partial<Selector> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
