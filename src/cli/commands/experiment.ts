import { InvalidArgumentError } from "commander";
import { OptionError } from "../../errors.js";
import {
  type Action,
  addCommon,
  addForce,
  addOption,
  type Command,
  type CommonOptions,
  mostSteps,
  nonEmpty,
  wholeNumber,
} from "../options.js";

export interface ExperimentOptions extends CommonOptions {
  /** A file, or the name of an experiment that comes with the package; undefined to list those. */
  readonly file?: string;
  /** A size that the file has; its own numbers when absent. */
  readonly size?: string;
  /** "runs/NAME", or "runs/NAME-SIZE", when absent. */
  readonly out?: string;
  /** In place of those of the file. */
  readonly seeds?: readonly number[];
  /** Variants whose rows are wanted; all when absent. */
  readonly only?: readonly string[];
  readonly saveEvery: number;
  /** Whether another experiment that `out` holds may be replaced. */
  readonly force?: boolean;
}

/** Adds `dawngrad experiment`. */
export function registerExperiment(program: Command, execute: Action<ExperimentOptions>): void {
  const command = program
    .command("experiment [file]")
    .summary("compare variants of training and reading over seeds, as a file describes it")
    .description(
      "Trains a base model and its variants for several seeds, reads each by several methods, and pools what was measured: means, ranges, 95 % " +
        "intervals, and differences on the same targets. FILE is JSON or YAML, or the name of an experiment that comes with dawngrad; without " +
        "it those are listed. Writes results.json, report.html and results.md, and a folder for each training.",
    )
    .addHelpText(
      "after",
      `
The same command goes on with an experiment that was interrupted; a training whose settings did not change is never done again, so rows,
readings and variants can be added to a file. docs/experiments.md describes the files.

Exit code 1: something that the file requires or expects does not hold; the table says what.

Examples:
  dawngrad experiment                              which experiments there are
  dawngrad experiment A-loss --size smoke
  dawngrad experiment my.yaml --seeds 21,22,23 --out runs/my
  dawngrad experiment ledger --size cpu --only e2,pose`,
    );
  command.optionsGroup("Run:");
  addOption(command, "--size <name>", "a size that the file has, as smoke, cpu or gpu (default: the file as it is)", nonEmpty);
  addOption(command, "--out <dir>", "folder for results and runs (default: runs/NAME-SIZE)", nonEmpty);
  addOption(command, "--seeds <list>", "seeds in place of those of the file, as 21,22,23", parseSeeds);
  addOption(command, "--only <list>", "variants to train and read, with the base that they begin from, as e2,pose", parseNames);
  addOption(
    command,
    "--save-every <n>",
    "steps between checkpoints; 0 saves only at the end",
    wholeNumber({ min: 0, max: mostSteps }),
    250,
  );
  addForce(command);
  addCommon(command);
  command.action((file: string | undefined) =>
    execute(resolveExperiment({ ...command.opts<ExperimentOptions>(), ...(file === undefined ? {} : { file }) })),
  );
}

/** Refuses options that nothing would read (OptionError). */
function resolveExperiment(options: ExperimentOptions): ExperimentOptions {
  const given = (["size", "out", "seeds", "only"] as const).find((name) => options[name] !== undefined);
  if (options.file === undefined && given !== undefined) {
    throw new OptionError(`--${given} needs an experiment`, { hint: "name a file, or one of those that `dawngrad experiment` lists" });
  }
  return options;
}

const seed = wholeNumber({ min: 0, max: 2 ** 32 - 1 });

/** "21,22,23": distinct seeds. */
function parseSeeds(text: string): readonly number[] {
  let seeds: number[];
  try {
    seeds = text.split(",").map((part) => seed(part.trim()));
  } catch {
    throw new InvalidArgumentError("Whole numbers are needed, with commas between them: 21,22,23.");
  }
  if (new Set(seeds).size !== seeds.length) throw new InvalidArgumentError("A seed is named twice.");
  return seeds;
}

function parseNames(text: string): readonly string[] {
  const names = text.split(",").map((part) => part.trim());
  if (names.some((name) => name === "")) throw new InvalidArgumentError("Names are needed, with commas between them.");
  return names;
}
