/** What a run needs of memory, in figures. */
import { OptionError } from "../errors.js";
import { has, type Room } from "./fit.js";
import type { CommandIo } from "./io.js";
import { formatBytes } from "./machine.js";

/** What a run needs against what there is, in bytes, as `--json` tells it. */
export interface RoomFigures {
  /** The most at once. */
  readonly needed: number;
  /** What there is; null where the device does not tell. */
  readonly available: number | null;
  /** The machine's memory that nobody uses at the moment; null where a GPU computes. */
  readonly free: number | null;
  readonly largestTensor: number;
  /** Most bytes of one tensor. */
  readonly availableTensor: number;
}

/** A training. */
export interface TrainingFigures extends RoomFigures {
  readonly parameters: number;
  readonly optimizerState: number;
  /** One number for each parameter: a part of `scratch`. */
  readonly gradients: number;
  /** What a step has between: gradients, and what the backward pass keeps. */
  readonly scratch: number;
  readonly batch: number;
  /** A copy of parameters and state that is tried before it is saved. */
  readonly trial: number;
}

/** A reading. */
export interface ReadingFigures extends RoomFigures {
  readonly parameters: number;
  /** What is kept of the texts while they are read. */
  readonly keysAndValues: number;
  /** What a block is computed through. */
  readonly scratch: number;
}

/** What is held against a room. */
export interface Needed {
  readonly peakBytes: number;
  readonly largestTensorBytes: number;
}

export const fits = ({ peakBytes, largestTensorBytes }: Needed, room: Room): boolean =>
  peakBytes <= room.bytes && largestTensorBytes <= room.tensorBytes;

export const roomFigures = ({ peakBytes, largestTensorBytes }: Needed, room: Room): RoomFigures => ({
  needed: peakBytes,
  available: room.known ? room.bytes : null,
  free: room.free,
  largestTensor: largestTensorBytes,
  availableTensor: room.tensorBytes,
});

/** What does not fit, in words; `what` is "training on …", or "reading …". */
export function refusal(what: string, { peakBytes, largestTensorBytes }: Needed, room: Room): string {
  if (peakBytes > room.bytes) return `${what} needs ${formatBytes(peakBytes)} of memory, and ${room.name} has ${has(room, peakBytes)}`;
  return `${what} needs a tensor of ${formatBytes(largestTensorBytes)}, and ${room.holder} holds ${formatBytes(room.tensorBytes)} in one`;
}

/** Says what is needed and what of, and warns where less is free; `less` names options that need less. */
export function sayNeed(
  io: Pick<CommandIo, "note" | "warn">,
  needed: Needed,
  options: { readonly room: Room; readonly parts: readonly (readonly [name: string, bytes: number])[]; readonly less: string },
): void {
  const { room, parts, less } = options;
  const there = room.known ? `; ${room.name} has ${formatBytes(room.bytes)}` : "";
  const list = parts.map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(", ");
  io.note(`needs ${formatBytes(needed.peakBytes)} of memory${there}: ${list}`);
  if (room.free === null || needed.peakBytes <= room.free) return;
  io.warn(
    `only ${formatBytes(room.free)} of memory are free at the moment; the run may be slowed down or ended by the system (${less} less)`,
  );
}

/** Options that would make a run fit, and what it would need with them. */
export interface Alternative {
  readonly options: string;
  readonly needed: number;
  readonly largestTensor: number;
}

/** What an alternative needs, with the options that make it. */
export const alternative = (options: string, { peakBytes, largestTensorBytes }: Needed): Alternative => ({
  options,
  needed: peakBytes,
  largestTensor: largestTensorBytes,
});

/**
 * The first of ever smaller needs that fits, by bisection; undefined where the smallest does not.
 *
 * @param count how many there are
 */
export function mildest<N extends Needed>(count: number, need: (index: number) => N, room: Room): { index: number; needed: N } | undefined {
  let [low, high] = [0, count - 1];
  if (high < 0) return undefined;
  let best = need(high);
  if (!fits(best, room)) return undefined;
  while (low < high) {
    const middle = (low + high) >> 1;
    const found = need(middle);
    if (fits(found, room)) [high, best] = [middle, found];
    else low = middle + 1;
  }
  return { index: high, needed: best };
}

/** "--micro-batch 2 needs 1 GiB; --length 512 needs 900 MiB" */
export const alternativesInWords = (alternatives: readonly Alternative[]): string =>
  alternatives.map(({ options, needed }) => `${options} needs ${formatBytes(needed)}`).join("; ");

/** A run that cannot fit, with the figures. */
export class MemoryNeedError extends OptionError {
  constructor(
    message: string,
    readonly memory: RoomFigures & { readonly alternatives: readonly Alternative[] },
    hint: string,
  ) {
    super(message, { hint });
  }
}
