import { Command, CommanderError } from "commander";
import { OptionError } from "../errors.js";
import { registerConvert } from "./commands/convert.js";
import { registerDemo } from "./commands/demo.js";
import { registerDoctor } from "./commands/doctor.js";
import { registerEval } from "./commands/eval.js";
import { registerExperiment } from "./commands/experiment.js";
import { registerExtend } from "./commands/extend.js";
import { registerGenerate } from "./commands/generate.js";
import { registerInspect } from "./commands/inspect.js";
import { registerLogprobs } from "./commands/logprobs.js";
import { registerTokenizer } from "./commands/tokenizer.js";
import { registerTrain } from "./commands/train.js";
import { exitCodes, reportError, runCommand } from "./exit.js";
import { type InputStream, readAllInput } from "./input-stream.js";
import { type Interrupt, onInterrupt, type SignalSource } from "./interrupt.js";
import { createIo, type ShellIo } from "./io.js";
import type { OutputStream } from "./output-stream.js";
import type { CommandName, CommandOptions, Runners } from "./runners.js";
import { otherSpelling } from "./spellings.js";
import { packageVersion } from "./version.js";

/** Everything of the outside world that the command touches, so that tests can stand in for it. */
export interface CliEnvironment {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Default: there is none. */
  readonly stdin?: InputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly runners: Runners;
  /** How the command was called, where it is not by its name: see `invocationOf`. */
  readonly invocation?: { readonly words: readonly string[]; readonly argv: readonly string[] };
  /** Default `process`. */
  readonly signals?: SignalSource;
  /** Is given the io of the command as soon as there is one. */
  readonly onIo?: (io: ShellIo) => void;
}

/** Runs the body of a command with validated options. */
export type Execute = <Name extends CommandName>(name: Name, options: CommandOptions[Name]) => Promise<void>;

/** Runs one command line (without `node` and the script) and returns its exit code. Never throws. */
export async function runCli(argv: readonly string[], environment: CliEnvironment): Promise<number> {
  const { stdout, stderr, env } = environment;
  // Usage errors are found before options are parsed, and they too must leave standard output to JSON.
  const words = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  const io = createIo({ stdout, stderr, env, json: words.includes("--json"), verbose: words.includes("--verbose") });
  environment.onIo?.(io);
  let exitCode: number = exitCodes.done;

  const execute: Execute = async (name, options) => {
    const interrupts: Interrupt[] = [];
    const context = {
      io,
      commandLine: formatCommandLine(environment.invocation?.argv ?? argv, environment.invocation?.words),
      onInterrupt(): Interrupt {
        const interrupt = onInterrupt({
          ...(environment.signals === undefined ? {} : { source: environment.signals }),
          onRequest: (signal) => io.note(`${signal}: finishing this step, then saving (once more: stop at once)`),
        });
        interrupts.push(interrupt);
        return interrupt;
      },
      readInput: () => readAllInput(environment.stdin),
    };
    exitCode = await runCommand(
      async () => {
        const { run } = await environment.runners[name]();
        return run(options, context);
      },
      { io, interrupts },
    );
  };

  const program = buildProgram(execute, io);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(io, error);
    if (error.exitCode === 0) return exitCodes.done;
    // `dawngrad` alone has shown the help, which says more than an error would.
    if (error.code === "commander.help") return exitCodes.badInput;
    return reportError(io, usageError(error, program, words));
  }
  return exitCode;
}

/** The command tree; `execute` runs what was chosen. */
export function buildProgram(execute: Execute, io: ShellIo): Command {
  const program = new Command("dawngrad");
  // Settings are inherited by subcommands that are made after they were set.
  program
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.write(text), writeErr: (text) => io.note(text.trimEnd()), outputError: () => {} })
    .configureHelp({ showGlobalOptions: false, sortOptions: false })
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "show the help of a command")
    .version(packageVersion(), "-V, --version", "show the version")
    .description(
      "Train a Llama-style transformer on the GPU (WebGPU) or the processor (WebAssembly), and teach it to read text much longer than its " +
        "window (E²-LLM).",
    )
    .addHelpText(
      "after",
      `
Start here:
  dawngrad doctor                   what this machine can compute on
  dawngrad demo --preset smoke      the whole path on a real book, in some seconds
  dawngrad help train               what a command does, with examples

Exit codes: 0 done, 1 failed, 2 bad input or usage, 129, 130 or 143 interrupted after saving (by a closed terminal,
Ctrl-C, kill).`,
    );
  registerDoctor(program, (options) => execute("doctor", options));
  registerDemo(program, (options) => execute("demo", options));
  registerTrain(program, (options) => execute("train", options));
  registerExtend(program, (options) => execute("extend", options));
  registerEval(program, (options) => execute("eval", options));
  registerGenerate(program, (options) => execute("generate", options));
  registerLogprobs(program, (options) => execute("logprobs", options));
  registerConvert(program, (options) => execute("convert", options));
  registerInspect(program, (options) => execute("inspect", options));
  registerTokenizer(program, {
    train: (options) => execute("tokenizer", options),
    encode: (options) => execute("encode", options),
    decode: (options) => execute("decode", options),
  });
  registerExperiment(program, (options) => execute("experiment", options));
  return program;
}

/** commander's words as one line, with a hint that names the help to read. */
function usageError(error: CommanderError, program: Command, words: readonly string[]): OptionError {
  const text = error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
  const [message, suggestion] = text.split(/ (?=\(Did you mean )/);
  const command = program.commands.find((one) => one.name() === words[0]);
  const help = `dawngrad ${command === undefined ? "" : `${command.name()} `}--help`;
  const guess =
    modelByName(error, command, words) ??
    knownElsewhere(error, command) ??
    suggestion?.replace(/^\(Did you mean (one of )?/, "").replace(/\?\)$/, "");
  return new OptionError(message ?? text, { hint: `${guess === undefined ? "" : `did you mean ${guess}? `}see: ${help}`, cause: error });
}

/** A model that was given as an argument to a command that takes it as an option. */
function modelByName(error: CommanderError, command: Command | undefined, words: readonly string[]): string | undefined {
  if (error.code !== "commander.excessArguments" || !command?.options.some(({ long }) => long === "--model")) return undefined;
  return words[1] === undefined || words[1].startsWith("-") || words.includes("--model") ? undefined : `--model ${words[1]}`;
}

/** The option that an unknown one stands for in other programs, `--batch` for `--batch-size`. */
function knownElsewhere(error: CommanderError, command: Command | undefined): string | undefined {
  const flag = /unknown option '--?([^'=]+)/.exec(error.message)?.[1];
  if (flag === undefined || command === undefined) return undefined;
  const names = new Set(command.options.flatMap(({ long }) => (long ? [long.slice(2)] : [])));
  const found = otherSpelling(flag, names);
  return found === undefined ? undefined : `--${found}`;
}

/** A command line that a POSIX shell reads back as the same words. */
export function formatCommandLine(argv: readonly string[], words: readonly string[] = ["dawngrad"]): string {
  const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
  return [...words, ...argv].map(quote).join(" ");
}
