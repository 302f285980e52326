/** Numbers of every step of a run, one JSON object a line, in the folder of the run. */
import { appendFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { writeFileAtomic } from "../nn/files.js";

/** Name of the file in the folder of a run. */
export const metricsName = "metrics.jsonl";

/** One line. */
export interface MetricsLine {
  /** Counted from 1. */
  readonly step: number;
  /** Nats per token. */
  readonly loss: number;
  /** The same nats by the bytes that the targets of the step stand for. */
  readonly lossPerByte: number;
  /** Norm of the gradients before clipping. */
  readonly gradNorm: number;
  /** Learning rate. */
  readonly lr: number;
  /** Tokens of this step. */
  readonly tokens: number;
  /** Null until enough steps were timed. */
  readonly tokensPerSecond: number | null;
  /** Since this run was started or gone on with. */
  readonly seconds: number;
}

export interface MetricsFile {
  add(line: MetricsLine): void;
  /** Writes what is waiting. A checkpoint comes after it, so that no step of a checkpoint is missing. */
  flush(): void;
}

export interface MetricsOptions {
  /** Folder of the run. */
  readonly folder: string;
  /** Steps that were done before; a fresh run starts a file of its own. */
  readonly startStep: number;
  /** Folder of the run that is gone on from, whose lines up to `startStep` are kept. */
  readonly from?: string;
  /** Called once where writing fails; training goes on without the file. */
  readonly onFailure: (error: Error) => void;
}

/** Lines are written about once in a second. */
const flushMilliseconds = 1000;

/**
 * Opens the file of a run. Lines of steps that the checkpoint does not know (they were done after it, and will be done again) are
 * dropped, so every step has one line however often a run was stopped.
 */
export async function openMetrics({ folder, startStep, from, onFailure }: MetricsOptions): Promise<MetricsFile> {
  const file = `${folder}/${metricsName}`;
  const kept = startStep > 0 && from !== undefined ? linesUpTo(await readText(`${from}/${metricsName}`), startStep) : [];
  await writeFileAtomic(file, kept.join(""));
  let waiting = "";
  let flushed = performance.now();
  let failed = false;
  const flush = (): void => {
    flushed = performance.now();
    if (waiting === "" || failed) return;
    try {
      appendFileSync(file, waiting);
    } catch (error) {
      failed = true;
      onFailure(error as Error);
    }
    waiting = "";
  };
  return {
    add(line) {
      waiting += `${JSON.stringify(line)}\n`;
      if (performance.now() - flushed >= flushMilliseconds) flush();
    },
    flush,
  };
}

const readText = (file: string): Promise<string> => readFile(file, "utf8").catch(() => "");

/** One line for each step from 1 to `last`, the later one where there are two. */
function linesUpTo(text: string, last: number): string[] {
  const lines = new Map<number, string>();
  for (const line of text.split("\n")) {
    const step = stepOf(line);
    if (step !== undefined && step <= last) lines.set(step, `${line}\n`);
  }
  return [...lines].sort(([a], [b]) => a - b).map(([, line]) => line);
}

/** The step of a line; undefined for one that was cut off. */
function stepOf(line: string): number | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "step" in value && typeof value.step === "number" ? value.step : undefined;
  } catch {
    return undefined;
  }
}
