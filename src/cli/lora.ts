/** Options of `extend` that train adapters (LoRA) in place of the weights. */
import { key } from "../autograd/random.js";
import { OptionError } from "../errors.js";
import type { Llama } from "../nn/llama.js";
import { applyLora, type LoraOptions } from "../nn/lora.js";
import { addOption, type Command, flagOf, nonEmpty, number, wholeNumber } from "./options.js";
import { type SavedSettings, settled } from "./resume.js";

/** What was typed, and what is saved beside a checkpoint. */
export interface LoraFlags {
  /** Rank of the adapters; absent: the weights are trained. */
  readonly lora?: number;
  readonly loraAlpha?: number;
  readonly loraDropout?: number;
  /** Names of matrices with commas between. */
  readonly loraTargets?: string;
  readonly trainNorms?: boolean;
  readonly trainEmbeddings?: boolean;
}

const others = ["loraAlpha", "loraDropout", "loraTargets", "trainNorms", "trainEmbeddings"] as const;

export function addLora(command: Command): void {
  addOption(
    command,
    "--lora <r>",
    "train adapters of this rank beside the matrices, which stay as they are (LoRA)",
    wholeNumber({ min: 1, max: 2 ** 16 }),
  );
  addOption(
    command,
    "--lora-alpha <x>",
    "adapters are scaled by this over the rank (default: the rank)",
    number({ min: 2 ** -20, max: 2 ** 20 }),
  );
  addOption(
    command,
    "--lora-dropout <p>",
    "share of an adapter's input that is dropped in training (default: 0)",
    number({ min: 0, max: 0.99 }),
  );
  addLoraParts(command);
}

/** Which parts of a model are trained beside or by adapters. */
export function addLoraParts(command: Command): void {
  addOption(command, "--lora-targets <names>", "matrices with adapters, q_proj,v_proj for example (default: all of the layers)", nonEmpty);
  command.option("--train-norms", "with --lora: train the norms too (LongLoRA)");
  command.option("--train-embeddings", "with --lora: train the embedding too, and a head that is tied to it");
}

/** Refuses options of adapters where there are none (OptionError). */
export function refuseWithoutLora({ lora }: LoraFlags, given: ReadonlySet<string>): void {
  const [unread] = others.filter((name) => given.has(name));
  if (lora !== undefined || unread === undefined) return;
  throw new OptionError(`${flagOf(unread)} is an option of adapters, and none are trained`, { hint: "give their rank too: --lora 8" });
}

/** As the command line has them: "--lora 8 --lora-targets q_proj". */
export const loraInWords = ({ lora, loraTargets, trainNorms, trainEmbeddings }: LoraFlags): string =>
  [
    `--lora ${lora}`,
    ...(loraTargets === undefined ? [] : [`--lora-targets ${loraTargets}`]),
    ...(trainNorms ? ["--train-norms"] : []),
    ...(trainEmbeddings ? ["--train-embeddings"] : []),
  ].join(" ");

/** The options that were given. */
export function loraFlags({ lora, loraAlpha, loraDropout, loraTargets, trainNorms, trainEmbeddings }: LoraFlags): LoraFlags {
  const flags = { lora, loraAlpha, loraDropout, loraTargets, trainNorms, trainEmbeddings };
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined && value !== false));
}

/** Those of a run that is gone on with, which must be what they were (OptionError). */
export function resumedLora(typed: LoraFlags, given: ReadonlySet<string>, saved: SavedSettings, folder: string): LoraFlags {
  const flag = (name: "trainNorms" | "trainEmbeddings"): boolean | undefined =>
    settled(name, given, typed[name] ? "on" : undefined, saved.optionalFlag(name) ? "on" : undefined, folder) === "on" || undefined;
  const of = (name: "lora" | "loraAlpha" | "loraDropout"): number | undefined =>
    settled(name, given, typed[name], saved.optionalNumber(name), folder);
  return loraFlags({
    lora: of("lora"),
    loraAlpha: of("loraAlpha"),
    loraDropout: of("loraDropout"),
    loraTargets: settled("loraTargets", given, typed.loraTargets, saved.optionalText("loraTargets"), folder),
    trainNorms: flag("trainNorms"),
    trainEmbeddings: flag("trainEmbeddings"),
  } as LoraFlags);
}

/** The model with the adapters that a run trains, drawn by its seed; itself where it trains none. */
export function withLora(model: Llama, flags: LoraFlags, seed: number): Llama {
  const { lora: rank, loraAlpha: alpha, loraDropout: dropout, loraTargets, trainNorms = false, trainEmbeddings = false } = flags;
  if (rank === undefined) return model;
  const options: LoraOptions = {
    ...{ rank, trainNorms, trainEmbeddings, key: key(seed) },
    ...(alpha === undefined ? {} : { alpha }),
    ...(dropout === undefined ? {} : { dropout }),
    ...(loraTargets === undefined ? {} : { targets: loraTargets.split(",").map((name) => name.trim()) }),
  };
  return applyLora(model, options);
}
