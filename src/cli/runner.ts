import type { Interrupt } from "./interrupt.js";
import type { CommandIo } from "./io.js";

/** What the body of a command is given beside its options. */
export interface CommandContext {
  readonly io: CommandIo;
  /** The command line that led here, quoted for a shell: `dawngrad train --steps 100`. */
  readonly commandLine: string;
  /** From here on the first SIGINT, SIGTERM or SIGHUP only sets a flag; see `onInterrupt`. The shell gives the signals back afterwards. */
  onInterrupt(): Interrupt;
  /** All of standard input. Throws OptionError where that is a terminal, at which nobody was asked for anything. */
  readInput(): Promise<Uint8Array>;
}

/** The body of a command. It returns an exit code, or nothing for 0 (129, 130 or 143 when a stop was requested). */
export type Runner<Options> = (options: Options, context: CommandContext) => Promise<number | undefined>;
