import type { TopLevelSpec } from "vega-lite";
import { scheduleLabel, variantLabel } from "../labels.js";
import type { DemoResults, TrainPoint, Variant } from "../results.js";
import { contextsOf, type Series, seriesOf } from "../table.js";
import { compact, config, full, ink, muted, narrow, type Size, wide } from "./chart-style.js";
import { e2Covering } from "./findings.js";

/** A figure for one panel: a Vega-Lite specification and what it shows in words. */
export interface Chart {
  readonly title: string;
  /** For readers who cannot see it. */
  readonly description: string;
  readonly spec: TopLevelSpec;
  /** The same for a narrow screen, on which the wide one would be shrunk until nobody could read its labels. */
  readonly compact?: TopLevelSpec;
}

/** Points that a training curve is thinned to. */
const curvePoints = 240;
/** Draws that the scatter shows; all of them count in the bars. */
const scatterPoints = 1200;

export const scheduleColors: Readonly<Record<string, string>> = {
  none: ink,
  linear: "var(--c-orange)",
  ntk: "var(--c-purple)",
  yarn: "var(--c-green)",
  "yarn-turns": "var(--c-teal)",
  dynamic: "var(--c-pink)",
  llama3: "var(--c-brown)",
};

/** From pale to strong: a larger scale is a stronger blue. */
const scaleColors = ["var(--g-1)", "var(--g-2)", "var(--g-3)", "var(--g-4)", "var(--g-5)", "var(--g-6)"];
const shapes = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"];

/** Loss against context, one panel for each variant but the upper bound, all with the same axes; the variant's truncation baseline is dashed. */
export function lossCharts(results: DemoResults): Chart[] {
  const all = seriesOf(results);
  const values = [...results.rows.map((row) => row.nats), ...Object.values(results.truncation)];
  const domain = paddedDomain(values);
  return (["base", "plain", "e2"] as const).flatMap((variant) => {
    const series = all.filter((one) => one.variant === variant);
    return series.length === 0 ? [] : [lossChart(results, variant, series, domain)];
  });
}

function lossChart(results: DemoResults, variant: Variant, series: readonly Series[], domain: number[]): Chart {
  const contexts = contextsOf(results);
  const names = series.map((one) => (one.scale === undefined ? scheduleLabel(one.schedule) : `g = ${one.scale}`));
  const scales = series.flatMap((one) => (one.scale === undefined ? [] : [one.scale])).sort((a, b) => a - b);
  const color = (one: Series): string => {
    if (one.scale === undefined) return scheduleColors[one.schedule] ?? muted;
    const place = scales.length < 2 ? 1 : scales.indexOf(one.scale) / (scales.length - 1);
    return scaleColors[Math.round(place * (scaleColors.length - 1))] ?? ink;
  };
  const points = series.flatMap((one, i) =>
    [...one.nats].map(([context, nats]) => ({
      series: names[i],
      context,
      nats,
      reach: one.scale !== undefined && context === one.scale * results.window,
    })),
  );
  const truncated = results.truncation[variant] ?? Number.NaN;
  const x = {
    field: "context",
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false, padding: 14 },
    axis: contextAxis(results, contexts),
  } as const;
  const y = {
    field: "nats",
    type: "quantitative",
    scale: { domain, nice: false, zero: false },
    axis: { title: "loss (nats per byte)", tickCount: 6 },
  } as const;
  const hue = {
    field: "series",
    type: "nominal",
    scale: { domain: names, range: series.map(color) },
    legend: { title: null, orient: "bottom", columns: 2, symbolType: "stroke" },
  } as const;
  return {
    title: variantTitle(variant),
    description:
      `Loss against context of the ${variantLabel(variant)} model. ` +
      series
        .map((one, i) => `${names[i]}: ${[...one.nats].map(([context, nats]) => `${nats.toFixed(3)} at ${context}`).join(", ")}.`)
        .join(" ") +
      ` Dashed: ${truncated.toFixed(3)} with the last ${results.window} bytes only.`,
    spec: {
      ...narrow,
      config,
      data: { values: points },
      layer: [
        {
          data: { values: [{ nats: truncated }] },
          mark: { type: "rule", strokeDash: [5, 4], color: muted, strokeWidth: 1.5 },
          encoding: { y },
        },
        { mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color: hue } },
        {
          mark: { type: "point", filled: true, size: 42, opacity: 1 },
          encoding: {
            x,
            y,
            color: hue,
            shape: {
              field: "series",
              type: "nominal",
              scale: { domain: names, range: names.map((_, i) => shapes[i % shapes.length] ?? "circle") },
              legend: { title: null, orient: "bottom", columns: 2 },
            },
          },
        },
        {
          transform: [{ filter: "datum.reach" }],
          mark: { type: "point", filled: false, size: 190, strokeWidth: 1.4, color: ink, shape: "circle", opacity: 0.8 },
          encoding: { x, y },
        },
      ],
    },
  };
}

