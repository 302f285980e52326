import {
  type Action,
  addChoice,
  addCommon,
  addForce,
  addOption,
  addSeed,
  type Command,
  type CommonOptions,
  mostSteps,
  nonEmpty,
  wholeNumber,
} from "../options.js";

export const presetNames = ["smoke", "small", "gpu"] as const;
export type PresetName = (typeof presetNames)[number];

export interface DemoOptions extends CommonOptions {
  /** Left out: "small", or "smoke" where the backend is too slow for it. */
  readonly preset?: PresetName;
  readonly out: string;
  readonly seed: number;
  /** Pretraining steps in place of the preset's. */
  readonly steps?: number;
  /** Steps of each continued training (plain and E²) in place of the preset's. */
  readonly extendSteps?: number;
  /** Whether another run that `out` holds may be replaced. */
  readonly force?: boolean;
}

/** Adds `dawngrad demo`. */
export function registerDemo(program: Command, execute: Action<DemoOptions>): void {
  const command = program
    .command("demo")
    .summary("the whole path on a book and a ledger: train, extend, read at 1, 2, 4 and 8 times the window")
    .description(
      "Trains a byte-level Llama on Moby-Dick at a window of L bytes, extends it by E²-LLM at the same L, and measures the loss of held-out " +
        "chapters at L, 2L, 4L and 8L beside what people would try instead and what training on sequences of 8L gives. Then the same on " +
        "ledgers, made by code, in which answers may stand far back: there long context is worth something. Writes results.json, " +
        "report.html and the checkpoints.",
    )
    .addHelpText(
      "after",
      `
Presets:
  smoke   a check that all of it works: some seconds on 2 cores
  small   what 2 cores can train and read in some 5 minutes
  gpu     20 million parameters and more, L = 1024: for a real GPU
The same command goes on with a demo that was interrupted, and repeats one that is done. A folder that holds another run is refused
unless --force is given.
Without --preset: small, or smoke on the reference backend and on software WebGPU adapters, which are too slow for small.

Examples:
  dawngrad demo --preset smoke
  dawngrad demo --preset gpu --adapter hardware --out runs/gpu
  dawngrad demo --preset smoke --extend-steps 400    does E² gain from more steps?`,
    );
  command.optionsGroup("Run:");
  addChoice(command, "--preset <name>", "size of the whole run", presetNames);
  addOption(command, "--out <dir>", "folder for the results", nonEmpty, "runs/demo");
  addSeed(command);
  addOption(command, "--steps <n>", "pretraining steps in place of the preset's", wholeNumber({ min: 1, max: mostSteps }));
  addOption(
    command,
    "--extend-steps <n>",
    "steps of each continued training in place of the preset's",
    wholeNumber({ min: 1, max: mostSteps }),
  );
  addForce(command);
  addCommon(command);
  command.action(() => execute(command.opts<DemoOptions>()));
}
