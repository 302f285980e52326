import { OptionError } from "../../errors.js";
import {
  type Action,
  addChoice,
  addCommon,
  addForce,
  addOptimizer,
  addOption,
  addSeed,
  addStepOptions,
  type Command,
  type CommonOptions,
  checkMicroBatch,
  flagOf,
  givenOptions,
  mostItems,
  nonEmpty,
  type OptimizerOptions,
  resolveWarmup,
  wholeNumber,
} from "../options.js";

export interface ExtendOptions extends CommonOptions, OptimizerOptions {
  /** Folder of the model to extend; absent only with `resume`. */
  readonly model?: string;
  readonly text: string;
  /** "e2" draws a scale g and a shift t for each sample or batch; "plain" goes on training without either (the control). */
  readonly method: "e2" | "plain";
  /** Scales are drawn from 1..gMax. */
  readonly gMax: number;
  readonly granularity: "batch" | "sample";
  /** First tokens that are never shifted. */
  readonly sinks: number;
  readonly seed: number;
  readonly out: string;
  readonly resume?: string;
  /** As in TrainOptions. */
  readonly given: ReadonlySet<string>;
}

/** Options that only `--method e2` reads. */
const e2Only = ["gMax", "granularity", "sinks"] as const;

type RawExtendOptions = Omit<ExtendOptions, "given" | "warmup" | "out"> & Partial<Pick<ExtendOptions, "warmup" | "out">>;

/** Adds `dawngrad extend`. */
export function registerExtend(program: Command, execute: Action<ExtendOptions>): void {
  const command = program
    .command("extend")
    .summary("teach a trained model to read text longer than its window")
    .description(
      "Goes on training at the model's own window L while RoPE positions are scaled by a random g in 1..g-max and shifted by a random t " +
        "(E²-LLM). Afterwards the model reads g·L bytes when positions are divided by g.",
    )
    .addHelpText(
      "after",
      `
"--method plain" spends the same steps without scaling or shifting. Compare with it before you credit E²-LLM.
--length may be shorter or longer than the window; E²-LLM can hold up to g-max·L, and plain steps on longer text make that the window.
With --resume the options of the learning rule and of memory may change; those that make the run another one (--text, --seed, --method, --g-max,
--granularity, --sinks, --length) are refused where they differ from it.

Examples:
  dawngrad extend --model runs/base --out runs/e2
  dawngrad extend --model runs/base --method plain --out runs/plain
  dawngrad extend --model runs/base --g-max 16 --steps 2000`,
    );
  command.optionsGroup("Data:");
  addOption(command, "--model <dir>", "folder of the model to extend", nonEmpty);
  addOption(command, "--text <source>", 'a file, a folder of text files, or "moby-dick"', nonEmpty, "moby-dick");
  addSeed(command);
  command.optionsGroup("Method:");
  addChoice(command, "--method <name>", "how positions are drawn", ["e2", "plain"], "e2");
  addOption(command, "--g-max <n>", "largest scale that is drawn", wholeNumber({ min: 1, max: mostItems }), 8);
  addChoice(command, "--granularity <what>", "one draw of (g, t) for each batch or each sample", ["batch", "sample"], "batch");
  addOption(command, "--sinks <n>", "first tokens that are never shifted", wholeNumber({ min: 0, max: mostItems }), 4);
  command.optionsGroup("Training:");
  addOptimizer(command, { batch: 8, steps: 400, lr: 5e-4 });
  addStepOptions(command);
  addOption(command, "--out <dir>", 'folder for the checkpoint (default: "runs/e2" or "runs/plain", or the one of --resume)', nonEmpty);
  addOption(command, "--resume <dir>", "go on from the checkpoint of an interrupted extension", nonEmpty);
  addForce(command);
  addCommon(command);
  command.action(() => execute(resolveExtend(command.opts<RawExtendOptions>(), givenOptions(command))));
}

/** Fills defaults that depend on other options and refuses combinations that say nothing (OptionError). */
export function resolveExtend(raw: RawExtendOptions, given: ReadonlySet<string>): ExtendOptions {
  if (raw.model === undefined && raw.resume === undefined) {
    throw new OptionError("extend needs a model", {
      hint: "name its folder: --model runs/base (make one with: dawngrad train --out runs/base)",
    });
  }
  if (raw.model !== undefined && raw.resume !== undefined) {
    throw new OptionError("--model starts an extension and --resume goes on with one: give one of them", {
      hint: `leave --model out to go on from ${raw.resume}`,
    });
  }
  // What a resumed run was begun with is known only when its checkpoint has been read.
  if (raw.resume === undefined) {
    refuseUnread(raw.method, given);
    checkMicroBatch(raw.microBatch, raw.batch);
  }
  return { ...raw, warmup: resolveWarmup(raw.warmup, raw.steps), out: raw.out ?? raw.resume ?? `runs/${raw.method}`, given };
}

/** Refuses options that a run of this method does not read (OptionError). */
export function refuseUnread(method: ExtendOptions["method"], given: ReadonlySet<string>): void {
  const unread = method === "plain" ? e2Only.filter((name) => given.has(name)) : [];
  if (unread.length === 0) return;
  throw new OptionError(`--method plain draws no scale and no shift, so ${unread.map(flagOf).join(", ")} would have no effect`, {
    hint: `leave ${unread.length === 1 ? "it" : "them"} out, or choose --method e2`,
  });
}
