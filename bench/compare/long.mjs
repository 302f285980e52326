// Steps and readings over growing lengths of the text: time, beside dawngrad's, and peak memory of the process.
import { median } from "../shared/case.mjs";
import { summary } from "./rounds.mjs";
import { agreement, differenceOfLosses } from "./side-by-side.mjs";
import { digits, table } from "./table.mjs";

const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(0);

/** One line for each size and library, with the failure where there is one. */
function measurements(measured, caseName) {
  return measured.map(({ size, outcomes }) => {
    const libraries = outcomes.map(({ name, results, failure }) => {
      if (failure) return { name, failure };
      const found = {
        name,
        milliseconds: summary(results.map(({ cases }) => cases[caseName])),
        peakBytes: median(results.map(({ peakBytes }) => peakBytes)),
        losses: results[0].losses,
      };
      if (results[0].first !== undefined) found.first = median(results.map(({ first }) => first));
      if (results[0].yardstick) {
        const total = ({ yardstick }) => yardstick.products + yardstick.attention;
        found.yardstick = median(results.map(total));
        found.timeOfYardstick = median(results.map((result) => median(result.cases[caseName]) / total(result)));
      }
      return found;
    });
    const { label, length, batch, checkpoint } = size;
    return { label, length, batch, checkpoint, libraries };
  });
}

const done = ({ libraries }) => libraries.filter(({ failure }) => !failure);

/** Time with its ratio to dawngrad's, and memory; a column for each library. */
function tables(rows, { what, extra = [] }) {
  const names = rows[0].libraries.map(({ name }) => name);
  const base = names.find((name) => name.startsWith("dawngrad"));
  const cells = (row, cell) => row.libraries.map((library) => (library.failure ? "–" : cell(library, row)));
  const time = (library, row) => {
    const { milliseconds } = row.libraries.find(({ name }) => name === base) ?? {};
    const ratio = milliseconds && library.name !== base ? ` (${digits(library.milliseconds.median / milliseconds.median)})` : "";
    return digits(library.milliseconds.median) + ratio;
  };
  const notes = rows.flatMap(({ label, libraries }) =>
    libraries.filter(({ failure }) => failure).map(({ name, failure }) => `– ${name} at ${label}: ${failure}`),
  );
  return [
    table(
      [`${what}, ms`, ...names, ...extra.map(({ head }) => head)],
      rows.map((row) => [row.label, ...cells(row, time), ...extra.map(({ cell }) => cell(row))]),
    ),
    table(
      [`${what}, peak MiB`, ...names],
      rows.map((row) => [row.label, ...cells(row, ({ peakBytes }) => mebibytes(peakBytes))]),
    ),
    ...(notes.length > 0 ? [notes.join("\n")] : []),
  ];
}

function sized(measured, { caseName, what, extra }) {
  const rows = measurements(measured, caseName);
  const lossDifference = Math.max(0, ...rows.map((row) => differenceOfLosses(done(row))));
  const { agree, line } = agreement(lossDifference);
  const text = [...tables(rows, { what, extra }), line];
  return { results: { rows, lossDifference, agree }, text: text.join("\n\n") };
}

/** Training steps at growing T. In brackets: how often dawngrad's time that is. */
export const lengthsReport = (measured) => sized(measured, { caseName: "step", what: "training step" });

/** Readings of growing W; for dawngrad beside the products and the attention of the forward pass at their own rates. */
export function evaluationReport(measured) {
  const own = ({ libraries }) => libraries.find(({ timeOfYardstick }) => timeOfYardstick !== undefined);
  const extra = [
    { head: "dawngrad, µs/token", cell: (row) => (own(row) ? digits((own(row).milliseconds.median * 1e3) / row.length) : "") },
    { head: "time/(products + attention)", cell: (row) => (own(row) ? digits(own(row).timeOfYardstick) : "") },
  ];
  return sized(measured, { caseName: "read", what: "reading", extra });
}
