import { smallestPeak } from "./list-scheduling.js";
import { type StepNode, scratchOf, stepNodes } from "./liveness.js";
import type { BufferInfo, Lowered, Step } from "./program.js";

/**
 * Orders the steps of a program for the smallest peak of live bytes, by list scheduling (list-scheduling.ts). What reads a buffer last
 * comes as soon as it can:
 *
 *   a = f(x)     8 MB                         a = f(x)     8 MB
 *   b = g(x)     8 MB                         p = sum(a)   0      a is free
 *   p = sum(a)   0      16 MB at most    →    b = g(x)     8 MB
 *   q = sum(b)   0                            q = sum(b)   0      8 MB at most
 *
 * A step follows those that write what it reads or writes, those that read what it overwrites, and the writers of what `lowered.after`
 * names; the given order is one in which it does. An output and the input whose memory it takes over (`heirs`, output to input) are one
 * buffer in this: whoever reads the input comes first, so that the update stays one in place. A loop is one step that touches what
 * its body does; bodies are ordered by themselves.
 */
export function schedule(lowered: Lowered, heirs: ReadonlyMap<number, number>, bytesOf: (info: BufferInfo) => number): Lowered {
  const scratch = scratchOf(lowered);
  const ordered = (nodes: readonly StepNode[], isLocal: (buffer: number) => boolean): { steps: Step[]; peak: number } => {
    const touching = touchersOf(nodes);
    /** What one loop alone touches is a matter of its body. */
    const isInside = (buffer: number): boolean => {
      const [first, second] = touching.get(buffer) as number[];
      return second === undefined && nodes[first as number]?.step.kind === "loop";
    };
    const bodies = nodes.map(({ step, body }) =>
      step.kind === "loop" ? ordered(body, (buffer) => isLocal(buffer) && isInside(buffer)) : undefined,
    );
    const { order, peak } = smallestPeak({
      after: dependencies(nodes, lowered.after, (buffer) => heirs.get(buffer) ?? buffer),
      buffers: [...touching]
        .filter(([buffer]) => isLocal(buffer) && !isInside(buffer))
        .map(([buffer, jobs]) => ({ bytes: bytesOf(lowered.buffers.get(buffer) as BufferInfo), jobs })),
      extra: bodies.map((body) => body?.peak ?? 0),
    });
    const steps = order.map((i): Step => {
      const { step } = nodes[i] as StepNode;
      const body = bodies[i];
      return step.kind === "loop" && body !== undefined ? { ...step, body: body.steps } : step;
    });
    return { steps, peak };
  };
  return { ...lowered, steps: ordered(stepNodes(lowered.steps), (buffer) => scratch.has(buffer)).steps };
}

/** The steps that touch each buffer. */
function touchersOf(nodes: readonly StepNode[]): Map<number, number[]> {
  const touching = new Map<number, number[]>();
  nodes.forEach(({ reads, writes }, i) => {
    for (const buffer of new Set([...reads, ...writes])) {
      const list = touching.get(buffer);
      if (list) list.push(i);
      else touching.set(buffer, [i]);
    }
  });
  return touching;
}

/** For each step, those before it that it must follow. */
function dependencies(nodes: readonly StepNode[], after: Lowered["after"], memoryOf: (buffer: number) => number): number[][] {
  const writer = new Map<number, number>();
  /** Since the last write. */
  const readers = new Map<number, number[]>();
  return nodes.map((node, i) => {
    const found = new Set<number>();
    const follow = (step: number | undefined): void => {
      if (step !== undefined && step !== i) found.add(step);
    };
    const reads = [...node.reads].map(memoryOf);
    for (const buffer of [...reads, ...orderedAfter(node, after).map(memoryOf)]) follow(writer.get(buffer));
    for (const buffer of reads) {
      const list = readers.get(buffer);
      if (list) list.push(i);
      else readers.set(buffer, [i]);
    }
    for (const buffer of [...node.writes].map(memoryOf)) {
      follow(writer.get(buffer));
      for (const reader of readers.get(buffer) ?? []) follow(reader);
      writer.set(buffer, i);
      readers.delete(buffer);
    }
    return [...found];
  });
}

/** The buffers that must be written before a step, or a step of its body, whether or not it reads them. */
const orderedAfter = ({ step, body }: StepNode, after: Lowered["after"]): readonly number[] =>
  after === undefined ? [] : step.kind === "loop" ? body.flatMap((inner) => orderedAfter(inner, after)) : (after.get(step) ?? []);
