import type { Graph } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import type { Plan, SlotKind } from "./plan.js";
import type { BufferInfo } from "./program.js";

/** Bytes that a program will take, as its plan says before there is memory for any of it (see `ProgramMemory` of the backends). */
export interface PlannedMemory {
  readonly inputBytes: number;
  readonly resultBytes: number;
  readonly scratchBytes: number;
  readonly programBytes: number;
  readonly peakBytes: number;
  readonly largestTensorBytes: number;
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
): PlannedMemory {
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
