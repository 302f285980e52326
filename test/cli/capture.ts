import type { StopSignal } from "../../src/cli/interrupt.js";
import type { CliEnvironment } from "../../src/cli/program.js";
import { runCli } from "../../src/cli/program.js";
import type { CommandContext } from "../../src/cli/runner.js";
import type { CommandName, Runners } from "../../src/cli/runners.js";

/** A stream that remembers what was written. */
export class CapturedStream {
  text = "";
  constructor(
    readonly isTTY = false,
    readonly columns = 80,
  ) {}
  write(text: string): boolean {
    this.text += text;
    return true;
  }
}

/** Signals that tests send. */
export class FakeSignals {
  readonly listeners = new Map<StopSignal, Set<() => void>>();
  readonly exits: number[] = [];
  on(signal: StopSignal, listener: () => void): this {
    this.listeners.set(signal, (this.listeners.get(signal) ?? new Set()).add(listener));
    return this;
  }
  removeListener(signal: StopSignal, listener: () => void): this {
    this.listeners.get(signal)?.delete(listener);
    return this;
  }
  exit(code: number): void {
    this.exits.push(code);
  }
  send(signal: StopSignal): void {
    for (const listener of this.listeners.get(signal) ?? []) listener();
  }
  get count(): number {
    return [...this.listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }
}

export interface Call {
  readonly name: CommandName;
  readonly options: Readonly<Record<string, unknown>>;
}

type Body = (context: CommandContext, call: Call) => Promise<number | undefined> | number | undefined;

/** Runs a command line with bodies that record their call and then do what `body` says. */
export async function cli(argv: readonly string[], body: Body = () => undefined, environment: Partial<CliEnvironment> = {}) {
  const stdout = new CapturedStream();
  const stderr = new CapturedStream();
  const calls: Call[] = [];
  const record = (name: CommandName) => async () => ({
    run: async (options: object, context: CommandContext) => {
      const call = { name, options: { ...options } };
      calls.push(call);
      return body(context, call);
    },
  });
  const runners: Runners = {
    doctor: record("doctor"),
    demo: record("demo"),
    train: record("train"),
    extend: record("extend"),
    eval: record("eval"),
    generate: record("generate"),
    logprobs: record("logprobs"),
    convert: record("convert"),
    inspect: record("inspect"),
    tokenizer: record("tokenizer"),
    encode: record("encode"),
    decode: record("decode"),
    experiment: record("experiment"),
  };
  const code = await runCli(argv, { stdout, stderr, env: {}, runners, signals: new FakeSignals(), ...environment });
  return { code, stdout: stdout.text, stderr: stderr.text, calls, options: calls[0]?.options ?? {} };
}
