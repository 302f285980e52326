import { OptionError } from "../../errors.js";
import { addInputText, type InputTextOptions } from "../input-text.js";
import {
  type Action,
  addChoice,
  addCommon,
  addModel,
  addOption,
  addTokenizer,
  addWeightDtype,
  type Command,
  type CommonOptions,
  mostItems,
  nonEmpty,
  parseScale,
  type ScaleOption,
  type ScheduleName,
  scheduleNames,
  type WeightDtypeOption,
  wholeNumber,
} from "../options.js";
import { resolveScale } from "./eval.js";

export interface LogprobsOptions extends CommonOptions, InputTextOptions {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  /** What stands before the text and is read without being scored. */
  readonly prompt?: string;
  /** Alternatives that are told at each place. */
  readonly top: number;
  /** Most tokens that are read at once; all where the model is read at their length, else its window, when absent. */
  readonly context?: number;
  /** Tokens that the window moves; half a context when absent. */
  readonly stride?: number;
  readonly schedule: ScheduleName;
  /** 1 when the schedule is "none". */
  readonly scale: ScaleOption;
  readonly batch?: number;
  readonly dtype?: WeightDtypeOption;
}

/** Adds `dawngrad logprobs`. */
export function registerLogprobs(program: Command, execute: Action<LogprobsOptions>): void {
  const command = program
    .command("logprobs")
    .summary("how probable a model finds a text, token by token")
    .description(
      "Prints ln p of every token of a text given those before it, its rank among all tokens, and with --top what was more probable; at the end " +
        "their sum and mean, in nats per token and per byte. Nothing is predicted before the first token, so that has none.",
    )
    .argument("[text]", "the text; else --text or standard input")
    .addHelpText(
      "after",
      `
With --prompt the text is an answer to what stands before it: the prompt is read and the text alone is scored, as multiple choice is
answered by the largest sum. A token that stands for the end of the prompt and the beginning of the text is scored.

A text that is longer than --context is read by a window that moves by --stride: each token is scored once, with at least context - stride
tokens before it. Schedules are those of: dawngrad eval --help.

Examples:
  dawngrad logprobs --model SmolLM2 "Call me Ishmael."
  dawngrad logprobs --model SmolLM2 --prompt "The capital of France is" " Paris" --top 5
  dawngrad logprobs --model runs/e2 --text chapter.txt --context 512 --json
  cat notes.txt | dawngrad logprobs --model hf:HuggingFaceTB/SmolLM2-135M --schedule yarn`,
    );
  command.optionsGroup("Text:");
  addModel(command);
  addTokenizer(command);
  addInputText(command);
  addOption(command, "--prompt <text>", "what stands before the text and is not scored", nonEmpty);
  addOption(command, "--top <k>", "most probable tokens that are told at each place", wholeNumber({ min: 0, max: 1000 }), 0);
  command.optionsGroup("Reading:");
  addOption(
    command,
    "--context <n>",
    "tokens that are read at once, at most (default: all; of a model that is read as trained its window)",
    wholeNumber({ min: 1, max: mostItems }),
  );
  addOption(command, "--stride <n>", "tokens that the window moves (default: half a context)", wholeNumber({ min: 1, max: mostItems }));
  addChoice(command, "--schedule <name>", "how RoPE is scaled", scheduleNames, "auto");
  addOption(command, "--scale <g>", '"auto" (max(1, ceil(context / L))) or a number of at least 1', parseScale, "auto");
  addOption(
    command,
    "--batch <n>",
    "windows that are read together (default: as many as fit, 8 at most)",
    wholeNumber({ min: 1, max: mostItems }),
  );
  addWeightDtype(command);
  addCommon(command);
  command.action((input: string | undefined) => {
    const raw = command.opts<Omit<LogprobsOptions, "model" | "input"> & { model?: string }>();
    return execute(resolveLogprobs({ ...raw, ...(input === undefined ? {} : { input }) }));
  });
}

/** Refuses combinations that cannot be met (OptionError). */
function resolveLogprobs(raw: Omit<LogprobsOptions, "model"> & { readonly model?: string }): LogprobsOptions {
  const { model, context, stride } = raw;
  if (model === undefined) throw new OptionError("logprobs needs a model", { hint: "name its folder or file: --model runs/base" });
  if (context !== undefined && stride !== undefined && stride > context) {
    throw new OptionError(`--stride ${stride} is larger than --context ${context}, so tokens would be left out`, {
      hint: `take a stride of at most ${context}`,
    });
  }
  return { ...raw, model, scale: resolveScale(raw.schedule, raw.scale) };
}
