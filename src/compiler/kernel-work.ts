import { isFloat } from "../ir/dtype.js";
import type { IndexExpression } from "../ir/index-expression.js";
import { isArithmetic } from "../ir/work.js";
import { rootValues } from "./liveness.js";
import { argumentsOf, type BufferInfo, type Kernel, type Loop, type Value } from "./program.js";

/** What one turn of a kernel computes and moves, at least. */
export interface KernelWork {
  readonly flops: number;
  /** Elements that are read and written, by buffer. */
  readonly read: ReadonlyMap<number, number>;
  readonly written: ReadonlyMap<number, number>;
}

/**
 * Counts by loops: a value is computed once for each turn of the loops that it depends on, and a load touches as many elements as there are
 * such turns, or all of its buffer.
 *
 *   row 8 × 64:  m = max x[o, i];  s = Σ exp(x[o, i] − m)     8·64 compared, 8·64 subtracted, 8·64 exponentials, 8·64 added; 512 elements read
 */
export function kernelWork(kernel: Kernel, info: (buffer: number) => BufferInfo): KernelWork {
  const extents = new Map(loopsOf(kernel).map(({ name, extent }) => [name, extent]));
  const turns = (names: Iterable<string>): number => [...names].reduce((n, name) => n * (extents.get(name) ?? 1), 1);
  const byId = new Map(kernel.values.map((value) => [value.id, value]));
  const dependencies = new Map<number, ReadonlySet<string>>();
  const touched = new Map<number, Map<string, number>>();

  const variablesOf = (index: IndexExpression): string[] =>
    index.terms.flatMap(({ atom }) => {
      if (atom.kind === "variable") return [atom.name];
      return atom.kind === "dynamic" ? [...dependsOn(byId.get(atom.handle))] : variablesOf(atom.of);
    });
  function dependsOn(value: Value | undefined): ReadonlySet<string> {
    if (value === undefined) return new Set();
    const known = dependencies.get(value.id);
    if (known !== undefined) return known;
    const names = new Set<string>();
    dependencies.set(value.id, names);
    if (value.kind === "register") for (const name of registerLoops(kernel)) names.add(name);
    const own = "index" in value ? value.index : value.kind === "threefry" ? value.counter : undefined;
    if (own !== undefined) for (const name of variablesOf(own)) names.add(name);
    for (const argument of argumentsOf(value, kernel.values)) for (const name of dependsOn(argument)) names.add(name);
    return names;
  }

  let flops = fixedFlops(kernel);
  const seen = new Set<Value>();
  const roots = rootValues(kernel);
  for (let value = roots.pop(); value !== undefined; value = roots.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    roots.push(...argumentsOf(value, kernel.values));
    const count = turns(dependsOn(value));
    if (value.kind === "operation" && isFloat(value.dtype) && isArithmetic(value.operation)) flops += count;
    if (value.kind !== "load") continue;
    const places = touched.get(value.buffer) ?? new Map<string, number>();
    touched.set(value.buffer, places.set(value.index.key, count));
  }
  const bounded = (buffer: number, count: number): [number, number] => [buffer, Math.min(info(buffer).length, count)];
  const read = [...touched].map(([buffer, places]) =>
    bounded(
      buffer,
      [...places.values()].reduce((a, b) => a + b, 0),
    ),
  );
  const written = new Map<number, number>();
  for (const { buffer, index } of kernel.stores) {
    const [, count] = bounded(buffer, (written.get(buffer) ?? 0) + turns(new Set(variablesOf(index))));
    written.set(buffer, count);
  }
  return { flops, read: new Map(read), written };
}

function loopsOf(kernel: Kernel): Loop[] {
  switch (kernel.kind) {
    case "map":
      return [kernel.outer];
    case "row":
      return [kernel.outer, kernel.inner];
    case "matmul":
      return [kernel.batch, kernel.m, kernel.n, kernel.k];
    case "bins":
      return [kernel.bin, kernel.entry];
    case "scatter":
      return [kernel.bin, kernel.column, kernel.entry, kernel.place];
    case "attention":
      return [...Object.values(kernel.loops), ...(kernel.chunk ? [kernel.chunk] : [])];
    case "attentionBackward":
      return Object.values(kernel.loops);
  }
}

/** The loops for each turn of which there is one register. */
function registerLoops(kernel: Kernel): string[] {
  switch (kernel.kind) {
    case "row":
      return [kernel.outer.name];
    case "matmul":
      return [kernel.batch.name, kernel.m.name, kernel.n.name];
    case "attention":
    case "attentionBackward": {
      const { batch, head, query, key } = kernel.loops;
      return [batch.name, head.name, query.name, key.name];
    }
    default:
      return [];
  }
}

/** What a kernel computes whatever its values are: sums, and the products of matrices. */
function fixedFlops(kernel: Kernel): number {
  switch (kernel.kind) {
    case "row": {
      const reductions = kernel.stages.flat().filter(({ value }) => isFloat(value.dtype));
      return reductions.length * kernel.outer.extent * kernel.inner.extent;
    }
    case "matmul":
      return 2 * kernel.batch.extent * kernel.m.extent * kernel.n.extent * kernel.k.extent;
    case "scatter":
      return kernel.entry.extent * kernel.column.extent;
    case "attention":
    case "attentionBackward": {
      const { batch, head, query, key, channel, valueChannel } = kernel.loops;
      // With as many queries as keys, half of the pairs count; with fewer, the queries are the last.
      const hidden = kernel.causal ? (query.extent * (query.extent - 1)) / 2 : 0;
      const pairs = batch.extent * head.extent * Math.max(query.extent * key.extent - hidden, 0);
      // Products of the scores and of the values, and for the cotangents q̄, k̄, v̄, p̄ and the scores again.
      const products = kernel.kind === "attention" ? channel.extent + valueChannel.extent : 3 * channel.extent + 2 * valueChannel.extent;
      return 2 * pairs * products;
    }
    default:
      return 0;
  }
}
