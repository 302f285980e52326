import type {
  AttentionBackwardKernel,
  AttentionKernel,
  BufferInfo,
  Kernel,
  Loop,
  Lowered,
  Reduction,
  RowKernel,
  ScalarOperation,
  Step,
  Store,
  Value,
} from "../../../compiler/program.js";
import type { DType } from "../../../ir/dtype.js";
import { add, type IndexExpression, literal, scale, substitute, unflatten, variable } from "../../../ir/index-expression.js";
import { bindingsOf, capturesOf, numbersOf, packCaptures, packNumbers } from "./attention-pack.js";
import type { Target } from "./source.js";

/**
 * Attention as kernels that share nothing, so that none needs atomics or workgroups that wait for each other. In a backward pass the
 * cotangents of queries sum over keys, those of keys and values over queries. Few queries have so little work for a workgroup that the
 * keys are cut into chunks, whose results a kernel merges in their order.
 *
 *   q̄, k̄, v̄ = attentionBackward(…)     →     q̄ = attentionBackward(…)     k̄, v̄ = attentionBackward(…)
 *   o, lse = attention(…)               →     oᶜ, lseᶜ = attention(…) for each chunk c     o = Σ exp(lseᶜ − lse) · oᶜ     lse = …
 *
 * Kernels that would bind more buffers than every device has find what they read once for each query, and once at all, in one buffer, and
 * if need be the smaller of the tables that scores read in another.
 */
export function splitAttention(lowered: Lowered, target: Target, maxBuffers: number): Lowered {
  const after = new Map(lowered.after);
  const buffers = new Map(lowered.buffers);
  const place: Surroundings = {
    target,
    maxBuffers,
    infoOf: (buffer) => buffers.get(buffer) as BufferInfo,
    newBuffer: (info) => {
      const buffer = Math.max(-1, ...buffers.keys()) + 1;
      buffers.set(buffer, info);
      return buffer;
    },
  };
  const split = (steps: readonly Step[]): Step[] =>
    steps.flatMap((step): Step[] => {
      if (step.kind === "loop") return [{ ...step, body: split(step.body) }];
      if (step.kind !== "attention" && step.kind !== "attentionBackward") return [step];
      const parts = partsOf(step, place);
      const earlier = after.get(step);
      if (earlier !== undefined) for (const part of parts) after.set(part, earlier);
      return parts;
    });
  return { ...lowered, steps: split(lowered.steps), buffers, after };
}

interface Surroundings {
  readonly target: Target;
  readonly maxBuffers: number;
  readonly infoOf: (buffer: number) => BufferInfo;
  readonly newBuffer: (info: BufferInfo) => number;
}

/** Channels from which on drivers of software adapters take longer to compile k̄ and v̄ together than apart. */
const manyChannels = 48;

type Attention = AttentionKernel | AttentionBackwardKernel;

