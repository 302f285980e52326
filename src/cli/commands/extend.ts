import { InvalidArgumentError } from "commander";
import { OptionError } from "../../errors.js";
import { addLora, type LoraFlags, refuseWithoutLora } from "../lora.js";
import {
  type Action,
  addChoice,
  addCommon,
  addForce,
  addModel,
  addOptimizer,
  addOption,
  addSeed,
  addStepOptions,
  addTokenizer,
  type Command,
  type CommonOptions,
  checkMicroBatch,
  flagOf,
  givenOptions,
  mostItems,
  nonEmpty,
  type OptimizerOptions,
  parseExportScale,
  resolveWarmup,
  wholeNumber,
} from "../options.js";

/** Names of position sources that extend a window, and "plain", which goes on training without (the control). */
export const extendMethods = ["e2", "e2-yarn", "pose", "randomized", "random-scale", "plain"] as const;
export type ExtendMethod = (typeof extendMethods)[number];

/** What is done with positions at a scale, by the names of `eval --schedule`. */
export const scalingNames = ["linear", "ntk", "yarn", "yarn-turns", "llama3"] as const;
export type ScalingName = (typeof scalingNames)[number];

/** Options of the methods; what none was given for is absent, but for those with a default for all. */
export interface MethodOptions {
  readonly method: ExtendMethod;
  /** Scales are drawn from 1..gMax, or positions are spread over gMax windows. */
  readonly gMax: number;
  readonly granularity: "batch" | "sample";
  /** First tokens that are never shifted. */
  readonly sinks: number;
  /** The one scale of every draw. */
  readonly g?: number;
  /** How the shift is drawn. */
  readonly t?: "uniform" | "largest" | number;
  /** Chunks of PoSE. */
  readonly chunks?: number;
  readonly scaling?: ScalingName;
}

export interface ExtendOptions extends CommonOptions, OptimizerOptions, MethodOptions, LoraFlags {
  /** The model to extend; absent only with `resume`. */
  readonly model?: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  readonly text: string;
  readonly seed: number;
  readonly out: string;
  readonly resume?: string;
  /** The scale that config.json states for other programs; as trained when absent. */
  readonly exportScale?: number;
  /** As in TrainOptions. */
  readonly given: ReadonlySet<string>;
}

type MethodOption = Exclude<keyof MethodOptions, "method">;

const shifting = ["gMax", "granularity", "sinks", "g", "t", "scaling"] as const;

/** The options that each method reads. */
const optionsOfMethod: { readonly [M in ExtendMethod]: readonly MethodOption[] } = {
  e2: shifting,
  "e2-yarn": shifting,
  pose: ["gMax", "granularity", "chunks", "scaling"],
  randomized: ["gMax", "granularity", "scaling"],
  "random-scale": ["gMax", "granularity", "scaling"],
  plain: [],
};
const methodOptions = ["gMax", "granularity", "sinks", "g", "t", "chunks", "scaling"] as const satisfies readonly MethodOption[];

type RawExtendOptions = Omit<ExtendOptions, "given" | "warmup" | "out"> & Partial<Pick<ExtendOptions, "warmup" | "out">>;

