import { UsageError } from "../errors.js";
import { guarded, type OutputStream } from "./output-stream.js";
import { createProgress, type Progress, type ProgressOptions } from "./progress.js";

/** Anything that `JSON.stringify` writes without loss. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** Where a command's words and numbers go. */
export interface CommandIo {
  /** True under `--json`: standard output carries one JSON document and nothing else. */
  readonly json: boolean;
  /** True under `--verbose`. */
  readonly verbose: boolean;
  /** True once the reader of standard output has gone away (`dawngrad generate … | head`); long output may stop early. */
  readonly outputClosed: boolean;
  /** Text that is the result for a human: standard output, or standard error under `--json`. A newline is added. */
  print(text: string): void;
  /** `print` without the newline, for text that arrives in pieces (generated tokens). */
  write(text: string): void;
  /** A remark beside the result (what was loaded, where it was saved): always standard error. */
  note(text: string): void;
  /** A remark that is shown under `--verbose` only. */
  detail(text: string): void;
  /** Something that is wrong but does not stop the work: "warning: …" on standard error. */
  warn(text: string): void;
  /**
   * The JSON document of the command; dropped unless `--json`. Throws UsageError on a second call, because standard output
   * then would not be one document, and on numbers that JSON cannot hold (NaN, infinity).
   */
  result(document: object): void;
  /** A progress line on standard error; see `createProgress`. */
  progress(options: ProgressOptions): Progress;
  /** Text in a style, or the text alone where colour is off (NO_COLOR, or standard error and output are no terminals). */
  style(style: Style, text: string): string;
}

export type Style = "bold" | "dim" | "red" | "green" | "yellow";

const ansi: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

export interface IoOptions {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Environment variables; NO_COLOR, FORCE_COLOR and TERM are read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly json: boolean;
  readonly verbose: boolean;
  /** Milliseconds of a steady clock; default `performance.now`. */
  readonly now?: () => number;
}

/** A CommandIo with the bookkeeping that only the shell around a command uses. */
export interface ShellIo extends CommandIo {
  /** True once `result` was called. */
  readonly resultWritten: boolean;
  /** Why standard output could not be written: a full disk, a terminal that was closed. A reader that went away is no failure. */
  readonly outputError: Error | undefined;
  /** Called when a stream reports an error. Nothing more is written to standard output then, and the work goes on. */
  streamFailed(stream: "stdout" | "stderr", error: NodeJS.ErrnoException): void;
  /** Ends a progress line that is still open, so that the next text starts on a line of its own. */
  settle(): void;
}

/** Colour is on when the stream is a terminal, NO_COLOR (no-color.org) is unset or empty and TERM is not "dumb"; FORCE_COLOR turns it on. */
export function wantsColor(stream: OutputStream, env: IoOptions["env"]): boolean {
  if (env["NO_COLOR"]) return false;
  if (env["FORCE_COLOR"] && env["FORCE_COLOR"] !== "0") return true;
  return stream.isTTY === true && env["TERM"] !== "dumb";
}

/** Builds the CommandIo of one command from two streams. */
export function createIo(options: IoOptions): ShellIo {
  const { env, json, verbose } = options;
  const stdout = guarded(options.stdout, (error) => streamFailed("stdout", error));
  // Words that nobody can read are no reason to lose the work: each is tried anew, because a full disk may be freed.
  const stderr = guarded(options.stderr, () => {});
  const now = options.now ?? (() => performance.now());
  const human = json ? stderr : stdout;
  const color = wantsColor(human, env) && wantsColor(stderr, env);
  let outputClosed = false;
  let outputError: Error | undefined;
  let resultWritten = false;
  let open: Progress | undefined;

  const streamFailed = (stream: "stdout" | "stderr", error: NodeJS.ErrnoException): void => {
    if (stream === "stderr") return;
    outputClosed = true;
    if (error.code !== "EPIPE") outputError ??= error;
  };

  const interrupting = (stream: OutputStream, text: string): void => {
    open?.clear();
    if (stream === stdout && outputClosed) return;
    stream.write(text);
  };

  return {
    json,
    verbose,
    get outputClosed() {
      return outputClosed;
    },
    get resultWritten() {
      return resultWritten;
    },
    get outputError() {
      return outputError;
    },
    streamFailed,
    settle() {
      open?.clear();
      open = undefined;
    },
    print: (text) => interrupting(human, `${text}\n`),
    write: (text) => interrupting(human, text),
    note: (text) => interrupting(stderr, `${text}\n`),
    detail: (text) => {
      if (verbose) interrupting(stderr, `${text}\n`);
    },
    warn(text) {
      interrupting(stderr, `${this.style("yellow", "warning:")} ${text}\n`);
    },
    result(document) {
      if (resultWritten) throw new UsageError("a command writes one JSON document, and this one was about to write a second");
      const text = `${JSON.stringify(document, refuseNonFinite, 2)}\n`;
      resultWritten = true;
      if (json) interrupting(stdout, text);
    },
    progress(progressOptions) {
      open = createProgress(stderr, { now, ...progressOptions });
      return open;
    },
    style(style, text) {
      if (!color) return text;
      const [on, off] = ansi[style];
      return `\u001b[${on}m${text}\u001b[${off}m`;
    },
  };
}

/** JSON.stringify turns NaN and infinity into null without a word; a result must not lose them that way. */
function refuseNonFinite(key: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new UsageError(`the JSON document holds ${value} under "${key}", which JSON cannot express`);
  }
  return value;
}
