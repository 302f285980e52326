// What every script here does in the same way: read its options, time a case, print one line of JSON for compare.mjs.
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";

/** Options of every script; `extra` adds some in the form of `parseArgs`. */
export function readOptions(extra = {}) {
  const { values } = parseArgs({
    options: { threads: { type: "string", default: "2" }, seconds: { type: "string", default: "1" }, ...extra },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds} is not a positive number`);
  return { ...values, threads: positiveInteger("threads", values.threads), seconds };
}

export function positiveInteger(option, text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${option} ${text} is not a positive integer`);
  return value;
}

/** Milliseconds after which a first call is long: then a single call after it, without what it took to compile, is measurement enough. */
export const longCall = 15e3;

/**
 * Milliseconds of each call of `run`, which returns (or promises to return) when its result is there. Some calls to warm up come first
 * and are not counted; then calls are counted for `seconds`, and at least three of them, or one where the first was long.
 */
export async function measure(run, { seconds, warmUp = 2 }) {
  for (let i = 0; i < warmUp; i++) if ((await once(run)) > longCall) return [await once(run)];
  const milliseconds = [];
  const end = performance.now() + seconds * 1e3;
  while (milliseconds.length < 3 || performance.now() < end) milliseconds.push(await once(run));
  return milliseconds;
}

/**
 * `measure` of several functions by name, whose calls take turns, so that whatever else the machine does disturbs all alike. A pause
 * lies between two calls, in which the threads that ran the one go to sleep: they look for more work a moment longer.
 */
export async function measureInTurn(runs, { seconds, warmUp = 2 }) {
  const entries = Object.entries(runs);
  const milliseconds = Object.fromEntries(entries.map(([name]) => [name, []]));
  for (let i = 0; i < warmUp; i++) for (const [, run] of entries) await run();
  const end = performance.now() + seconds * 1e3 * entries.length;
  for (let round = 0; round < 3 || performance.now() < end; round++) {
    for (const [name, run] of entries) {
      milliseconds[name].push(await once(run));
      await setTimeout(1);
    }
  }
  return milliseconds;
}

/**
 * Trains with `train`, one step a call: `first` is the milliseconds of the first one, with its compilation; then come steps whose losses
 * are compared, `compared` together with the first; `step` is the milliseconds of each of those after them.
 */
export async function measureSteps(train, { seconds, compared }) {
  const first = await once(train);
  if (first > longCall) return { first, step: [await once(train)] };
  for (let i = 1; i < compared; i++) await train();
  return { first, step: await measure(train, { seconds, warmUp: Math.max(0, 2 - compared) }) };
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

/** The most memory that this process has ever occupied, in bytes: the kernel's count where it can be read, else libuv's. */
export function peakBytes() {
  try {
    const [, kibibytes] = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\s*(\d+) kB$/m);
    return Number(kibibytes) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

/** Prints the result, with the peak of memory until now where it names none, and leaves, whatever threads a library keeps waiting. */
export function report(result) {
  process.stdout.write(`${JSON.stringify({ peakBytes: peakBytes(), ...result })}\n`, () => process.exit(0));
}
