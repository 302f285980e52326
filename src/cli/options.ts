import { type Command, InvalidArgumentError, Option } from "commander";
import type { ReadingSchedule } from "../e2llm/reading.js";
import { OptionError } from "../errors.js";
import { type BackendName, backendNames } from "../init.js";

/** Options that every command takes. */
export interface CommonOptions {
  /** As in `init`; the fastest that works here when absent. */
  readonly backend?: BackendName;
  /** Part of an adapter's name, or "hardware", "software", "swiftshader". Implies the backend "webgpu". */
  readonly adapter?: string;
  /** Threads of the wasm backend. Implies the backend "wasm". */
  readonly threads?: number;
  readonly json: boolean;
  readonly verbose: boolean;
}

/** Runs the body of a command with its validated options. */
export type Action<Options> = (options: Options) => Promise<void>;

/** The options that say where to compute. */
export type BackendOptions = Pick<CommonOptions, "backend" | "adapter" | "threads">;

/** What `--schedule` takes: "auto", the one that the model was made for, and all of `readingSchedules`. */
export type ScheduleName = "auto" | ReadingSchedule;
export const scheduleNames: readonly ScheduleName[] = [
  "auto",
  "none",
  "linear",
  "ntk",
  "yarn",
  "yarn-turns",
  "dynamic",
  "llama3",
  "ntk-by-parts",
  "ntk-mixed",
  "resonance-yarn",
  "self-extend",
  "rerope",
  "leaky-rerope",
  "log-n",
  "streaming",
];

/** "auto" is g = max(1, ceil(W / L)) for a context of W tokens and a trained window of L. */
export type ScaleOption = "auto" | number;
/** "auto" takes the length that a text will have in the end, "growing" what is there of it so far. */
export type GrowingScaleOption = ScaleOption | "growing";

/** Reads a decimal number strictly: the whole text has to be one, so "10k", "", "0x10" and "1e" are refused. */
export function parseNumber(text: string): number {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError("It is not a number.");
  const value = Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError("It is too large.");
  return value;
}

/** Bounds of a number; `above` is exclusive, the other two are inclusive. */
export interface Bounds {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
}

/** A parser of whole numbers (in decimal digits) within bounds. */
export function wholeNumber(bounds: Bounds = {}): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || !within(value, bounds)) {
      throw new InvalidArgumentError(`A whole number${describeBounds(bounds)} is needed.`);
    }
    return value;
  };
}

/** A parser of decimal numbers within bounds. */
export function number(bounds: Bounds = {}): (text: string) => number {
  return (text) => {
    let value = Number.NaN;
    try {
      value = parseNumber(text);
    } catch {
      // The message below says what is needed, bounds included.
    }
    if (!within(value, bounds)) throw new InvalidArgumentError(`A number${describeBounds(bounds)} is needed.`);
    return value;
  };
}

/** One of some names or a number from 1 to 2²⁴. */
const scaleParser =
  <Name extends "auto" | "growing">(...names: readonly Name[]) =>
  (text: string): Name | number => {
    const found = names.find((name) => name === text);
    if (found !== undefined) return found;
    try {
      return number({ min: 1, max: 2 ** 24 })(text);
    } catch {
      const quoted = names.map((name) => `"${name}"`).join(", ");
      throw new InvalidArgumentError(`${quoted} or a number of at least 1 and of at most 16777216 is needed.`);
    }
  };

/** The scale of a text whose length is known. */
export const parseScale = scaleParser("auto");
/** The scale of a text that is being written. */
export const parseGrowingScale = scaleParser("auto", "growing");

/** A comma-separated list of distinct context lengths, sorted: "64,128,256". */
export function parseContexts(text: string): readonly number[] {
  const length = wholeNumber({ min: 1, max: mostItems });
  let lengths: number[];
  try {
    lengths = text.split(",").map((part) => length(part.trim()));
  } catch {
    throw new InvalidArgumentError("Whole numbers of at least 1 are needed, with commas between them: 64,128,256.");
  }
  if (new Set(lengths).size !== lengths.length) throw new InvalidArgumentError("A length is named twice.");
  return lengths.sort((a, b) => a - b);
}

/** A text that is not empty. */
export function nonEmpty(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("It is empty.");
  return text;
}

function within(value: number, { min, max, above }: Bounds): boolean {
  if (Number.isNaN(value)) return false;
  return (min === undefined || value >= min) && (max === undefined || value <= max) && (above === undefined || value > above);
}

function describeBounds({ min, max, above }: Bounds): string {
  const parts: string[] = [];
  if (above !== undefined) parts.push(`above ${above}`);
  if (min !== undefined) parts.push(`of at least ${min}`);
  if (max !== undefined) parts.push(`of at most ${max}`);
  return parts.length === 0 ? "" : ` ${parts.join(" and ")}`;
}

