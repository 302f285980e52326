import { scheduleLabel, variantLabel } from "../labels.js";
import { ledgerTable } from "../ledger-table.js";
import { formatCount, formatDuration } from "../progress.js";
import { type DemoResults, type LedgerResults, totalSeconds, type Variant, variantNames } from "../results.js";
import { contextsOf, type Series, seriesOf } from "../table.js";
import { type Chart, comparisonCeiling, comparisonChart, drawCharts, lossCharts, trainCharts } from "./charts.js";
import { drawSvg, figuresLine } from "./draw.js";
import { blowUp, type Finding, findings, tie } from "./findings.js";
import { ledgerChart } from "./ledger-chart.js";
import { escapeHtml, factList, htmlPage } from "./page.js";

export interface ReportOptions {
  /** Turns charts into SVG texts, or undefined where it cannot. Default `drawSvg`. */
  readonly draw?: typeof drawSvg;
}

/**
 * One self-contained HTML file (no script, no request to anywhere): what was run and the command that runs it again, what the
 * numbers show and what they do not, loss against context, the table, training curves and the draws of E²-LLM. Where the
 * optional packages `vega` and `vega-lite` are missing the figures are replaced by a note that says so.
 */
export async function renderReport(results: DemoResults, options: ReportOptions = {}): Promise<string> {
  const draw = options.draw ?? drawSvg;
  const comparison = comparisonChart(results);
  const recall = ledgerChart(results);
  const groups = {
    loss: lossCharts(results),
    comparison: comparison === undefined ? [] : [comparison],
    ledger: recall === undefined ? [] : [recall],
    train: trainCharts(results),
    draws: drawCharts(results),
  };
  const charts = Object.values(groups).flat();
  const figures = await drawFigures(charts, draw);
  const { train, draws } = groups;
  const panels = (name: keyof typeof groups, layout: "narrow" | "wide" | "single"): string => figurePanels(groups[name], figures, layout);
  const longest = contextsOf(results).at(-1) ?? results.window;
  const title = `From ${results.window} to ${longest} bytes of context`;
  const body = [
    `<h1>${title}</h1>`,
    `<p class="lead">A byte-level Llama, trained on ${results.window} bytes of context, extended by E²-LLM up to g = ${results.gMax}, and read at ` +
      `${contextsOf(results).join(", ")} bytes beside what people would try instead.</p>`,
    facts(results),
    `<p class="caption">Run it again:</p><pre><code>${escapeHtml(results.command)}</code></pre>`,
    `<h2>What the numbers show, and what they do not</h2>`,
    findingList(findings(results)),
    `<h2>Loss against context</h2>`,
    panels("loss", "narrow"),
    `<p class="caption">Every point is the mean loss over the same ${results.targets.toLocaleString("en-US")} held-out bytes; only the context before them differs. ` +
      `Lower is better, and the three panels share their axes. <span class="dash"></span> is the model's own truncation baseline: it reads only the last ${results.window} bytes ` +
      `whatever is available, so a curve that is not below it gains nothing from long context. Scaled curves of the base model use context / L. ` +
      `Circles mark g·L, as far as an E² scale is meant to reach.</p>`,
    panels("comparison", "single"),
    comparison === undefined
      ? ""
      : `<p class="caption">Each method with the scale that one would choose for the context: context / L. Unscaled reading is left out; it is in the panels above. <span class="dash"></span> is the best truncation baseline of all: ` +
        `any model trained on ${results.window} bytes, last ${results.window} bytes only. Losses more than ${comparisonCeiling} above it are cut off.</p>`,
    lossTable(results),
    `<p class="caption">Nats per byte. <b>Bold green</b>: more than ${tie} below the model's own truncation baseline. Red with <span class="sign">▲</span>: at least ${blowUp} above it.</p>`,
    ledgerPart(results.ledger, panels("ledger", "single")),
    train.length === 0 ? "" : `<h2>Training</h2>`,
    panels("train", "wide"),
    train.length === 0
      ? ""
      : `<p class="caption">Loss on the training text, averaged over neighbouring steps where there are many. The E² curve is measured under drawn scales and shifts, which is a ` +
        `harder task than plain steps, so the heights of the two curves cannot be compared.</p>`,
    draws.length === 0 ? "" : `<h2>The draws of E²-LLM</h2>`,
    panels("draws", "wide"),
    draws.length === 0
      ? ""
      : `<p class="caption">In training the position of byte m is (m + t) / g, except for the first bytes (the attention sinks), which stay at m / g. ` +
        `g is uniform on 1..${results.gMax} (<span class="dash"></span> expected count) and t uniform on 0..g·L − L (solid bound); points are spread sideways to be seen.</p>`,
    `<h2>Time</h2>`,
    secondsTable(results),
    `<footer>Written by dawngrad from results.json, which lies beside this file and holds every number shown here.</footer>`,
  ];
  return htmlPage(`dawngrad ${results.preset}: ${title}`, body);
}

