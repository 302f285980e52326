import type { ConvertOptions } from "./commands/convert.js";
import type { DemoOptions } from "./commands/demo.js";
import type { DoctorOptions } from "./commands/doctor.js";
import type { EvalOptions } from "./commands/eval.js";
import type { ExperimentOptions } from "./commands/experiment.js";
import type { ExtendOptions } from "./commands/extend.js";
import type { GenerateOptions } from "./commands/generate.js";
import type { InspectOptions } from "./commands/inspect.js";
import type { LogprobsOptions } from "./commands/logprobs.js";
import type { DecodeOptions, EncodeOptions, TokenizerOptions } from "./commands/tokenizer.js";
import type { TrainOptions } from "./commands/train.js";
import type { Runner } from "./runner.js";

/** Options of each command by its name. */
export interface CommandOptions {
  readonly doctor: DoctorOptions;
  readonly demo: DemoOptions;
  readonly train: TrainOptions;
  readonly extend: ExtendOptions;
  readonly eval: EvalOptions;
  readonly generate: GenerateOptions;
  readonly logprobs: LogprobsOptions;
  readonly convert: ConvertOptions;
  readonly inspect: InspectOptions;
  readonly tokenizer: TokenizerOptions;
  readonly encode: EncodeOptions;
  readonly decode: DecodeOptions;
  readonly experiment: ExperimentOptions;
}

export type CommandName = keyof CommandOptions;

/** Loads the body of each command when it is needed, so that `--help` loads no backend. */
export type Runners = { readonly [Name in CommandName]: () => Promise<{ readonly run: Runner<CommandOptions[Name]> }> };

/** The bodies in `run/`, one module each. */
export const runners: Runners = {
  doctor: () => import("./run/doctor.js"),
  demo: () => import("./run/demo.js"),
  train: () => import("./run/train.js"),
  extend: () => import("./run/extend.js"),
  eval: () => import("./run/eval.js"),
  generate: () => import("./run/generate.js"),
  logprobs: () => import("./run/logprobs.js"),
  convert: () => import("./run/convert.js"),
  inspect: () => import("./run/inspect.js"),
  tokenizer: () => import("./run/tokenizer.js"),
  encode: () => import("./run/encode.js"),
  decode: () => import("./run/decode.js"),
  experiment: () => import("./run/experiment.js"),
};
