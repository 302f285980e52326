import { takesScale } from "../../e2llm/methods/reading.js";
import { OptionError } from "../../errors.js";
import {
  type Action,
  addChoice,
  addCommon,
  addFlag,
  addModel,
  addOption,
  addSeed,
  addTokenizer,
  addWeightDtype,
  type Command,
  type CommonOptions,
  type GrowingScaleOption,
  mostItems,
  nonEmpty,
  parseContexts,
  parseScale,
  type ScaleOption,
  type ScheduleName,
  scheduleNames,
  type WeightDtypeOption,
  wholeNumber,
} from "../options.js";
import type { Unit } from "../units.js";

export interface EvalOptions extends CommonOptions {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  readonly text: string;
  /** Which part of the text is read. */
  readonly part: "held-out" | "all";
  /** Whether its documents are read as one. */
  readonly join: boolean;
  /** Context lengths in tokens, ascending; L, 2L, 4L, 8L of the model when absent. */
  readonly contexts?: readonly number[];
  readonly schedule: ScheduleName;
  /** 1 when the schedule is "none". */
  readonly scale: ScaleOption;
  /** Number of target tokens, the same for every context. */
  readonly targets: number;
  /** Sequences that are read together; as many as fit, 8 at most, when absent. */
  readonly batch?: number;
  readonly seed: number;
  /** What weights are kept in; as they are stored where the backend has it when absent. */
  readonly dtype?: WeightDtypeOption;
  /** Sliding-window perplexity beside the fixed-target loss. */
  readonly sliding: boolean;
  /** Tokens that the sliding window moves; half a context when absent. */
  readonly stride?: number;
  /** The loss at each position of one text as long as the longest context. */
  readonly byPosition: boolean;
  /** Folder for eval.json, and for by-position.html with `byPosition`. */
  readonly out?: string;
}

/** Adds `dawngrad eval`. */
export function registerEval(program: Command, execute: Action<EvalOptions>): void {
  const command = program
    .command("eval")
    .summary("loss at several context lengths on the same target tokens")
    .description(
      "Measures the loss of held-out text, in nats per token and per byte. The target tokens stay the same and only the context before them grows, so a " +
        "difference between two columns is what more context buys. The loss with only the last L tokens (truncation) is shown beside it: " +
        "a method that is not below that line gains nothing from long context. Long contexts are read in blocks, in memory in proportion to " +
        "their length.",
    )
    .addHelpText(
      "after",
      `
Schedules (how RoPE is changed when reading; nothing is trained):
  auto         what the model was made for: config.json of an extended one says it, any other is read as trained
               (one of a single trained scale, as PoSE's, is then read at that scale at every length)
  none         as trained
  linear       positions divided by the scale (Position Interpolation; what E²-LLM uses)
  ntk          a larger rotary base
  yarn         per-frequency interpolation, the ramp of Hugging Face's code; yarn-turns: the ramp of the paper
  dynamic      ntk with a base that follows the length
  llama3       per-frequency interpolation of Llama 3.1
  ntk-by-parts yarn without its attention factor; ntk-mixed: a smooth ramp over all frequencies
  resonance-yarn  yarn with wavelengths of whole positions
  self-extend  far positions in groups of neighbours, near ones as they are (within L/2)
  rerope       no distance above L/2; leaky-rerope: distances above L/2 grow slowly
  log-n        longer queries from L on
  streaming    the first 4 tokens and the last L - 4 alone, at positions among these

Examples:
  dawngrad eval --model runs/e2
  dawngrad eval --model runs/base --schedule yarn --contexts 128,256,512,1024
  dawngrad eval --model runs/e2 --scale 4 --sliding --stride 64
  dawngrad eval --model hf:HuggingFaceTB/SmolLM2-135M --text book.txt --part all --join --contexts 8192,32768
  dawngrad eval --model runs/e2 --contexts 16384 --targets 64 --by-position --out runs/long`,
    );
  command.optionsGroup("Data:");
  addModel(command);
  addTokenizer(command);
  addOption(command, "--text <source>", 'a file, a folder of text files, or "moby-dick"; the held-out end is read', nonEmpty, "moby-dick");
  addChoice(
    command,
    "--part <name>",
    "what of it is read: all only for a model that was not trained on it",
    ["held-out", "all"],
    "held-out",
  );
  addFlag(command, "join", "read the documents of the text as one, for contexts longer than each");
  addSeed(command);
  command.optionsGroup("Reading:");
  addOption(command, "--contexts <list>", "context lengths in tokens, as 64,128,256 (default: L, 2L, 4L, 8L)", parseContexts);
  addChoice(command, "--schedule <name>", "how RoPE is scaled", scheduleNames, "auto");
  addOption(command, "--scale <g>", '"auto" (max(1, ceil(context / L))) or a number of at least 1', parseScale, "auto");
  addOption(command, "--targets <n>", "target tokens, the same for every context", wholeNumber({ min: 1, max: mostItems }), 1024);
  addOption(
    command,
    "--batch <n>",
    "sequences that are read together (default: as many as fit, 8 at most)",
    wholeNumber({ min: 1, max: mostItems }),
  );
  addFlag(command, "sliding", "also sliding-window perplexity, weighted by tokens");
  addOption(
    command,
    "--stride <n>",
    "tokens that the sliding window moves (default: half a context)",
    wholeNumber({ min: 1, max: mostItems }),
  );
  addFlag(command, "by-position", "also the loss by position over one text as long as the longest context, as means");
  addWeightDtype(command);
  addOption(command, "--out <dir>", "folder for eval.json and figures (default: none is written)", nonEmpty);
  addCommon(command);
  command.action(() => execute(resolveEval(command.opts<Omit<EvalOptions, "model"> & { model?: string }>())));
}

/** Refuses combinations that cannot be met (OptionError). */
export function resolveEval(raw: Omit<EvalOptions, "model"> & { readonly model?: string }): EvalOptions {
  const { model } = raw;
  if (model === undefined) {
    throw new OptionError("eval needs a model", {
      hint: "name its folder: --model runs/base (make one with: dawngrad train --out runs/base)",
    });
  }
  if (raw.stride !== undefined && !raw.sliding) {
    throw new OptionError("--stride belongs to the sliding window, which was not asked for", { hint: "add --sliding" });
  }
  if (raw.stride !== undefined && raw.contexts !== undefined) checkStride(raw.stride, raw.contexts);
  return { ...raw, model, scale: resolveScale(raw.schedule, raw.scale) };
}

/** Refuses a stride by which a window would leave tokens out (OptionError). */
export function checkStride(stride: number, contexts: readonly number[], unit: Unit = "tokens"): void {
  const shortest = Math.min(...contexts);
  if (stride <= shortest) return;
  throw new OptionError(`--stride ${stride} is larger than the context of ${shortest}, so ${unit} would be left out`, {
    hint: `take a stride of at most ${shortest}`,
  });
}

/** A schedule that takes no scale ("none" and others) knows one only: "auto" becomes 1, and any other number is refused. */
export function resolveScale<Scale extends GrowingScaleOption>(schedule: ScheduleName, scale: Scale): Scale | 1 {
  if (takesScale(schedule)) return scale;
  if (typeof scale === "string" || scale === 1) return 1;
  throw new OptionError(`--scale ${scale} has no effect with --schedule ${schedule}`, {
    hint: "choose a schedule: --schedule linear for example",
  });
}