function facts(results: DemoResults): string {
  const { model } = results;
  const items: [string, string][] = [
    ["Preset", results.preset],
    ["Parameters", `${formatCount(model.parameters)} (${model.parameters.toLocaleString("en-US")})`],
    ["Model", describeModel(model)],
    ["Trained window L", `${results.window} bytes`],
    ["Backend", results.adapter === null ? results.backend : `${results.backend}, ${results.adapter}`],
    ["Time", formatDuration(totalSeconds(results))],
    ["Target bytes", results.targets.toLocaleString("en-US")],
    ["Seed", String(results.seed)],
  ];
  return factList(items);
}

function describeModel(model: DemoResults["model"]): string {
  const parts: string[] = [];
  const add = (field: string, words: (n: number) => string): void => {
    const value = model[field];
    if (typeof value === "number") parts.push(words(value));
  };
  add("num_hidden_layers", (n) => `${n} ${n === 1 ? "layer" : "layers"}`);
  add("hidden_size", (n) => `width ${n}`);
  const [heads, kvHeads] = [model["num_attention_heads"], model["num_key_value_heads"]];
  if (typeof heads === "number")
    parts.push(typeof kvHeads === "number" && kvHeads !== heads ? `${heads} heads over ${kvHeads}` : `${heads} heads`);
  return parts.length === 0 ? "Llama" : parts.join(", ");
}

const topicTitles: Readonly<Record<Finding["topic"], string>> = {
  base: "The problem",
  flat: "Does E² reach g·L?",
  reach: "Is it better than doing nothing?",
  truncation: "Is the long context used?",
  alternatives: "Is it better than what people would try instead?",
  bound: "What would long sequences have given?",
  price: "What does it cost inside the window?",
  ledger: "And where long context helps?",
  limits: "Read with care",
};

const verdictWords: Readonly<Record<Finding["verdict"], string>> = { for: "for E²", against: "against E²", neutral: "" };

function findingList(found: readonly Finding[]): string {
  const items = found.map(
    ({ topic, verdict, text }) =>
      `<li class="${verdict}"><b>${escapeHtml(topicTitles[topic])}${verdict === "neutral" ? "" : ` <span>${verdictWords[verdict]}</span>`}</b>${escapeHtml(text.replaceAll(" = ", "\u00a0=\u00a0"))}</li>`,
  );
  return `<ul class="findings">\n${items.join("\n")}\n</ul>`;
}

/**
 * The drawings of each chart: one, or a wide one and a compact one of which the style sheet shows what fits. Undefined where figures cannot
 * be drawn.
 */
