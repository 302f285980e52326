/** Tasks by the names that files give them. */
import { checkFields, oneOf } from "../../arguments.js";
import { inductionTask } from "./induction.js";
import { labelTask } from "./labels.js";
import { ledgerTask } from "./ledger.js";
import { passkeyTask } from "./passkey.js";
import { posgenTask } from "./posgen.js";
import { recallTask } from "./recall.js";
import type { Task } from "./task.js";
import { textTask } from "./text.js";
import { variableTask } from "./variables.js";
import { commonWordTask, frequentWordTask } from "./words.js";

/** What makes the tasks of each type. */
const types = {
  ledger: ledgerTask,
  passkey: passkeyTask,
  recall: recallTask,
  induction: inductionTask,
  posgen: posgenTask,
  variables: variableTask,
  "common-words": commonWordTask,
  "frequent-words": frequentWordTask,
  labels: labelTask,
  text: textTask,
} as const;

export type TaskType = keyof typeof types;

/** The type of a task with the options of its function: `{ type: "ledger", names: 12 }`. */
export type TaskOptions = { [Type in TaskType]: { readonly type: Type } & NonNullable<Parameters<(typeof types)[Type]>[0]> }[TaskType];

/** All types of {@link createTask}. */
export const taskTypes = Object.keys(types) as readonly TaskType[];

/**
 * A task from its type and options, as a file may hold them: `createTask({ type: "passkey", keys: 4 })` is `passkeyTask({ keys: 4 })`. Throws
 * OptionError for a type that there is not, and what its function throws.
 */
export function createTask(options: TaskOptions): Task {
  checkFields<{ type: TaskType }>("createTask", "the options", options, { type: oneOf(...taskTypes) });
  const { type, ...rest } = options;
  return (types[type] as (options: unknown) => Task)(rest);
}
