import type { LoopNode } from "../ir/graph.js";
import { add, type IndexExpression, literal, scale, variable, zero } from "../ir/index-expression.js";
import { outerLoop } from "./domain.js";
import { writesInPlace } from "./in-place.js";
import { readBuffers } from "./liveness.js";
import { type BufferInfo, type Kernel, kernelsOf, type Lowered, type MapKernel, type Step, type Store, type Value } from "./program.js";

/**
 * A loop as a step of the program. Its body was lowered like a program of its own; here its buffers get their places in the one around
 * it: slices and stacks are places of the whole that move with the iteration, constants are buffers from outside, and a carried value
 * is one buffer, filled before the loop, into which the next one is copied, or written where nobody needs the old one any more.
 *
 *   c, y = loop 5 (c₀, x) { s = sin(c · x) ; s, s }        loop i0 < 5    s[o] = sin(c[o] · x[3·i0 + o])
 *   each of [3]                                       →                   y[3·i0 + o] = s[o]
 *                                                                        c[o] = s[o]
 */
export interface LoopPlaces {
  /** The buffers of the loop's inputs; those of carried values are its own. */
  readonly inputs: readonly number[];
  /** The buffers of its results, where they are read; those of carried values are those of the inputs. */
  readonly results: readonly (number | undefined)[];
  /** Numbers from here on are free. */
  readonly free: number;
  /** How many loops are around it. */
  readonly depth: number;
}

export interface LoweredLoop {
  readonly step: Step | undefined;
  readonly buffers: ReadonlyMap<number, BufferInfo>;
  readonly after: ReadonlyMap<Kernel, readonly number[]>;
}

/** Where a buffer of the body lies: in which one of the program, and how much further. */
interface Place {
  readonly buffer: number;
  readonly offset: IndexExpression;
}

/** The step of a loop. */
export function loopStep(loop: LoopNode, body: Lowered, places: LoopPlaces): LoweredLoop {
  const { carried, sliced, count, reverse } = loop;
  const iteration = { name: `i${places.depth}`, extent: count };
  const turn = variable(iteration.name, count);
  const along = reverse ? add(literal(count - 1), scale(turn, -1)) : turn;
  const moved = new Map<number, Place>();
  body.inputs.forEach((buffer, input) => {
    if (buffer === undefined) return;
    const isSlice = input >= carried && input < carried + sliced;
    const size = (body.buffers.get(buffer) as BufferInfo).length;
    moved.set(buffer, { buffer: places.inputs[input] as number, offset: isSlice ? scale(along, size) : zero });
  });
  body.outputs.forEach((buffer, index) => {
    const stack = places.results[index];
    const size = (body.buffers.get(buffer) as BufferInfo).length;
    if (index >= carried && stack !== undefined) moved.set(buffer, { buffer: stack, offset: scale(along, size) });
  });
  const placeOf = (buffer: number): Place => moved.get(buffer) ?? { buffer: places.free + buffer, offset: zero };

  const buffers = new Map<number, BufferInfo>();
  for (const [buffer, info] of body.buffers) if (!moved.has(buffer)) buffers.set(places.free + buffer, info);
  const after = new Map<Kernel, readonly number[]>();
  const relocated = relocate(body.steps, placeOf, (from, to) => {
    const earlier = body.after?.get(from);
    if (earlier !== undefined) after.set(to, [...new Set(earlier.map((buffer) => placeOf(buffer).buffer))]);
  });

  let steps = relocated;
  for (let k = 0; k < carried; k++) {
    const [next, own] = [placeOf(body.outputs[k] as number).buffer, places.inputs[k] as number];
    const { length, dtype } = body.buffers.get(body.outputs[k] as number) as BufferInfo;
    const ready = inPlace(steps, next, own, after);
    if (ready !== undefined) {
      steps = relocate(
        ready,
        (buffer) => ({ buffer: buffer === next ? own : buffer, offset: zero }),
        (from, to) => {
          const earlier = after.get(from);
          after.delete(from);
          if (earlier !== undefined) after.set(to, earlier);
        },
      );
      buffers.delete(next);
    } else if (length > 0) steps = [...steps, copyKernel(next, own, dtype, length)];
  }
  steps = withoutSelfCopies(steps);
  const step: Step | undefined = steps.length > 0 ? { kind: "loop", label: `loop × ${count}`, iteration, body: steps } : undefined;
  return { step, buffers, after };
}

/**
 * The steps in an order in which the next carried value may be written over the old one: by a kernel that reads it nowhere but where it
 * writes, after all others that read it. Undefined where there is none.
 */
