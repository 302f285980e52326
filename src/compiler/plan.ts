import { argumentsOf } from "./lower.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type Value } from "./program.js";

/** What a slot of a plan is for. */
export type SlotKind =
  /** Handed in at each run. */
  | { readonly kind: "input"; readonly input: number }
  /** Owned by the program, shared by buffers that do not live at the same time. */
  | { readonly kind: "scratch" }
  /** New at each run. */
  | { readonly kind: "output"; readonly output: number };

export interface Slot {
  readonly use: SlotKind;
  readonly bytes: number;
}

/** Kernels with a place in memory for each buffer. */
export interface Plan {
  readonly kernels: readonly Kernel[];
  readonly slots: readonly Slot[];
  readonly slotOf: ReadonlyMap<number, number>;
  /** For each output, the slot whose buffer it becomes: one of its own, or that of a donated input. */
  readonly outputs: readonly number[];
  readonly buffers: ReadonlyMap<number, BufferInfo>;
}

/**
 * Gives each buffer a slot: inputs and outputs their own, everything between the smallest free one. A result takes over
 * the slot of a donated input of its size where the kernel that writes it is the last to read the input, and reads it at
 * the very element that it writes.
 */
export function plan(lowered: Lowered, bytesOf: (info: BufferInfo) => number, donated: readonly boolean[] = []): Plan {
  const { buffers } = lowered;
  const kernels = kernelsOf(lowered.steps);
  const slots: { use: SlotKind; bytes: number }[] = [];
  const slotOf = new Map<number, number>();
  const size = (buffer: number): number => bytesOf(buffers.get(buffer) as BufferInfo);
  const reads = kernels.map(readBuffers);
  const lastRead = new Map<number, number>();
  const writers = new Map<number, number>();
  kernels.forEach((kernel, k) => {
    for (const buffer of reads[k] as Set<number>) lastRead.set(buffer, k);
    for (const { buffer } of kernel.stores) if (!writers.has(buffer)) writers.set(buffer, k);
  });

  lowered.inputs.forEach((buffer, input) => {
    if (buffer !== undefined) slotOf.set(buffer, slots.push({ use: { kind: "input", input }, bytes: size(buffer) }) - 1);
  });
  const spare = new Set(lowered.inputs.filter((buffer, input): buffer is number => buffer !== undefined && donated[input] === true));
  const outputs = lowered.outputs.map((buffer, output) => {
    const writer = writers.get(buffer) ?? -1;
    const heir = [...spare].find((input) => inherits(kernels, writer, input, buffer, lastRead, buffers));
    if (heir !== undefined) {
      spare.delete(heir);
      slotOf.set(buffer, slotOf.get(heir) as number);
    } else slotOf.set(buffer, slots.push({ use: { kind: "output", output }, bytes: size(buffer) }) - 1);
    return slotOf.get(buffer) as number;
  });

  const free = new FreeSlots(slots);
  kernels.forEach((kernel, k) => {
    for (const { buffer } of kernel.stores) {
      if (slotOf.has(buffer)) continue;
      slotOf.set(buffer, free.take(size(buffer)));
    }
    for (const buffer of new Set([...(reads[k] as Set<number>), ...kernel.stores.map((store) => store.buffer)])) {
      const slot = slotOf.get(buffer) as number;
      if (slots[slot]?.use.kind === "scratch" && (lastRead.get(buffer) ?? -1) <= k) free.give(slot);
    }
  });
  // What has no elements is never written, but may be bound.
  for (const buffer of buffers.keys())
    if (!slotOf.has(buffer)) slotOf.set(buffer, slots.push({ use: { kind: "scratch" }, bytes: size(buffer) }) - 1);
  return { kernels, slots, slotOf, outputs, buffers };
}

/** Slots that hold nothing at the moment, by their size. */
class FreeSlots {
  private readonly bySize = new Map<number, number[]>();
  private readonly free = new Set<number>();

  constructor(private readonly slots: { use: SlotKind; bytes: number }[]) {}

  give(slot: number): void {
    if (this.free.has(slot)) return;
    this.free.add(slot);
    const { bytes } = this.slots[slot] as { bytes: number };
    const same = this.bySize.get(bytes);
    if (same) same.push(slot);
    else this.bySize.set(bytes, [slot]);
  }

  /** The slot that fits best, grown if it must be, or a new one: the smallest of those that are large enough, else the largest. */
  take(bytes: number): number {
    let best: number | undefined;
    if (this.bySize.has(bytes)) best = bytes;
    else {
      for (const have of this.bySize.keys()) {
        if (best === undefined || (have >= bytes ? best < bytes || have < best : best < bytes && have > best)) best = have;
      }
    }
    if (best === undefined) return this.slots.push({ use: { kind: "scratch" }, bytes }) - 1;
    const same = this.bySize.get(best) as number[];
    const slot = same.pop() as number;
    if (same.length === 0) this.bySize.delete(best);
    this.free.delete(slot);
    const taken = this.slots[slot] as { bytes: number };
    taken.bytes = Math.max(taken.bytes, bytes);
    return slot;
  }
}

function inherits(
  kernels: readonly Kernel[],
  writer: number,
  input: number,
  output: number,
  lastRead: ReadonlyMap<number, number>,
  buffers: ReadonlyMap<number, BufferInfo>,
): boolean {
  const [from, to] = [buffers.get(input), buffers.get(output)];
  if (!from || !to || writer < 0 || from.dtype !== to.dtype || from.length !== to.length) return false;
  const last = lastRead.get(input) ?? -1;
  if (last < writer) return true;
  const kernel = kernels[writer] as Kernel;
  if (last > writer || kernel.kind !== "map") return false;
  const place = kernel.stores.find((store) => store.buffer === output)?.index.key;
  return kernel.values.every((value) => value.kind !== "load" || value.buffer !== input || value.index.key === place);
}

/** The buffers that a kernel reads. */
export function readBuffers(kernel: Kernel): Set<number> {
  const found = new Set<number>();
  const seen = new Set<number>();
  const roots: Value[] = kernel.stores.map(({ value }) => value);
  if (kernel.kind === "row") for (const stage of kernel.stages) for (const { value } of stage) roots.push(value);
  if (kernel.kind === "contract") roots.push(kernel.a, kernel.b);
  if (kernel.kind === "scatter") roots.push(kernel.target, kernel.value);
  while (roots.length > 0) {
    const value = roots.pop() as Value;
    if (seen.has(value.id)) continue;
    seen.add(value.id);
    if (value.kind === "load") found.add(value.buffer);
    roots.push(...argumentsOf(value, kernel.values));
  }
  return found;
}
