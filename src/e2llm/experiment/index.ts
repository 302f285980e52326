/** Experiments: a grid of variants, readings and seeds, described by one object. */
export type {
  EvaluationRule,
  Expectation,
  ExperimentDefinition,
  Requirement,
  SourceRequest,
  TablesRequest,
  TextData,
  TrainingRule,
  VariantRule,
} from "./definition.js";
export { experimentOfSize } from "./plan.js";
export type { Cell, ExperimentEvaluation, ExperimentResults, ExperimentRow, Pooled, RunRecord, Verdict } from "./results.js";
export { type ExperimentOptions, type ExperimentProgress, runExperiment } from "./run-experiment.js";
export { experimentMarkdown, experimentTable } from "./tables.js";
