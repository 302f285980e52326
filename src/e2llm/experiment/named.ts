/** Tasks and position sources that a definition names. */
import { didYouMean } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import { createE2Source, createPlainSource, type E2Options, type PositionSource } from "../positions.js";
import { type LedgerOptions, ledgerTask } from "../tasks/ledger.js";
import type { Task } from "../tasks/task.js";
import type { Named, PositionsOf, SourceRequest } from "./definition.js";

const tasks: Readonly<Record<string, (options: object) => Task>> = { ledger: (options) => ledgerTask(options as LedgerOptions) };

const sources: Readonly<Record<string, (options: object, request: SourceRequest) => PositionSource>> = {
  plain: (options) => createPlainSource(options),
  e2: (options, request) => createE2Source({ ...request, ...(options as Partial<E2Options>) } as E2Options),
};

/** A task of one's own as it is, or the one of that name. */
export function namedTask(task: Named | Task): Task {
  if (isTask(task)) return task;
  const { type, ...options } = task;
  return one("task", tasks, type)(options);
}

/** The source of one's own for this request, or the one of that name, which takes window and seed from it where its options do not say them. */
export function namedSource(positions: PositionsOf, request: SourceRequest): PositionSource {
  if (typeof positions === "function") return positions(request);
  const { type, ...options } = positions;
  return one("position source", sources, type)(options, request);
}

const isTask = (task: Named | Task): task is Task => typeof task["example"] === "function";

function one<T>(what: string, table: Readonly<Record<string, T>>, type: string): T {
  const found = Object.hasOwn(table, type) ? table[type] : undefined;
  if (found !== undefined) return found;
  const names = Object.keys(table);
  throw new OptionError(`there is no ${what} of type "${type}"`, { hint: didYouMean(type, names) ?? `types are ${names.join(", ")}` });
}
