/** Figures of an experiment: curves against context, rows side by side, heat maps. */
import type { TopLevelSpec } from "vega-lite";
import { type Measure, measureInfo } from "../../e2llm/experiment/measures.js";
import type { Cell, ExperimentEvaluation, ExperimentResults } from "../../e2llm/experiment/results.js";
import { kindOfGroup } from "../../e2llm/experiment/tables.js";
import { compact, config, full, muted, narrow, type Size } from "./chart-style.js";
import type { Chart } from "./charts.js";

const colors = ["ink", "c-orange", "c-green", "c-purple", "c-teal", "c-pink", "c-brown", "g-4", "g-2", "g-6"].map(
  (name) => `var(--${name})`,
);
const colorOf = (place: number): string => colors[place % colors.length] as string;

/** A number with its interval, ready to be drawn; undefined where it is none. */
function point(cell: Cell | undefined, measure: Measure): { value: number; low: number; high: number } | undefined {
  const { mean, low, high } = cell?.[measure] ?? { mean: null, low: null, high: null };
  return mean === null ? undefined : { value: mean, low: low ?? mean, high: high ?? mean };
}

const cellsOf = (results: ExperimentResults, evaluation: ExperimentEvaluation, group: string): Cell[] =>
  results.cells.filter((cell) => cell.evaluation === evaluation.name && cell.group === group);

/** The kinds of what is measured, without their parts. */
export const kindsOf = ({ groups }: ExperimentEvaluation): string[] => [...new Set(groups.map(kindOfGroup))];

const labelOf = (context: number, window: number): string => {
  const times = context / window;
  return Number.isInteger(times) ? `${times === 1 ? "" : times}L` : String(context);
};

/** One panel for each variant: its readings against context, with intervals; the reference row is dashed in all of them. */
export function contextCharts(results: ExperimentResults, evaluation: ExperimentEvaluation, group: string, measure: Measure): Chart[] {
  const { rows, reference, window } = results;
  const cells = cellsOf(results, evaluation, group);
  const lines = rows.map((row) => ({
    row,
    points: evaluation.contexts.flatMap((context) => {
      const found = point(
        cells.find((cell) => cell.row === row.name && cell.context === context),
        measure,
      );
      return found === undefined ? [] : [{ context, ...found }];
    }),
  }));
  const all = lines.flatMap(({ points }) => points.flatMap(({ low, high }) => [low, high]));
  const domain = [...(measureInfo(measure).domain ?? padded(all))];
  const dashed = lines.find(({ row }) => row.name === reference);
  const x = {
    field: "context",
    type: "quantitative",
    scale: { type: "log", base: 2, nice: false, padding: 14 },
    axis: contextAxis(evaluation.contexts, window),
  } as const;
  const y = {
    field: "value",
    type: "quantitative",
    scale: { domain, nice: false, zero: false, clamp: true },
    axis: { title: measureInfo(measure).title, tickCount: 6 },
  } as const;
  return [...new Set(rows.map(({ variant }) => variant))].flatMap((variant) => {
    const own = lines.filter(({ row, points }) => row.variant === variant && points.length > 0);
    if (own.length === 0) return [];
    const names = own.map(({ row }) => row.name);
    const values = own.flatMap(({ row, points }) => points.map((one) => ({ ...one, row: row.name })));
    const scale = { domain: names, range: names.map((_, i) => colorOf(i)) };
    const color = {
      field: "row",
      type: "nominal",
      scale,
      legend: { title: null, orient: "bottom", columns: 1, symbolType: "stroke" },
    } as const;
    const rule = { type: "line" as const, strokeDash: [5, 4], color: muted, strokeWidth: 1.5 };
    return {
      title: variant,
      description: own
        .map(({ row, points }) => `${row.name}: ${points.map(({ context, value }) => `${value.toFixed(3)} at ${context}`).join(", ")}.`)
        .join(" "),
      spec: {
        ...narrow,
        config,
        data: { values },
        layer: [
          ...(dashed === undefined || variant === dashed.row.variant
            ? []
            : [{ data: { values: dashed.points }, mark: rule, encoding: { x, y } }]),
          {
            mark: { type: "area", color: muted, opacity: 0.18 },
            encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, detail: { field: "row", type: "nominal" } },
          },
          { mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color } },
          { mark: { type: "point", filled: true, size: 40, opacity: 1 }, encoding: { x, y, color } },
        ],
      },
    };
  });
}

