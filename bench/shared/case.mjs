// What every script here does in the same way: read its options, time a case, print one line of JSON for compare.mjs.
import { parseArgs } from "node:util";

/** Options of every script; `extra` adds some in the form of `parseArgs`. */
export function readOptions(extra = {}) {
  const { values } = parseArgs({
    options: { threads: { type: "string", default: "2" }, seconds: { type: "string", default: "1" }, ...extra },
  });
  const [threads, seconds] = [Number(values.threads), Number(values.seconds)];
  if (!Number.isInteger(threads) || threads < 1) throw new Error(`--threads ${values.threads} is not a positive integer`);
  if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds} is not a positive number`);
  return { ...values, threads, seconds };
}

/**
 * Milliseconds of each call of `run`, which returns (or promises to return) when its result is there. Two calls come first
 * and are not counted; then calls are counted for `seconds`, and at least three of them.
 */
export async function measure(run, { seconds }) {
  await run();
  await run();
  const milliseconds = [];
  const end = performance.now() + seconds * 1e3;
  while (milliseconds.length < 3 || performance.now() < end) {
    const start = performance.now();
    await run();
    milliseconds.push(performance.now() - start);
  }
  return milliseconds;
}

/** Milliseconds of one call. */
export async function once(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Prints the result and leaves, whatever threads a library keeps waiting. */
export function report(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
