/** Models as other programs read them: at one scale, which their configuration states. */
import { exportConfig } from "../e2llm/export-config.js";
import { toHfRope } from "../e2llm/hf-rope.js";
import { modelRope } from "../e2llm/model-frequencies.js";
import { automaticReading, type ReadingSchedule, readingScaling } from "../e2llm/reading.js";
import type { RopeScaling } from "../e2llm/schedules.js";
import { OptionError } from "../errors.js";
import type { LlamaConfig } from "../nn/config.js";
import type { ScheduleName } from "./options.js";

export interface ExportedScale {
  readonly schedule: ReadingSchedule;
  /** Fields that are put over those of config.json: `rope_parameters`, and the keys that older programs read. */
  readonly extraConfig: Readonly<Record<string, unknown>>;
  /** Tokens that the model reads so. */
  readonly window: number;
}

/**
 * The fields of a configuration with which transformers, llama.cpp and others read a model at scale g, and this program too. What the model was
 * extended for stays noted where positions are divided, because that can be put on top of each other.
 *
 * @throws OptionError for a scale that no schedule is there for, and for schedules that no key of a configuration expresses
 */
export function exportScale(
  config: LlamaConfig,
  g: number,
  options: { readonly schedule: ScheduleName; readonly file: string },
): ExportedScale {
  const { file } = options;
  const schedule = options.schedule === "auto" ? automaticReading(config, { file }).schedule : options.schedule;
  if (schedule === "none" && g !== 1) {
    throw new OptionError(`--export-scale ${g} has no effect: the model was not extended, so it is read as it was trained`, {
      hint: "choose a schedule: --schedule yarn for example",
    });
  }
  const { scaling: own, theta, window } = modelRope(config, { file });
  const reach = config.max_position_embeddings;
  const fields =
    schedule === "linear" || g === 1
      ? exportConfig(config, { scale: g })
      : toHfRope(scalingAt(own, schedule, { g, reach, window }), { headDim: config.head_dim, theta, window });
  const { e2llm } = config;
  return {
    schedule,
    extraConfig: { ...fields, e2llm: schedule === "linear" && e2llm !== undefined ? e2llm : undefined },
    window: fields.max_position_embeddings,
  };
}

interface Sizes {
  readonly g: number;
  readonly reach: number;
  readonly window: number;
}

/** The scaling of a schedule, which takes the place of none. */
function scalingAt(own: RopeScaling, schedule: ReadingSchedule, { g, reach, window }: Sizes): RopeScaling {
  if (own.type !== "default") {
    throw new OptionError(`the configuration scales the positions already ("${own.type}"), so --export-scale ${g} cannot be put on it`, {
      hint: "leave it out: the model is exported as its configuration says",
    });
  }
  const scaling = readingScaling({ schedule, scale: g, length: Math.ceil(g * reach), window });
  if (scaling.type === "default") {
    throw new OptionError(`the schedule ${schedule} reads by other places of tokens, which no configuration can state`, {
      hint: "choose linear, ntk, yarn or llama3 with --schedule",
    });
  }
  return scaling;
}
