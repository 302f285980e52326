import {
  type AttentionBackwardKernel,
  type AttentionKernel,
  argumentsOf,
  attentionValues,
  type BufferInfo,
  type MapKernel,
  type Value,
} from "../../../compiler/program.js";
import { isHalf } from "../../../ir/dtype.js";
import { add, literal, scale, substitute, unflatten, variable } from "../../../ir/index-expression.js";

/** Kernels of attention that would bind more buffers than every device has, and what puts what they read into fewer. */

type Attention = AttentionKernel | AttentionBackwardKernel;
type Load = Value & { readonly kind: "load" };

/** A kernel that reads some of its numbers from one buffer, and the kernels that put them there. */
export interface Packed<K extends Attention> {
  readonly packs: readonly MapKernel[];
  readonly kernel: K;
}

type NewBuffer = (info: BufferInfo) => number;

/** What a kernel computes its results from; v̄ needs neither values nor what becomes of the cotangents of scores. */
function rootsOf(kernel: Attention): readonly Value[] {
  if (kernel.kind === "attention" || kernel.results.some((result) => result !== 2)) return attentionValues(kernel);
  const { q, k, offset, scale, score, visible, cotangent, lse } = kernel;
  return [q, k, offset, scale, score, ...(visible === undefined ? [] : [visible]), cotangent, lse];
}

/** What is loaded on the way to values. */
function loadsOf(kernel: Attention, roots: readonly Value[]): Load[] {
  const found: Load[] = [];
  const seen = new Set<number>();
  const stack = [...roots];
  for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
    if (seen.has(value.id)) continue;
    seen.add(value.id);
    if (value.kind === "load") found.push(value);
    stack.push(...argumentsOf(value, kernel.values));
  }
  return found;
}

/** Bindings of a kernel: a buffer has two where it is read in vectors and in elements. */
export function bindingsOf(kernel: Attention): number {
  const rows = new Set(rowsOf(kernel).map(({ id }) => id));
  const found = new Set(kernel.stores.map(({ buffer }) => `${buffer}`));
  for (const load of loadsOf(kernel, rootsOf(kernel))) found.add(`${load.buffer}${rows.has(load.id) ? " in rows" : ""}`);
  return found.size;
}

/** Buffers that a kernel reads once for each query, or once at all. */
export function numbersOf(kernel: Attention): Set<number> {
  const roots = [kernel.offset, kernel.scale, ...(kernel.kind === "attention" ? [] : [kernel.lse, kernel.delta])];
  return new Set(loadsOf(kernel, roots).map(({ buffer }) => buffer));
}

/** With what is read once for each query, and once at all, in one buffer: for each query lse, delta, offset and scale. */
export function packNumbers<K extends Attention>(kernel: K, newBuffer: NewBuffer): Packed<K> {
  const { batch, head, query } = kernel.loops;
  const loops = [batch, head, query];
  const shape = kernel.kind === "attention" ? [] : loops.map(({ extent }) => extent);
  const rows = shape.reduce((n, extent) => n * extent, 1);
  const outer = { name: "row", extent: rows };
  const row = variable(outer.name, rows);
  const buffer = newBuffer({ dtype: "f32", length: 4 * rows });

  const copied: Value[] = [...kernel.values];
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
  const read = (place: number, at = literal(0)): Load =>
    append(values, { kind: "load", buffer, index: add(at, literal(place)), dtype: "f32" }) as Load;
  const offset = append(values, { kind: "operation", operation: "cast", args: [read(2)], dtype: "i32" });
  const common = { values, offset, scale: read(3) };
  const perQuery = kernel.kind === "attention" ? {} : { lse: read(0, ofQuery), delta: read(1, ofQuery) };
  return { packs: [pack], kernel: { ...kernel, ...common, ...perQuery } };
}

/** Buffers that scores read, the smallest first. */
export function capturesOf(kernel: Attention, infoOf: (buffer: number) => BufferInfo): number[] {
  const roots = [kernel.score, ...(kernel.visible === undefined ? [] : [kernel.visible])];
  if (kernel.kind === "attentionBackward") roots.push(kernel.pulled);
  const buffers = [...new Set(loadsOf(kernel, roots).map(({ buffer }) => buffer))];
  return buffers.sort((a, b) => infoOf(a).length - infoOf(b).length);
}

/** With some of the buffers that scores read one after another in one buffer of i32, which has the bits of all types. */
export function packCaptures<K extends Attention>(
  kernel: K,
  buffers: readonly number[],
  infoOf: (buffer: number) => BufferInfo,
  newBuffer: NewBuffer,
): Packed<K> {
  const places = new Map<number, number>();
  let length = 0;
  for (const buffer of buffers) {
    places.set(buffer, length);
    length += infoOf(buffer).length;
  }
  const words = newBuffer({ dtype: "i32", length });
  const packs = [...places].map(([buffer, first]): MapKernel => {
    const { dtype, length: extent } = infoOf(buffer);
    const element = variable("element", extent);
    const values: Value[] = [];
    let value = append(values, { kind: "load", buffer, index: element, dtype });
    if (isHalf(dtype)) value = append(values, { kind: "operation", operation: "cast", args: [value], dtype: "f32" });
    if (dtype !== "i32") {
      value = append(values, { kind: "operation", operation: dtype === "bool" ? "cast" : "bitcast", args: [value], dtype: "i32" });
    }
    const store = { buffer: words, index: add(element, literal(first)), value, inner: false };
    return { kind: "map", label: `table of ${kernel.label}`, values, stores: [store], outer: { name: "element", extent } };
  });
  const moved: Value[] = [];
  const move = <V extends Value | undefined>(value: V): V => (value === undefined ? value : moved[value.id]) as V;
  const operands = new Set(rowsOf(kernel).map(({ id }) => id));
  for (const value of kernel.values) {
    const first = value.kind === "load" && !operands.has(value.id) ? places.get(value.buffer) : undefined;
    if (value.kind === "operation") moved.push({ ...value, args: value.args.map(move) });
    else if (value.kind === "threefry") moved.push({ ...value, key: [move(value.key[0]), move(value.key[1])] });
    else if (value.kind === "load" && first !== undefined) moved.push({ ...value, buffer: words, index: add(value.index, literal(first)) });
    else moved.push(value);
  }
  const { q, k, v, offset, scale: factor, raw, score, visible, stores } = kernel;
  const common = {
    values: moved,
    stores: stores.map((store) => ({ ...store, value: move(store.value) })),
    ...{ q: move(q), k: move(k), v: move(v), offset: move(offset), scale: move(factor), raw: move(raw) },
    ...{ score: move(score), visible: move(visible) },
  };
  if (kernel.kind === "attention") return { packs, kernel: { ...kernel, ...common } };
  const { cotangent, lse, delta, scoreCotangent, pulled } = kernel;
  const backward = { cotangent: move(cotangent), lse: move(lse), delta: move(delta), pulled: move(pulled) };
  return { packs, kernel: { ...kernel, ...common, ...backward, scoreCotangent: move(scoreCotangent) } };
}

/** What a kernel reads in rows. */
const rowsOf = (kernel: Attention): Load[] => [kernel.q, kernel.k, kernel.v, ...(kernel.kind === "attention" ? [] : [kernel.cotangent])];

/** Appends a value, whose number is its place. */
function append(values: Value[], body: object): Value {
  const value = { ...body, id: values.length } as Value;
  values.push(value);
  return value;
}
