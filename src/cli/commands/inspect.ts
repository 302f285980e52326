import { OptionError } from "../../errors.js";
import { addLoraParts, type LoraFlags } from "../lora.js";
import {
  type Action,
  addCommon,
  addFlag,
  addModel,
  addOption,
  addTokenizer,
  addWeightDtype,
  type Command,
  type CommonOptions,
  flagOf,
  givenOptions,
  mostItems,
  parseContexts,
  type WeightDtypeOption,
  wholeNumber,
} from "../options.js";

/** What is said of training adapters. */
export interface InspectedLora extends Pick<LoraFlags, "loraTargets" | "trainNorms" | "trainEmbeddings"> {
  readonly lora: number;
}

export interface InspectOptions extends CommonOptions, InspectedLora {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  /** Every tensor, not their kinds alone. */
  readonly tensors: boolean;
  /** Context lengths whose needs are told; L and 4L when absent. */
  readonly contexts?: readonly number[];
  /** Length of the training sequences whose need is told; L when absent. */
  readonly length?: number;
  readonly dtype?: WeightDtypeOption;
  /** Whether needs are told, for which a backend is started. */
  readonly needs: boolean;
}

/** Adds `dawngrad inspect`. */
export function registerInspect(program: Command, execute: Action<InspectOptions>): void {
  const command = program
    .command("inspect")
    .summary("what a model is, and what reading and training it needs here")
    .description(
      "Says what the files of a model hold: its sizes, tensors and dtypes, how its positions are scaled, what it was extended for, its tokenizer " +
        "and chat template; and what memory reading and training it would need on this machine. No weight is read.",
    )
    .argument("[model]", "as --model")
    .addHelpText(
      "after",
      `
Read are folders of Hugging Face and of this program (config.json and safetensors), GGUF files (*.gguf), llama2.c's (*.bin), folders of
adapters (adapter_config.json), and models of the Hub as hf:owner/name or hf:owner/name@revision. Adapters are held against the base that they
name.

Examples:
  dawngrad inspect runs/e2
  dawngrad inspect SmolLM2-135M-Instruct.Q4_1.gguf --tensors
  dawngrad inspect hf:HuggingFaceTB/SmolLM2-135M --contexts 8192,32768 --length 1024
  dawngrad inspect SmolLM2 --length 8192 --lora 16 --lora-targets q_proj,v_proj
  dawngrad inspect runs/e2 --no-needs --json`,
    );
  addModel(command);
  addTokenizer(command);
  addFlag(command, "tensors", "list every tensor");
  addOption(command, "--contexts <list>", "contexts whose need is told, as 8192,32768 (default: L, 4L)", parseContexts);
  addOption(
    command,
    "--length <n>",
    "tokens of the training sequences whose need is told (default: L)",
    wholeNumber({ min: 2, max: mostItems }),
  );
  addOption(command, "--lora <r>", "rank of the adapters whose training need is told", wholeNumber({ min: 1, max: 2 ** 16 }), 8);
  addLoraParts(command);
  addWeightDtype(command);
  command.option("--no-needs", "leave out what it needs, for which the backend plans programs");
  addCommon(command);
  command.action((model: string | undefined) =>
    execute(
      resolveInspect({ ...command.opts<Omit<InspectOptions, "model"> & { model?: string }>(), positional: model }, givenOptions(command)),
    ),
  );
}

/** Options that say whose needs are told. */
const ofNeeds = ["contexts", "length", "dtype", "lora", "loraTargets", "trainNorms", "trainEmbeddings"] as const;

/** Takes the model from where it was named (OptionError where it was named twice or not at all, and for options that nothing would read). */
function resolveInspect(
  { positional, ...raw }: Omit<InspectOptions, "model"> & { readonly model?: string; readonly positional: string | undefined },
  given: ReadonlySet<string>,
): InspectOptions {
  const unread = raw.needs ? undefined : ofNeeds.find((name) => given.has(name));
  if (unread !== undefined) {
    throw new OptionError(`${flagOf(unread)} says what needs are told for, and --no-needs leaves them out`, {
      hint: "leave one of them out",
    });
  }
  return { ...raw, model: modelOf("inspect", positional, raw.model) };
}

/** The model that a command was given, as an argument or as `--model`. Throws OptionError for none and for two. */
export function modelOf(name: string, argument: string | undefined, option: string | undefined): string {
  if (argument !== undefined && option !== undefined && argument !== option) {
    throw new OptionError(`${name} takes one model, found ${argument} and --model ${option}`, { hint: "leave one of them out" });
  }
  const model = argument ?? option;
  if (model === undefined || model.trim() === "") {
    throw new OptionError(`${name} needs a model`, { hint: `name its folder or file: dawngrad ${name} runs/base` });
  }
  return model;
}
