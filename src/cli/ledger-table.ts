import { readingLabel, variantLabel } from "./labels.js";
import type { LedgerResults, LedgerRow } from "./results.js";

/** One way to read one variant in the ledger: the share of right answers by context. */
export interface LedgerSeries {
  readonly variant: LedgerRow["variant"];
  readonly schedule: string;
  readonly label: string;
  readonly questions: ReadonlyMap<number, number>;
  /** At the longest context, by kind. */
  readonly echoes: ReadonlyMap<string, number>;
}

export const ledgerContexts = ({ rows }: LedgerResults): number[] => [...new Set(rows.map(({ context }) => context))].sort((a, b) => a - b);

/** Rows by what is read and how, in the order in which they come. */
export function ledgerSeries(ledger: LedgerResults): LedgerSeries[] {
  const longest = ledgerContexts(ledger).at(-1);
  const groups = new Map<string, LedgerRow[]>();
  for (const row of ledger.rows) {
    const key = `${row.variant}/${row.schedule}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((rows) => {
    const { variant, schedule } = rows[0] as LedgerRow;
    return {
      variant,
      schedule,
      label: variant === "e2" ? `${variantLabel(variant)}, g = context / L` : readingLabel(variant, schedule),
      questions: new Map(rows.filter(({ kind }) => kind === "question").map(({ context, accuracy }) => [context, accuracy])),
      echoes: new Map(
        rows.filter(({ kind, context }) => kind !== "question" && context === longest).map(({ kind, accuracy }) => [kind, accuracy]),
      ),
    };
  });
}

/** Cells of the ledger's table, heads first: questions at every context, then the echoes at the longest. */
export function ledgerTable(ledger: LedgerResults): { readonly head: string[][]; readonly body: string[][] } {
  const contexts = ledgerContexts(ledger);
  const multiple = (context: number): string => `${context === ledger.window ? "" : context / ledger.window}L`;
  const kinds = [...new Set(ledger.rows.map(({ kind }) => kind))].filter((kind) => kind !== "question").sort();
  const cell = (accuracy: number | undefined): string => (accuracy === undefined ? "-" : accuracy.toFixed(2));
  const longest = contexts.at(-1) ?? ledger.window;
  const perfect = new Map(ledger.perfect.map(({ context, accuracy }) => [context, accuracy]));
  const truncated = (series: LedgerSeries | undefined): string => cell(series?.questions.get(ledger.window));
  const all = ledgerSeries(ledger);
  return {
    head: [
      ["right answers", ...contexts.map(multiple), ...kinds.map((kind) => `${kind} ${multiple(longest)}`)],
      ["context in tokens", ...contexts.map(String), ...kinds.map(() => String(longest))],
    ],
    body: [
      ...all.map(({ label, questions, echoes }) => [
        label,
        ...contexts.map((context) => cell(questions.get(context))),
        ...kinds.map((kind) => cell(echoes.get(kind))),
      ]),
      [`${variantLabel("base")}, last ${ledger.window} tokens only`, ...contexts.map(() => truncated(all[0])), ...kinds.map(() => "")],
      ["perfect recall", ...contexts.map((context) => cell(perfect.get(context))), ...kinds.map(() => cell(1))],
    ],
  };
}
