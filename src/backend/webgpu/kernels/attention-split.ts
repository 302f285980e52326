import {
  type AttentionBackwardKernel,
  type AttentionKernel,
  argumentsOf,
  attentionValues,
  type BufferInfo,
  type Kernel,
  type Lowered,
  type MapKernel,
  type Step,
  type Value,
} from "../../../compiler/program.js";
import { add, literal, scale, substitute, unflatten, variable } from "../../../ir/index-expression.js";
import type { Target } from "./source.js";

/**
 * One backward pass of attention as kernels that share nothing, so that none needs atomics or workgroups that wait for each other: the
 * cotangents of queries sum over keys, those of keys and values over queries.
 *
 *   q̄, k̄, v̄ = attentionBackward(…)     →     q̄ = attentionBackward(…)     k̄, v̄ = attentionBackward(…)
 *
 * Kernels that would bind more buffers than every device has find what they read once for each query, and once at all, in one buffer.
 */
export function splitAttention(lowered: Lowered, target: Target, maxBuffers: number): Lowered {
  const after = new Map(lowered.after);
  const buffers = new Map(lowered.buffers);
  const newBuffer = (info: BufferInfo): number => {
    const buffer = Math.max(-1, ...buffers.keys()) + 1;
    buffers.set(buffer, info);
    return buffer;
  };
  const split = (steps: readonly Step[]): Step[] =>
    steps.flatMap((step): Step[] => {
      if (step.kind === "loop") return [{ ...step, body: split(step.body) }];
      if (step.kind !== "attention" && step.kind !== "attentionBackward") return [step];
      const parts = partsOf(step, target, maxBuffers, newBuffer);
      const earlier = after.get(step);
      if (earlier !== undefined) for (const part of parts) after.set(part, earlier);
      return parts;
    });
  return { ...lowered, steps: split(lowered.steps), buffers, after };
}

/** Channels from which on drivers of software adapters take longer to compile k̄ and v̄ together than apart. */
const manyChannels = 48;

type Attention = AttentionKernel | AttentionBackwardKernel;

function partsOf(kernel: Attention, target: Target, maxBuffers: number, newBuffer: (info: BufferInfo) => number): Kernel[] {
  const isCrowded = (part: Attention): boolean => buffersOf(part) > maxBuffers;
  let parts = apart(kernel, target, isCrowded);
  if (!parts.some(isCrowded)) return parts;
  const { pack, packed } = withPack(kernel, newBuffer);
  parts = apart(packed, target, isCrowded);
  return [pack, ...parts];
}

function apart(kernel: Attention, { kernelClass, subgroupSize }: Target, isCrowded: (part: Attention) => boolean): Attention[] {
  if (kernel.kind === "attention") return [kernel];
  const { channel, valueChannel } = kernel.loops;
  const only = (side: readonly number[]): AttentionBackwardKernel[] => {
    const isMine = (_: unknown, i: number): boolean => side.includes(kernel.results[i] as number);
    const stores = kernel.stores.filter(isMine);
    return stores.length === 0 ? [] : [{ ...kernel, stores, results: kernel.results.filter(isMine) }];
  };
  const keySide = only([1, 2]);
  const isLong = kernelClass === "software" && subgroupSize !== undefined && Math.max(channel.extent, valueChannel.extent) >= manyChannels;
  return [...only([0]), ...(isLong || keySide.some(isCrowded) ? [...only([1]), ...only([2])] : keySide)];
}

/** What a kernel computes its results from; v̄ needs neither values nor what becomes of the cotangents of scores. */
function rootsOf(kernel: Attention): readonly Value[] {
  if (kernel.kind === "attention" || kernel.results.some((result) => result !== 2)) return attentionValues(kernel);
  const { q, k, offset, scale, score, visible, cotangent, lse } = kernel;
  return [q, k, offset, scale, score, ...(visible === undefined ? [] : [visible]), cotangent, lse];
}

/** Buffers that a kernel reads and writes. */
function buffersOf(kernel: Attention): number {
  const found = new Set(kernel.stores.map(({ buffer }) => buffer));
  const seen = new Set<number>();
  const stack = [...rootsOf(kernel)];
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (seen.has(value.id)) continue;
    seen.add(value.id);
    if (value.kind === "load") found.add(value.buffer);
    stack.push(...argumentsOf(value, kernel.values));
  }
  return found.size;
}

/** A kernel that reads its numbers from one buffer, and the kernel that puts them there: for each query lse, delta, offset and scale. */
function withPack(kernel: Attention, newBuffer: (info: BufferInfo) => number): { readonly pack: MapKernel; readonly packed: Attention } {
  const { batch, head, query } = kernel.loops;
  const loops = [batch, head, query];
  const shape = kernel.kind === "attention" ? [] : loops.map(({ extent }) => extent);
  const rows = shape.reduce((n, extent) => n * extent, 1);
  const outer = { name: "row", extent: rows };
  const row = variable(outer.name, rows);
  const buffer = newBuffer({ dtype: "f32", length: 4 * rows });

  const copied: Value[] = [...kernel.values];
  const append = (values: Value[], body: object): Value => {
    const value = { ...body, id: values.length } as Value;
    values.push(value);
    return value;
  };
  const places = new Map(loops.map(({ name }, i) => [name, unflatten(row, shape)[i] ?? literal(0)]));
  const perRow =
    kernel.kind === "attention" ? [] : [kernel.lse, kernel.delta].map((load) => ({ ...load, index: substitute(load.index, places) }));
  const numbers = [
    ...perRow.map((load) => append(copied, load)),
    append(copied, { kind: "operation", operation: "cast", args: [kernel.offset], dtype: "f32" }),
    kernel.scale,
  ];
  const first = 4 - numbers.length;
  const stores = numbers.map((value, i) => ({ buffer, index: add(scale(row, 4), literal(first + i)), value, inner: false }));
  const pack: MapKernel = { kind: "map", label: `numbers of ${kernel.label}`, values: copied, stores, outer };

  const values = [...kernel.values];
  const strides = [head.extent * query.extent, query.extent, 1];
  const ofQuery = add(...loops.map(({ name, extent }, i) => scale(variable(name, extent), 4 * (strides[i] as number))));
  const read = (place: number, at = literal(0)): Value & { kind: "load" } =>
    append(values, { kind: "load", buffer, index: add(at, literal(place)), dtype: "f32" }) as Value & { kind: "load" };
  const offset = append(values, { kind: "operation", operation: "cast", args: [read(2)], dtype: "i32" });
  const common = { values, offset, scale: read(3) };
  const packed: Attention =
    kernel.kind === "attention" ? { ...kernel, ...common } : { ...kernel, ...common, lse: read(0, ofQuery), delta: read(1, ofQuery) };
  return { pack, packed };
}
