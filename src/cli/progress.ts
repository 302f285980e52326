import type { OutputStream } from "./output-stream.js";

export interface ProgressOptions {
  /** Name of the phase, "pretrain" for example. */
  readonly label: string;
  /** Number of steps in all. */
  readonly total: number;
  /** Steps that were done before this run (a resumed training). Default 0. */
  readonly start?: number;
  /** What `amount` counts; shown as "<unit>/s". Default "tokens". */
  readonly unit?: string;
  /** Seconds between plain lines where standard error is no terminal. Default 5. */
  readonly plainInterval?: number;
  /** Milliseconds of a steady clock. Default `performance.now`. */
  readonly now?: () => number;
}

export interface ProgressUpdate {
  /** Steps done so far, resumed ones included. */
  readonly step: number;
  /** Loss in nats, where there is one. */
  readonly loss?: number;
  /** Units (tokens) processed since the previous update. */
  readonly amount?: number;
  /** Time left, from a caller whose steps differ in cost. Default: by the number of steps and their smoothed rate. */
  readonly secondsLeft?: number;
  /** A few words at the end of the line, "g=4 t=96" for example. */
  readonly detail?: string;
}

/** A progress line: rewritten in place on a terminal, one plain line every few seconds elsewhere. */
export interface Progress {
  update(update: ProgressUpdate): void;
  /** Writes the last state for good. Without a call the line is wiped by whatever is printed next. */
  finish(): void;
  /** Wipes the rewritten line; nothing on a stream that is no terminal. */
  clear(): void;
  /** Units per second, smoothed; undefined until enough steps were timed. */
  readonly rate: number | undefined;
}

/** Seconds over which rates are smoothed: long enough to calm a 100 ms step, short enough to show a slow-down. */
const smoothingSeconds = 5;
/** Or so many intervals where these are long: one that held a checkpoint must not speak for all steps to come. */
const smoothingIntervals = 5;
/** A rate from fewer steps is an accident: caches are cold, and the steps that are queued come back in bursts. */
const leastTimed = 5;
/** A terminal is redrawn at most this often. */
const redrawMilliseconds = 80;

/**
 * Exponentially smoothed rate of a quantity over irregular intervals: r ← r + (1 − e^(−Δt/τ)) (Δn/Δt − r), with the first
 * interval taken as it is and τ the longer of five seconds and five mean intervals.
 */
export class SmoothedRate {
  #rate: number | undefined;
  #pending = 0;
  #timed = 0;
  #seconds = 0;

  /** How many amounts were added with their time. */
  get timed(): number {
    return this.#timed;
  }

  /** Units per second. */
  get value(): number {
    return this.#rate ?? 0;
  }