function variantTitle(variant: Variant): string {
  if (variant === "base") return "Base, scaled when reading";
  if (variant === "plain") return "Base + as many plain steps";
  return "E² at several scales";
}

/** Nats above the best truncation baseline at which the comparison of methods is cut off. */
export const comparisonCeiling = 0.6;

/** The methods side by side, each with the scale that a user gets for the context, zoomed in on the losses worth having. */
export function comparisonChart(results: DemoResults): Chart | undefined {
  const contexts = contextsOf(results);
  const others = seriesOf(results).filter(({ variant, schedule }) => (variant === "base" || variant === "plain") && schedule !== "none");
  const whole = seriesOf(results).filter(({ variant }) => variant === "full");
  const curves = [
    ...others.map((one) => ({
      name: `${one.variant === "base" ? "base" : "plain steps"}, ${scheduleLabel(one.schedule)}`,
      color: scheduleColors[one.schedule] ?? muted,
      dash: one.variant === "base" ? [1, 0] : [6, 2, 1.5, 2],
      points: [...one.nats].map(([context, nats]) => ({ context, nats })),
    })),
    {
      name: "E², g = context / L",
      color: "var(--g-5)",
      dash: [1, 0],
      points: contexts.flatMap((context) => {
        const e2 = e2Covering(results, context);
        return e2 === undefined ? [] : [{ context, nats: e2.nats }];
      }),
    },
    ...whole.map(({ variant, nats }) => ({
      name: variantLabel(variant),
      color: ink,
      dash: [2, 2],
      points: [...nats].map(([context, value]) => ({ context, nats: value })),
    })),
  ].filter((curve) => curve.points.length > 0);
  const { base, plain, e2: extended } = results.truncation;
  const best = Math.min(base, plain, extended);
  const ceiling = best + comparisonCeiling;
  const seen = curves.flatMap((curve) => curve.points.map((point) => point.nats)).filter((nats) => nats <= ceiling);
  if (curves.length < 2 || contexts.length < 2) return undefined;
  const names = curves.map((curve) => curve.name);
  const domain = [paddedDomain([best, ...seen])[0] ?? 0, ceiling];
  const x = {
    field: "context",
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false, padding: 14 },
    axis: contextAxis(results, contexts),
  } as const;
  const y = {
    field: "nats",
    type: "quantitative",
    scale: { domain, nice: false, zero: false },
    axis: { title: "loss (nats per byte)", tickCount: 7 },
  } as const;
  const spec = (size: Size, columns: number): TopLevelSpec => {
    const legend = { title: null, orient: "bottom", columns, symbolType: "stroke", symbolSize: 320 } as const;
    const color = { field: "name", type: "nominal", scale: { domain: names, range: curves.map((curve) => curve.color) }, legend } as const;
    const strokeDash = {
      field: "name",
      type: "nominal",
      scale: { domain: names, range: curves.map((curve) => curve.dash) },
      legend,
    } as const;
    return {
      ...size,
      config,
      data: { values: curves.flatMap((curve) => curve.points.map((point) => ({ ...point, name: curve.name }))) },
      layer: [
        {
          data: { values: [{ nats: best }] },
          mark: { type: "rule", strokeDash: [5, 4], color: muted, strokeWidth: 1.5 },
          encoding: { y },
        },
        { mark: { type: "line", strokeWidth: 2.2, clip: true }, encoding: { x, y, color, strokeDash } },
        { mark: { type: "point", filled: true, size: 46, opacity: 1, clip: true }, encoding: { x, y, color } },
      ],
    };
  };
  return {
    title: "The methods side by side, zoomed in",
    description: curves
      .map((curve) => `${curve.name}: ${curve.points.map(({ context, nats }) => `${nats.toFixed(3)} at ${context}`).join(", ")}.`)
      .join(" "),
    spec: spec(full, 3),
    compact: spec(compact, 1),
  };
}

