/** The RoPE of a model as its configuration states it: the one place that training, extension, evaluation and reading take it from. */
import { checkArgument, checkOptions, integer, objectWith, optional, text } from "../arguments.js";
import type { LlamaConfig } from "../nn/config.js";
import { fromHfRope, type HfRope } from "./hf-rope.js";
import { type RopeFrequencies, ropeFrequencies } from "./schedules.js";

type RopeKey =
  | "head_dim"
  | "rope_theta"
  | "max_position_embeddings"
  | "rope_scaling"
  | "rope_parameters"
  | "original_max_position_embeddings"
  | "e2llm";

/** What of a model's configuration decides its frequencies. A window is needed only beside a scaling. */
export type RopeConfig = Pick<LlamaConfig, "head_dim" | "rope_theta"> & Partial<Pick<LlamaConfig, RopeKey>>;

export interface ModelFrequenciesOptions {
  /** Tokens of the text: "dynamic" and "longrope" follow it. Default: the trained window, within which "dynamic" scales nothing. */
  readonly length?: number;
  /** Name of the configuration's file, for messages. Default "config.json". */
  readonly file?: string;
}

const optionKinds = { length: optional(integer(0)), file: optional(text) } as const;

/**
 * Scaling, base and trained window of a model, from `rope_scaling` or `rope_parameters` and the keys beside them (see `fromHfRope`).
 *
 * @throws FormatError for a scaling that this library does not compute
 */
export function modelRope(config: RopeConfig, options: ModelFrequenciesOptions = {}): HfRope {
  checkArgument("modelRope", "config", config, objectWith("the configuration of a model", "head_dim", "rope_theta"));
  checkOptions("modelRope", options, optionKinds);
  const { length, file } = options;
  // Without a scaling any window gives the same frequencies.
  const whole = (config.rope_scaling ?? config.rope_parameters) ? config : { max_position_embeddings: 1, ...config };
  return fromHfRope(whole, {
    ...(file === undefined ? {} : { file }),
    ...(length === undefined ? {} : { seqLen: Math.max(1, length) }),
  });
}

/**
 * θ′ and the attention factor of a model as its configuration states them, its scaling included:
 * `ropeFrequencies(scaling, { headDim, theta })`.
 *
 * @throws FormatError for a scaling that this library does not compute
 */
export function modelFrequencies(config: RopeConfig, options: ModelFrequenciesOptions = {}): RopeFrequencies {
  checkOptions("modelFrequencies", options, optionKinds);
  const { scaling, theta } = modelRope(config, options);
  return ropeFrequencies(scaling, { headDim: config.head_dim, theta });
}
