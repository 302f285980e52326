import { argumentsOf } from "./lower.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type Step, type Value } from "./program.js";

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

/** Steps with a place in memory for each buffer. */
export interface Plan {
  readonly steps: readonly Step[];
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
  const { spans, looped } = liveSpans(lowered, kernels, reads);

  lowered.inputs.forEach((buffer, input) => {
    if (buffer !== undefined) slotOf.set(buffer, slots.push({ use: { kind: "input", input }, bytes: size(buffer) }) - 1);
  });
  const spare = new Set(lowered.inputs.filter((buffer, input): buffer is number => buffer !== undefined && donated[input] === true));
  const outputs = lowered.outputs.map((buffer, output) => {
    const heir = [...spare].find((input) => inherits(kernels, spans, looped, input, buffer, buffers));
    if (heir !== undefined) {
      spare.delete(heir);
      slotOf.set(buffer, slotOf.get(heir) as number);
    } else slotOf.set(buffer, slots.push({ use: { kind: "output", output }, bytes: size(buffer) }) - 1);
    return slotOf.get(buffer) as number;
  });

  const free = new FreeSlots(slots);
  const [starting, ending] = [bySpan(spans, ({ first }) => first), bySpan(spans, ({ last }) => last)];
  kernels.forEach((_, k) => {
    for (const buffer of starting.get(k) ?? []) if (!slotOf.has(buffer)) slotOf.set(buffer, free.take(size(buffer)));
    for (const buffer of ending.get(k) ?? []) {
      const slot = slotOf.get(buffer) as number;
      if (slots[slot]?.use.kind === "scratch") free.give(slot);
    }
  });
  // What has no elements is never written, but may be bound.
  for (const buffer of buffers.keys())
    if (!slotOf.has(buffer)) slotOf.set(buffer, slots.push({ use: { kind: "scratch" }, bytes: size(buffer) }) - 1);
  return { steps: lowered.steps, slots, slotOf, outputs, buffers };
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

/** The kernels, counted in order and those of a loop's body once, during which a buffer has its content. */
interface Span {
  readonly first: number;
  readonly last: number;
}

/**
 * The span of each buffer that is written or read. What is used inside and outside of a loop lives through all of it:
 *
 *   a = …; loop { b = f(a); c = g(b) }; d = h(c)        a: 0 … 2, b: 1 … 2, c: 1 … 3, d: 3 …
 */
function liveSpans(
  lowered: Lowered,
  kernels: readonly Kernel[],
  reads: readonly ReadonlySet<number>[],
): { spans: ReadonlyMap<number, Span>; looped: (kernel: number) => boolean } {
  const loops: Span[] = [];
  let next = 0;
  const visit = (steps: readonly Step[]): void => {
    for (const step of steps) {
      if (step.kind !== "loop") next++;
      else {
        const first = next;
        visit(step.body);
        loops.push({ first, last: next - 1 });
      }
    }
  };
  visit(lowered.steps);
  const outside = new Set([...lowered.inputs, ...lowered.outputs]);
  const within = (inner: Span, outer: Span): boolean => outer.first <= inner.first && inner.last <= outer.last;
  const uses = new Map<number, { first: number; last: number }>();
  const use = (buffer: number, k: number): void => {
    const known = uses.get(buffer);
    if (known === undefined) uses.set(buffer, { first: k, last: k });
    else known.last = k;
  };
  kernels.forEach((kernel, k) => {
    for (const { buffer } of kernel.stores) use(buffer, k);
    for (const buffer of reads[k] as ReadonlySet<number>) use(buffer, k);
  });
  const spans = new Map<number, Span>();
  for (const [buffer, own] of uses) {
    let { first, last } = own;
    for (const loop of loops) {
      const apart = loop.last < own.first || own.last < loop.first;
      if (apart || (within(own, loop) && !outside.has(buffer))) continue;
      first = Math.min(first, loop.first);
      last = Math.max(last, loop.last);
    }
    spans.set(buffer, { first, last });
  }
  return { spans, looped: (kernel) => loops.some((loop) => within({ first: kernel, last: kernel }, loop)) };
}

function bySpan(spans: ReadonlyMap<number, Span>, at: (span: Span) => number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const [buffer, span] of spans) {
    const same = found.get(at(span));
    if (same) same.push(buffer);
    else found.set(at(span), [buffer]);
  }
  return found;
}

function inherits(
  kernels: readonly Kernel[],
  spans: ReadonlyMap<number, Span>,
  looped: (kernel: number) => boolean,
  input: number,
  output: number,
  buffers: ReadonlyMap<number, BufferInfo>,
): boolean {
  const [from, to, writing] = [buffers.get(input), buffers.get(output), spans.get(output)];
  if (!from || !to || !writing || from.dtype !== to.dtype || from.length !== to.length) return false;
  const last = spans.get(input)?.last ?? -1;
  if (last < writing.first) return true;
  const kernel = kernels[writing.first] as Kernel;
  // In a loop the next iteration would read what this one writes.
  if (last > writing.first || kernel.kind !== "map" || looped(writing.first)) return false;
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
