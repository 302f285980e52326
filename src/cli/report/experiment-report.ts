import { type Measure, measureInfo } from "../../e2llm/experiment/measures.js";
import type { Cell, ExperimentEvaluation, ExperimentResults, Pooled, Verdict } from "../../e2llm/experiment/results.js";
import { measuresShown, multiple } from "../../e2llm/experiment/tables.js";
import { formatBytes } from "../machine.js";
import { formatCount, formatDuration } from "../progress.js";
import type { Chart } from "./charts.js";
import { drawSvg } from "./draw.js";
import { contextCharts, depthCharts, kindsOf, placeChart, rowsChart, sweepChart } from "./experiment-charts.js";
import { escapeHtml, factList, htmlPage } from "./page.js";
import { drawFigures, figurePanels } from "./report.js";

export interface ExperimentReportOptions {
  /** The command that runs it again. */
  readonly command: string;
  /** Turns charts into SVG texts, or undefined where it cannot. Default `drawSvg`. */
  readonly draw?: typeof drawSvg;
}

/** A part of the page: a heading, words, and charts of one layout. */
interface Section {
  readonly heading: string;
  readonly charts: readonly Chart[];
  readonly layout: "narrow" | "single";
  /** HTML after the figures. */
  readonly after: string;
}

/**
 * One self-contained HTML file (no script, no request to anywhere): what was required and expected and whether it is so, figures with
 * intervals, tables with differences to the reference row, and what each training took. Without the optional packages `vega` and
 * `vega-lite` notes stand in place of figures.
 */
export async function renderExperiment(results: ExperimentResults, options: ExperimentReportOptions): Promise<string> {
  const sections = results.evaluations.flatMap((evaluation) =>
    kindsOf(evaluation).flatMap((kind) =>
      measuresShown(evaluation, undefined).flatMap((measure) => sectionsOf(results, evaluation, kind, measure)),
    ),
  );
  const figures = await drawFigures(
    sections.flatMap(({ charts }) => charts),
    options.draw ?? drawSvg,
  );
  const { title, description, reference } = results;
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    description === "" ? "" : `<p class="lead">${escapeHtml(description)}</p>`,
    facts(results),
    `<p class="caption">Run it again:</p><pre><code>${escapeHtml(options.command)}</code></pre>`,
    verdicts(results),
    ...sections.map(
      ({ heading, charts, layout, after }) =>
        `${heading === "" ? "" : `<h2>${escapeHtml(heading)}</h2>`}${figurePanels(charts, figures, layout)}${after}`,
    ),
    `<p class="caption">Means over ${results.seeds.length} ${results.seeds.length === 1 ? "seed" : "seeds"}; ± is half of the 95 % interval of a bootstrap that draws seeds, and the examples of ` +
      `each, anew. With few seeds it tells of the spread and proves nothing. Dashed lines are the reference row, ${escapeHtml(reference)}; Δ is the difference to it on the same targets.</p>`,
    `<h2>Trainings</h2>`,
    trainings(results),
    `<footer>Written by dawngrad from results.json, which lies beside this file and holds every number shown here.</footer>`,
  ];
  return htmlPage(title, body);
}

function sectionsOf(results: ExperimentResults, evaluation: ExperimentEvaluation, kind: string, measure: Measure): Section[] {
  const { name, byPlace, shown } = evaluation;
  const heading = `${name}: ${kind}${shown.length > 1 ? `, ${measureInfo(measure).title}` : ""}`;
  const present = (charts: readonly (Chart | undefined)[]): Chart[] => charts.filter((chart) => chart !== undefined);
  if (byPlace.includes(kind)) {
    const charts = present([placeChart(results, evaluation, kind, measure)]);
    return charts.length === 0 ? [] : [{ heading, charts, layout: "single", after: "" }];
  }
  const depths = depthCharts(results, evaluation, kind, measure);
  return [
    { heading, charts: contextCharts(results, evaluation, kind, measure), layout: "narrow", after: "" },
    {
      heading: "",
      charts: present([rowsChart(results, evaluation, kind, measure), sweepChart(results, evaluation, kind, measure)]),
      layout: "single",
      after: table(results, evaluation, kind, measure),
    },
    ...(depths.length === 0 ? [] : [{ heading: `${heading} by depth`, charts: depths, layout: "narrow", after: "" } as const]),
  ];
}

