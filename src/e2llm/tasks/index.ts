/** Tasks whose sequences are made by code. */
export * from "./ledger.js";
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