/** Ticks at the contexts, each with its multiple of L below. */
function contextAxis(contexts: readonly number[], window: number) {
  return {
    title: "context (tokens)",
    values: [...contexts],
    grid: false,
    labelExpr: `[format(datum.value, 'd'), format(datum.value / ${window}, '~r') + 'L']`,
  };
}

/** All rows at one context, with intervals, the groups of a kind beside each other. */
export function rowsChart(results: ExperimentResults, evaluation: ExperimentEvaluation, kind: string, measure: Measure): Chart | undefined {
  const context = evaluation.contexts.at(-1) as number;
  const groups = evaluation.groups.filter((group) => group === kind || (group.startsWith(`${kind}/`) && !group.includes("/depth ")));
  const values = results.rows.flatMap((row) =>
    groups.flatMap((group) => {
      const found = point(
        cellsOf(results, evaluation, group).find((cell) => cell.row === row.name && cell.context === context),
        measure,
      );
      return found === undefined ? [] : [{ row: row.name, group: group === kind ? "all" : group.slice(kind.length + 1), ...found }];
    }),
  );
  if (values.length < 2) return undefined;
  const shown = groups.map((group) => (group === kind ? "all" : group.slice(kind.length + 1)));
  const rows = [...new Set(values.map(({ row }) => row))];
  const spec = (size: Size): TopLevelSpec => {
    const y = { field: "row", type: "nominal", sort: rows, axis: { title: null, grid: true, labelLimit: 220 } } as const;
    const x = {
      field: "value",
      type: "quantitative",
      scale: { zero: false, nice: true },
      axis: { title: measureInfo(measure).title, tickCount: 6 },
    } as const;
    const color = {
      field: "group",
      type: "nominal",
      sort: shown,
      scale: { domain: shown, range: shown.map((_, i) => colorOf(i)) },
      legend: shown.length < 2 ? null : { title: null, orient: "bottom" },
    } as const;
    const offset = { field: "group", sort: shown } as const;
    return {
      ...size,
      height: rows.length * Math.max(16, 9 * shown.length),
      config,
      data: { values },
      layer: [
        {
          mark: { type: "rule", strokeWidth: 1.6 },
          encoding: { y, yOffset: offset, x: { ...x, field: "low" }, x2: { field: "high" }, color },
        },
        { mark: { type: "point", filled: true, size: 46, opacity: 1 }, encoding: { y, yOffset: offset, x, color } },
      ],
    };
  };
  return {
    title: `All rows at ${context} tokens (${labelOf(context, results.window)})`,
    description: values.map(({ row, group, value }) => `${row}, ${group}: ${value.toFixed(3)}.`).join(" "),
    spec: spec(full),
    compact: spec(compact),
  };
}

/** Rows by contexts as a heat map: the whole of a sweep at a glance. */
export function sweepChart(
  results: ExperimentResults,
  evaluation: ExperimentEvaluation,
  group: string,
  measure: Measure,
): Chart | undefined {
  const cells = cellsOf(results, evaluation, group);
  const values = cells.flatMap((cell) => {
    const found = point(cell, measure);
    return found === undefined ? [] : [{ row: cell.row, column: labelOf(cell.context, results.window), value: found.value }];
  });
  const columns = evaluation.contexts.map((context) => labelOf(context, results.window));
  const rows = results.rows.map(({ name }) => name).filter((name) => values.some(({ row }) => row === name));
  if (rows.length < 2 || columns.length < 2) return undefined;
  return heatMap({ title: "Rows by contexts", values, rows, columns, measure, sizes: [full, compact], across: "context" });
}

/** For each row that was measured so: depth against length. */
export function depthCharts(results: ExperimentResults, evaluation: ExperimentEvaluation, kind: string, measure: Measure): Chart[] {
  const depths = evaluation.groups.filter((group) => group.startsWith(`${kind}/depth `));
  if (depths.length === 0) return [];
  const columns = evaluation.contexts.map((context) => labelOf(context, results.window));
  const label = (group: string): string => group.slice(kind.length + 1);
  return results.rows.flatMap((row) => {
    const values = depths.flatMap((group) =>
      cellsOf(results, evaluation, group).flatMap((cell) => {
        const found = cell.row === row.name ? point(cell, measure) : undefined;
        return found === undefined ? [] : [{ row: label(group), column: labelOf(cell.context, results.window), value: found.value }];
      }),
    );
    return values.length === 0
      ? []
      : [heatMap({ title: row.name, values, rows: depths.map(label), columns, measure, sizes: [narrow], across: "length" })];
  });
}

