/** Pooled numbers as tables: for a terminal, and in Markdown. */
import { checkArgument, checkOptions, objectWith, oneOf, optional } from "../../arguments.js";
import { type Measure, measureInfo, measureNames } from "./measures.js";
import type { Cell, ExperimentEvaluation, ExperimentResults, Pooled, Verdict } from "./results.js";

const resultsKind = objectWith("results, as runExperiment(…) gives them", "name", "rows", "evaluations", "cells");

/** What a table shows. */
export interface ExperimentTableOptions {
  /** Default, and for evaluations that do not measure it: what they show, "accuracy" of a task's questions, "nats" of a text's tokens. */
  readonly measure?: Measure;
}

/** One table of an evaluation: a line for each row, a column for each context. */
interface Table {
  readonly caption: string;
  readonly head: readonly string[];
  readonly lines: readonly (readonly string[])[];
}

function tablesOf(results: ExperimentResults, { measure }: ExperimentTableOptions): Table[] {
  return results.evaluations.flatMap((evaluation) =>
    measuresShown(evaluation, measure).flatMap((one) => [
      ...evaluation.groups
        .filter((group) => !evaluation.byPlace.includes(kindOfGroup(group)))
        .map((group) => contextTable(results, evaluation, group, one)),
      ...evaluation.byPlace.map((kind) => placeTable(results, evaluation, kind, one)).filter(({ lines }) => lines.length > 0),
    ]),
  );
}

/** What is shown of an evaluation: the measure that is asked for, where it has that, else what it shows by itself. */
export const measuresShown = ({ measures, shown }: ExperimentEvaluation, asked: Measure | undefined): readonly Measure[] =>
  asked !== undefined && measures.includes(asked) ? [asked] : shown;

/** "question" of "question/far". */
export const kindOfGroup = (group: string): string => group.split("/")[0] as string;

function contextTable(results: ExperimentResults, { name, contexts }: ExperimentEvaluation, group: string, measure: Measure): Table {
  const { window, chance } = results;
  const find = finder(results, name);
  const byChance = measure === "accuracy" && chance[group] !== undefined ? `, ${chance[group].toFixed(2)} by chance` : "";
  return {
    caption: `${name}: ${group}, ${measureInfo(measure).unit}${byChance}`,
    head: ["", ...contexts.map((context) => multiple(context, window))],
    lines: results.rows.flatMap((row) => {
      const cells = contexts.map((context) => find(row.name, context, group)?.[measure]);
      return cells.every((cell) => cell === undefined) ? [] : [[row.name, ...cells.map(shown)]];
    }),
  };
}

/** Buckets of places as columns, at the longest context. */
function placeTable(results: ExperimentResults, evaluation: ExperimentEvaluation, kind: string, measure: Measure): Table {
  const { name, contexts, groups } = evaluation;
  const find = finder(results, name);
  const context = contexts.at(-1) as number;
  const own = groups.filter((group) => group.startsWith(`${kind}/`));
  const at = evaluation.type === "positions" ? "by place" : `by place at ${multiple(context, results.window)}`;
  return {
    caption: `${name}: ${kind} ${at}, ${measureInfo(measure).unit}`,
    head: ["", ...own.map((group) => group.slice(kind.length + 1))],
    lines: results.rows.flatMap((row) => {
      const cells = own.map((group) => find(row.name, context, group)?.[measure]);
      return cells.every((cell) => cell === undefined) ? [] : [[row.name, ...cells.map(shown)]];
    }),
  };
}

function finder({ cells }: ExperimentResults, evaluation: string): (row: string, context: number, group: string) => Cell | undefined {
  const byName = new Map(
    cells.filter((cell) => cell.evaluation === evaluation).map((cell) => [`${cell.context}/${cell.group}/${cell.row}`, cell]),
  );
  return (row, context, group) => byName.get(`${context}/${group}/${row}`);
}

/** 128 at a window of 64 is "128 (2L)". */
export function multiple(context: number, window: number): string {
  const times = context / window;
  return Number.isInteger(times) ? `${context} (${times === 1 ? "" : times}L)` : String(context);
}

/** Mean and half of the interval: ".72 ±.03"; "–" where nothing was measured. */
function shown(pooled: Pooled | undefined): string {
  if (pooled === undefined) return "–";
  const { mean, low, high } = pooled;
  if (mean === null) return "not a number";
  const digits = (value: number): string => value.toFixed(3);
  return low === null || high === null ? digits(mean) : `${digits(mean)} ±${digits((high - low) / 2)}`;
}

const verdictLine = ({ name, held, found, seedsHeld, seeds }: Verdict): string =>
  `${held ? "holds" : "DOES NOT HOLD"}: ${name} [${seedsHeld} of ${seeds} ${seeds === 1 ? "seed" : "seeds"}] ${found}`;

function verdictLines({ requirements, expectations }: ExperimentResults): string[] {
  const broken = requirements.filter(({ held }) => !held);
  return [
    ...(broken.length === 0 ? [] : ["A requirement does not hold, so that the numbers below it compare nothing that can be relied on."]),
    ...[...requirements, ...expectations].map(verdictLine),
  ];
}

/**
 * The pooled tables for a terminal: means over seeds, ± half of the 95 % interval; one table for each evaluation and group of targets, then
 * what was required and expected.
 */
export function experimentTable(results: ExperimentResults, options: ExperimentTableOptions = {}): string {
  check("experimentTable", results, options);
  const tables = tablesOf(results, options).map(({ caption, head, lines }) => {
    const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => (line[column] ?? "").length)));
    const format = (line: readonly string[]): string =>
      line
        .map((text, column) => (column === 0 ? text.padEnd(widths[0] as number) : text.padStart(widths[column] as number)))
        .join("  ")
        .trimEnd();
    return [caption, format(head), "-".repeat(widths.reduce((sum, width) => sum + width + 2, -2)), ...lines.map(format)].join("\n");
  });
  return [heading(results), ...tables, verdictLines(results).join("\n")].filter((part) => part !== "").join("\n\n");
}

/** The same in Markdown, to be kept beside the results. */
export function experimentMarkdown(results: ExperimentResults, options: ExperimentTableOptions = {}): string {
  check("experimentMarkdown", results, options);
  const row = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const tables = tablesOf(results, options).map(({ caption, head, lines }) =>
    [`**${caption}**`, "", row(head), row(head.map((_, column) => (column === 0 ? "---" : "---:"))), ...lines.map(row)].join("\n"),
  );
  const verdicts = verdictLines(results).map((line) => `- ${line}`);
  return `${[`# ${results.title}`, results.description, heading(results), ...tables, verdicts.join("\n")].filter((part) => part !== "").join("\n\n")}\n`;
}

function heading({ name, parameters, window, seeds, backend, runs, complete }: ExperimentResults): string {
  const seconds = runs.reduce((sum, run) => sum + run.seconds, 0);
  return (
    `${name}: ${parameters.toLocaleString("en-US")} parameters, L = ${window}, ${backend}, seeds ${seeds.join(", ")}; ` +
    `${runs.length} trainings in ${Math.round(seconds)} s${complete ? "" : "; NOT COMPLETE"}`
  );
}

function check(where: string, results: ExperimentResults, options: ExperimentTableOptions): void {
  checkArgument(where, "results", results, resultsKind);
  checkOptions(where, options, { measure: optional(oneOf(...measureNames)) });
}
