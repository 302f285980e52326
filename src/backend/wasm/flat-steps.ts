import type { KernelCode } from "./kernels/kernel.js";

/** One kernel of a program, with the function that does it. */
export interface KernelStep extends Omit<KernelCode, "body"> {
  readonly kind: "kernel";
  /** The module exports it as `k` and this number. */
  readonly function: number;
  /** How often a run comes to it. */
  readonly turns: number;
}

/** Steps as they are planned: kernels and loops over them. */
export type StepTree = KernelStep | { readonly kind: "loop"; readonly count: number; readonly body: readonly StepTree[] };

/** Steps as threads go through them: a loop, or a stretch that one thread does alone, comes before the `body` steps that are its own. */
export type FlatStep =
  | KernelStep
  | { readonly kind: "loop"; readonly body: number; readonly count: number }
  | { readonly kind: "stretch"; readonly body: number };

/** Nanoseconds that one thread may be alone at work: the others wait and see no progress meanwhile. */
const longestStretch = 1e9;

/** Whether a kernel's work is cut for several threads. */
export const isShared = ({ units, unitsPerChunk }: KernelStep): boolean => units > unitsPerChunk;

/**
 * The steps in one list. With `stretches`, neighbours that are not worth sharing become one piece of work, loops of nothing else among
 * them, so that threads meet around large kernels only:
 *
 *   small, small, LARGE, loop 9 { small, LARGE, small, small }, loop 9 { small }, small
 *   [small, small], LARGE, loop 9 { small, LARGE, [small, small] }, [loop 9 { small }, small]
 */
export function flatten(steps: readonly StepTree[], stretches: boolean): FlatStep[] {
  const list: FlatStep[] = [];
  let [together, nanoseconds]: [StepTree[], number] = [[], 0];
  const close = (): void => {
    const inside = together.flatMap((step) => flatStep(step, false));
    if (inside.length > 1) list.push({ kind: "stretch", body: inside.length });
    list.push(...inside);
    [together, nanoseconds] = [[], 0];
  };
  for (const step of steps) {
    const cost = stretches ? aloneCost(step) : Number.POSITIVE_INFINITY;
    if (nanoseconds + cost > longestStretch) close();
    if (cost > longestStretch) list.push(...flatStep(step, stretches));
    else {
      together.push(step);
      nanoseconds += cost;
    }
  }
  close();
  return list;
}

function flatStep(step: StepTree, stretches: boolean): FlatStep[] {
  if (step.kind === "kernel") return [step];
  const body = flatten(step.body, stretches);
  return [{ kind: "loop", body: body.length, count: step.count }, ...body];
}

/** Nanoseconds of a step that no other thread can help with, infinite where one can. */
function aloneCost(step: StepTree): number {
  if (step.kind === "kernel") return isShared(step) ? Number.POSITIVE_INFINITY : step.cost;
  const once = step.body.reduce((sum, inner) => sum + aloneCost(inner), 0);
  return once === Number.POSITIVE_INFINITY ? once : step.count * once;
}
