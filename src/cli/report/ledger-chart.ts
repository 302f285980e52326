import type { TopLevelSpec } from "vega-lite";
import { ledgerContexts, ledgerSeries } from "../ledger-table.js";
import type { DemoResults } from "../results.js";
import { compact, config, full, ink, muted, type Size } from "./chart-style.js";
import { type Chart, contextAxis, scheduleColors } from "./charts.js";

/** The share of right answers in the ledger against context: every way to read every model, a guess, and what perfect recall would give. */
export function ledgerChart({ ledger }: DemoResults): Chart | undefined {
  if (ledger === undefined || ledger.rows.length === 0) return undefined;
  const contexts = ledgerContexts(ledger);
  const curves = [
    ...ledgerSeries(ledger).map(({ variant, schedule, label, questions }) => ({
      name: label,
      color: variant === "e2" ? "var(--g-5)" : variant === "full" ? ink : (scheduleColors[schedule] ?? muted),
      dash: variant === "plain" ? [6, 2, 1.5, 2] : variant === "full" ? [2, 2] : [1, 0],
      points: [...questions].map(([context, accuracy]) => ({ context, accuracy })),
    })),
    { name: "perfect recall", color: muted, dash: [5, 4], points: ledger.perfect },
  ];
  const names = curves.map(({ name }) => name);
  const x = {
    field: "context",
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false, padding: 14 },
    axis: contextAxis(ledger, contexts),
  } as const;
  const domain: number[] = [0, 1];
  const y = {
    field: "accuracy",
    type: "quantitative",
    scale: { domain },
    axis: { title: "right answers to questions", tickCount: 6, format: ".1f" },
  } as const;
  const spec = (size: Size, columns: number): TopLevelSpec => {
    const legend = { title: null, orient: "bottom", columns, symbolType: "stroke", symbolSize: 320 } as const;
    const color = { field: "name", type: "nominal", scale: { domain: names, range: curves.map((one) => one.color) }, legend } as const;
    const strokeDash = { field: "name", type: "nominal", scale: { domain: names, range: curves.map((one) => one.dash) }, legend } as const;
    return {
      ...size,
      config,
      layer: [
        {
          data: { values: [{ accuracy: ledger.chance }] },
          mark: { type: "rule", strokeDash: [2, 4], color: muted, strokeWidth: 1.2 },
          encoding: { y },
        },
        {
          data: { values: curves.flatMap(({ name, points }) => points.map((point) => ({ ...point, name }))) },
          mark: { type: "line", strokeWidth: 2, point: { filled: true, size: 36 } },
          encoding: { x, y, color, strokeDash },
        },
      ],
    };
  };
  return {
    title: "Recall in the ledger",
    description: curves
      .map(({ name, points }) => `${name}: ${points.map(({ context, accuracy }) => `${accuracy.toFixed(2)} at ${context}`).join(", ")}.`)
      .join(" "),
    spec: spec(full, 3),
    compact: spec(compact, 1),
  };
}
