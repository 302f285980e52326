import { type StepNode, scratchOf } from "./liveness.js";
import type { BufferInfo, Kernel, Lowered } from "./program.js";

/**
 * In-place writes: a kernel that is the last to read a buffer, and reads it nowhere but at the very element that it writes, may write over
 * it. What it makes then has the memory of what it is made of:
 *
 *   z = x·w              4 MB                               z  scratch from byte 0
 *   p = softmax(z)       4 MB, z is not needed again   →    p  scratch from byte 0
 *   y = p·v
 */

/** Whether a kernel may write `output` over `input`, as far as its own reading goes. */
export function writesInPlace(kernel: Kernel, input: number, output: number): boolean {
  if (kernel.kind !== "map" && kernel.kind !== "row" && kernel.kind !== "matmul") return false;
  // What it leaves as it is would not be what is there.
  if (kernel.kind === "map" && kernel.where !== undefined) return false;
  if (kernel.kind === "matmul" && (kernel.a.buffer === input || kernel.b.buffer === input)) return false;
  const [store, ...others] = kernel.stores.filter(({ buffer }) => buffer === output);
  if (store === undefined || others.length > 0) return false;
  // What a row has once may be read by those who share the row after one of them has written it.
  if (kernel.kind === "row" && !store.inner) return false;
  return kernel.values.every((value) => value.kind !== "load" || value.buffer !== input || value.index.key === store.index.key);
}

/**
 * The buffers that are written over others, each to the one that it is written over: scratch over scratch, and outputs that are written
 * over no input (`heirs`) over scratch. Both are touched by the steps of one list alone, so nobody needs the old one in the next turn of
 * a loop.
 */
export function overwritten(lowered: Lowered, nodes: readonly StepNode[], heirs: ReadonlyMap<number, number>): Map<number, number> {
  const scratch = scratchOf(lowered);
  const results = new Set(lowered.outputs.filter((output) => !heirs.has(output)));
  const isAlike = (a: number, b: number): boolean => {
    const [x, y] = [a, b].map((buffer) => lowered.buffers.get(buffer) as BufferInfo) as [BufferInfo, BufferInfo];
    return x.dtype === y.dtype && x.length === y.length && x.length > 0;
  };
  const touched = (node: StepNode): Set<number> => new Set([...node.reads, ...node.writes]);
  /** How many kernels touch each buffer. */
  const kernels = (list: readonly StepNode[], counts = new Map<number, number>()): Map<number, number> => {
    for (const node of list) {
      if (node.step.kind === "loop") kernels(node.body, counts);
      else for (const buffer of touched(node)) counts.set(buffer, (counts.get(buffer) ?? 0) + 1);
    }
    return counts;
  };
  const all = kernels(nodes);
  const over = new Map<number, number>();
  const taken = new Set<number>();
  const visit = (list: readonly StepNode[]): void => {
    const here = list === nodes ? all : kernels(list);
    const isLocal = (buffer: number): boolean => here.get(buffer) === all.get(buffer);
    const [first, last] = [new Map<number, StepNode>(), new Map<number, StepNode>()];
    for (const node of list) {
      for (const buffer of touched(node)) {
        if (!first.has(buffer)) first.set(buffer, node);
        last.set(buffer, node);
      }
    }
    for (const node of list) {
      const { step } = node;
      if (step.kind === "loop") {
        visit(node.body);
        continue;
      }
      for (const output of node.writes) {
        if (!(scratch.has(output) || results.has(output)) || first.get(output) !== node || !isLocal(output)) continue;
        const input = [...node.reads].find(
          (read) =>
            scratch.has(read) &&
            !taken.has(read) &&
            last.get(read) === node &&
            isLocal(read) &&
            isAlike(read, output) &&
            writesInPlace(step, read, output),
        );
        if (input === undefined) continue;
        over.set(output, input);
        taken.add(input);
      }
    }
  };
  visit(nodes);
  return over;
}
