import type { DType } from "../ir/dtype.js";
import type { IndexExpression } from "../ir/index-expression.js";
import type { PrimitivesWithTag } from "../ir/primitives.js";

/**
 * What a graph becomes: kernels over buffers. Kernels are loops with a scalar computation inside, in a form that WGSL and
 * WebAssembly are printed from; nothing here knows either.
 */

/** Elementwise primitives, which scalar computations share with graphs. */
export type ScalarOperation = PrimitivesWithTag<"elementwise">;

/** One scalar of a computation. `id` counts within its kernel; arguments have smaller ids. */
export type Value = { readonly id: number; readonly dtype: DType } & (
  | { readonly kind: "load"; readonly buffer: number; readonly index: IndexExpression }
  | { readonly kind: "scalar"; readonly scalar: number }
  | { readonly kind: "const"; readonly value: number }
  /** The number that an index expression has. */
  | { readonly kind: "index"; readonly index: IndexExpression }
  /** low ≤ index < high. */
  | { readonly kind: "inside"; readonly index: IndexExpression; readonly low: number; readonly high: number }
  /** The result of a reduction of this kernel, or of a product's sum. */
  | { readonly kind: "register"; readonly register: number }
  /** x₀ ⊕ x₁ of Threefry-2x32 with the key in two values and the counter (0, counter). */
  | { readonly kind: "threefry"; readonly key: readonly [Value, Value]; readonly counter: IndexExpression }
  | { readonly kind: "operation"; readonly operation: ScalarOperation; readonly args: readonly Value[] }
);

const none: readonly Value[] = [];

/** The values that a value is computed from directly. */
export function argumentsOf(value: Value, values: readonly Value[]): readonly Value[] {
  switch (value.kind) {
    case "load":
    case "index":
    case "inside":
      return readFor(value.index, values);
    case "threefry":
      return [...value.key, ...readFor(value.counter, values)];
    case "operation":
      return value.args;
    default:
      return none;
  }
}

/** The values that an index expression mentions, which it seldom does. */
function readFor({ terms }: IndexExpression, values: readonly Value[]): readonly Value[] {
  let found = none;
  for (const { atom } of terms) {
    if (atom.kind === "variable") continue;
    const more = atom.kind === "dynamic" ? [values[atom.handle] as Value] : readFor(atom.of, values);
    if (more.length > 0) found = found.length === 0 ? more : [...found, ...more];
  }
  return found;
}

export interface Loop {
  readonly name: string;
  readonly extent: number;
}

export type Reducer = "sum" | "max" | "min" | "argmax" | "argmin";

export interface Reduction {
  readonly register: number;
  readonly reducer: Reducer;
  readonly value: Value;
  readonly dtype: DType;
}

export interface Store {
  readonly buffer: number;
  readonly index: IndexExpression;
  readonly value: Value;
  /** True if it happens for each step of the inner loop, false if once for each step of the outer one. */
  readonly inner: boolean;
}

interface KernelBase {
  /** The primitives inside, for people. */
  readonly label: string;
  /** Every value in order of computation. */
  readonly values: readonly Value[];
  readonly stores: readonly Store[];
}

/** An elementwise computation: everything in `stores` for each step of `outer`. */
export interface MapKernel extends KernelBase {
  readonly kind: "map";
  readonly outer: Loop;
  /** The steps that are stored, bool. What the others would have written stays as it was, and so does all that no step writes. */
  readonly where?: Value;
}

/**
 * Rows: for each step of `outer`, each stage runs over `inner` and reduces; a stage may use the registers of those before.
 * Then the stores happen.
 */
export interface RowKernel extends KernelBase {
  readonly kind: "row";
  readonly outer: Loop;
  readonly inner: Loop;
  readonly stages: readonly (readonly Reduction[])[];
}

/**
 * Products: for each batch, m and n, register 0 = Σₖ a·b; then the stores. `a` is a load that depends on batch, m and k;
 * `b` on batch, k and n; both indices are linear in m, n and k.
 */
export interface MatmulKernel extends KernelBase {
  readonly kind: "matmul";
  readonly batch: Loop;
  readonly m: Loop;
  readonly n: Loop;
  readonly k: Loop;
  readonly a: Value & { kind: "load" };
  readonly b: Value & { kind: "load" };
}

/**
 * A stable counting sort of entries by the bin that is their `target`. Its two stores are lists of i32: `starts`, of two numbers more than
 * there are bins, and `order`, so that the entries of bin b, in their order, are order[starts[b]] … order[starts[b + 1] − 1]. Entries whose
 * target is no bin are not among them, and then the end of `order` holds nothing.
 */
export interface BinsKernel extends KernelBase {
  readonly kind: "bins";
  readonly bin: Loop;
  readonly entry: Loop;
  /** Depends on entry alone. */
  readonly target: Value;
}

/** Sums of rows into bins: for each bin and column, Σ of `value` over the entries that lie from `from` to before `to` in an order by bins. */
export interface ScatterKernel extends KernelBase {
  readonly kind: "scatter";
  readonly bin: Loop;
  readonly column: Loop;
  readonly entry: Loop;
  /** The places of the order. */
  readonly place: Loop;
  /** Depend on bin alone. */
  readonly from: Value;
  readonly to: Value;
  /** The entry at a place. */
  readonly order: Value;
  /** Depends on entry and column. */
  readonly value: Value;
}

/**
 * The loops of attention: batch, query heads, the heads of keys and values (head h reads key head ⌊h · keyHeads / heads⌋), queries, keys,
 * and the channels of queries and keys and those of values.
 */
