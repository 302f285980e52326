import { overwritten } from "./in-place.js";
import { type Lifetime, lifetimes, liveBytes, scratchOf, stepNodes } from "./liveness.js";
import { type Item, packBlock, sharePieces } from "./packing.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type Step } from "./program.js";

/** What a slot of a plan is for. */
export type SlotKind =
  /** Handed in at each run. */
  | { readonly kind: "input"; readonly input: number }
  /** Part of the program's scratch from this byte on. Slots that overlap hold nothing at the same time. */
  | { readonly kind: "scratch"; readonly offset: number }
  /** New at each run. */
  | { readonly kind: "output"; readonly output: number };

export interface Slot {
  readonly use: SlotKind;
  readonly bytes: number;
}

/** Steps with a place in memory for each buffer. */
export interface Plan {
  readonly steps: readonly Step[];
  readonly slots: readonly Slot[];
  readonly slotOf: ReadonlyMap<number, number>;
  /** For each input that is read, its slot. */
  readonly inputs: readonly (number | undefined)[];
  /** For each output, the slot whose buffer it becomes: one of its own, or that of a donated input. */
  readonly outputs: readonly number[];
  readonly buffers: ReadonlyMap<number, BufferInfo>;
  /** Bytes of scratch that a run takes. */
  readonly scratchBytes: number;
  /** Bytes after which the scratch goes on in a block of its own; no slot is in two of them. Infinite where it is one block. */
  readonly blockBytes: number;
  /** Bytes of scratch that hold something at each kernel; the most of them is the least that any plan of these steps takes. */
  readonly liveBytes: readonly number[];
}

export interface PlanOptions {
  /** Bytes that a buffer takes. */
  readonly bytesOf: (info: BufferInfo) => number;
  /** One block for all of the scratch, or pieces of memory each of which holds one buffer at a time. */
  readonly scratch: "block" | "pieces";
  /** Slots in a block begin at multiples of so many bytes. Default 1. */
  readonly alignment?: number;
  /** The most bytes of a block; more scratch is in several. Default: one block, whatever it takes. */
  readonly blockBytes?: number | undefined;
}

/**
 * Gives each buffer a slot: inputs and outputs their own, or outputs that of the input whose memory they take over (`heirs`, output to
 * input); everything between shares the program's scratch by lifetimes (liveness.ts, packing.ts), and what is written over what it was made
 * of has its place (in-place.ts). A copy of what has come to lie in one place is dropped.
 *
 *   b = f(a); c = g(b); d = h(c)      a  input      b  scratch 0–63      c  scratch 64–127      d  output
 */
export function plan(lowered: Lowered, heirs: ReadonlyMap<number, number>, options: PlanOptions): Plan {
  const { steps, buffers } = lowered;
  const { alignment = 1, blockBytes = Number.POSITIVE_INFINITY } = options;
  const slots: Slot[] = [];
  const slotOf = new Map<number, number>();
  const size = (buffer: number): number => options.bytesOf(buffers.get(buffer) as BufferInfo);
  const place = (buffer: number, use: SlotKind, bytes = size(buffer)): void => {
    slotOf.set(buffer, slots.push({ use, bytes }) - 1);
  };

  lowered.inputs.forEach((buffer, input) => {
    if (buffer !== undefined) place(buffer, { kind: "input", input });
  });
  lowered.outputs.forEach((buffer, output) => {
    const heir = heirs.get(buffer);
    if (heir === undefined) place(buffer, { kind: "output", output });
    else slotOf.set(buffer, slotOf.get(heir) as number);
  });

  const nodes = stepNodes(steps);
  const scratch = scratchOf(lowered);
  const aligned = (buffer: number): number => Math.ceil(size(buffer) / alignment) * alignment;
  /** Of each buffer that is written over another one, or that another one is written over: the last of them, which has the slot of all. */
  const lastOver = new Map<number, number>();
  const over = overwritten(lowered, nodes, heirs);
  for (const [output, input] of [...over].reverse()) lastOver.set(input, lastOver.get(output) ?? output);
  const merged = new Map<number, Lifetime>();
  for (const lifetime of lifetimes(nodes)) {
    if (!scratch.has(lifetime.buffer)) continue;
    const buffer = lastOver.get(lifetime.buffer) ?? lifetime.buffer;
    // What becomes an output lies there from the beginning.
    if (!scratch.has(buffer)) continue;
    const { first, last } = merged.get(buffer) ?? lifetime;
    merged.set(buffer, { buffer, first: Math.min(first, lifetime.first), last: Math.max(last, lifetime.last) });
  }
  const living = [...merged.values()];
  for (const buffer of lastOver.keys()) scratch.delete(buffer);
  // What has no elements is never written, but may be bound.
  for (const { buffer } of living) scratch.delete(buffer);
  const count = nodes.at(-1)?.end ?? 0;
  for (const buffer of scratch) living.push({ buffer, first: 0, last: count });
  const items = living.map((lifetime): Item => ({ ...lifetime, bytes: aligned(lifetime.buffer) }));
  const live = [...liveBytes(items, count, aligned)];

  let scratchBytes = 0;
  if (options.scratch === "block") {
    const packing = packBlock(
      items,
      live.reduce((a, b) => Math.max(a, b), 0),
      blockBytes,
    );
    for (const { buffer } of items) place(buffer, { kind: "scratch", offset: packing.offsets.get(buffer) as number });
    scratchBytes = packing.bytes;
  } else {
    const { pieces, pieceOf } = sharePieces(items);
    const first = slots.length;
    for (const { bytes } of pieces) {
      slots.push({ use: { kind: "scratch", offset: scratchBytes }, bytes });
      scratchBytes += bytes;
    }
    for (const { buffer } of items) slotOf.set(buffer, first + (pieceOf.get(buffer) as number));
  }
  for (const [buffer, last] of lastOver) slotOf.set(buffer, slotOf.get(last) as number);
  const kernels = kernelsOf(steps);
  const isCopyOfItself = (kernel: Kernel): boolean =>
    kernel.kind === "map" &&
    kernel.stores.every(
      ({ buffer, index, value }) =>
        value.kind === "load" && slotOf.get(value.buffer) === slotOf.get(buffer) && value.index.key === index.key,
    );
  return {
    steps: withoutKernels(steps, isCopyOfItself),
    slots,
    slotOf,
    inputs: lowered.inputs.map((buffer) => (buffer === undefined ? undefined : slotOf.get(buffer))),
    outputs: lowered.outputs.map((buffer) => slotOf.get(buffer) as number),
    buffers,
    scratchBytes,
    blockBytes,
    liveBytes: live.filter((_, k) => !isCopyOfItself(kernels[k] as Kernel)),
  };
}

/** Steps without some kernels, and without loops that hold no others. */
function withoutKernels(steps: readonly Step[], isDropped: (kernel: Kernel) => boolean): Step[] {
  return steps.flatMap((step): Step[] => {
    if (step.kind !== "loop") return isDropped(step) ? [] : [step];
    const body = withoutKernels(step.body, isDropped);
    return body.length === 0 ? [] : [{ ...step, body }];
  });
}