  /** Adds `amount` units that took `seconds`; intervals of no length are carried over to the next. */
  add(amount: number, seconds: number): void {
    this.#pending += amount;
    this.#timed++;
    if (!(seconds > 0)) return;
    const now = this.#pending / seconds;
    this.#pending = 0;
    this.#seconds += seconds;
    const scale = Math.max(smoothingSeconds, (smoothingIntervals * this.#seconds) / this.#timed);
    const weight = 1 - Math.exp(-seconds / scale);
    this.#rate = this.#rate === undefined ? now : this.#rate + weight * (now - this.#rate);
  }
}

/** Makes a progress line on a stream; nothing is written before the first update. */
export function createProgress(stream: OutputStream, options: ProgressOptions): Progress {
  const now = options.now ?? (() => performance.now());
  const unit = options.unit ?? "tokens";
  const plainInterval = (options.plainInterval ?? 5) * 1000;
  const terminal = stream.isTTY === true;
  const steps = new SmoothedRate();
  const amounts = new SmoothedRate();
  const begun = now();
  let previous: { time: number; step: number } | undefined;
  let last: ProgressUpdate | undefined;
  let shownAt = Number.NEGATIVE_INFINITY;
  let shown: ProgressUpdate | undefined;
  let onScreen = false;
  let finished = false;

  const rate = (): number | undefined => (amounts.timed >= leastTimed && amounts.value > 0 ? amounts.value : undefined);

  const draw = (update: ProgressUpdate): void => {
    const line = formatProgress({
      ...update,
      label: options.label,
      total: options.total,
      unit,
      rate: rate(),
      secondsLeft: update.secondsLeft ?? (steps.value > 0 ? (options.total - update.step) / steps.value : undefined),
      width: terminal ? (stream.columns ?? 80) - 1 : undefined,
    });
    stream.write(terminal ? `\r\u001b[2K${line}` : `${line}\n`);
    onScreen = terminal;
    shown = update;
    shownAt = now();
  };

  return {
    get rate() {
      return rate();
    },
    update(update) {
      if (finished) return;
      const time = now();
      // The first step traces and compiles, so its time says nothing about the others.
      if (previous !== undefined) {
        const seconds = (time - previous.time) / 1000;
        steps.add(update.step - previous.step, seconds);
        amounts.add(update.amount ?? 0, seconds);
      }
      previous = { time, step: update.step };
      last = update;
      const due = terminal ? time - shownAt >= redrawMilliseconds : time - shownAt >= plainInterval;
      if (due) draw(update);
    },
    finish() {
      if (finished) return;
      finished = true;
      const seconds = (now() - begun) / 1000;
      if (last !== undefined && (terminal || shown !== last)) draw(last);
      if (terminal) stream.write("\r\u001b[2K");
      onScreen = false;
      const done = last === undefined ? 0 : last.step - (options.start ?? 0);
      const loss = last?.loss === undefined ? "" : `, loss ${formatLoss(last.loss)}`;
      const speed = rate();
      const rateWords = speed === undefined ? "" : `, ${formatCount(speed)} ${unit}/s`;
      stream.write(`${options.label}: ${done} ${done === 1 ? "step" : "steps"} in ${formatDuration(seconds)}${loss}${rateWords}\n`);
    },
    clear() {
      if (onScreen) stream.write("\r\u001b[2K");
      onScreen = false;
    },
  };
}

interface ProgressState extends Omit<ProgressUpdate, "secondsLeft"> {
  readonly label: string;
  readonly total: number;
  readonly unit: string;
  readonly rate: number | undefined;
  readonly secondsLeft: number | undefined;
  /** Columns that the line may take; no limit when undefined. */
  readonly width: number | undefined;
}

/** One progress line. On a narrow terminal the least needed parts go first: the detail, the rate, the time left. */
export function formatProgress(state: ProgressState): string {
  const count = String(state.total).length;
  const percent = state.total > 0 ? Math.floor((100 * state.step) / state.total) : 100;
  const head = `${state.label} ${String(state.step).padStart(count)}/${state.total} ${`${percent}%`.padStart(4)}`;
  const parts = [head];
  if (state.loss !== undefined) parts.push(`loss ${formatLoss(state.loss)}`);
  if (state.secondsLeft !== undefined) parts.push(`${formatDuration(state.secondsLeft)} left`);
  if (state.rate !== undefined) parts.push(`${formatCount(state.rate)} ${state.unit}/s`);
  if (state.detail !== undefined && state.detail !== "") parts.push(state.detail);
  const width = state.width ?? Number.POSITIVE_INFINITY;
  while (parts.length > 1 && parts.join("  ").length > width) parts.pop();
  const line = parts.join("  ");
  return line.length > width ? line.slice(0, Math.max(0, width)) : line;
}

/** Nats with four digits after the point; a loss that is no number is shown as such. */
export function formatLoss(loss: number): string {
  return Number.isFinite(loss) ? loss.toFixed(4) : String(loss);
}

/** Seconds as "0.4s", "12s", "3m05s", "2h07m" or "4d03h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const two = (n: number): string => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}

/** A count in three figures or so: "812", "1.2k", "45k", "3.1M". */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return String(count);
  if (count < 9.95) return count.toFixed(1);
  if (count < 999.5) return String(Math.round(count));
  const scaled = (value: number, suffix: string): string => `${value < 9.95 ? value.toFixed(1) : Math.round(value)}${suffix}`;
  if (count < 999_500) return scaled(count / 1e3, "k");
  if (count < 999.5e6) return scaled(count / 1e6, "M");
  return scaled(count / 1e9, "G");
}