function facts(results: ExperimentResults): string {
  const seconds = results.runs.reduce((sum, run) => sum + run.seconds, 0);
  const items: [string, string][] = [
    ["Parameters", `${formatCount(results.parameters)} (${results.parameters.toLocaleString("en-US")})`],
    ["Trained window L", `${results.window} tokens`],
    ["Seeds", results.seeds.join(", ")],
    ["Backend", results.backend],
    ["Trainings", `${results.runs.length} in ${formatDuration(seconds)}`],
  ];
  return factList(items);
}

/** What was required, with its consequences in words, and what was expected. */
function verdicts({ requirements, expectations }: ExperimentResults): string {
  if (requirements.length + expectations.length === 0) return "";
  const item = ({ name, held, found, seedsHeld, seeds }: Verdict): string =>
    `<li class="${held ? "for" : "against"}"><b>${escapeHtml(name)} <span>${held ? "holds" : "does not hold"}</span></b>` +
    `${escapeHtml(found)} (${seedsHeld} of ${seeds} ${seeds === 1 ? "seed" : "seeds"})</li>`;
  const broken = requirements.some(({ held }) => !held);
  return [
    "<h2>What was expected</h2>",
    broken ? '<p><b class="sign">A requirement does not hold: nothing below can be relied on as a comparison.</b></p>' : "",
    `<ul class="findings">\n${[...requirements, ...expectations].map(item).join("\n")}\n</ul>`,
  ].join("\n");
}

function table(results: ExperimentResults, { name, contexts }: ExperimentEvaluation, group: string, measure: Measure): string {
  const { window, rows, cells, reference } = results;
  const find = (row: string, context: number): Cell | undefined =>
    cells.find((cell) => cell.evaluation === name && cell.group === group && cell.row === row && cell.context === context);
  const head = contexts.map((context) => `<th scope="col">${escapeHtml(multiple(context, window))}</th>`).join("");
  const cell = (found: Cell | undefined): string => {
    const [value, less] = [found?.[measure], found?.difference?.[measure]];
    if (value === undefined) return "<td>–</td>";
    return `<td>${withInterval(value)}${less === undefined ? "" : `<br/><small>Δ ${withInterval(less, true)}</small>`}</td>`;
  };
  const lines = rows
    .filter((row) => contexts.some((context) => find(row.name, context) !== undefined))
    .map(
      (row) =>
        `<tr${row.name === reference ? ' class="truncation"' : ""}><th scope="row">${escapeHtml(row.name)}</th>${contexts.map((context) => cell(find(row.name, context))).join("")}</tr>`,
    );
  return `<div class="table losses" tabindex="0" role="region" aria-label="${escapeHtml(`${name}: ${group}`)}"><table><thead><tr><th scope="col">${measureInfo(measure).title}</th>${head}</tr></thead><tbody>\n${lines.join("\n")}\n</tbody></table></div>`;
}

function withInterval({ mean, low, high }: Pooled, signed = false): string {
  if (mean === null) return "not a number";
  const sign = signed && mean > 0 ? "+" : "";
  return `${sign}${mean.toFixed(3)}${low === null || high === null ? "" : ` ± ${((high - low) / 2).toFixed(3)}`}`;
}

/** What each variant took, as means over the seeds. */
function trainings({ runs }: ExperimentResults): string {
  const variants = [...new Set(runs.map(({ variant }) => variant))];
  const withBytes = runs.some(({ bytes }) => bytes !== undefined);
  const lines = variants.map((variant) => {
    const own = runs.filter((run) => run.variant === variant);
    const mean = (pick: (run: (typeof own)[number]) => number): number => own.reduce((sum, run) => sum + pick(run), 0) / own.length;
    const last = mean((run) => run.losses.at(-1)?.loss ?? Number.NaN);
    const cells = [
      String(Math.round(mean(({ steps }) => steps))),
      formatCount(mean(({ tokens }) => tokens)),
      `${mean(({ seconds, steps }) => (1000 * seconds) / steps).toFixed(0)} ms`,
      Number.isFinite(last) ? last.toFixed(3) : "–",
      ...(withBytes ? [formatBytes(mean(({ bytes }) => bytes ?? 0))] : []),
    ];
    return `<tr><th scope="row">${escapeHtml(variant)}</th>${cells.map((text) => `<td>${text}</td>`).join("")}</tr>`;
  });
  const head = ["steps", "tokens", "per step", "last loss", ...(withBytes ? ["memory of a step"] : [])];
  return `<div class="table"><table><thead><tr><th scope="col"></th>${head.map((text) => `<th scope="col">${text}</th>`).join("")}</tr></thead><tbody>\n${lines.join("\n")}\n</tbody></table></div>`;
}