/** Adds an option whose value is parsed, with a default where there is one. */
export function addOption<T>(command: Command, flags: string, description: string, parse: (text: string) => T, initial?: T): void {
  const option = new Option(flags, description).argParser(parse);
  if (initial !== undefined) option.default(initial);
  command.addOption(option);
}

/** Adds an option that takes one of a few names. */
export function addChoice(command: Command, flags: string, description: string, choices: readonly string[], initial?: string): void {
  const option = new Option(flags, description).choices(choices);
  if (initial !== undefined) option.default(initial);
  command.addOption(option);
}

/** Adds an option without a value; it is false unless given. */
export function addFlag(command: Command, name: string, description: string): void {
  // As a default value it would be shown as "(default: false)", which helps nobody.
  command.option(`--${name}`, description).setOptionValueWithSource(name, false, "default");
}

/** `--seed`: a 32-bit key of the counter-based random numbers. */
export function addSeed(command: Command): void {
  addOption(
    command,
    "--seed <n>",
    "start of all random numbers; the same seed gives the same run",
    wholeNumber({ min: 0, max: 2 ** 32 - 1 }),
    0,
  );
}

/** Steps are counted in 32 bits, and so are the draws that belong to them. */
export const mostSteps = 2 ** 32 - 1;
/** Largest count of sequences or tokens that an array can hold. */
export const mostItems = 2 ** 31 - 1;
/** Largest number of 32-bit floating point. */
const largestFloat = 3.4e38;

/** `--model`: anything that `openModel` reads. */
export function addModel(command: Command): void {
  addOption(
    command,
    "--model <source>",
    "a folder (config.json and safetensors), a file (*.gguf, or llama2.c's *.bin), or hf:owner/name[@revision]",
    nonEmpty,
  );
}

/** `--tokenizer` of commands that read a model. */
export function addTokenizer(command: Command): void {
  addOption(
    command,
    "--tokenizer <path>",
    "its tokenizer where none lies beside the model: a folder, a tokenizer.json or a tokenizer.model",
    nonEmpty,
  );
}

/** What `--dtype` takes: what weights are kept in on the device. */
export const weightDtypes = ["f32", "f16", "bf16", "stored"] as const;
export type WeightDtypeOption = (typeof weightDtypes)[number];

/** `--dtype` of commands that only read weights. */
export function addWeightDtype(command: Command): void {
  addChoice(
    command,
    "--dtype <name>",
    "what weights are kept in on the device: halves need half the memory (default: stored, as the files have them, where the backend can)",
    weightDtypes,
  );
}

/** A scale of `--export-scale`. */
export const parseExportScale = number({ min: 1, max: 2 ** 24 });

/** `--force`: replace what the folder holds. */
export function addForce(command: Command): void {
  command.option("--force", "replace a run that --out holds; its files stay until the new one is first saved");
}

/** What the backward pass of a training keeps of a batch. */
export const checkpointNames = ["none", "blocks"] as const;
export type CheckpointName = (typeof checkpointNames)[number];

/** How a step of training is computed, which decides what it needs of memory and time and, but for rounding, none of its numbers. */
export interface StepOptions {
  /** "blocks" keeps what each layer begins with and computes the layer again; "none" keeps everything. */
  readonly checkpoint: CheckpointName;
  /** Sequences that are computed at once, a divisor of the batch; all of them when absent. */
  readonly microBatch?: number;
}

/** Options of the learning rule, shared by `train` and `extend`. */
export interface OptimizerOptions extends StepOptions {
  readonly batch: number;
  readonly steps: number;
  /** Peak learning rate of AdamW. */
  readonly lr: number;
  /** Steps of linear warm-up before the cosine decay. */
  readonly warmup: number;
  readonly weightDecay: number;
  /** Bound of the gradient's global norm; 0 turns clipping off. */
  readonly clip: number;
  /** Steps between checkpoints; 0 saves at the end and on interruption only. */
  readonly saveEvery: number;
  /** Tokens of a training sequence; the model's window when absent. */
  readonly length?: number;
  /** Whether a run that `out` holds may be replaced. */
  readonly force?: boolean;
}

/** Adds the options of OptimizerOptions but for `--force`; warm-up is left to `resolveWarmup`. */
export function addOptimizer(command: Command, initial: { readonly batch: number; readonly steps: number; readonly lr: number }): void {
  addOption(command, "--batch <n>", "sequences per step", wholeNumber({ min: 1, max: mostItems }), initial.batch);
  addOption(
    command,
    "--length <n>",
    "tokens of a training sequence (default: the model's window)",
    wholeNumber({ min: 2, max: mostItems }),
  );
  addOption(command, "--steps <n>", "optimizer steps", wholeNumber({ min: 1, max: mostSteps }), initial.steps);
  addOption(command, "--lr <x>", "peak learning rate of AdamW", number({ above: 0, max: largestFloat }), initial.lr);
  addOption(
    command,
    "--warmup <n>",
    "steps of linear warm-up (default: a tenth of --steps, at most 100)",
    wholeNumber({ min: 0, max: mostSteps }),
  );
  addOption(command, "--weight-decay <x>", "decoupled weight decay of the matrices", number({ min: 0, max: largestFloat }), 0.1);
  addOption(command, "--clip <x>", "bound of the gradient's global norm; 0 turns clipping off", number({ min: 0, max: largestFloat }), 1);
  addOption(
    command,
    "--save-every <n>",
    "steps between checkpoints; 0 saves only at the end",
    wholeNumber({ min: 0, max: mostSteps }),
    100,
  );
}

