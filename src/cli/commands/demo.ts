import { addChoice, addCommon, addOption, addSeed, type Command, type CommonOptions, nonEmpty, wholeNumber } from "../options.js";
import type { Execute } from "../program.js";

export const presetNames = ["smoke", "small", "gpu"] as const;
export type PresetName = (typeof presetNames)[number];

export interface DemoOptions extends CommonOptions {
  /** Left out: the largest that this machine's backend finishes within some ten minutes. */
  readonly preset?: PresetName;
  readonly out: string;
  readonly seed: number;
  /** Pretraining steps in place of the preset's. */
  readonly steps?: number;
  /** Steps of each continued training (plain and E²) in place of the preset's. */
  readonly extendSteps?: number;
}

/** Adds `dawngrad demo`. */
export function registerDemo(program: Command, execute: Execute): void {
  const command = program
    .command("demo")
    .summary("the whole path on a real book: train, extend, read at 1, 2, 4 and 8 times the window")
    .description(
      "Trains a byte-level Llama on Moby-Dick at a window of L bytes, extends it by E²-LLM at the same L, and measures the loss of held-out " +
        "chapters at L, 2L, 4L and 8L beside what people would try instead. Writes results.json, report.html and the checkpoints.",
    )
    .addHelpText(
      "after",
      `
Presets:
  smoke   a check that all of it works: within 2 minutes on 2 cores
  small   the smallest size whose table is worth reading: some 10 minutes on 2 cores
  gpu     20 million parameters and more, L = 1024: for a real GPU
Without --preset: small, or smoke where nothing faster than SwiftShader or the reference backend computes.

Examples:
  dawngrad demo --preset smoke
  dawngrad demo --preset gpu --adapter hardware --out runs/gpu
  dawngrad demo --preset smoke --extend-steps 400    does E² gain from more steps?`,
    );
  command.optionsGroup("Run:");
  addChoice(command, "--preset <name>", "size of the whole run", presetNames);
  addOption(command, "--out <dir>", "folder for the results", nonEmpty, "runs/demo");
  addSeed(command);
  addOption(command, "--steps <n>", "pretraining steps in place of the preset's", wholeNumber({ min: 1 }));
  addOption(command, "--extend-steps <n>", "steps of each continued training in place of the preset's", wholeNumber({ min: 1 }));
  addCommon(command);
  command.action(() => execute("demo", command.opts<DemoOptions>()));
}
