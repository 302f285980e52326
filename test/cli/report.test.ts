import { beforeAll, describe, expect, it } from "vitest";
import { comparisonChart, drawCharts, lossCharts, thinCurve, trainCharts } from "../../src/cli/report/charts.js";
import { ledgerChart } from "../../src/cli/report/ledger-chart.js";
import { positionChart, positionPage } from "../../src/cli/report/position-chart.js";
import { renderReport } from "../../src/cli/report/report.js";
import { parseDemoResults } from "../../src/cli/results.js";
import { formatTable } from "../../src/cli/table.js";
import { FormatError } from "../../src/errors.js";
import { syntheticResults } from "./synthetic-results.js";

/** Names of elements that HTML never closes. */
const voidElements = new Set(["meta", "br", "hr", "img", "link", "input"]);

/** Throws where a tag is closed that is not open, or one stays open. */
function expectBalancedTags(html: string): void {
  const withoutStyle = html.replace(/<style>[\s\S]*?<\/style>/g, "<style></style>").replace("<!doctype html>", "");
  const open: string[] = [];
  for (const [tag, slash, name = "", selfClosing] of withoutStyle.matchAll(
    /<(\/?)([a-zA-Z][\w-]*)(?:\s+[\w:-]+(?:="[^"<]*")?)*\s*(\/?)>/g,
  )) {
    if (selfClosing || (slash === "" && voidElements.has(name))) continue;
    if (slash === "") open.push(name);
    else expect(open.pop(), `before ${tag}`).toBe(name);
  }
  expect(open).toEqual([]);
  const text = withoutStyle.replace(/<(\/?)([a-zA-Z][\w-]*)(?:\s+[\w:-]+(?:="[^"<]*")?)*\s*(\/?)>/g, "");
  expect(text).not.toMatch(/[<>]/);
  expect(text).not.toMatch(/&(?!amp;|lt;|gt;|quot;|#39;)/);
}

describe("the report", () => {
  const results = syntheticResults();
  let html = "";
  beforeAll(async () => {
    html = await renderReport(results);
  });

  it("asks for nothing from anywhere", () => {
    expect(html).not.toMatch(/<(script|link|iframe|img|object|embed)\b/i);
    expect(html).not.toMatch(/\b(src|href|action|data)\s*=/i);
    expect(html).not.toMatch(/@import|url\(\s*["']?(?!#)/i);
    expect(html.replaceAll(/ xmlns(:xlink)?="[^"]*"/g, "")).not.toMatch(/https?:/);
  });

  it("has balanced tags and escaped text", () => expectBalancedTags(html));

  it("shows every loss, every baseline and the summary", () => {
    for (const { nats } of results.rows) expect(html).toContain(`>${nats.toFixed(3)}</td>`);
    for (const nats of Object.values(results.truncation)) expect(html).toContain(`<td>${nats.toFixed(3)}</td>`);
    for (const text of ["smoke", "123,456", "webgpu, llvmpipe", "1m32s", results.command, "12k"]) expect(html).toContain(text);
  });

  it("draws eight figures with titles and descriptions", () => {
    expect(html.match(/<figure/g)).toHaveLength(8);
    // Five of them are wide, and have a second drawing for narrow screens.
    expect(html.match(/<svg/g)).toHaveLength(13);
    expect(html.match(/role="img" aria-label="[^"]{40,}"/g)).toHaveLength(8);
  });

  it("uses page colours only, so that dark mode reaches the figures", () => {
    const colors = [...html.matchAll(/(?:fill|stroke)="([^"]+)"/g)].map(([, color]) => color);
    expect(colors.length).toBeGreaterThan(100);
    expect(colors.filter((color) => !/^(var\(--[\w-]+\)|none|transparent|url\(#.*\))$/.test(color ?? ""))).toEqual([]);
    const used = new Set([...html.matchAll(/var\((--[\w-]+)\)/g)].map(([, name]) => name));
    for (const name of used) expect(html.split(`${name}:`).length, name).toBe(3);
  });

  it("gives every drawing names of its own", () => {
    const ids = [...html.matchAll(/\bid="([^"]+)"/g)].map(([, id]) => id);
    expect(ids.length).toBeGreaterThan(0);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, id] of html.matchAll(/url\(#([^)]+)\)/g)) expect(ids).toContain(id);
  });

  it("escapes what it is given", async () => {
    const hostile = await renderReport({ ...results, adapter: '<img src="x">', command: "dawngrad demo --out 'a&b'" });
    expect(hostile).not.toContain("<img");
    expect(hostile).toContain("a&amp;b");
    expectBalancedTags(hostile);
  });

  it("says which packages are missing where figures cannot be drawn, and keeps the numbers", async () => {
    const bare = await renderReport(results, { draw: async () => undefined });
    expect(bare).not.toContain("<svg");
    expect(bare).toContain("npm install vega@6.4.0 vega-lite@6.4.2");
    expect(bare).toContain("1.481</td>");
    expectBalancedTags(bare);
  });

  it("is drawn from the fewest rows too", async () => {
    const least = await renderReport({ ...results, rows: results.rows.slice(0, 1), train: [], draws: [] });
    expect(least.match(/<svg/g)).toHaveLength(1);
    expectBalancedTags(least);
  });
});

describe("the report of both settings", () => {
  const results = syntheticResults({ full: [1.3, 1.25, 1.21, 1.19], ledger: { base: 0.5, yarn: 0.66, e2: 0.7, full: 0.8 } });

  it("has a figure and a table for the ledger, and the upper bound among the losses", async () => {
    const html = await renderReport(results);
    expectBalancedTags(html);
    expect(html.match(/<figure/g)).toHaveLength(9);
    expect(html).toContain("<h2>Recall where long context helps</h2>");
    expect(html).toContain(
      '<th scope="row">E², g = context / L</th><td>0.54</td><td>0.59</td><td>0.65</td><td>0.70</td><td>0.90</td><td>0.20</td>',
    );
    for (const nats of [1.25, 1.21, 1.19]) expect(html).toContain(`>${nats.toFixed(3)}</td>`);
  });

  it("describes both in words", () => {
    expect(ledgerChart(results)?.description).toContain("full length (upper bound), no scaling: 0.54 at 64");
    expect(ledgerChart(results)?.description).toContain("perfect recall: 0.53 at 64, 0.73 at 128, 0.90 at 256, 1.00 at 512.");
    expect(ledgerChart(syntheticResults())).toBeUndefined();
    expect(comparisonChart(results)?.description).toContain("full length (upper bound): 1.300 at 64");
    expect(lossCharts(results)).toHaveLength(3);
    const phases = ["pretrain", "e2", "ledger-pretrain", "ledger-e2", "ledger-full"];
    const train = phases.map((phase) => ({ phase, step: 1, loss: 1, tokensPerSecond: null }));
    expect(trainCharts({ ...results, train }).map(({ title }) => title)).toEqual([
      "Pretraining",
      "Continued training",
      "Pretraining on the ledger",
      "Continued training on the ledger",
    ]);
  });

  it("is printed as two tables", () => {
    const cells = formatTable(results)
      .split("\n")
      .map((line) => line.split(/ {2,}/));
    expect(cells).toContainEqual(["full length (upper bound), no scaling", "1.300", "1.250", "1.210", "1.190"]);
    expect(cells).toContainEqual(["full length (upper bound), no scaling", "0.54", "0.63", "0.71", "0.80", "0.90", "0.20"]);
    expect(cells).toContainEqual(["perfect recall", "0.53", "0.73", "0.90", "1.00", "1.00", "1.00"]);
    expect(parseDemoResults(JSON.parse(JSON.stringify(results)))).toEqual(results);
  });
});

describe("charts", () => {
  it("are one for each variant that has rows", () => {
    const results = syntheticResults();
    expect(lossCharts(results)).toHaveLength(3);
    expect(lossCharts({ ...results, rows: results.rows.filter((row) => row.variant === "e2") })).toHaveLength(1);
  });

  it("compare E² at the covering scale of each context", () => {
    expect(comparisonChart(syntheticResults())?.description).toContain(
      "E², g = context / L: 1.608 at 64, 1.480 at 128, 1.481 at 256, 1.602 at 512.",
    );
  });

  it("count every draw", () => {
    const results = {
      ...syntheticResults(),
      gMax: 2,
      draws: [
        { step: 1, g: 1, t: 0 },
        { step: 2, g: 2, t: 3 },
        { step: 3, g: 2, t: 9 },
      ],
    };
    expect(drawCharts(results)[0]?.description).toContain("1 of g = 1, 2 of g = 2");
    expect(drawCharts({ ...results, draws: [] })).toEqual([]);
  });

  it("thin a curve by averages that leave no point out", () => {
    const curve = Array.from({ length: 1000 }, (_, i) => ({ phase: "p", step: i + 1, loss: i % 2, tokensPerSecond: 1 }));
    const thin = thinCurve(curve);
    expect(thin.length).toBeLessThanOrEqual(240);
    expect(thin[0]).toEqual({ step: 3, loss: 0.4 });
    expect(thinCurve(curve.slice(0, 3))).toHaveLength(3);
  });
});

describe("the page of losses by position", () => {
  const figure = {
    model: "runs/<e2>",
    document: 'Chapter "1"',
    schedule: "linear",
    scale: 4,
    window: 128,
    unit: "tokens",
    buckets: [
      { from: 0, to: 64, nats: 1.5, natsPerByte: 0.375, targets: 64 },
      { from: 64, to: 128, nats: null, natsPerByte: null, targets: 64 },
      { from: 128, to: 200, nats: 2.25, natsPerByte: 0.5625, targets: 72 },
    ],
  } as const;

  it("has the figure, every mean and the names as they are", async () => {
    const html = (await positionPage(figure)) ?? "";
    expectBalancedTags(html.replace(/<svg[\s\S]*?<\/svg>/g, ""));
    expect(html.match(/<svg/g)).toHaveLength(2); // wide and compact
    for (const text of [
      "runs/&lt;e2&gt;",
      "Chapter &quot;1&quot;",
      "1.5000",
      "not a number",
      "128 … 199",
      "2.2500",
      "0.5625",
      "nats per token",
    ])
      expect(html).toContain(text);
    expect(await positionPage({ ...figure, unit: "bytes" })).not.toContain("nats per token");
  });

  it("draws what is a number, on a logarithmic axis that has no 0", () => {
    const chart = positionChart(figure);
    expect(chart.spec).toMatchObject({
      data: {
        values: [
          { from: 1, to: 64, nats: 1.5 },
          { from: 128, to: 200, nats: 2.25 },
        ],
      },
    });
    expect(chart.description).toContain("2.250 from 128 to 200");
  });
});

describe("the table of the terminal", () => {
  it("has aligned columns and every loss", () => {
    const results = syntheticResults();
    const lines = formatTable(results).split("\n");
    const body = lines.slice(lines.findIndex((line) => line.startsWith("nats per byte")));
    expect(new Set(body.map((line) => line.length)).size).toBe(1);
    for (const { nats } of results.rows) expect(formatTable(results)).toContain(nats.toFixed(3));
    expect(body[0]).toMatch(/ L +2L +4L +8L$/);
    expect(body).toHaveLength(3 + 4 + 2 + 4 + 3);
  });

  it("marks a context that a series lacks", () => {
    const results = syntheticResults();
    expect(formatTable({ ...results, rows: results.rows.slice(0, -1) })).toMatch(/g = 8 +1\.536 +1\.546 +1\.575 +-\n/);
  });
});

describe("results.json", () => {
  it("is read back as it was written", () => {
    const results = syntheticResults();
    expect(parseDemoResults(JSON.parse(JSON.stringify(results)))).toEqual(results);
  });

  it.each([
    ["the document", null],
    ["version", { version: 2 }],
    ["backend", { backend: 3 }],
    ["model.parameters", { model: { parameters: "many" } }],
    ["window", { window: 0 }],
    ["rows[0].variant", { rows: [{ variant: "other" }] }],
    ["rows[0].nats", { rows: [{ variant: "e2", schedule: "linear", scale: 1, context: 64, nats: null }] }],
    ["rows[0].nats", { rows: [{ variant: "e2", schedule: "linear", scale: 1, context: 64, nats: Number.POSITIVE_INFINITY }] }],
    ["truncation.plain", { truncation: { base: 1, e2: 1 } }],
    ["train[0].loss", { train: [{ phase: "p", step: 1, loss: "low" }] }],
    ["draws", { draws: undefined }],
    ["seconds.total", { seconds: { total: "long" } }],
    ["command", { command: undefined }],
  ])("is refused with the name of what is wrong: %s", (at, change) => {
    const broken = change === null ? null : { ...syntheticResults(), ...change };
    const read = () => parseDemoResults(broken, "runs/results.json");
    expect(read).toThrow(FormatError);
    expect(read).toThrow(`runs/results.json: ${at}: `);
  });
});
