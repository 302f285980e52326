/** Rows of text as a table: the first column to the left, the others to the right. */
export function table(head, rows) {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const line = (row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  ");
  return [line(head), "-".repeat(line(head).length), ...rows.map(line)].join("\n");
}

/** Three significant digits, without an exponent. */
export const digits = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));

/** A summary of rounds as "median (least–greatest)". */
export const spread = ({ median, least, greatest }) => `${digits(median)} (${digits(least)}–${digits(greatest)})`;
