import { type StepNode, stepNodes } from "./liveness.js";
import type { BufferInfo, Lowered } from "./program.js";

/**
 * Which outputs are written over which donated inputs, output to input: what AdamW makes of p lies where p was. An output takes over an
 * input of its dtype and length
 *
 *   p′[i] = p[i] − lr·…      that the kernel which writes it is the last to read, at the very element that it writes, or else
 *   s = f(p); q = g(s)       that nobody reads any more when it is written.
 */
export function heirsOf(lowered: Lowered, donated: readonly boolean[] = []): Map<number, number> {
  const heirs = new Map<number, number>();
  const spare = new Set(lowered.inputs.filter((buffer, input): buffer is number => buffer !== undefined && donated[input] === true));
  if (spare.size === 0) return heirs;
  const nodes = stepNodes(lowered.steps);
  const lastReader = new Map<number, number>();
  const writers = new Map<number, number>();
  nodes.forEach(({ reads, writes }, i) => {
    for (const buffer of reads) lastReader.set(buffer, i);
    for (const buffer of writes) if (!writers.has(buffer)) writers.set(buffer, i);
  });
  /** Spare inputs of one dtype and length. */
  const alike = new Map<string, Set<number>>();
  const kindOf = (buffer: number): string => {
    const { dtype, length } = lowered.buffers.get(buffer) as BufferInfo;
    return `${dtype} ${length}`;
  };
  for (const input of spare) {
    const kind = kindOf(input);
    alike.set(kind, (alike.get(kind) ?? new Set()).add(input));
  }
  const inherit = (output: number, inputs: Iterable<number>, fits: (input: number) => boolean): void => {
    for (const input of inputs) {
      if (!spare.has(input) || kindOf(input) !== kindOf(output) || !fits(input)) continue;
      heirs.set(output, input);
      spare.delete(input);
      alike.get(kindOf(input))?.delete(input);
      return;
    }
  };
  for (const output of lowered.outputs) {
    const writer = writers.get(output);
    if (writer === undefined) continue;
    const node = nodes[writer] as StepNode;
    inherit(output, node.reads, (input) => lastReader.get(input) === writer && readsInPlace(node, input, output));
  }
  for (const output of lowered.outputs) {
    const writer = writers.get(output);
    if (writer === undefined || heirs.has(output)) continue;
    inherit(output, alike.get(kindOf(output)) ?? [], (input) => (lastReader.get(input) ?? -1) < writer);
  }
  return heirs;
}

/** Whether a kernel reads `input` nowhere but where it writes `output` in the same turn of its loop. */
function readsInPlace({ step }: StepNode, input: number, output: number): boolean {
  if (step.kind !== "map") return false;
  const place = step.stores.find(({ buffer }) => buffer === output)?.index.key;
  return step.values.every((value) => value.kind !== "load" || value.buffer !== input || value.index.key === place);
}
