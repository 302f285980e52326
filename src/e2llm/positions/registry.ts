/** Position sources by name, as experiments and the command ask for them. */
import { checkArgument, checkOptions, describe, didYouMean, type OptionKinds, objectWith, optional, text } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { modelRope, type RopeConfig } from "../model-frequencies.js";
import { createE2Source, type E2Options, e2Kinds } from "./e2.js";
import { createE2YarnSource, type E2YarnOptions, e2YarnKinds, yarnParameters } from "./e2-yarn.js";
import { createPlainSource, type PlainOptions, plainKinds } from "./plain.js";
import { createPoseSource, type PoseOptions, poseKinds } from "./pose.js";
import { createRandomIncrementsSource } from "./random-increments.js";
import { createRandomScaleSource, type RandomScaleOptions, randomScaleKinds } from "./random-scale.js";
import { createRandomizedSource, type RandomizedOptions, randomizedKinds } from "./randomized.js";
import { type RowOptions, rowKinds } from "./rows.js";
import { type Scales, scalesOf } from "./scales.js";
import { type DrawnScaling, scalingType } from "./scaling.js";
import type { PositionSource } from "./source.js";

/** The options of each type of source. */
export interface PositionSourceTypes {
  readonly plain: PlainOptions;
  readonly e2: E2Options;
  readonly "e2-yarn": E2YarnOptions;
  readonly pose: PoseOptions;
  readonly randomized: RandomizedOptions;
  readonly "random-scale": RandomScaleOptions;
  readonly "random-increments": RowOptions;
}

export type PositionSourceType = keyof PositionSourceTypes;

/** A type of source with its options. The window may be left to the model's configuration. */
export type PositionSourceOptions = {
  [T in PositionSourceType]: { readonly type: T } & Omit<PositionSourceTypes[T], "window"> & { readonly window?: number };
}[PositionSourceType];

/** The scales that a source draws. */
type TrainedScales = Pick<Scales, "values" | "largest">;

const fixed = (scale: number): TrainedScales => ({ values: [scale], largest: scale });

interface SourceRecord<Options> {
  readonly kinds: OptionKinds<Options>;
  readonly create: (options: Options) => PositionSource;
  /** What is done with positions beyond the window. */
  readonly scaling: (options: Options) => DrawnScaling;
  /** The scales that are trained. */
  readonly scales: (options: Options) => TrainedScales;
}

const sources: { readonly [T in PositionSourceType]: SourceRecord<PositionSourceTypes[T]> } = {
  plain: {
    kinds: plainKinds,
    create: createPlainSource,
    scaling: ({ scaling = "linear" }) => scaling,
    scales: ({ scale = 1 }) => fixed(scale),
  },
  e2: {
    kinds: e2Kinds,
    create: createE2Source,
    scaling: ({ scaling = "linear" }) => scaling,
    scales: (options) => scalesOf("e2", options),
  },
  "e2-yarn": {
    kinds: e2YarnKinds,
    create: createE2YarnSource,
    scaling: (options) => ({ type: "yarn", ...yarnParameters(options) }),
    scales: (options) => scalesOf("e2-yarn", options),
  },
  pose: {
    kinds: poseKinds,
    create: createPoseSource,
    scaling: ({ scaling = "linear" }) => scaling,
    scales: ({ scale }) => fixed(scale),
  },
  randomized: {
    kinds: randomizedKinds,
    create: createRandomizedSource,
    scaling: ({ scaling = "default" }) => scaling,
    scales: ({ scale, lMax, window = lMax }) => fixed(scale ?? Math.max(1, lMax / window)),
  },
  "random-scale": {
    kinds: randomScaleKinds,
    create: createRandomScaleSource,
    scaling: ({ scaling = "ntk" }) => scaling,
    scales: (options) => scalesOf("random-scale", options),
  },
  "random-increments": {
    kinds: rowKinds,
    create: createRandomIncrementsSource,
    scaling: () => "default",
    scales: () => fixed(1),
  },
};

/** All types of {@link createPositionSource}. */
export const positionSourceTypes = Object.keys(sources) as readonly PositionSourceType[];

/** The first argument of `createPositionSource`. */
export const sourceOptionsKind = objectWith('the type of a source with its options, as { type: "e2", gMax: 8 }', "type");
const configKind = optional(objectWith("the configuration of a model", "head_dim", "rope_theta"));

/**
 * A position source by name: `createPositionSource({ type: "e2", window: 64, gMax: 8 })`.
 *
 * @param options the type, and the options of its own function, such as `createE2Source`
 * @param config a model's configuration, which the window and the shape of the heads are taken from where the options have none
 * @throws OptionError for a type or an option that there is not, for values that make no sense, and for frequencies to be drawn for a model whose
 *   configuration scales them already
 */
export function createPositionSource(options: PositionSourceOptions, config?: RopeConfig): PositionSource {
  const { record, given } = resolveSource("createPositionSource", options, config);
  return record.create(given);
}

/** The record of a type with the options of its function, completed from a model's configuration. Throws what `createPositionSource` throws. */
export function resolveSource(
  where: string,
  options: PositionSourceOptions,
  config: RopeConfig | undefined,
): { record: SourceRecord<unknown>; given: unknown } {
  checkArgument(where, "options", options, sourceOptionsKind);
  checkArgument(where, "config", config, configKind);
  const { type, ...own } = options;
  checkArgument(where, "type", type, text);
  if (!Object.hasOwn(sources, type)) {
    throw new OptionError(`${where}: there is no position source ${describe(type)}`, {
      hint: didYouMean(type, positionSourceTypes) ?? `types are ${positionSourceTypes.join(", ")}`,
    });
  }
  const record = sources[type] as SourceRecord<unknown>;
  const model = config === undefined ? undefined : modelRope(config);
  const fromModel = {
    window: config?.max_position_embeddings,
    shape: model && { headDim: config?.head_dim, theta: model.theta },
  };
  const missing = Object.entries(fromModel).filter(
    ([name, value]) => value !== undefined && Object.hasOwn(record.kinds, name) && (own as Record<string, unknown>)[name] === undefined,
  );
  const given: unknown = { ...own, ...Object.fromEntries(missing) };
  checkOptions(`${where} (${type})`, given, record.kinds);
  const drawn = scalingType(record.scaling(given));
  const divided = drawn === "default" || (drawn === "linear" && Number.isInteger(record.scales(given).largest));
  if (model !== undefined && model.scaling.type !== "default" && !divided) {
    throw new OptionError(
      `${where}: the configuration scales the positions of a window of ${model.window} already ("${model.scaling.type}"), so "${drawn}" cannot be put on it`,
      { hint: 'take scaling: "linear" at a whole scale, which divides the positions under any schedule' },
    );
  }
  return { record, given };
}