/** Ticks at the contexts, each with its multiple of L below. */
export function contextAxis(results: Pick<DemoResults, "window">, contexts: readonly number[]) {
  return {
    title: "context available (bytes)",
    values: [...contexts],
    grid: false,
    labelExpr: `[format(datum.value, 'd'), datum.value == ${results.window} ? 'L' : format(datum.value / ${results.window}, '~r') + 'L']`,
  };
}

const ledgerPrefix = "ledger-";

/** Training loss against steps, for the book and for the ledger: pretraining in one panel, the continued trainings together in another. */
export function trainCharts(results: DemoResults): Chart[] {
  const all = [...new Set(results.train.map((point) => point.phase))];
  return [false, true].flatMap((ofLedger) => {
    const [first, ...rest] = all.filter((phase) => phase.startsWith(ledgerPrefix) === ofLedger);
    const where = ofLedger ? " on the ledger" : "";
    return [
      ...(first === undefined ? [] : [trainChart(results, [first], `Pretraining${where}`)]),
      ...(rest.length === 0 ? [] : [trainChart(results, rest, `Continued training${where}`)]),
    ];
  });
}

const kindOf = (phase: string): string => (phase.startsWith(ledgerPrefix) ? phase.slice(ledgerPrefix.length) : phase);

function phaseLabel(phase: string): string {
  const labels: Readonly<Record<string, string>> = { pretrain: "Pretraining", plain: "plain steps", e2: "E² steps", full: "full length" };
  return labels[kindOf(phase)] ?? phase;
}

function trainChart(results: DemoResults, phases: readonly string[], title: string): Chart {
  const curves = phases.map((phase) => thinCurve(results.train.filter((point) => point.phase === phase)));
  const points = curves.flatMap((curve, i) => curve.map((point) => ({ ...point, phase: phaseLabel(phases[i] ?? "") })));
  const colors: Readonly<Record<string, string>> = { e2: "var(--g-5)", plain: "var(--c-orange)", full: "var(--c-purple)" };
  const unit = phases.some((phase) => phase.startsWith(ledgerPrefix)) ? "nats per answer" : "nats per byte";
  const spec = (size: Size): TopLevelSpec => ({
    ...size,
    config,
    data: { values: points },
    mark: { type: "line", strokeWidth: 1.6 },
    encoding: {
      x: { field: "step", type: "quantitative", axis: { title: "step", grid: false, tickCount: 6 }, scale: { nice: false } },
      y: {
        field: "loss",
        type: "quantitative",
        scale: { zero: false, domain: paddedDomain(points.map((point) => point.loss)), nice: false },
        axis: { title: unit, tickCount: 6 },
      },
      color: {
        field: "phase",
        type: "nominal",
        scale: { domain: phases.map(phaseLabel), range: phases.map((phase) => colors[kindOf(phase)] ?? ink) },
        legend: phases.length < 2 ? null : { title: null, orient: "bottom", symbolType: "stroke" },
      },
    },
  });
  return {
    title,
    description: phases
      .map((phase, i) => {
        const curve = curves[i] ?? [];
        const [from, to] = [curve[0], curve.at(-1)];
        return `${phaseLabel(phase)}: ${from?.loss.toFixed(3)} at step ${from?.step} to ${to?.loss.toFixed(3)} at step ${to?.step}.`;
      })
      .join(" "),
    ...sized(spec),
  };
}