function inPlace(
  steps: readonly Step[],
  next: number,
  own: number,
  after: ReadonlyMap<Kernel, readonly number[]>,
): readonly Step[] | undefined {
  const writer = steps.findIndex((step) => touches(step, next, "writes"));
  const kernel = steps[writer];
  if (kernel === undefined || kernel.kind === "loop" || !writesInPlace(kernel, own, next)) return undefined;
  const later = steps.slice(writer + 1);
  if (!later.some((step) => touches(step, own, "reads"))) return steps;
  // Others that read the old value come before the writer, unless they need what it makes or overwrite what it reads.
  const made = new Set(kernel.stores.map(({ buffer }) => buffer));
  const read = new Set(readBuffers(kernel));
  const [others, dependents]: [Step[], Step[]] = [[], []];
  for (const step of later) {
    const kernels = kernelsOf([step]);
    const reads = kernels.flatMap((inner) => [...readBuffers(inner), ...(after.get(inner) ?? [])]);
    const writes = kernels.flatMap((inner) => inner.stores.map(({ buffer }) => buffer));
    if (!reads.some((buffer) => made.has(buffer)) && !writes.some((buffer) => made.has(buffer) || read.has(buffer))) {
      others.push(step);
      continue;
    }
    if (reads.includes(own)) return undefined;
    dependents.push(step);
    for (const buffer of writes) made.add(buffer);
    for (const buffer of reads) read.add(buffer);
  }
  return [...steps.slice(0, writer), ...others, kernel, ...dependents];
}

function touches(step: Step, buffer: number, how: "reads" | "writes"): boolean {
  if (step.kind === "loop") return step.body.some((inner) => touches(inner, buffer, how));
  return how === "writes" ? step.stores.some((store) => store.buffer === buffer) : readBuffers(step).has(buffer);
}

function copyKernel(from: number, to: number, dtype: BufferInfo["dtype"], length: number): MapKernel {
  const index = variable(outerLoop, length);
  const value: Value = { kind: "load", buffer: from, index, dtype, id: 0 };
  const stores: Store[] = [{ buffer: to, index, value, inner: false }];
  return { kind: "map", label: "carry", values: [value], stores, outer: { name: outerLoop, extent: length } };
}

/** Steps without stores of what is there already. */
function withoutSelfCopies(steps: readonly Step[]): Step[] {
  return steps.flatMap((step): Step[] => {
    if (step.kind === "loop") return [{ ...step, body: withoutSelfCopies(step.body) }];
    const stores = step.stores.filter(
      ({ buffer, index, value }) => value.kind !== "load" || value.buffer !== buffer || value.index.key !== index.key,
    );
    if (stores.length === step.stores.length) return [step];
    return stores.length === 0 ? [] : [{ ...step, stores }];
  });
}

/** Steps with their buffers elsewhere; `noted` is told of each kernel and what became of it. */
export function relocate(steps: readonly Step[], placeOf: (buffer: number) => Place, noted: (from: Kernel, to: Kernel) => void): Step[] {
  return steps.map((step): Step => {
    if (step.kind === "loop") return { ...step, body: relocate(step.body, placeOf, noted) };
    const kernel = relocateKernel(step, placeOf);
    noted(step, kernel);
    return kernel;
  });
}

function relocateKernel(kernel: Kernel, placeOf: (buffer: number) => Place): Kernel {
  const values: Value[] = [];
  const at = <V extends Value>(value: V): V => values[value.id] as V;
  for (const value of kernel.values) {
    if (value.kind === "load") {
      const { buffer, offset } = placeOf(value.buffer);
      values.push({ ...value, buffer, index: add(value.index, offset) });
    } else if (value.kind === "operation") values.push({ ...value, args: value.args.map(at) });
    else if (value.kind === "threefry") values.push({ ...value, key: [at(value.key[0]), at(value.key[1])] });
    else values.push(value);
  }
  const stores = kernel.stores.map(({ buffer, index, value, inner }): Store => {
    const place = placeOf(buffer);
    return { buffer: place.buffer, index: add(index, place.offset), value: at(value), inner };
  });
  if (kernel.kind === "map" && kernel.where !== undefined) return { ...kernel, values, stores, where: at(kernel.where) };
  switch (kernel.kind) {
    case "map":
      return { ...kernel, values, stores };
    case "row": {
      const stages = kernel.stages.map((stage) => stage.map((reduction) => ({ ...reduction, value: at(reduction.value) })));
      return { ...kernel, values, stores, stages };
    }
    case "matmul":
      return { ...kernel, values, stores, a: at(kernel.a), b: at(kernel.b) };
    case "bins":
      return { ...kernel, values, stores, target: at(kernel.target) };
    case "scatter": {
      const { from, to, order, value } = kernel;
      return { ...kernel, values, stores, from: at(from), to: at(to), order: at(order), value: at(value) };
    }
    case "attention":
    case "attentionBackward": {
      const { q, k, v, offset, scale, raw, score, visible } = kernel;
      const shared = { q: at(q), k: at(k), v: at(v), offset: at(offset), scale: at(scale), raw: at(raw), score: at(score) };
      const common = { values, stores, ...shared, visible: visible && at(visible) };
      if (kernel.kind === "attention") return { ...kernel, ...common };
      const { cotangent, lse, delta, scoreCotangent, pulled } = kernel;
      const own = { cotangent: at(cotangent), lse: at(lse), delta: at(delta), scoreCotangent: at(scoreCotangent), pulled: at(pulled) };
      return { ...kernel, ...common, ...own };
    }
  }
}