export async function drawFigures(charts: readonly Chart[], draw = drawSvg): Promise<ReadonlyMap<Chart, string> | undefined> {
  const svg = await draw(charts.flatMap((chart) => (chart.compact === undefined ? [chart] : [chart, { ...chart, spec: chart.compact }])));
  if (svg === undefined) return undefined;
  const drawings = svg.map((text, i) => text.replaceAll(/\b(id="|url\(#)/g, `$1figure-${i}-`));
  const next = (): string => drawings.shift() ?? "";
  return new Map(
    charts.map((chart) => {
      const first = next();
      return [chart, chart.compact === undefined ? first : `<div class="full">${first}</div><div class="compact">${next()}</div>`];
    }),
  );
}

/** Charts side by side, or a note about what is missing where there are no figures. */
export function figurePanels(charts: readonly Chart[], figures: ReadonlyMap<Chart, string> | undefined, layout: string): string {
  if (charts.length === 0) return "";
  if (figures === undefined) {
    return `<p class="caption">Figures are drawn with the optional packages vega and vega-lite, which are not installed here. Install them (${figuresLine}) and run the command again.</p>`;
  }
  const items = charts.map(
    (chart) =>
      `<figure><h3>${escapeHtml(chart.title)}</h3><div role="img" aria-label="${escapeHtml(`${chart.title}. ${chart.description}`)}">${figures.get(chart) ?? ""}</div></figure>`,
  );
  return `<div class="panels ${layout}">\n${items.join("\n")}\n</div>`;
}

function lossTable(results: DemoResults): string {
  const contexts = contextsOf(results);
  const head = contexts.map((context) => `<th scope="col">${context}<small>${multiple(context / results.window)}</small></th>`).join("");
  const groups = variantNames.map((variant) => tableGroup(results, variant, contexts));
  return `<p class="caption sideways">The table is wider than the screen: scroll it sideways for longer contexts →</p>
<div class="table losses" tabindex="0" role="region" aria-label="Loss of every method at every context; scrolls sideways on narrow screens"><table>\n<thead><tr><th scope="col">context in bytes</th>${head}</tr></thead>\n<tbody>\n${groups.filter((group) => group !== "").join("\n")}\n</tbody></table></div>`;
}

function tableGroup(results: DemoResults, variant: Variant, contexts: readonly number[]): string {
  const series = seriesOf(results).filter((one) => one.variant === variant);
  if (series.length === 0) return "";
  const truncated = results.truncation[variant] ?? Number.NaN;
  const name = (one: Series): string => (one.scale === undefined ? scheduleLabel(one.schedule) : `g = ${one.scale}`);
  const cell = (one: Series, context: number): string => {
    const nats = one.nats.get(context);
    if (nats === undefined) return "<td>–</td>";
    const beats = context > results.window && nats < truncated - tie;
    const kind = beats ? ' class="beats"' : nats >= truncated + blowUp ? ' class="broken"' : "";
    return `<td${kind}>${nats.toFixed(3)}</td>`;
  };
  const lines = series.map(
    (one) => `<tr><th scope="row">${escapeHtml(name(one))}</th>${contexts.map((context) => cell(one, context)).join("")}</tr>`,
  );
  return [
    `<tr class="group"><th scope="rowgroup" colspan="${contexts.length + 1}">${escapeHtml(variantLabel(variant))}</th></tr>`,
    ...lines,
    `<tr class="truncation"><th scope="row">last ${results.window} bytes only</th>${contexts.map(() => `<td>${truncated.toFixed(3)}</td>`).join("")}</tr>`,
  ].join("\n");
}

/** The second setting: its figure and its table. */
function ledgerPart(ledger: LedgerResults | undefined, figure: string): string {
  if (ledger === undefined) return "";
  const { head, body } = ledgerTable(ledger);
  const [names = [], counts = []] = head;
  const cells = names
    .slice(1)
    .map((name, i) => `<th scope="col">${escapeHtml(counts[i + 1] ?? "")}<small>${escapeHtml(name)}</small></th>`);
  const lines = body.map(
    ([name = "", ...values]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th>${values.map((value) => `<td>${escapeHtml(value)}</td>`).join("")}</tr>`,
  );
  return [
    `<h2>Recall where long context helps</h2>`,
    `<p class="caption">A second model of ${ledger.parameters.toLocaleString("en-US")} parameters reads ledgers: entries “name := value”, questions “name ?” whose answer is the value last ` +
      `written, however long ago, and echoes that ask for the token one or two places back. The same questions are asked at every context. A guess is right in ` +
      `${ledger.chance.toFixed(2)}; the dashed curve is perfect recall of what the context holds.</p>`,
    figure,
    `<div class="table" tabindex="0" role="region" aria-label="Right answers in the ledger"><table>\n<thead><tr><th scope="col">context in tokens</th>${cells.join("")}</tr></thead>\n<tbody>\n${lines.join("\n")}\n</tbody></table></div>`,
    `<p class="caption">Share of right answers: questions at every context, echoes at the longest. Echoes need exact offsets, which divided positions blur.</p>`,
  ].join("\n");
}

function multiple(times: number): string {
  return times === 1 ? "L" : `${Math.round(times * 100) / 100}L`;
}

function secondsTable(results: DemoResults): string {
  const speed = (phase: string): string => {
    const points = results.train.filter((point) => point.phase === phase);
    const sorted = points.flatMap(({ tokensPerSecond }) => (tokensPerSecond === null ? [] : [tokensPerSecond])).sort((a, b) => a - b);
    if (sorted.length === 0) return "–";
    return formatCount(sorted[Math.floor(sorted.length / 2)] ?? 0);
  };
  const lines = Object.entries(results.seconds).map(
    ([phase, seconds]) => `<tr><th scope="row">${escapeHtml(phase)}</th><td>${formatDuration(seconds)}</td><td>${speed(phase)}</td></tr>`,
  );
  return `<div class="table"><table>\n<thead><tr><th scope="col">phase</th><th scope="col">time</th><th scope="col">tokens/s (median)</th></tr></thead>\n<tbody>\n${lines.join("\n")}\n</tbody></table></div>`;
}
