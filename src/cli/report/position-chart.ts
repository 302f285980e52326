import type { PositionBucket } from "../../e2llm/position-loss.js";
import { lossColumns, oneOf, type Unit } from "../units.js";
import { compact, config, full, ink, muted } from "./chart-style.js";
import type { Chart } from "./charts.js";
import { escapeHtml, htmlPage } from "./page.js";
import { drawFigures, figurePanels } from "./report.js";

/** The loss by position of one text. */
export interface PositionFigure {
  /** Folder of the model. */
  readonly model: string;
  /** Name of the text. */
  readonly document: string;
  readonly schedule: string;
  readonly scale: number;
  /** L */
  readonly window: number;
  readonly unit: Unit;
  readonly buckets: readonly (Omit<PositionBucket, "nats"> & { readonly nats: number | null; readonly natsPerByte: number | null })[];
}

/** Mean loss of each bucket against its positions, with the trained window as a line. */
export function positionChart({ window, buckets, unit }: PositionFigure): Chart {
  const points = buckets.flatMap(({ from, to, nats }) => (nats === null ? [] : [{ from: Math.max(1, from), to, nats }]));
  const x = {
    field: "from",
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false },
    axis: { title: `position (${unit} before it)`, grid: false, format: "d" },
  } as const;
  const y = {
    field: "nats",
    type: "quantitative",
    scale: { zero: false },
    axis: { title: `loss (nats per ${oneOf(unit)})`, tickCount: 6 },
  } as const;
  const spec = (size: typeof full | typeof compact): Chart["spec"] => ({
    ...size,
    config,
    data: { values: points },
    layer: [
      {
        data: { values: [{ window }] },
        mark: { type: "rule", strokeDash: [5, 4], color: muted, strokeWidth: 1.5 },
        encoding: { x: { ...x, field: "window" } },
      },
      { mark: { type: "rule", color: ink, strokeWidth: 3 }, encoding: { x, x2: { field: "to" }, y } },
    ],
  });
  return {
    title: "Loss by position",
    description: `${points.map(({ from, to, nats }) => `${nats.toFixed(3)} from ${from} to ${to}`).join(", ")}; trained window ${window}.`,
    spec: spec(full),
    compact: spec(compact),
  };
}

/** A page of its own with the figure and its numbers; undefined where figures cannot be drawn. */
export async function positionPage(figure: PositionFigure): Promise<string | undefined> {
  const chart = positionChart(figure);
  const figures = await drawFigures([chart]);
  if (figures === undefined) return undefined;
  const { model, document, schedule, scale, window, buckets, unit } = figure;
  const loss = (nats: number | null): string => (nats === null ? "not a number" : nats.toFixed(4));
  const rows = buckets.map(({ from, to, nats, natsPerByte }) => {
    const cells = lossColumns(unit, [loss(nats), loss(natsPerByte)]).map((cell) => `<td>${cell}</td>`);
    return `<tr><th scope="row">${from} … ${to - 1}</th>${cells.join("")}</tr>`;
  });
  const heads = lossColumns(unit, ["nats per token", "nats per byte"]).map((head) => `<th scope="col">${head}</th>`);
  return htmlPage(chart.title, [
    `<h1>${chart.title}</h1>`,
    `<p class="lead">${escapeHtml(model)} on ${escapeHtml(`"${document}"`)}, schedule ${escapeHtml(schedule)} at scale ${scale}: each ${oneOf(unit)} predicted ` +
      "from all that come before it. A line is the mean over its positions.</p>",
    figurePanels([chart], figures, "single"),
    `<p class="caption"><span class="dash"></span> the trained window of ${window} ${unit}.</p>`,
    `<div class="table"><table><thead><tr><th scope="col">position</th>${heads.join("")}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`,
  ]);
}
