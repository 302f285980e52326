import { DawngradError, DtypeError, FormatError, OptionError, ShapeError } from "../errors.js";
import type { Interrupt } from "./interrupt.js";
import type { ShellIo } from "./io.js";
import { MemoryNeedError } from "./memory-need.js";

/** Exit codes of the command; 129, 130 and 143 (interrupted after saving) come from `signalExitCodes`. */
export const exitCodes = { done: 0, failed: 1, badInput: 2 } as const;

/** What the user reads about an error: one line, and one line of advice that may be empty. */
export interface ErrorSummary {
  readonly name: string;
  readonly message: string;
  readonly hint: string;
  readonly exitCode: number;
  /** Bytes that a run needs which cannot fit, and the options with which it would. */
  readonly memory?: MemoryNeedError["memory"];
}

/** System errors that mean "the path you gave is not what is needed". */
const pathErrors: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of the path is no folder",
  EISDIR: "this is a folder, and a file is needed",
  EACCES: "no permission",
  EPERM: "no permission",
  EEXIST: "it exists already",
  ENAMETOOLONG: "the name is too long",
};

interface SystemError extends Error {
  readonly code: string;
  readonly path?: string;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "code" in error && typeof error.code === "string" && "syscall" in error;
}

/**
 * Sorts an error into exit code 2 (what the user gave was wrong: options, files, shapes and dtypes that do not fit) or 1 (it
 * was not: no backend, device lost, out of memory, a loss that is no number, a defect), and puts it into one line and a hint.
 */
export function summarizeError(error: unknown): ErrorSummary {
  if (error instanceof DawngradError) {
    const badInput =
      error instanceof OptionError || error instanceof FormatError || error instanceof ShapeError || error instanceof DtypeError;
    return {
      name: error.name,
      message: oneLine(error.message),
      hint: oneLine(error.hint),
      exitCode: badInput ? exitCodes.badInput : exitCodes.failed,
      ...(error instanceof MemoryNeedError ? { memory: error.memory } : {}),
    };
  }
  if (isSystemError(error)) {
    const reason = pathErrors[error.code];
    if (reason !== undefined && error.path !== undefined) {
      return { name: error.code, message: `${error.path}: ${reason}`, hint: "", exitCode: exitCodes.badInput };
    }
    if (error.code === "ENOSPC") {
      return {
        name: error.code,
        message: `${error.path === undefined ? "" : `${error.path}: `}no space left on the disk`,
        hint: "free some space or choose another folder with --out",
        exitCode: exitCodes.failed,
      };
    }
  }
  const name = error instanceof Error ? error.name : "Error";
  const message = oneLine(error instanceof Error ? error.message : String(error));
  return { name, message: message || name, hint: "run the command again with --verbose to see where", exitCode: exitCodes.failed };
}

/** Writes an error to standard error, the stack and its causes with `--verbose`; under `--json` standard output gets `{ "error": … }`. */
export function reportError(io: ShellIo, error: unknown): number {
  const summary = summarizeError(error);
  io.settle();
  io.note(`${io.style("red", "error:")} ${summary.message}`);
  if (summary.hint !== "") io.note(`${io.style("bold", "hint:")} ${summary.hint}`);
  if (io.verbose) for (const line of stackLines(error)) io.note(io.style("dim", line));
  if (io.json && !io.resultWritten) io.result({ error: summary });
  return summary.exitCode;
}

/**
 * Runs the body of a command and turns its outcome into an exit code: what it returned (0 when nothing), 129, 130 or 143 when one of
 * its interrupts was asked to stop, 1 or 2 by `summarizeError` when it threw. Never throws.
 */
export async function runCommand(
  body: () => Promise<number | undefined>,
  shell: { readonly io: ShellIo; readonly interrupts?: readonly Interrupt[] },
): Promise<number> {
  try {
    const code = (await body()) ?? exitCodes.done;
    // A stream reports a write that failed when the event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
    const { outputError } = shell.io;
    if (code === exitCodes.done && outputError !== undefined) return reportError(shell.io, lostOutput(outputError));
    if (code !== exitCodes.done) return code;
    return shell.interrupts?.find((interrupt) => interrupt.requested !== undefined)?.exitCode ?? exitCodes.done;
  } catch (error) {
    return reportError(shell.io, error);
  } finally {
    shell.io.settle();
    for (const interrupt of shell.interrupts ?? []) interrupt.dispose();
  }
}

function lostOutput(cause: Error): DawngradError {
  const full = "code" in cause && cause.code === "ENOSPC";
  return new DawngradError(`standard output could not be written: ${full ? "no space left on the disk" : cause.message}`, {
    hint: "what the command saves in files is saved; run it again for its output",
    cause,
  });
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ").trim();
}

function stackLines(error: unknown): string[] {
  const lines: string[] = [];
  const seen = new Set<unknown>();
  let current = error;
  while (current instanceof Error && !seen.has(current)) {
    seen.add(current);
    const stack = (current.stack ?? `${current.name}: ${current.message}`).split("\n");
    lines.push(...stack.map((line, i) => (i === 0 && seen.size > 1 ? `caused by ${line}` : line)));
    current = current.cause;
  }
  return lines;
}
