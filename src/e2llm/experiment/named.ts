/** Tasks and position sources that a definition names, or that it brings. */
import { createPositionSource, type PositionSource, type PositionSourceOptions } from "../positions/index.js";
import type { Task } from "../tasks/task.js";
import { createTask, type TaskOptions } from "../tasks/types.js";
import type { Named, PositionsOf, SourceRequest } from "./definition.js";

/** A task of one's own as it is, or the one of that name. */
export const namedTask = (task: Named | Task): Task =>
  typeof task["example"] === "function" ? (task as Task) : createTask(task as unknown as TaskOptions);

/** The source of one's own for this request, or the one of that name, which takes what its options do not say from the request. */
export function namedSource(positions: PositionsOf, request: SourceRequest): PositionSource {
  if (typeof positions === "function") return positions(request);
  const { seed, config } = request;
  return createPositionSource({ seed, ...positions } as unknown as PositionSourceOptions, config);
}
