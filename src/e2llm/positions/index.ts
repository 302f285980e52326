/** Position sources: where the tokens of a training sample stand. */
export { createE2Source, type E2Draw, type E2Options, e2Positions, e2Row, largestShift, type ShiftDistribution } from "./e2.js";
export { createE2YarnSource, type E2YarnOptions } from "./e2-yarn.js";
export { createPlainSource, inferenceScale, type PlainOptions, plainPositions } from "./plain.js";
export { createPoseSource, type PoseDraw, type PoseOptions } from "./pose.js";
export { createRandomIncrementsSource, type RandomIncrementsDraw } from "./random-increments.js";
export { createRandomScaleSource, type RandomScaleDraw, type RandomScaleOptions } from "./random-scale.js";
export { createRandomizedSource, type RandomizedDraw, type RandomizedOptions } from "./randomized.js";
export {
  createPositionSource,
  type PositionSourceOptions,
  type PositionSourceType,
  type PositionSourceTypes,
  positionSourceTypes,
} from "./registry.js";
export { type DrawnRow, type RowOptions, type RowRequest, type RowSourceOptions, rowSource, stackRows } from "./rows.js";
export type { ScaleDistribution, ScaleOptions } from "./scales.js";
export type { DrawnScaling, ScalingOptions } from "./scaling.js";
export * from "./source.js";
