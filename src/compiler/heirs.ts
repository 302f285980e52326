import { writesInPlace } from "./in-place.js";
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
  const kindOf = (buffer: number): string => {
    const { dtype, length } = lowered.buffers.get(buffer) as BufferInfo;
    return `${dtype} ${length}`;
  };
  /** Outputs in the order in which they are written. */
  const outputs = [...new Set(lowered.outputs)]
    .map((output) => ({ output, writer: writers.get(output) ?? -1 }))
    .filter(({ writer }) => writer >= 0)
    .sort((a, b) => a.writer - b.writer);
  const inherit = (output: number, input: number): void => {
    heirs.set(output, input);
    spare.delete(input);
  };

  for (const { output, writer } of outputs) {
    const node = nodes[writer] as StepNode;
    const fits = (input: number): boolean =>
      spare.has(input) &&
      lastReader.get(input) === writer &&
      kindOf(input) === kindOf(output) &&
      node.step.kind !== "loop" &&
      writesInPlace(node.step, input, output);
    const input = [...node.reads].find(fits);
    if (input !== undefined) inherit(output, input);
  }
  /** What is left, of one dtype and length, the longest unread last. */
  const unread = new Map<string, { input: number; last: number }[]>();
  for (const input of spare) {
    const kind = kindOf(input);
    const same = unread.get(kind);
    const entry = { input, last: lastReader.get(input) ?? -1 };
    if (same) same.push(entry);
    else unread.set(kind, [entry]);
  }
  for (const same of unread.values()) same.sort((a, b) => b.last - a.last);
  for (const { output, writer } of outputs) {
    const same = unread.get(kindOf(output)) ?? [];
    const longest = same.at(-1);
    if (heirs.has(output) || longest === undefined || longest.last >= writer) continue;
    same.pop();
    inherit(output, longest.input);
  }
  return heirs;
}
