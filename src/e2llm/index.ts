/** RoPE scaling, E²-LLM, tasks, and evaluation at many context lengths. */
export { type RandomStream, randomStream } from "../ir/random-stream.js";
export * from "./attention-maps.js";
export { ClexOde, type ClexOptions, clexPlaces } from "./clex.js";
export * from "./comparison.js";
export {
  type ContextScores,
  type ContextTargetOptions,
  evaluateAtContexts,
  type TargetsAtContexts,
  type TruncationOptions,
} from "./context-targets.js";
export * from "./coverage.js";
export * from "./evaluation.js";
export * from "./experiment/index.js";
export { exportConfig } from "./export-config.js";
export * from "./extension.js";
export * from "./extension-notes.js";
export * from "./hf-rope.js";
export * from "./long-generation.js";
export * from "./longrope-search.js";
export * from "./methods/index.js";
export * from "./model-frequencies.js";
export * from "./position-loss.js";
export * from "./positions/index.js";
export * from "./reading.js";
export * from "./retrieval-grid.js";
export * from "./schedules.js";
export * from "./score-bounds.js";
export * from "./statistics.js";
export * from "./step-cost.js";
export * from "./tables.js";
export { evaluateTargets, type TargetEvaluationOptions, type TargetScore } from "./target-evaluation.js";
export {
  type DistanceSummary,
  exampleObservations,
  type InductionScore,
  inductionScores,
  type ObservationOptions,
  summarizeByDistance,
  summarizeTargets,
  type TargetSummary,
} from "./target-summaries.js";
export * from "./tasks/index.js";
