import { OptionError } from "../../errors.js";
import {
  type Action,
  addChoice,
  addCommon,
  addModel,
  addOption,
  addTokenizer,
  type Command,
  type CommonOptions,
  nonEmpty,
  parseExportScale,
  type ScheduleName,
  scheduleNames,
} from "../options.js";
import { modelOf } from "./inspect.js";

/** What weights are written as; "q8_0" in GGUF alone. */
export const writtenDtypes = ["f32", "f16", "bf16", "q8_0"] as const;
export type WrittenDtype = (typeof writtenDtypes)[number];

export interface ConvertOptions extends CommonOptions {
  readonly model: string;
  /** Where its tokenizer is, if not beside it. */
  readonly tokenizer?: string;
  /** A folder, or a file *.gguf. */
  readonly out: string;
  /** As the files have it where that can be written, else f32, when absent. */
  readonly dtype?: WrittenDtype;
  /** The scale that the configuration states; as it is when absent. */
  readonly exportScale?: number;
  /** What the scale does; what the model was extended for with "auto". */
  readonly schedule: ScheduleName;
  readonly force: boolean;
}

/** Adds `dawngrad convert`. */
export function registerConvert(program: Command, execute: Action<ConvertOptions>): void {
  const command = program
    .command("convert")
    .summary("write a model as a folder of Hugging Face or as a GGUF file")
    .description(
      "Writes any model that can be read as a folder (config.json, model.safetensors and the files of its tokenizer), or as a GGUF file for " +
        "llama.cpp where --out ends with .gguf. Adapters (LoRA) are added to the matrices of their base. What is read stays as it is.",
    )
    .argument("[model]", "as --model")
    .addHelpText(
      "after",
      `
An extended model reads at a scale that follows the text. Other programs know one scale: --export-scale g writes it where they look for it,
rope_parameters and the older keys of config.json, or those of GGUF, and the window that the model has then.

Examples:
  dawngrad convert SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2 --dtype bf16
  dawngrad convert runs/e2 --out runs/e2-x4 --export-scale 4
  dawngrad convert runs/e2 --out e2-x4.gguf --export-scale 4 --dtype q8_0
  dawngrad convert runs/lora --out merged --dtype bf16
  dawngrad convert runs/base --out base-yarn --export-scale 4 --schedule yarn`,
    );
  command.optionsGroup("Model:");
  addModel(command);
  addTokenizer(command);
  addOption(command, "--out <path>", "a folder, or a file *.gguf", nonEmpty);
  addChoice(
    command,
    "--dtype <name>",
    "what weights are written as; q8_0 in GGUF alone (default: as they are stored, f32 for blocks)",
    writtenDtypes,
  );
  addOption(command, "--export-scale <g>", "the one scale at which other programs read the model", parseExportScale);
  addChoice(command, "--schedule <name>", "what that scale does (default: what the model was extended for)", scheduleNames, "auto");
  command.option("--force", "replace a model that --out holds").setOptionValueWithSource("force", false, "default");
  addCommon(command);
  command.action((model: string | undefined) => execute(resolveConvert({ ...command.opts<RawConvertOptions>(), positional: model })));
}

type RawConvertOptions = Omit<ConvertOptions, "model" | "out"> & Partial<Pick<ConvertOptions, "model" | "out">>;

/** Refuses what says nothing or two things (OptionError). */
function resolveConvert({ positional, ...raw }: RawConvertOptions & { readonly positional: string | undefined }): ConvertOptions {
  const model = modelOf("convert", positional, raw.model);
  const { out } = raw;
  if (out === undefined) throw new OptionError("convert needs a place to write to", { hint: "name a folder or a file: --out model.gguf" });
  const [other] = /\.(safetensors|bin|pt|pth|ckpt|onnx|json)$/i.exec(out) ?? [];
  if (other !== undefined) {
    throw new OptionError(`--out ${out} looks like a file, and models are written as folders or as *.gguf`, {
      hint: `name a folder, --out ${out.slice(0, -other.length)}, which will hold config.json and model.safetensors`,
    });
  }
  if (raw.dtype === "q8_0" && !isGgufPath(out)) {
    throw new OptionError("--dtype q8_0 is a type of GGUF, and --out names a folder", {
      hint: "name a file, --out model.gguf, or take --dtype bf16",
    });
  }
  if (raw.schedule !== "auto" && raw.exportScale === undefined) {
    throw new OptionError(`--schedule ${raw.schedule} says what --export-scale does, which was not given`, {
      hint: "add --export-scale 4 for example",
    });
  }
  return { ...raw, model, out };
}

/** Whether a path names a GGUF file. */
export const isGgufPath = (path: string): boolean => /\.gguf$/i.test(path);
