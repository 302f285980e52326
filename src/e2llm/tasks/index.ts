/** Tasks: sequences with questions. */
export * from "./induction.js";
export * from "./labels.js";
export * from "./ledger.js";
export * from "./passkey.js";
export * from "./posgen.js";
export * from "./recall.js";
export {
  cutExample,
  type EvaluationExampleOptions,
  type ExampleRequest,
  evaluationExamples,
  noTarget,
  type Question,
  type QuestionKind,
  type Task,
  type TaskExample,
  type TrainingWindowOptions,
  trainingWindows,
} from "./task.js";
export * from "./text.js";
export * from "./types.js";
export * from "./variables.js";
export * from "./words.js";