/** Adds the options of StepOptions. */
export function addStepOptions(command: Command): void {
  addOption(
    command,
    "--checkpoint <what>",
    'what is computed again instead of kept for the backward pass: "none", or "blocks", every layer: less memory for a third more time',
    parseCheckpoint,
    "none",
  );
  addOption(
    command,
    "--micro-batch <n>",
    "sequences that are computed at once, a divisor of --batch: less memory, the same gradient (default: all)",
    wholeNumber({ min: 1, max: mostItems }),
  );
}

function parseCheckpoint(text: string): CheckpointName {
  const found = checkpointNames.find((name) => name === text);
  if (found === undefined) {
    throw new InvalidArgumentError(`Allowed choices are ${checkpointNames.join(", ")}; a folder to go on from is named with --resume.`);
  }
  return found;
}

/** Refuses micro-batches that do not make up the batch (OptionError). */
export function checkMicroBatch(microBatch: number | undefined, batch: number): void {
  if (microBatch === undefined || batch % microBatch === 0) return;
  const best = divisorsOf(batch).filter((divisor) => divisor <= microBatch);
  throw new OptionError(`--micro-batch ${microBatch} does not divide --batch ${batch}`, {
    hint: `take --micro-batch ${best.at(-1)}, or a batch of ${Math.ceil(batch / microBatch) * microBatch}`,
  });
}

/** The divisors of a whole number, ascending. */
export function divisorsOf(n: number): number[] {
  const small: number[] = [];
  for (let d = 1; d * d <= n; d++) if (n % d === 0) small.push(d);
  return [...small, ...small.map((d) => n / d).reverse()].filter((d, i, all) => d !== all[i - 1]);
}

/** The default of `--warmup`: a tenth of the steps, at most 100. */
export function resolveWarmup(warmup: number | undefined, steps: number): number {
  return warmup ?? Math.min(100, Math.floor(steps / 10));
}

/** Adds the options that every command takes. */
export function addCommon(command: Command): void {
  command.optionsGroup("Everywhere:");
  addChoice(command, "--backend <name>", "where to compute (default: a GPU through webgpu, else wasm, else reference)", backendNames);
  addOption(
    command,
    "--adapter <name>",
    'for webgpu: part of an adapter\'s name, or "hardware", "software", "swiftshader" (default: hardware, with --backend webgpu any)',
    nonEmpty,
  );
  addOption(
    command,
    "--threads <n>",
    "for wasm: threads that compute (default: one for each processor, at most 16)",
    wholeNumber({ min: 1, max: 256 }),
  );
  addOutput(command);
  command.hook("preAction", () => checkBackendOptions(command.opts<BackendOptions>()));
}

/** Adds the options of commands that compute nothing on a backend. */
export function addOutput(command: Command): void {
  command.optionsGroup("Everywhere:");
  addFlag(command, "json", "one JSON document on standard output; everything else on standard error");
  addFlag(command, "verbose", "say more, and show stack traces");
}

/** The backend that is asked for, by name or by an option that only one of them has; undefined where `init` chooses. */
export function wantedBackend({ backend, adapter, threads }: BackendOptions): BackendName | undefined {
  return backend ?? (adapter !== undefined ? "webgpu" : threads !== undefined ? "wasm" : undefined);
}

/** Refuses --adapter and --threads where nothing would read them (OptionError). */
export function checkBackendOptions(options: BackendOptions): void {
  const backend = wantedBackend(options);
  const refuse = (given: string, owner: BackendName, reason: string): never => {
    const other = options.backend === undefined ? "--adapter" : `--backend ${backend}`;
    throw new OptionError(`${given} has no effect with ${other}: ${reason}`, { hint: `leave it out, or use --backend ${owner}` });
  };
  if (options.threads !== undefined && backend !== "wasm") refuse("--threads", "wasm", "only the wasm backend has threads");
  if (options.adapter !== undefined && backend !== "webgpu") refuse("--adapter", "webgpu", "only webgpu has adapters");
}

/** Names of the options that were given on the command line, in camel case. */
export function givenOptions(command: Command): ReadonlySet<string> {
  return new Set(command.options.map((o) => o.attributeName()).filter((name) => command.getOptionValueSource(name) === "cli"));
}

/** "kvHeads" → "--kv-heads". */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

export type { Command };