function heatMap(map: {
  readonly title: string;
  readonly values: readonly { readonly row: string; readonly column: string; readonly value: number }[];
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  readonly measure: Measure;
  /** Wide, and compact where there is one. */
  readonly sizes: readonly Size[];
  readonly across: string;
}): Chart {
  const { title, values, rows, columns, measure, sizes, across } = map;
  const { better, domain } = measureInfo(measure);
  const [low, high] = domain ?? bounds(values.map(({ value }) => value));
  const strong = better === "more";
  const [xOrder, yOrder] = [[...columns], [...rows]];
  const spec = (size: Size): TopLevelSpec => {
    const x = { field: "column", type: "nominal", sort: xOrder, axis: { title: across, labelAngle: 0 } } as const;
    const y = { field: "row", type: "nominal", sort: yOrder, axis: { title: null, labelLimit: 220 } } as const;
    return {
      ...size,
      height: 22 * rows.length,
      config,
      data: { values: [...values] },
      layer: [
        {
          mark: { type: "rect" },
          encoding: {
            x,
            y,
            color: {
              field: "value",
              type: "quantitative",
              // Right answers and low losses are strong.
              scale: { domain: [low, high], range: strong ? ["#e9eef5", "#155a9c"] : ["#155a9c", "#e9eef5"], clamp: true },
              legend: null,
            },
          },
        },
        {
          mark: { type: "text", fontSize: 11 },
          encoding: {
            x,
            y,
            text: { field: "value", type: "quantitative", format: ".2f" },
            color: {
              condition: {
                test: `datum.value ${strong ? ">" : "<"} ${(low + high) / 2}`,
                value: "#ffffff",
              },
              value: "#1c1f24",
            },
          },
        },
      ],
    };
  };
  const [first, second] = sizes;
  return {
    title,
    description: values.map(({ row, column, value }) => `${row} at ${column}: ${value.toFixed(3)}.`).join(" "),
    spec: spec(first as Size),
    ...(second === undefined ? {} : { compact: spec(second) }),
  };
}

/** A measure by place of the longest sequences, all rows in one figure. */
export function placeChart(
  results: ExperimentResults,
  evaluation: ExperimentEvaluation,
  kind: string,
  measure: Measure,
): Chart | undefined {
  const groups = evaluation.groups.filter((group) => group.startsWith(`${kind}/`));
  const places = groups.map((group) => group.slice(kind.length + 1));
  const longest = evaluation.contexts.at(-1);
  const values = groups.flatMap((group, i) =>
    cellsOf(results, evaluation, group).flatMap((cell) => {
      const found = cell.context === longest ? point(cell, measure) : undefined;
      return found === undefined ? [] : [{ row: cell.row, place: places[i], ...found }];
    }),
  );
  if (values.length === 0) return undefined;
  const rows = results.rows.map(({ name }) => name).filter((name) => values.some(({ row }) => row === name));
  const spec = (size: Size, columns: number): TopLevelSpec => {
    const x = { field: "place", type: "nominal", sort: places, axis: { title: "place (tokens before it)", labelAngle: 0 } } as const;
    const y = {
      field: "value",
      type: "quantitative",
      scale: { domain: padded(values.map(({ value }) => value)), zero: false, nice: false, clamp: true },
      axis: { title: measureInfo(measure).title, tickCount: 6 },
    } as const;
    const color = {
      field: "row",
      type: "nominal",
      scale: { domain: rows, range: rows.map((_, i) => colorOf(i)) },
      legend: { title: null, orient: "bottom", columns, symbolType: "stroke" },
    } as const;
    return {
      ...size,
      config,
      data: { values },
      layer: [
        { mark: { type: "rule", opacity: 0.5 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color } },
        { mark: { type: "line", strokeWidth: 2, point: true }, encoding: { x, y, color } },
      ],
    };
  };
  return {
    title: "By place",
    description: values.map(({ row, place, value }) => `${row} at ${place}: ${value.toFixed(3)}.`).join(" "),
    spec: spec(full, 3),
    compact: spec(compact, 1),
  };
}

const bounds = (values: readonly number[]): [low: number, high: number] => [Math.min(...values), Math.max(...values)];

function padded(values: readonly number[]): [number, number] {
  const [low, high] = bounds(values);
  const room = Math.max(0.02, (high - low) * 0.06);
  return [low - room, high + room];
}
