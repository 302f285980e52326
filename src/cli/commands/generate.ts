import { InvalidArgumentError, Option } from "commander";
import { OptionError } from "../../errors.js";
import type { SamplingOptions } from "../../nn/sampling.js";
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
  flagOf,
  type GrowingScaleOption,
  givenOptions,
  mostItems,
  nonEmpty,
  number,
  parseGrowingScale,
  type ScheduleName,
  scheduleNames,
  type WeightDtypeOption,
  wholeNumber,
} from "../options.js";
import type { PromptOptions } from "../prompts.js";
import { resolveScale } from "./eval.js";

export interface GenerateOptions extends CommonOptions, PromptOptions, SamplingOptions {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  /** Number of tokens to generate. */
  readonly tokens: number;
  readonly temperature: number;
  /** Texts that end a text. */
  readonly stop: readonly string[];
  /** Whether a text goes on behind the tokens that end one. */
  readonly ignoreEos: boolean;
  /** Prompts that are continued side by side. */
  readonly batch: number;
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
      "Continues a prompt token by token, as the model's tokenizer has them (bytes for a model of bytes), until the model ends the text. Standard " +
        "output gets the prompt and its continuation, of a conversation the answer alone, and nothing else.",
    )
    .addHelpText(
      "after",
      `
A model that was made for conversations has a chat template. With --chat the prompt is what a user says, and with --messages a conversation is
given as JSON: [{"role": "system", "content": "…"}, {"role": "user", "content": "…"}]. --prompts reads many, one from each line of a file or as
a JSON list of texts and conversations, and continues --batch of them side by side; each is what it would be alone, with the seed of its place.

With "--scale auto" one scale serves the whole text, that of the length which it will have: g = max(1, ceil((prompt + tokens) / L)). With
"--scale growing" each token is read at the scale of what is before it, and its past with it (keys are cached before RoPE, so a new scale
reaches all of them); the same prompt then has the same first tokens whatever --tokens is.

With "--stream w" memory and time per token stay the same however long the text is, because no token sees more than the first ${streamSinks} and the
last w. Positions are counted among these, so a w of at most L - ${streamSinks} needs no schedule; what lies between is forgotten.

Examples:
  dawngrad generate --model runs/base --prompt "Call me Ishmael."
  dawngrad generate --model runs/e2 --tokens 1000 --prompt "Chapter 1"
  dawngrad generate --model runs/base --prompt "The whale" --temperature 0
  dawngrad generate --model hf:HuggingFaceTB/SmolLM2-135M-Instruct --chat --system "Be brief." --prompt "What is a whale?"
  dawngrad generate --model model.gguf --prompts questions.txt --stop "\\n\\n" --json
  dawngrad generate --model runs/base --prompt "The whale" --tokens 10000 --stream 100`,
    );
  command.optionsGroup("Text:");
  addModel(command);
  addTokenizer(command);
  addOption(command, "--prompt <text>", "text to continue", nonEmpty);
  addOption(command, "--prompts <file>", "many: one on each line, or a JSON list of texts and conversations", nonEmpty);
  addOption(command, "--messages <json>", "a conversation as JSON, or a file that holds it", nonEmpty);
  addFlag(command, "chat", "read prompts as what a user says, by the model's chat template");
  addOption(command, "--system <text>", "what a conversation begins with; implies --chat", nonEmpty);
  addOption(command, "--tokens <n>", "most tokens to generate", wholeNumber({ min: 1, max: mostItems }), 256);
  addStop(command);
  command.option("--ignore-eos", "go on where the model ends the text").setOptionValueWithSource("ignoreEos", false, "default");
  addOption(command, "--batch <n>", "prompts that are continued side by side", wholeNumber({ min: 1, max: 4096 }), 8);
  addSeed(command);
  command.optionsGroup("Sampling:");
  addOption(command, "--temperature <x>", "0 takes the most likely token, 1 samples as trained", number({ min: 0 }), 0.8);
  addOption(command, "--top-k <n>", "draw from the k most likely tokens only (default: from all)", wholeNumber({ min: 1, max: mostItems }));
  addOption(
    command,
    "--top-p <p>",
    "draw from the most likely tokens that have this share of the probability together",
    number({ above: 0, max: 1 }),
  );
  addOption(
    command,
    "--min-p <p>",
    "draw from tokens with this share of the probability of the most likely one",
    number({ min: 0, max: 1 }),
  );
  addOption(
    command,
    "--repetition-penalty <x>",
    "above 1: make tokens less likely that are in the text already (as Hugging Face has it)",
    number({ above: 0, max: 1000 }),
  );
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
  command.action(() => execute(resolveGenerate(command.opts<RawGenerateOptions>(), givenOptions(command))));
}

/** `--stop`, as often as there are texts that end one. */
function addStop(command: Command): void {
  const more = (text: string, before: readonly string[]): string[] => [...before, unescaped(stopText(text))];
  command.addOption(
    new Option("--stop <text>", "end a text where this comes, \\n being a new line; may be given several times")
      .argParser(more)
      .default([], "none"),
  );
}

/** Spaces alone are a text like any other here. */
function stopText(text: string): string {
  if (text === "") throw new InvalidArgumentError("It is empty.");
  return text;
}

/** Shells pass \n and \t on as they are written. */
const unescaped = (text: string): string => text.replace(/\\(n|t|\\)/g, (_, letter: string) => ({ n: "\n", t: "\t" })[letter] ?? "\\");

type RawGenerateOptions = Omit<GenerateOptions, "model"> & { readonly model?: string };

/** Refuses a call without a model or without exactly one kind of prompt, and options that nothing would read (OptionError). */
function resolveGenerate(raw: RawGenerateOptions, named: ReadonlySet<string>): GenerateOptions {
  const { model, stream } = raw;
  if (model === undefined) throw new OptionError("generate needs a model", { hint: "name its folder: --model runs/base" });
  const given = (["prompt", "prompts", "messages"] as const).filter((name) => raw[name] !== undefined);
  if (given.length === 0) throw new OptionError("generate needs a prompt", { hint: 'give one: --prompt "Call me Ishmael."' });
  if (given.length > 1) {
    throw new OptionError(`${given.map(flagOf).join(" and ")} say two things`, { hint: "give one of them" });
  }
  if (stream !== undefined && named.has("batch") && raw.batch > 1) {
    throw new OptionError(`--stream writes one text at a time, and --batch ${raw.batch} asks for more`, { hint: "leave one of them out" });
  }
  return {
    ...raw,
    model,
    chat: raw.chat || raw.system !== undefined,
    ...(stream === undefined ? {} : { batch: 1 }),
    scale: resolveScale(raw.schedule, raw.scale),
  };
}
