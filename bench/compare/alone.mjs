// The two workloads in which dawngrad is measured against the machine and against itself.
import { median } from "../shared/case.mjs";
import { summary } from "./rounds.mjs";
import { digits, spread, table } from "./table.mjs";

/** Per way to run dawngrad and per kernel: its time beside that of a memcpy which moves as many bytes. */
export function elementwiseReport([{ outcomes }]) {
  const parts = outcomes.filter(({ failure }) => !failure).map(elementwisePart);
  return {
    results: Object.fromEntries(parts.map(({ name, results }) => [name, results])),
    text: parts.map(({ text }) => text).join("\n\n"),
  };
}

function elementwisePart({ name: way, results: rounds }) {
  const results = Object.keys(rounds[0].cases).map((name) => ({
    name,
    bytes: rounds[0].bytes[name],
    milliseconds: summary(rounds.map(({ cases }) => cases[name])),
    memcpy: summary(rounds.map(({ copies }) => copies[name])),
  }));
  const rows = results.map(({ name, bytes, milliseconds, memcpy }) => [
    name,
    (bytes / 2 ** 20).toFixed(0),
    spread(milliseconds),
    digits(bytes / milliseconds.median / 1e6),
    spread(memcpy),
    digits(milliseconds.median / memcpy.median),
    digits(milliseconds.best / memcpy.best),
  ]);
  return {
    name: way,
    results,
    text: table([`elementwise, ${way}`, "MiB moved", "ms", "GB/s", "memcpy, ms", "time/memcpy", "best/best"], rows),
  };
}

/** Rate of each product as a fraction of the rate of 1024³ in the same round. */
export function shapesReport([{ outcomes }]) {
  const [{ results: rounds, failure }] = outcomes;
  if (failure) return { results: [], text: "" };
  const square = median(rounds.map((round) => median(round.square)));
  const results = rounds[0].products.map(({ kind, first, second }, i) => {
    const fractions = rounds.map((round) => median(round.products[i].rates) / median(round.square));
    const rate = median(rounds.map((round) => median(round.products[i].rates)));
    return { kind, first, second, gigaflops: rate, fraction: median(fractions) };
  });
  const widths = [...new Set(results.map(({ second }) => second))];
  const text = [...new Set(results.map(({ kind }) => kind))].map((kind) => {
    const rows = widths.map((first) => [
      `${kind === "TN" ? "M" : "K"} = ${first}`,
      ...results.filter((result) => result.kind === kind && result.first === first).map(({ fraction }) => fraction.toFixed(2)),
    ]);
    return table([`${kind}, rate/rate of 1024³`, ...widths.map((width) => `N = ${width}`)], rows);
  });
  return { results: { square, products: results }, text: [`1024³: ${digits(square)} GFLOP/s`, ...text].join("\n\n") };
}
