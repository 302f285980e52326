import { OptionError } from "../../errors.js";
import {
  type Action,
  addCommon,
  addForce,
  addOptimizer,
  addOption,
  addSeed,
  addStepOptions,
  type Command,
  type CommonOptions,
  checkMicroBatch,
  divisorsOf,
  flagOf,
  givenOptions,
  nonEmpty,
  type OptimizerOptions,
  resolveWarmup,
  wholeNumber,
} from "../options.js";

export interface TrainOptions extends CommonOptions, OptimizerOptions {
  /** "moby-dick", a file or a folder of files. */
  readonly text: string;
  /** A folder or a file with a tokenizer; every byte is a token when absent. */
  readonly tokenizer?: string;
  /** Context window L in tokens. */
  readonly window: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly intermediate: number;
  readonly seed: number;
  readonly out: string;
  /** A checkpoint folder to go on from. */
  readonly resume?: string;
  /** Names (camel case) of the options that were given on the command line; with `resume` the others come from the checkpoint. */
  readonly given: ReadonlySet<string>;
}

/** Options that a checkpoint fixes, so that `--resume` refuses them. */
const architecture = ["tokenizer", "window", "hidden", "layers", "heads", "kvHeads", "intermediate"] as const;
/** Largest head that the model takes. */
const largestHead = 1024;

type RawTrainOptions = Omit<TrainOptions, "given" | "kvHeads" | "intermediate" | "warmup" | "out"> &
  Partial<Pick<TrainOptions, "kvHeads" | "intermediate" | "warmup" | "out">>;

/** Adds `dawngrad train`. */
export function registerTrain(program: Command, execute: Action<TrainOptions>): void {
  const command = program
    .command("train")
    .summary("train a Llama-style transformer on text")
    .description(
      "Trains a Llama-style transformer (RMSNorm, grouped-query attention, RoPE, SwiGLU) to predict the next token of a text; tokens are bytes, or those of --tokenizer. " +
        "The end of the text is held out. Ctrl-C finishes the step, saves, and says how to go on; so do kill and a terminal that closes.",
    )
    .addHelpText(
      "after",
      `
The checkpoint is config.json and model.safetensors with the names that Hugging Face's Llama uses. Beside it, metrics.jsonl has a line for
every step (loss, gradNorm, lr and so on) and training.safetensors what --resume goes on from. A run is not replaced unless --force says
so, and two runs cannot write to one folder. With --resume the options of the learning rule (--steps, --lr, --warmup, --batch,
--weight-decay, --clip) and of memory (--checkpoint, --micro-batch) may change; those that make the run another one are refused.
What a run needs is said before its first step. Long sequences fit with --checkpoint blocks, and one at a time with --micro-batch 1.

Examples:
  dawngrad train --text moby-dick --out runs/base
  dawngrad train --text notes/ --tokenizer SmolLM2/tokenizer.json --out runs/tokens
  dawngrad train --text notes/ --window 256 --hidden 256 --layers 6 --heads 8 --kv-heads 2
  dawngrad train --text notes/ --window 8192 --checkpoint blocks --micro-batch 1
  dawngrad train --resume runs/base --steps 2000         go on up to step 2000`,
    );
  command.optionsGroup("Data:");
  addOption(command, "--text <source>", 'a file, a folder of text files, or "moby-dick"', nonEmpty, "moby-dick");
  addOption(
    command,
    "--tokenizer <path>",
    "folder of a tokenizer, or its tokenizer.json or tokenizer.model (default: every byte is a token)",
    nonEmpty,
  );
  addSeed(command);
  command.optionsGroup("Model:");
  addOption(command, "--window <n>", "context window L in tokens", wholeNumber({ min: 2, max: 2 ** 28 }), 128);
  addOption(command, "--hidden <n>", "width of the residual stream", wholeNumber({ min: 2, max: 2 ** 16 }), 128);
  addOption(command, "--layers <n>", "transformer layers", wholeNumber({ min: 1, max: 512 }), 4);
  addOption(command, "--heads <n>", "query heads", wholeNumber({ min: 1, max: 1024 }), 4);
  addOption(command, "--kv-heads <n>", "key and value heads (default: as many as query heads)", wholeNumber({ min: 1, max: 1024 }));
  addOption(
    command,
    "--intermediate <n>",
    "width of the SwiGLU (default: 8/3 of --hidden, rounded up to 16)",
    wholeNumber({ min: 1, max: 2 ** 18 }),
  );
  command.optionsGroup("Training:");
  addOptimizer(command, { batch: 8, steps: 1000, lr: 1e-3 });
  addStepOptions(command);
  addOption(command, "--out <dir>", 'folder for the checkpoint (default: "runs/base", or the one of --resume)', nonEmpty);
  addOption(command, "--resume <dir>", "go on from the checkpoint in this folder", nonEmpty);
  addForce(command);
  addCommon(command);
  command.action(() => execute(resolveTrain(command.opts<RawTrainOptions>(), givenOptions(command))));
}

/** Fills defaults that depend on other options and refuses sizes that do not fit together (OptionError). */
export function resolveTrain(raw: RawTrainOptions, given: ReadonlySet<string>): TrainOptions {
  const kvHeads = raw.kvHeads ?? raw.heads;
  if (raw.resume !== undefined) {
    const fixed = architecture.filter((name) => given.has(name));
    if (fixed.length > 0) {
      throw new OptionError(`--resume takes the model from its checkpoint, so ${fixed.map(flagOf).join(", ")} cannot be given`, {
        hint: "leave them out, or train a new model without --resume",
      });
    }
  }
  if (raw.hidden % raw.heads !== 0) {
    throw new OptionError(`--hidden ${raw.hidden} cannot be split among --heads ${raw.heads}`, {
      hint: `take a multiple of ${raw.heads}, ${Math.ceil(raw.hidden / raw.heads) * raw.heads} for example`,
    });
  }
  if ((raw.hidden / raw.heads) % 2 !== 0) {
    throw new OptionError(`a head has ${raw.hidden / raw.heads} dimensions, and RoPE rotates pairs of them`, {
      hint: `make --hidden / --heads even: --hidden ${raw.hidden + raw.heads} for example`,
    });
  }
  if (raw.hidden / raw.heads > largestHead) {
    throw new OptionError(
      `--hidden ${raw.hidden} among --heads ${raw.heads} makes heads of ${raw.hidden / raw.heads} dimensions, at most ${largestHead} are possible`,
      {
        hint: `take more heads or a smaller width: --heads ${raw.hidden / 64} for example`,
      },
    );
  }
  if (raw.length !== undefined && raw.resume === undefined && raw.length > raw.window) {
    throw new OptionError(`--length ${raw.length} is longer than --window ${raw.window}, the window that the model is made for`, {
      hint: `raise the window, --window ${raw.length}, or take a shorter length`,
    });
  }
  if (raw.resume === undefined) checkMicroBatch(raw.microBatch, raw.batch);
  if (raw.heads % kvHeads !== 0) {
    throw new OptionError(`--heads ${raw.heads} cannot be grouped over --kv-heads ${kvHeads}`, {
      hint: `take a divisor of ${raw.heads}: ${divisorsOf(raw.heads).join(", ")}`,
    });
  }
  return {
    ...raw,
    kvHeads,
    intermediate: raw.intermediate ?? Math.ceil((8 * raw.hidden) / 3 / 16) * 16,
    warmup: resolveWarmup(raw.warmup, raw.steps),
    out: raw.out ?? raw.resume ?? "runs/base",
    given,
  };
}
