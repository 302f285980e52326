/** Signals that ask for an orderly end: Ctrl-C, `kill`, and a terminal or connection that was closed. */
export const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type StopSignal = (typeof stopSignals)[number];

/** 128 + signal number, as a POSIX shell reports a process that a signal ended. */
export const signalExitCodes: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** A request to stop that a loop looks at after every step. */
export interface Interrupt {
  /** The signal that asked for the end; undefined while nobody has. */
  readonly requested: StopSignal | undefined;
  /** 129, 130 or 143 when a stop was requested, else 0. */
  readonly exitCode: number;
  /** Gives the signals back their usual effect. */
  dispose(): void;
}

/** The part of `process` that signals need. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  removeListener(signal: StopSignal, listener: () => void): unknown;
  exit(code: number): unknown;
}

export interface InterruptOptions {
  /** Where signals come from. Default `process`. */
  readonly source?: SignalSource;
  /** Called once, on the first signal. */
  readonly onRequest?: (signal: StopSignal) => void;
  /** Milliseconds of a steady clock. Default `performance.now`. */
  readonly now?: () => number;
}

/** One Ctrl-C reaches a command twice where npm runs it: from the terminal, and passed on by npm. */
const echoMilliseconds = 500;

/**
 * Turns the first SIGINT, SIGTERM or SIGHUP into a flag, so that a loop can finish its step and save; the second one ends the process
 * at once with the code of that signal. An echo of the first is no second one, and SIGHUP never is: a terminal that closes sends it by
 * way of the shell and by itself. Listeners run only when the event loop turns: the loop has to await something in every step.
 */
export function onInterrupt(options: InterruptOptions = {}): Interrupt {
  const source = options.source ?? process;
  const now = options.now ?? (() => performance.now());
  let requested: StopSignal | undefined;
  let requestedAt = 0;
  const listen = (signal: StopSignal) => () => {
    if (requested !== undefined) {
      const echo = signal === requested && now() - requestedAt < echoMilliseconds;
      if (signal !== "SIGHUP" && !echo) source.exit(signalExitCodes[signal]);
      return;
    }
    requested = signal;
    requestedAt = now();
    options.onRequest?.(signal);
  };
  const listeners = stopSignals.map((signal) => [signal, listen(signal)] as const);
  for (const [signal, listener] of listeners) source.on(signal, listener);
  return {
    get requested() {
      return requested;
    },
    get exitCode() {
      return requested === undefined ? 0 : signalExitCodes[requested];
    },
    dispose() {
      for (const [signal, listener] of listeners) source.removeListener(signal, listener);
    },
  };
}
