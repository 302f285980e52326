import { readingLabel, variantLabel } from "./labels.js";
import { ledgerTable } from "./ledger-table.js";
import { formatCount, formatDuration } from "./progress.js";
import { type DemoResults, type ResultRow, totalSeconds, type Variant, variantNames } from "./results.js";

/** Rows that belong together: one way of reading one variant, at every context. */
export interface Series {
  readonly variant: Variant;
  readonly schedule: string;
  /** The scale where it is the same at every context (E²), else undefined: it follows the context (context / L). */
  readonly scale: number | undefined;
  /** "E², g = 4", "base, YaRN". */
  readonly label: string;
  readonly nats: ReadonlyMap<number, number>;
}

/** Context lengths that occur, ascending. */
export function contextsOf(results: DemoResults): number[] {
  return [...new Set(results.rows.map((row) => row.context))].sort((a, b) => a - b);
}

/**
 * Groups rows into series: for E² one for each scale (its scale is chosen before reading), for the other variants one for each
 * schedule (their scale follows the context). Order: as the rows come.
 */
export function seriesOf(results: DemoResults): Series[] {
  const groups = new Map<string, ResultRow[]>();
  for (const row of results.rows) {
    const key = row.variant === "e2" ? `e2/${row.schedule}/${row.scale}` : `${row.variant}/${row.schedule}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()].flatMap((rows) => {
    const first = rows[0];
    if (first === undefined) return [];
    const scale = first.variant === "e2" ? first.scale : undefined;
    return {
      variant: first.variant,
      schedule: first.schedule,
      scale,
      label: scale === undefined ? readingLabel(first.variant, first.schedule) : `${variantLabel(first.variant)}, g = ${scale}`,
      nats: new Map(rows.map((row) => [row.context, row.nats])),
    };
  });
}

/**
 * The demo's tables for a terminal. The book: one line for each series and truncation baseline, losses in nats per byte. The ledger: shares of
 * right answers.
 */
export function formatTable(results: DemoResults): string {
  const contexts = contextsOf(results);
  const all = seriesOf(results);
  const cell = (nats: number | undefined): string => (nats === undefined ? "-" : nats.toFixed(3));
  const { ledger } = results;
  const body: string[][] = [];
  for (const variant of variantNames) {
    const own = all.filter((series) => series.variant === variant);
    if (own.length === 0) continue;
    for (const series of own) body.push([series.label, ...contexts.map((context) => cell(series.nats.get(context)))]);
    const truncated = cell(results.truncation[variant]);
    body.push([`${variantLabel(variant)}, last ${results.window} bytes only`, ...contexts.map(() => truncated)]);
  }
  const multiple = (context: number): string => {
    const times = context / results.window;
    return Number.isInteger(times) ? `${times === 1 ? "" : times}L` : String(context);
  };
  const head = [
    ["nats per byte", ...contexts.map(multiple)],
    ["context in bytes", ...contexts.map(String)],
  ];
  const adapter = results.adapter === null ? "" : ` (${results.adapter})`;
  return [
    `${results.preset}: ${formatCount(results.model.parameters)} parameters, L = ${results.window}, ${results.backend}${adapter}, ` +
      `seed ${results.seed}, ${formatDuration(totalSeconds(results))}`,
    `the same ${results.targets} target bytes in every column`,
    "",
    ...aligned({ head, body }),
    ...(ledger === undefined
      ? []
      : [
          "",
          `the ledger: ${formatCount(ledger.parameters)} parameters, L = ${ledger.window} tokens; questions in the same places at every context, a guess is right in ${ledger.chance.toFixed(2)}`,
          "",
          ...aligned(ledgerTable(ledger)),
        ]),
  ].join("\n");
}

/** Lines of a table with its columns aligned, the names to the left. */
function aligned({ head, body }: { readonly head: readonly string[][]; readonly body: readonly string[][] }): string[] {
  const lines = [...head, ...body];
  const widthOf = (column: number): number => Math.max(...lines.map((line) => line[column]?.length ?? 0));
  const [nameWidth = 0, ...widths] = (head[0] ?? []).map((_, column) => widthOf(column));
  const format = ([name = "", ...cells]: string[]): string =>
    `${name.padEnd(nameWidth)}  ${cells.map((text, i) => text.padStart(widths[i] ?? 0)).join("  ")}`.trimEnd();
  const rule = "-".repeat(nameWidth + widths.reduce((sum, width) => sum + width + 2, 0));
  return [...head.map(format), rule, ...body.map(format)];
}