/** Means over equal runs of steps, so that a long noisy curve stays readable and none of its points is left out. */
export function thinCurve(points: readonly TrainPoint[]): { readonly step: number; readonly loss: number }[] {
  const run = Math.max(1, Math.ceil(points.length / curvePoints));
  const thin: { step: number; loss: number }[] = [];
  for (let begin = 0; begin < points.length; begin += run) {
    const part = points.slice(begin, begin + run);
    const mean = (pick: (point: TrainPoint) => number): number => part.reduce((sum, point) => sum + pick(point), 0) / part.length;
    thin.push({ step: mean((point) => point.step), loss: mean((point) => point.loss) });
  }
  return thin;
}

/** The draws of E²-LLM: how often each scale came, and the shifts at each scale up to their bound g·L − L. */
export function drawCharts(results: DemoResults): Chart[] {
  if (results.draws.length === 0) return [];
  const scales = Array.from({ length: results.gMax }, (_, i) => i + 1);
  const counts = scales.map((g) => ({ g, count: results.draws.filter((draw) => draw.g === g).length }));
  const expected = results.draws.length / results.gMax;
  const stride = Math.max(1, Math.ceil(results.draws.length / scatterPoints));
  const shown = results.draws
    .filter((_, i) => i % stride === 0)
    // The golden ratio spreads neighbours apart without a random number.
    .map((draw, i) => ({ ...draw, place: Number(draw.g) + (((i * 0.618_033_988_75) % 1) - 0.5) * 0.62 }));
  const gAxis = { title: "scale g", values: scales, grid: false, format: "d" } as const;
  const gDomain: number[] = [0.4, results.gMax + 0.6];
  const gScale = { domain: gDomain, nice: false } as const;
  return [
    {
      title: "How often each scale was drawn",
      description: `Draws of each scale: ${counts.map(({ g, count }) => `${count} of g = ${g}`).join(", ")}. Expected: ${expected.toFixed(1)} each.`,
      ...sized((size) => ({
        ...size,
        config,
        layer: [
          {
            data: { values: counts.map(({ g, count }) => ({ from: g - 0.36, to: g + 0.36, count })) },
            mark: { type: "rect", color: "var(--g-3)" },
            encoding: {
              x: { field: "from", type: "quantitative", scale: gScale, axis: gAxis },
              x2: { field: "to" },
              y: { field: "count", type: "quantitative", axis: { title: "draws", tickCount: 5, format: "d" } },
              y2: { datum: 0 },
            },
          },
          {
            data: { values: [{ expected }] },
            mark: { type: "rule", strokeDash: [5, 4], color: muted, strokeWidth: 1.5 },
            encoding: { y: { field: "expected", type: "quantitative" } },
          },
        ],
      })),
    },
    {
      title: "Shifts t at each scale",
      description: `${shown.length} of ${results.draws.length} draws of (g, t). Shifts lie between 0 and g·L − L: ${scales
        .map((g) => `${(g - 1) * results.window} at g = ${g}`)
        .join(", ")}.`,
      ...sized((size) => ({
        ...size,
        config,
        layer: [
          {
            data: { values: shown },
            mark: { type: "point", filled: true, size: 14, color: "var(--g-4)", opacity: 0.55 },
            encoding: {
              x: { field: "place", type: "quantitative", scale: gScale, axis: gAxis },
              y: { field: "t", type: "quantitative", axis: { title: "shift t (bytes)", tickCount: 5 } },
            },
          },
          {
            data: { values: scales.map((g) => ({ from: g - 0.4, to: g + 0.4, bound: (g - 1) * results.window })) },
            mark: { type: "rule", color: ink, strokeWidth: 1.5 },
            encoding: {
              x: { field: "from", type: "quantitative", scale: gScale },
              x2: { field: "to" },
              y: { field: "bound", type: "quantitative" },
            },
          },
        ],
      })),
    },
  ];
}

/** A specification in the two sizes of a wide panel. */
const sized = (spec: (size: Size) => TopLevelSpec): Required<Pick<Chart, "spec" | "compact">> => ({
  spec: spec(wide),
  compact: spec(compact),
});

/** The range of the values with a twentieth of it on either side; never empty. */
function paddedDomain(values: readonly number[]): number[] {
  if (values.length === 0) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const pad = Math.max((high - low) / 20, 0.02);
  return [Math.max(0, low - pad), high + pad];
}