/** Adds `dawngrad extend`. */
export function registerExtend(program: Command, execute: Action<ExtendOptions>): void {
  const command = program
    .command("extend")
    .summary("teach a trained model to read text longer than its window")
    .description(
      "Goes on training at the model's own window L while RoPE positions are scaled by a random g in 1..g-max and shifted by a random t " +
        "(E²-LLM), or drawn in another way. Afterwards the model reads g·L tokens; its config.json says how.",
    )
    .addHelpText(
      "after",
      `
Methods:
  e2            positions (i + t)/g with a random scale g and a random shift t past the first tokens (E²-LLM)
  e2-yarn       the same g and t, with YaRN's frequencies at factor g in place of the division
  pose          two chunks, the second a random way on, spread over g-max·L and divided by g-max (PoSE)
  randomized    an ordered random subset of 0..g-max·L-1, divided by g-max (randomized positional encodings)
  random-scale  an ordered random subset of a grid of g·length for a random g, with NTK's frequencies at g (as CLEX trains)
  plain         the same steps without scaling or shifting. Compare with it before you credit another

--length may be shorter or longer than the window; E²-LLM can hold up to g-max·L, and plain steps on longer text make that the window.
With --resume the options of the learning rule and of memory may change; those that make the run another one (--text, --seed, --length, --method and
its options) are refused where they differ from it.

Examples:
  dawngrad extend --model runs/base --out runs/e2
  dawngrad extend --model runs/base --method plain --out runs/plain
  dawngrad extend --model runs/base --method e2-yarn --scaling yarn-turns
  dawngrad extend --model runs/base --g-max 16 --steps 2000
  dawngrad extend --model SmolLM2 --lora 8 --train-norms --checkpoint blocks`,
    );
  command.optionsGroup("Data:");
  addModel(command);
  addTokenizer(command);
  addOption(command, "--text <source>", 'a file, a folder of text files, or "moby-dick"', nonEmpty, "moby-dick");
  addSeed(command);
  command.optionsGroup("Method:");
  addChoice(command, "--method <name>", "how positions are drawn", extendMethods, "e2");
  addOption(
    command,
    "--g-max <n>",
    "largest scale that is drawn, and the one scale of pose and randomized",
    wholeNumber({ min: 1, max: mostItems }),
    8,
  );
  addChoice(command, "--granularity <what>", "one draw for each batch or each sample", ["batch", "sample"], "batch");
  addOption(command, "--sinks <n>", "e2: first tokens that are never shifted", wholeNumber({ min: 0, max: mostItems }), 4);
  addOption(command, "--g <n>", "e2: one scale for every draw, in place of those up to --g-max", wholeNumber({ min: 1, max: mostItems }));
  addOption(command, "--t <n>", 'e2: "uniform" (default), "largest", or one shift as far as there is room; 0 is none', parseShift);
  addOption(command, "--chunks <n>", "pose: how many chunks (default: 2)", wholeNumber({ min: 2, max: mostItems }));
  addChoice(
    command,
    "--scaling <name>",
    "what a scale does, by a schedule of eval (default: linear; e2-yarn: yarn; random-scale: ntk)",
    scalingNames,
  );
  command.optionsGroup("Adapters:");
  addLora(command);
  command.optionsGroup("Training:");
  addOptimizer(command, { batch: 8, steps: 400, lr: 5e-4 });
  addStepOptions(command);
  addOption(command, "--out <dir>", 'folder for the checkpoint (default: "runs/" and the method, or the one of --resume)', nonEmpty);
  addOption(command, "--export-scale <g>", "write config.json for other programs, which read at this one scale", parseExportScale);
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
  if (raw.exportScale !== undefined && raw.resume === undefined && raw.method === "plain") {
    throw new OptionError(`--export-scale ${raw.exportScale} has no effect: --method plain prepares for no scale`, {
      hint: "leave it out",
    });
  }
  // What a resumed run was begun with is known only when its checkpoint has been read.
  if (raw.resume === undefined) {
    refuseUnread(raw, given);
    refuseWithoutLora(raw, given);
    checkMicroBatch(raw.microBatch, raw.batch);
  }
  return { ...raw, warmup: resolveWarmup(raw.warmup, raw.steps), out: raw.out ?? raw.resume ?? `runs/${raw.method}`, given };
}

/** Refuses options that a run of this method does not read, and scales that say two things (OptionError). */
export function refuseUnread({ method, scaling }: Pick<MethodOptions, "method" | "scaling">, given: ReadonlySet<string>): void {
  const read = optionsOfMethod[method];
  const unread = methodOptions.filter((name) => given.has(name) && !read.includes(name));
  if (unread.length > 0) {
    const readers = extendMethods.filter((other) => unread.every((name) => optionsOfMethod[other].includes(name)));
    const it = unread.length === 1 ? "it" : "them";
    throw new OptionError(
      `--method ${method} ${method === "plain" ? "draws no scale and no shift" : "draws other things"}, so ${unread.map(flagOf).join(", ")} would have no effect`,
      { hint: `leave ${it} out${readers.length === 0 ? "" : `, or choose --method ${readers.join(" or ")}`}` },
    );
  }
  if (given.has("g") && given.has("gMax")) {
    throw new OptionError("--g is the scale of every draw, so --g-max would have no effect", { hint: "give one of them" });
  }
  if (method === "e2-yarn" && given.has("scaling") && scaling !== "yarn" && scaling !== "yarn-turns") {
    throw new OptionError(`--method e2-yarn scales by yarn or yarn-turns, found --scaling ${scaling}`, {
      hint: `choose --method e2 --scaling ${scaling}`,
    });
  }
}

/** "uniform", "largest" or a whole number. */
function parseShift(text: string): "uniform" | "largest" | number {
  if (text === "uniform" || text === "largest") return text;
  try {
    return wholeNumber({ min: 0, max: mostItems })(text);
  } catch {
    throw new InvalidArgumentError('"uniform", "largest" or a whole number of at least 0 is needed.');
  }
}