function partsOf(kernel: Attention, place: Surroundings): Kernel[] {
  const { target, maxBuffers, infoOf, newBuffer } = place;
  const isCrowded = (part: Attention): boolean => bindingsOf(part) > maxBuffers;
  const isFitting = (whole: Attention): boolean => !apart(whole, target, isCrowded).some(isCrowded);
  const finish = (whole: Attention): Kernel[] =>
    apart(whole, target, isCrowded).flatMap((part): Kernel[] => (part.kind === "attention" ? inChunks(part, place) : [part]));
  if (isFitting(kernel)) return finish(kernel);
  const numbers = numbersOf(kernel).size > 1 ? packNumbers(kernel, newBuffer) : { packs: [], kernel };
  if (isFitting(numbers.kernel)) return [...numbers.packs, ...finish(numbers.kernel)];
  // The largest table stays where it is.
  const captures = capturesOf(numbers.kernel, infoOf);
  const tables = packCaptures(numbers.kernel, captures.slice(0, -1), infoOf, newBuffer);
  return [...numbers.packs, ...tables.packs, ...finish(tables.kernel)];
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

/** Queries that keep most invocations of a workgroup busy, so that each has its own. */
export const manyQueries = 8;
/** Keys of a chunk, unless there would be more chunks than invocations sum over one by one. */
const chunkKeys = 64;
const mostChunks = 48;

function inChunks(kernel: AttentionKernel, { infoOf, newBuffer }: Surroundings): Kernel[] {
  const { batch, head, query, key, valueChannel } = kernel.loops;
  const extent = Math.min(mostChunks, Math.ceil(key.extent / chunkKeys));
  if (query.extent >= manyQueries || extent === 1) return [kernel];
  const chunk: Loop = { name: "chunk", extent };
  const rows = batch.extent * head.extent * query.extent;
  // For each row and chunk the channels of o, then lse.
  const numbers = valueChannel.extent + 1;
  const buffer = newBuffer({ dtype: "f32", length: rows * extent * numbers });
  const at = ({ name, extent: most }: Loop): IndexExpression => variable(name, most);
  const row = add(scale(at(batch), head.extent * query.extent), scale(at(head), query.extent), at(query));
  const begin = scale(add(scale(row, extent), at(chunk)), numbers);
  const values = [...kernel.values];
  const stores = [0, 1].map((result): Store => {
    const value = { id: values.length, kind: "register", register: 2 + result, dtype: "f32" } as const;
    values.push(value);
    return { buffer, index: add(begin, result === 0 ? at(valueChannel) : literal(valueChannel.extent)), value, inner: false };
  });
  const chunks: AttentionKernel = { ...kernel, values, stores, results: [0, 1], chunk };
  const merges = kernel.stores.map((store, i) =>
    merge(kernel, { store, result: kernel.results[i] as number, dtype: infoOf(store.buffer).dtype }, { chunk, buffer, numbers }),
  );
  return [chunks, ...merges];
}

/** Results of chunks. */
interface Chunks {
  readonly chunk: Loop;
  /** For each row and chunk so many numbers: the channels of o, then lse. */
  readonly buffer: number;
  readonly numbers: number;
}

/**
 * What chunks come to: with mᶜ = lseᶜ and their largest m, o = Σ exp(mᶜ − m) · oᶜ / Σ exp(mᶜ − m) and lse = m + ln Σ exp(mᶜ − m). Where no
 * key is seen oᶜ is 0 and lseᶜ so low that the logarithm is lost in it.
 */
function merge(
  kernel: AttentionKernel,
  to: { readonly store: Store; readonly result: number; readonly dtype: DType },
  { chunk, buffer, numbers }: Chunks,
): RowKernel {
  const { batch, head, query, valueChannel } = kernel.loops;
  const isLse = to.result === 1;
  const along = [batch, head, query, ...(isLse ? [] : [valueChannel])];
  const shape = along.map(({ extent }) => extent);
  const outer = { name: "row", extent: shape.reduce((n, extent) => n * extent, 1) };
  const row = variable(outer.name, outer.extent);
  const [which, channel] = isLse ? [row, literal(numbers - 1)] : unflatten(row, [outer.extent / valueChannel.extent, valueChannel.extent]);
  const begin = scale(add(scale(which as IndexExpression, chunk.extent), variable(chunk.name, chunk.extent)), numbers);

  const values: Value[] = [];
  const append = (body: object): Value => {
    const value = { dtype: "f32", ...body, id: values.length } as Value;
    values.push(value);
    return value;
  };
  const operation = (name: ScalarOperation, ...args: Value[]): Value => append({ kind: "operation", operation: name, args });
  const load = (place: IndexExpression): Value => append({ kind: "load", buffer, index: add(begin, place) });
  const reduction = (reducer: "max" | "sum", value: Value): Reduction => ({ register: values.length, reducer, value, dtype: "f32" });
  const register = ({ register: number }: Reduction): Value => append({ kind: "register", register: number });

  const lse = load(literal(numbers - 1));
  const most = reduction("max", lse);
  const largest = register(most);
  const weight = operation("exp", operation("sub", lse, largest));
  const total = reduction("sum", weight);
  const sum = register(total);
  const stages = [[most], [total]];
  let value: Value;
  if (isLse) value = operation("add", largest, operation("log", sum));
  else {
    const weighted = reduction("sum", operation("mul", weight, load(channel as IndexExpression)));
    stages[1]?.push(weighted);
    value = operation("div", register(weighted), sum);
  }
  if (to.dtype !== "f32") value = append({ kind: "operation", operation: "cast", args: [value], dtype: to.dtype });
  const places = new Map(along.map(({ name }, i) => [name, unflatten(row, shape)[i] as IndexExpression]));
  const store = { ...to.store, index: substitute(to.store.index, places), value };
  return { kind: "row", label: `${isLse ? "lse" : "o"} of chunks`, values, stores: [store], outer, inner: chunk, stages };
}
