import type { Plan, SlotKind } from "../compiler/plan.js";
import type { BufferInfo } from "../compiler/program.js";
import { UsageError } from "../errors.js";
import type { Graph } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import type { DeviceBuffer, ProgramMemory } from "./backend.js";

/** What backends have in common: what they refuse before they run a program, in the same words, and what a plan needs of memory. */

/** Throws UsageError where a donated buffer is also another input: its memory would be read under one name while it is written under another. */
export function refuseSharedDonation(label: string, inputs: readonly DeviceBuffer[], donated: readonly boolean[]): void {
  donated.forEach((given, i) => {
    if (!given) return;
    const other = inputs.findIndex((buffer, j) => j !== i && buffer === inputs[i]);
    if (other < 0) return;
    throw new UsageError(`${label}: the buffer of input ${i} is donated and is also input ${other}`, {
      hint: "pass a donated buffer once, or leave it out of donate",
    });
  });
}

/** Throws UsageError for a program that was released. */
export function refuseReleased(label: string, released: boolean): void {
  if (released) throw new UsageError(`${label}: the program was released`, { hint: "compile its graph again" });
}

/**
 * What a planned program needs. `bytesOf` says how large a tensor is, `held` what a backend keeps for so many bytes; scratch is the sum of
 * its pieces unless it is told.
 */
export function programMemory(
  graph: Graph,
  slots: Plan["slots"],
  options: {
    readonly bytesOf: (info: BufferInfo) => number;
    readonly held?: (bytes: number) => number;
    readonly programBytes: number;
    readonly scratchBytes?: number;
  },
): ProgramMemory {
  const { bytesOf, held = (bytes) => bytes, programBytes } = options;
  /** By number, because a graph may name an input twice. */
  const inputs = new Map<number, number>();
  for (const node of graph.nodes)
    if (node.kind === "input") inputs.set(node.input, bytesOf({ dtype: node.dtype, length: sizeOf(node.shape) }));
  const sum = (sizes: readonly number[]): number => sizes.reduce((total, bytes) => total + held(bytes), 0);
  const slotsOf = (kind: SlotKind["kind"]): number[] => slots.filter(({ use }) => use.kind === kind).map(({ bytes }) => bytes);
  const inputBytes = sum([...inputs.values()]);
  const resultBytes = sum(slotsOf("output"));
  const scratchBytes = options.scratchBytes ?? sum(slotsOf("scratch"));
  const largestTensorBytes = [...inputs.values(), ...slots.map(({ bytes }) => bytes)].reduce((a, b) => Math.max(a, b), 0);
  const peakBytes = inputBytes + resultBytes + scratchBytes + programBytes;
  return { inputBytes, resultBytes, scratchBytes, programBytes, peakBytes, largestTensorBytes };
}
