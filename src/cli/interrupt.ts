/** Signals that ask for an orderly end. */
export type StopSignal = "SIGINT" | "SIGTERM";

/** 128 + signal number, as a POSIX shell reports a process that a signal ended. */
export const signalExitCodes: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/** A request to stop that a loop looks at after every step. */
export interface Interrupt {
  /** The signal that asked for the end; undefined while nobody has. */
  readonly requested: StopSignal | undefined;
  /** 130 or 143 when a stop was requested, else 0. */
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
}

/**
 * Turns the first SIGINT or SIGTERM into a flag, so that a loop can finish its step and save; the second one ends the process
 * at once with 130 or 143. Listeners run only when the event loop turns: the loop has to await something in every step.
 */
export function onInterrupt(options: InterruptOptions = {}): Interrupt {
  const source = options.source ?? process;
  let requested: StopSignal | undefined;
  const listen = (signal: StopSignal) => () => {
    if (requested !== undefined) {
      source.exit(signalExitCodes[signal]);
      return;
    }
    requested = signal;
    options.onRequest?.(signal);
  };
  const listeners = { SIGINT: listen("SIGINT"), SIGTERM: listen("SIGTERM") };
  source.on("SIGINT", listeners.SIGINT);
  source.on("SIGTERM", listeners.SIGTERM);
  return {
    get requested() {
      return requested;
    },
    get exitCode() {
      return requested === undefined ? 0 : signalExitCodes[requested];
    },
    dispose() {
      source.removeListener("SIGINT", listeners.SIGINT);
      source.removeListener("SIGTERM", listeners.SIGTERM);
    },
  };
}
