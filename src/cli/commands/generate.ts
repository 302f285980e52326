import { OptionError } from "../../errors.js";
import {
  type Action,
  addChoice,
  addCommon,
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
  number,
  parseGrowingScale,
  type ScheduleName,
  scheduleNames,
  type WeightDtypeOption,
  wholeNumber,
} from "../options.js";
import { resolveScale } from "./eval.js";

export interface GenerateOptions extends CommonOptions {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  readonly prompt: string;
  /** Number of tokens to generate. */
  readonly tokens: number;
  /** 0 takes the most likely token every time. */
  readonly temperature: number;
  /** Only the k most likely tokens are drawn from; all when absent. */
  readonly topK?: number;
  readonly schedule: ScheduleName;
  /** 1 when the schedule is "none". */
  readonly scale: GrowingScaleOption;
  /** How many of the last tokens are kept beside the first four; all when absent. */
  readonly stream?: number;
  readonly seed: number;
  /** As in EvalOptions. */
  readonly dtype?: WeightDtypeOption;
}

/** Attention sinks of `--stream`. */
export const streamSinks = 4;

/** Adds `dawngrad generate`. */
export function registerGenerate(program: Command, execute: Action<GenerateOptions>): void {
  const command = program
    .command("generate")
    .summary("continue a prompt")
    .description(
      "Continues a prompt token by token, as the model's tokenizer has them (bytes for a model of bytes). Standard output gets the prompt and its continuation, and nothing else.",
    )
    .addHelpText(
      "after",
      `
With "--scale auto" one scale serves the whole text, that of the length which it will have: g = max(1, ceil((prompt + tokens) / L)). With
"--scale growing" each token is read at the scale of what is before it, and its past with it (keys are cached before RoPE, so a new scale
reaches all of them); the same prompt then has the same first tokens whatever --tokens is.

With "--stream w" memory and time per token stay the same however long the text is, because no token sees more than the first ${streamSinks} and the
last w. Positions are counted among these, so a w of at most L - ${streamSinks} needs no schedule; what lies between is forgotten.

Examples:
  dawngrad generate --model runs/base --prompt "Call me Ishmael."
  dawngrad generate --model runs/e2 --tokens 1000 --prompt "Chapter 1"
  dawngrad generate --model runs/base --prompt "The whale" --temperature 0
  dawngrad generate --model runs/base --prompt "The whale" --tokens 10000 --stream 100`,
    );
  command.optionsGroup("Text:");
  addModel(command);
  addTokenizer(command);
  addOption(command, "--prompt <text>", "text to continue", nonEmpty);
  addOption(command, "--tokens <n>", "tokens to generate", wholeNumber({ min: 1, max: mostItems }), 256);
  addSeed(command);
  command.optionsGroup("Sampling:");
  addOption(command, "--temperature <x>", "0 takes the most likely token, 1 samples as trained", number({ min: 0 }), 0.8);
  addOption(command, "--top-k <n>", "draw from the k most likely tokens only (default: from all)", wholeNumber({ min: 1, max: mostItems }));
  command.optionsGroup("Reading:");
  addChoice(command, "--schedule <name>", "how RoPE is scaled; the names are explained by: dawngrad eval --help", scheduleNames, "auto");
  addOption(
    command,
    "--scale <g>",
    '"auto" (max(1, ceil(final length / L))), "growing" (the same of the text so far) or a number of at least 1',
    parseGrowingScale,
    "auto",
  );
  addOption(
    command,
    "--stream <w>",
    `keep the first ${streamSinks} tokens and the last w alone, as StreamingLLM does (default: all)`,
    wholeNumber({ min: 1, max: mostItems }),
  );
  addWeightDtype(command);
  addCommon(command);
  command.action(() => execute(resolveGenerate(command.opts<Omit<GenerateOptions, "model" | "prompt">>())));
}

type RawGenerateOptions = Omit<GenerateOptions, "model" | "prompt"> & { readonly model?: string; readonly prompt?: string };

/** Refuses a call without a model or a prompt (OptionError). */
export function resolveGenerate(raw: RawGenerateOptions): GenerateOptions {
  const { model, prompt } = raw;
  if (model === undefined) throw new OptionError("generate needs a model", { hint: "name its folder: --model runs/base" });
  if (prompt === undefined) throw new OptionError("generate needs a prompt", { hint: 'give one: --prompt "Call me Ishmael."' });
  return { ...raw, model, prompt, scale: resolveScale(raw.schedule, raw.scale) };
}