export interface AttentionLoops {
  readonly batch: Loop;
  readonly head: Loop;
  readonly keyHead: Loop;
  readonly query: Loop;
  readonly key: Loop;
  readonly channel: Loop;
  readonly valueChannel: Loop;
}

type Load = Value & { readonly kind: "load" };

interface AttentionBase extends KernelBase {
  readonly loops: AttentionLoops;
  /** Depends on batch, head, query and channel, linear in the last two. */
  readonly q: Load;
  /** Depends on batch, keyHead, key and channel, linear in the last two. */
  readonly k: Load;
  /** Depends on batch, keyHead, key and valueChannel, linear in the last two. */
  readonly v: Load;
  /** i32: how far the first query is along the keys. Depends on no loop of the kernel. */
  readonly offset: Value;
  /** f32: the factor of the products. Depends on no loop of the kernel. */
  readonly scale: Value;
  /** Query i sees key j only where j ≤ i + offset. */
  readonly causal: boolean;
  /** Query i sees key j only where |i + offset − j| < window; 0 for all keys. */
  readonly window: number;
  /** Register 0, the raw score scale · Σ q·k. */
  readonly raw: Value;
  /** What becomes of the raw score: `raw` itself, or computed from it, from batch, head, query and key, and from what it loads. */
  readonly score: Value;
  /** bool, from the same: whether the pair counts at all. */
  readonly visible: Value | undefined;
  /** Which result each store is for: its place among those that the kernel computes. The values of stores are registers in f32. */
  readonly results: readonly number[];
}

/**
 * Attention: for each batch, head and query, over the keys that it sees,
 *
 *   o = Σ exp(score − lse) · v       result 0, over batch, head, query and valueChannel
 *   lse = ln Σ exp(score)            result 1, over batch, head and query
 *
 * A query that sees no key has o = 0 and `hiddenScore` for lse.
 */
export interface AttentionKernel extends AttentionBase {
  readonly kind: "attention";
  /** The keys that the queries see, in so many parts of their own results, whose places depend on this loop too. Default: one. */
  readonly chunk?: Loop;
}

/**
 * The cotangents of q, k and v (results 0, 1 and 2) from that of o: with p = exp(score − lse), over the pairs that count,
 *
 *   v̄ = Σ p · ō       s̄ = `pulled` with register 1 = p · (ō·v − delta)       q̄ = scale · Σ s̄ · k       k̄ = scale · Σ s̄ · q
 */
export interface AttentionBackwardKernel extends AttentionBase {
  readonly kind: "attentionBackward";
  /** ō: depends on batch, head, query and valueChannel, linear in the last two. */
  readonly cotangent: Load;
  /** Depends on batch, head and query, linear in the last. */
  readonly lse: Load;
  /** Σ ō·o less the cotangent of lse: depends on batch, head and query, linear in the last. */
  readonly delta: Load;
  /** Register 1, the cotangent of `score`. */
  readonly scoreCotangent: Value;
  /** The cotangent of `raw`, computed from `scoreCotangent` and from what `score` is computed from. */
  readonly pulled: Value;
}

export { hiddenScore } from "../ir/attention.js";

export type Kernel = MapKernel | RowKernel | MatmulKernel | BinsKernel | ScatterKernel | AttentionKernel | AttentionBackwardKernel;

/** The values that an attention kernel is made of. */
export function attentionValues(kernel: AttentionKernel | AttentionBackwardKernel): readonly Value[] {
  const { q, k, v, offset, scale, raw, score, visible } = kernel;
  const all = [q, k, v, offset, scale, raw, score, ...(visible === undefined ? [] : [visible])];
  if (kernel.kind === "attention") return all;
  return [...all, kernel.cotangent, kernel.lse, kernel.delta, kernel.scoreCotangent, kernel.pulled];
}

/**
 * A loop over steps: `body` in order, `iteration.extent` times. Indices in the kernels inside mention `iteration.name`, which no loop
 * around it or within it shares. A buffer that is used inside and outside of the loop keeps its content from one iteration to the next;
 * one that is used inside alone is written before it is read in each.
 */
export interface LoopStep {
  readonly kind: "loop";
  readonly label: string;
  readonly iteration: Loop;
  readonly body: readonly Step[];
}

/** What a program does, one step after another. */
export type Step = Kernel | LoopStep;

/** The kernels of steps, those inside of loops once. */
export const kernelsOf = (steps: readonly Step[]): Kernel[] =>
  steps.flatMap((step) => (step.kind === "loop" ? kernelsOf(step.body) : [step]));

/** How many loops are around the innermost steps. */
export const loopDepth = (steps: readonly Step[]): number =>
  steps.reduce((most, step) => (step.kind === "loop" ? Math.max(most, 1 + loopDepth(step.body)) : most), 0);

/** A buffer that kernels read and write. */
export interface BufferInfo {
  readonly dtype: DType;
  readonly length: number;
}

/** Steps in order, over numbered buffers. */
export interface Lowered {
  readonly steps: readonly Step[];
  readonly buffers: ReadonlyMap<number, BufferInfo>;
  /** The buffer of each graph input that is read; `undefined` for others. */
  readonly inputs: readonly (number | undefined)[];
  readonly outputs: readonly number[];
  /** Buffers that must have been written when a kernel runs, though it does not read them. */
  readonly after?: ReadonlyMap<Kernel, readonly number[]>;
}
