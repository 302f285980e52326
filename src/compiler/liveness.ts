import { argumentsOf, attentionValues, type Kernel, type Lowered, type Step, type Value } from "./program.js";

/** Liveness: what each step touches, and how long each buffer holds what somebody needs. */

/** The buffers that a step reads and writes; a loop touches what its body does. */
export interface Accesses {
  readonly reads: ReadonlySet<number>;
  readonly writes: ReadonlySet<number>;
}

/** A step with what it touches, and those of its body where it is a loop. */
export interface StepNode extends Accesses {
  readonly step: Step;
  /** Its first kernel, and the one after its last, counted over all kernels; those inside of loops count once. */
  readonly begin: number;
  readonly end: number;
  readonly body: readonly StepNode[];
}

const known = new WeakMap<Kernel, ReadonlySet<number>>();

/** The buffers that a kernel reads. Several passes ask, so the answer is kept. */
export function readBuffers(kernel: Kernel): ReadonlySet<number> {
  let found = known.get(kernel);
  if (found === undefined) {
    found = findReads(kernel);
    known.set(kernel, found);
  }
  return found;
}

/** The values that a kernel is for: what it stores, and what it needs for that beside their arguments. */
export function rootValues(kernel: Kernel): Value[] {
  const roots: Value[] = kernel.stores.map(({ value }) => value);
  if (kernel.kind === "map" && kernel.where !== undefined) roots.push(kernel.where);
  if (kernel.kind === "row") for (const stage of kernel.stages) for (const { value } of stage) roots.push(value);
  if (kernel.kind === "matmul") roots.push(kernel.a, kernel.b);
  if (kernel.kind === "bins") roots.push(kernel.target);
  if (kernel.kind === "scatter") roots.push(kernel.from, kernel.to, kernel.order, kernel.value);
  if (kernel.kind === "attention" || kernel.kind === "attentionBackward") roots.push(...attentionValues(kernel));
  return roots;
}

function findReads(kernel: Kernel): Set<number> {
  const found = new Set<number>();
  const seen = new Set<number>();
  // What it does not write is part of what it leaves.
  if (kernel.kind === "map" && kernel.where !== undefined) for (const { buffer } of kernel.stores) found.add(buffer);
  const roots = rootValues(kernel);
  for (let value = roots.pop(); value !== undefined; value = roots.pop()) {
    if (seen.has(value.id)) continue;
    seen.add(value.id);
    if (value.kind === "load") found.add(value.buffer);
    roots.push(...argumentsOf(value, kernel.values));
  }
  return found;
}

/** Steps with what they touch; their first kernel is number `begin`. */
export function stepNodes(steps: readonly Step[], begin = 0): StepNode[] {
  let next = begin;
  return steps.map((step): StepNode => {
    const first = next;
    if (step.kind !== "loop") {
      next++;
      const writes = new Set(step.stores.map(({ buffer }) => buffer));
      return { step, reads: readBuffers(step), writes, begin: first, end: next, body: [] };
    }
    const body = stepNodes(step.body, first);
    next = body.at(-1)?.end ?? first;
    const all = (side: keyof Accesses): Set<number> => new Set(body.flatMap((node) => [...node[side]]));
    return { step, reads: all("reads"), writes: all("writes"), begin: first, end: next, body };
  });
}

/** From the first to the last kernel that needs a buffer. */
export interface Lifetime {
  readonly buffer: number;
  readonly first: number;
  readonly last: number;
}

/**
 * How long buffers live. What is used inside and outside of a loop lives for as long as the loop runs, since the next iteration may
 * need it:
 *
 *   0  b = f(a)              b  0–3
 *      loop
 *   1    c = g(b)            c  1–2
 *   2    d = h(c)            d  1–4
 *   3    b = k(b)
 *   4  e = l(d)              e  4–4
 */
export function lifetimes(nodes: readonly StepNode[]): Lifetime[] {
  const found = new Map<number, { first: number; last: number; step: StepNode }>();
  for (const step of nodes) {
    const inside =
      step.step.kind === "loop"
        ? lifetimes(step.body)
        : [...new Set([...step.reads, ...step.writes])].map((buffer) => ({ buffer, first: step.begin, last: step.begin }));
    for (const { buffer, first, last } of inside) {
      const before = found.get(buffer);
      if (before === undefined) found.set(buffer, { first, last, step });
      else found.set(buffer, { first: Math.min(before.first, before.step.begin), last: step.end - 1, step: before.step });
    }
  }
  return [...found].map(([buffer, { first, last }]) => ({ buffer, first, last }));
}

/** The buffers that a program keeps to itself: neither inputs nor outputs. */
export function scratchOf({ buffers, inputs, outputs }: Lowered): Set<number> {
  const scratch = new Set(buffers.keys());
  for (const buffer of [...inputs, ...outputs]) if (buffer !== undefined) scratch.delete(buffer);
  return scratch;
}

/** Bytes that are alive at each of `count` kernels. */
export function liveBytes(living: readonly Lifetime[], count: number, bytesOf: (buffer: number) => number): Float64Array {
  const live = new Float64Array(count + 2);
  for (const { buffer, first, last } of living) {
    const bytes = bytesOf(buffer);
    live[first] = (live[first] as number) + bytes;
    live[last + 1] = (live[last + 1] as number) - bytes;
  }
  for (let k = 1; k < count; k++) live[k] = (live[k] as number) + (live[k - 1] as number);
  return live.subarray(0, count);
}
