import type { Backend, DeviceBuffer, Executable } from "../../src/backend/backend.js";
import type { BufferInfo, Kernel, Loop, Lowered, Reducer, ScalarOperation, Step, Store, Value } from "../../src/compiler/program.js";
import type { DType } from "../../src/ir/dtype.js";
import type { Graph } from "../../src/ir/graph.js";
import { add, dynamicIndex, type IndexExpression, literal, scale, variable } from "../../src/ir/index-expression.js";
import { type HostTensor, hostTensor } from "./graphs.js";

/** Steps with what to run them on, and what comes out. */
export interface LoopProgram {
  readonly name: string;
  readonly lowered: Lowered;
  readonly inputs: readonly HostTensor[];
  /** Numbers handed in, all of them f32. */
  readonly scalars: readonly number[];
  /** The numbers of each output, by plain loops. */
  readonly expected: readonly (readonly number[])[];
  readonly tolerance: number;
}

/** The scalar computation of one kernel. */
export class Scalars {
  readonly values: Value[] = [];

  private push(body: object): Value {
    const value = { ...body, id: this.values.length } as Value;
    this.values.push(value);
    return value;
  }

  load(buffer: number, index: IndexExpression, dtype: DType = "f32"): Value & { kind: "load" } {
    return this.push({ kind: "load", buffer, index, dtype }) as Value & { kind: "load" };
  }
  constant(value: number, dtype: DType = "f32"): Value {
    return this.push({ kind: "const", value, dtype });
  }
  scalar(scalar: number): Value {
    return this.push({ kind: "scalar", scalar, dtype: "f32" });
  }
  place(index: IndexExpression): Value {
    return this.push({ kind: "index", index, dtype: "i32" });
  }
  inside(index: IndexExpression, low: number, high: number): Value {
    return this.push({ kind: "inside", index, low, high, dtype: "bool" });
  }
  register(register: number, dtype: DType = "f32"): Value {
    return this.push({ kind: "register", register, dtype });
  }
  threefry(key: readonly [Value, Value], counter: IndexExpression): Value {
    return this.push({ kind: "threefry", key, counter, dtype: "u32" });
  }
  operation(operation: ScalarOperation, args: readonly Value[], dtype: DType = "f32"): Value {
    return this.push({ kind: "operation", operation, args, dtype });
  }
}

/** A program under construction. Kernels name their loops as the compiler does. */
class Builder {
  private readonly buffers = new Map<number, BufferInfo>();
  private readonly handed: number[] = [];
  private readonly tensors: HostTensor[] = [];
  private readonly scalars: number[] = [];

  input(values: readonly number[], dtype: DType = "f32"): number {
    this.tensors.push(hostTensor(dtype, [values.length], values));
    const buffer = this.buffer(values.length, dtype);
    this.handed.push(buffer);
    return buffer;
  }

  scalar(value: number): number {
    return this.scalars.push(value) - 1;
  }

  buffer(length: number, dtype: DType = "f32"): number {
    this.buffers.set(this.buffers.size, { dtype, length });
    return this.buffers.size - 1;
  }

  build(
    name: string,
    steps: readonly Step[],
    results: readonly { readonly buffer: number; readonly expected: readonly number[] }[],
    tolerance = 0,
  ): LoopProgram {
    const outputs = results.map(({ buffer }) => buffer);
    return {
      name,
      lowered: { steps, buffers: this.buffers, inputs: this.handed, outputs },
      inputs: this.tensors,
      scalars: this.scalars,
      expected: results.map(({ expected }) => expected),
      tolerance,
    };
  }
}

const loop = (iteration: Loop, ...body: readonly Step[]): Step => ({ kind: "loop", label: "", iteration, body });
const over = ({ name, extent }: Loop): IndexExpression => variable(name, extent);
/** i·factor + rest. */
const slice = (iteration: Loop, factor: number, rest: IndexExpression): IndexExpression => add(scale(over(iteration), factor), rest);
/** (n − 1 − i)·factor + rest. */
const fromBehind = (iteration: Loop, factor: number, rest: IndexExpression): IndexExpression =>
  add(literal((iteration.extent - 1) * factor), scale(over(iteration), -factor), rest);

type Made = { readonly buffer: number; readonly index: IndexExpression; readonly value: Value; readonly inner?: boolean };

function map(extent: number, make: (s: Scalars, o: IndexExpression) => Made | readonly Made[]): Kernel {
  const s = new Scalars();
  const made = [make(s, variable("o", extent))].flat();
  const stores = made.map((store) => ({ inner: false, ...store }));
  return { kind: "map", label: "map", values: s.values, stores, outer: { name: "o", extent } };
}

const copy = (extent: number, from: number, to: number): Kernel =>
  map(extent, (s, o) => ({ buffer: to, index: o, value: s.load(from, o) }));

function row(
  outer: number,
  inner: number,
  reducer: Reducer,
  make: (s: Scalars, o: IndexExpression, r: IndexExpression) => Value,
  store: (s: Scalars, o: IndexExpression, r: IndexExpression, result: Value) => Made | readonly Made[],
): Kernel {
  const s = new Scalars();
  const [o, r] = [variable("o", outer), variable("r", inner)];
  const value = make(s, o, r);
  const stages = [[{ register: 0, reducer, value, dtype: value.dtype }]];
  const made = [store(s, o, r, s.register(0, reducer.startsWith("arg") ? "i32" : value.dtype))].flat();
  const stores = made.map((each) => ({ inner: false, ...each }));
  const loops = { outer: { name: "o", extent: outer }, inner: { name: "r", extent: inner } };
  return { kind: "row", label: "row", values: s.values, stores, ...loops, stages };
}

function matmul(
  [batch, m, n, k]: readonly [number, number, number, number],
  operands: (
    s: Scalars,
    at: { readonly b: IndexExpression; readonly m: IndexExpression; readonly n: IndexExpression; readonly k: IndexExpression },
  ) => {
    readonly a: Value & { kind: "load" };
    readonly b: Value & { kind: "load" };
    readonly store: (sum: Value) => Made;
  },
): Kernel {
  const s = new Scalars();
  const at = { b: variable("b", batch), m: variable("m", m), n: variable("n", n), k: variable("k", k) };
  const { a, b, store } = operands(s, at);
  const stores = [{ inner: false, ...store(s.register(0)) }];
  const extents = Object.entries({ batch: ["b", batch], m: ["m", m], n: ["n", n], k: ["k", k] } as const);
  const loops = Object.fromEntries(extents.map(([key, [name, extent]]) => [key, { name, extent }])) as Record<
    "batch" | "m" | "n" | "k",
    Loop
  >;
  return { kind: "matmul", label: "dot", values: s.values, stores, a, b, ...loops };
}

/** A sum into bins with the counting sort before it, whose lists are two buffers. */
function scatter(
  [starts, order]: readonly [number, number],
  [bins, columns, entries]: readonly [number, number, number],
  target: (s: Scalars, e: IndexExpression) => Value,
  value: (s: Scalars, e: IndexExpression, c: IndexExpression) => Value,
  store: (place: IndexExpression) => { readonly buffer: number; readonly index: IndexExpression },
): readonly Kernel[] {
  const loops = { bin: { name: "s", extent: bins }, entry: { name: "e", extent: entries } };
  const [bin, column, entry] = [variable("s", bins), variable("c", columns), variable("e", entries)];
  const sorted = new Scalars();
  const wanted = target(sorted, entry);
  const list = (buffer: number): Store => ({ buffer, index: literal(0), value: wanted, inner: false });
  const stores = [list(starts), list(order)];
  const sort: Kernel = { kind: "bins", label: "bins", values: sorted.values, stores, ...loops, target: wanted };
  const s = new Scalars();
  const parts = {
    from: s.load(starts, bin, "i32"),
    to: s.load(starts, add(bin, literal(1)), "i32"),
    order: s.load(order, variable("p", entries), "i32"),
    value: value(s, entry, column),
  };
  const sums = [{ ...store(add(scale(bin, columns), column)), value: s.register(0), inner: false }];
  const others = { column: { name: "c", extent: columns }, place: { name: "p", extent: entries } };
  return [sort, { kind: "scatter", label: "scatterAdd", values: s.values, stores: sums, ...loops, ...others, ...parts }];
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
/** Multiples of 1/16, which sums and products of a few keep exactly. */
const numbers = (n: number, seed: number): number[] => range(n).map((i) => (((i * 37 + seed * 101) % 61) - 30) / 16);

/** aᵢ₊₁ = aᵢ/2 + xᵢ, where 1/2 is a scalar, with every aᵢ₊₁ in a stack, in the order of the slices or the other way round. */
function recurrence(count: number, n: number, reverse: boolean): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const xs = numbers(count * n, 1);
  const start = numbers(n, 2);
  const [x, a0, half] = [b.input(xs), b.input(start), b.scalar(0.5)];
  const [a, next, stack] = [b.buffer(n), b.buffer(n), b.buffer(count * n)];
  const place = reverse ? fromBehind : slice;
  const step = map(n, (s, o) => {
    const value = s.operation("add", [s.operation("mul", [s.load(a, o), s.scalar(half)]), s.load(x, place(i, n, o))]);
    return [
      { buffer: next, index: o, value },
      { buffer: stack, index: place(i, n, o), value },
    ];
  });
  let state = start.map(Math.fround);
  const stacked = new Array<number>(count * n).fill(0);
  for (const t of range(count)) {
    const at = reverse ? count - 1 - t : t;
    state = state.map((value, o) => Math.fround(Math.fround(value * 0.5) + (xs[at * n + o] as number)));
    state.forEach((value, o) => {
      stacked[at * n + o] = value;
    });
  }
  const steps = [copy(n, a0, a), loop(i, step, copy(n, next, a))];
  const results = [
    { buffer: a, expected: state },
    { buffer: stack, expected: count === 0 ? [] : stacked },
  ];
  return b.build(`a recurrence of ${count} steps over ${n} elements${reverse ? ", in reverse" : ""}`, steps, results, 1e-6);
}

/** A running sum over pairs of iterations, which also count themselves and hide what lies beyond a diagonal. */
function nested(outer: number, inner: number, n: number): LoopProgram {
  const b = new Builder();
  const [i, j]: [Loop, Loop] = [
    { name: "i0", extent: outer },
    { name: "i1", extent: inner },
  ];
  const xs = numbers(outer * inner * n, 3);
  const x = b.input(xs);
  const [total, partial, sums] = [b.buffer(n), b.buffer(n), b.buffer(outer * n)];
  const clear = (buffer: number): Kernel => map(n, (s, o) => ({ buffer, index: o, value: s.constant(0) }));
  const body = map(n, (s, o) => {
    const pair = s.operation("cast", [s.place(add(scale(over(i), 100), over(j)))]);
    const read = s.load(x, slice(i, inner * n, slice(j, n, o)));
    const below = s.inside(add(over(i), scale(over(j), -1), literal(inner)), inner, inner + outer);
    const taken = s.operation("where", [below, s.operation("add", [read, pair]), s.constant(0)]);
    return { buffer: partial, index: o, value: s.operation("add", [s.load(partial, o), taken]) };
  });
  const keep = map(n, (s, o) => ({ buffer: sums, index: slice(i, n, o), value: s.load(partial, o) }));
  const accumulate = map(n, (s, o) => ({ buffer: total, index: o, value: s.operation("add", [s.load(total, o), s.load(partial, o)]) }));
  const steps = [clear(total), loop(i, clear(partial), loop(j, body), keep, accumulate)];
  const rows = range(outer).map((a) =>
    range(n).map((o) => range(inner).reduce((sum, c) => sum + (c <= a ? (xs[(a * inner + c) * n + o] as number) + 100 * a + c : 0), 0)),
  );
  const results = [
    { buffer: total, expected: range(n).map((o) => rows.reduce((sum, each) => sum + (each[o] as number), 0)) },
    { buffer: sums, expected: rows.flat() },
  ];
  return b.build(`${outer} × ${inner} iterations over ${n} elements`, steps, results, 1e-3);
}

/** hᵢ₊₁ = hᵢ·Wᵢ/4 + cᵢ, the weights of all steps in one buffer. */
function layers(count: number, m: number, k: number, transposed: boolean): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const [hs, ws, cs] = [numbers(m * k, 4), numbers(count * k * k, 5), numbers(count * k, 6)];
  const [h0, w, c] = [b.input(hs), b.input(ws), b.input(cs)];
  const [h, product, next] = [b.buffer(m * k), b.buffer(m * k), b.buffer(m * k)];
  const place = (row: IndexExpression, column: IndexExpression): IndexExpression => add(scale(row, k), column);
  const multiply = (to: number, stacked: boolean): Kernel =>
    matmul([1, m, k, k], (s, at) => ({
      a: s.load(h, place(at.m, at.k)),
      b: s.load(w, slice(i, k * k, transposed ? place(at.n, at.k) : place(at.k, at.n))),
      store: (sum) => {
        const value = stacked ? s.operation("add", [s.operation("mul", [sum, s.constant(0.25)]), s.load(c, slice(i, k, at.n))]) : sum;
        return { buffer: to, index: place(at.m, at.n), value };
      },
    }));
  // Once with its end fused and once without: the first is dropped into what the second is compared with.
  const check = map(m * k, (s, o) => ({ buffer: next, index: o, value: s.operation("add", [s.load(next, o), s.load(product, o)]) }));
  const halve = map(m * k, (s, o) => ({ buffer: h, index: o, value: s.operation("mul", [s.load(next, o), s.constant(2 / k)]) }));
  const steps = [copy(m * k, h0, h), loop(i, multiply(product, false), multiply(next, true), check, halve)];
  let state = [...hs];
  for (const t of range(count)) {
    state = range(m * k).map((at) => {
      const [r, column] = [Math.floor(at / k), at % k];
      const sum = range(k).reduce((total, d) => {
        const weight = ws[t * k * k + (transposed ? column * k + d : d * k + column)] as number;
        return total + (state[r * k + d] as number) * weight;
      }, 0);
      return (1.25 * sum + (cs[t * k + column] as number)) * (2 / k);
    });
  }
  const name = `${count} products of ${m} × ${k} with slices of a stack of weights${transposed ? ", transposed" : ""}`;
  return b.build(name, steps, [{ buffer: h, expected: state }], 1e-4);
}

/** Aᵢ·Bᵢ of slices into a stack, from its end. */
function products(count: number, [batch, m, n, k]: readonly [number, number, number, number]): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const [as, bs] = [numbers(count * batch * m * k, 11), numbers(count * batch * k * n, 12)];
  const [left, right, stack] = [b.input(as), b.input(bs), b.buffer(count * batch * m * n)];
  const place = (at: IndexExpression, rows: number, columns: number, row: IndexExpression, column: IndexExpression): IndexExpression =>
    add(scale(at, rows * columns), scale(row, columns), column);
  const kernel = matmul([batch, m, n, k], (s, at) => ({
    a: s.load(left, slice(i, batch * m * k, place(at.b, m, k, at.m, at.k))),
    b: s.load(right, slice(i, batch * k * n, place(at.b, k, n, at.k, at.n))),
    store: (sum) => ({ buffer: stack, index: fromBehind(i, batch * m * n, place(at.b, m, n, at.m, at.n)), value: sum }),
  }));
  const expected = range(count).flatMap((t) =>
    range(batch * m * n).map((at) => {
      const [from, row, column] = [(count - 1 - t) * batch + Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
      return range(k).reduce((sum, d) => sum + (as[(from * m + row) * k + d] as number) * (bs[(from * k + d) * n + column] as number), 0);
    }),
  );
  return b.build(`${count} × ${batch} products of ${m} × ${k} × ${n} into a stack`, [loop(i, kernel)], [{ buffer: stack, expected }], 1e-3);
}

/** Sums of rows of slices, and the rows less their largest, into stacks. */
function rows(count: number, outer: number, inner: number, across: boolean): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const size = outer * inner;
  const xs = numbers(count * size, 7);
  const x = b.input(xs);
  const [sums, less] = [b.buffer(count * outer), b.buffer(count * size)];
  const place = (o: IndexExpression, r: IndexExpression): IndexExpression =>
    slice(i, size, across ? add(scale(r, outer), o) : add(scale(o, inner), r));
  const at = (t: number, o: number, r: number): number => xs[t * size + (across ? r * outer + o : o * inner + r)] as number;
  const sum = row(
    outer,
    inner,
    "sum",
    (s, o, r) => s.load(x, place(o, r)),
    (_, o, __, result) => ({ buffer: sums, index: slice(i, outer, o), value: result }),
  );
  const subtract = row(
    outer,
    inner,
    "max",
    (s, o, r) => s.load(x, place(o, r)),
    (s, o, r, result) => {
      const value = s.operation("sub", [s.load(x, place(o, r)), result]);
      return { buffer: less, index: fromBehind(i, size, add(scale(o, inner), r)), value, inner: true };
    },
  );
  const centred = (t: number, o: number): number[] => {
    const values = range(inner).map((r) => at(t, o, r));
    const largest = Math.max(...values);
    return values.map((value) => value - largest);
  };
  const results = [
    { buffer: sums, expected: range(count).flatMap((t) => range(outer).map((o) => range(inner).reduce((n, r) => n + at(t, o, r), 0))) },
    {
      buffer: less,
      expected: range(count).flatMap((t) => range(outer).flatMap((o) => centred(count - 1 - t, o))),
    },
  ];
  const name = `${count} × ${outer} rows of ${inner}${across ? ", which lie across" : ""}`;
  return b.build(name, [loop(i, sum, subtract)], results, 1e-5);
}

/** Sums into bins, the bins and the rows of each step in a slice of their own. */
function bins(count: number, [bin, column, entry]: readonly [number, number, number]): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const targets = range(count * entry).map((e) => ((e * 7) % (bin + 1)) - (e % 13 === 0 ? bin + 1 : 0));
  const rowsOf = numbers(count * entry * column, 8);
  const [t, x] = [b.input(targets, "i32"), b.input(rowsOf)];
  const sums = b.buffer(count * bin * column);
  const kernels = scatter(
    [b.buffer(bin + 2, "i32"), b.buffer(entry, "i32")],
    [bin, column, entry],
    (s, e) => s.load(t, slice(i, entry, e), "i32"),
    (s, e, c) => s.load(x, slice(i, entry * column, add(scale(e, column), c))),
    (place) => ({ buffer: sums, index: slice(i, bin * column, place) }),
  );
  const expected = new Array<number>(count * bin * column).fill(0);
  for (const at of range(count * entry)) {
    const target = targets[at] as number;
    if (target < 0 || target >= bin) continue;
    const base = (Math.floor(at / entry) * bin + target) * column;
    for (const c of range(column)) expected[base + c] = (expected[base + c] as number) + (rowsOf[at * column + c] as number);
  }
  return b.build(`${count} sums of ${entry} rows of ${column} into ${bin} bins`, [loop(i, ...kernels)], [{ buffer: sums, expected }], 1e-5);
}

/** Elements that lie where another slice says, and random bits of each step. */
function gathered(count: number, n: number, table: number): LoopProgram {
  const b = new Builder();
  const i: Loop = { name: "i0", extent: count };
  const picks = range(count * n).map((at) => (at * 11) % table);
  const contents = numbers(table * count, 9);
  const [p, x] = [b.input(picks, "i32"), b.input(contents)];
  const [taken, bits, again] = [b.buffer(count * n), b.buffer(count * n, "u32"), b.buffer(count * n, "u32")];
  const pick = map(n, (s, o) => {
    const where = s.load(p, slice(i, n, o), "i32");
    return { buffer: taken, index: slice(i, n, o), value: s.load(x, add(scale(dynamicIndex(where.id, table), count), over(i))) };
  });
  const key = (s: Scalars): readonly [Value, Value] => [s.constant(12, "u32"), s.constant(34, "u32")];
  const random = map(n, (s, o) => ({ buffer: bits, index: slice(i, n, o), value: s.threefry(key(s), slice(i, n, o)) }));
  // The same bits, once for all steps.
  const whole = map(count * n, (s, o) => ({
    buffer: again,
    index: o,
    value: s.operation("sub", [s.threefry(key(s), o), s.load(bits, o, "u32")], "u32"),
  }));
  const results = [
    { buffer: taken, expected: picks.map((pickAt, at) => contents[pickAt * count + Math.floor(at / n)] as number) },
    { buffer: again, expected: new Array<number>(count * n).fill(0) },
  ];
  return b.build(`${count} steps that gather ${n} of ${table} and draw`, [loop(i, pick, random), whole], results);
}

/** Loops that never run, around and inside of others, and one around nothing. */
function never(): LoopProgram {
  const b = new Builder();
  const start = numbers(9, 10);
  const [x, unread] = [b.input(start), b.input([1])];
  const [a, out] = [b.buffer(9), b.buffer(9)];
  const spoil = (i: Loop): Kernel => map(9, (s, o) => ({ buffer: a, index: o, value: s.operation("cast", [s.place(over(i))]) }));
  const [i0, none]: [Loop, Loop] = [
    { name: "i0", extent: 3 },
    { name: "i1", extent: 0 },
  ];
  const double = map(9, (s, o) => ({ buffer: a, index: o, value: s.operation("mul", [s.load(a, o), s.load(unread, literal(0))]) }));
  const steps = [
    copy(9, x, a),
    loop({ name: "i0", extent: 0 }, spoil({ name: "i0", extent: 5 }), loop({ name: "i1", extent: 4 }, spoil({ name: "i1", extent: 4 }))),
    loop(i0, double, loop(none, spoil(i0)), loop({ name: "i1", extent: 7 })),
    copy(9, a, out),
  ];
  return b.build("loops without iterations or without a body", steps, [{ buffer: out, expected: start }]);
}

/** Programs with loops in every kind of kernel. */
export const loopPrograms: readonly LoopProgram[] = [
  recurrence(5, 7, false),
  recurrence(4, 3000, true),
  recurrence(1000, 6, false),
  recurrence(300, 65, true),
  nested(4, 3, 50),
  nested(1, 9, 5),
  nested(9, 1, 5),
  layers(3, 16, 24, false),
  layers(3, 9, 12, true),
  layers(4, 2, 32, false),
  layers(4, 1, 20, true),
  layers(2, 160, 64, false),
  layers(2, 33, 7, false),
  products(3, [2, 5, 16, 12]),
  products(3, [1, 6, 10, 7]),
  products(2, [3, 1, 8, 4]),
  rows(3, 6, 40, false),
  rows(3, 5, 3000, false),
  rows(4, 40, 20, true),
  rows(2, 20, 700, true),
  bins(3, [5, 40, 12]),
  bins(3, [4, 6, 400]),
  bins(2, [50, 70, 16]),
  bins(3, [9, 20, 24]),
  gathered(5, 30, 9),
  never(),
];

/** Runs a program that a backend made of steps, and gives the numbers of its outputs. `load` gets a graph that takes as much. */
export async function runSteps(
  backend: Backend,
  { lowered, inputs, scalars }: LoopProgram,
  load: (graph: Graph) => Executable,
): Promise<Float64Array[]> {
  const buffers = inputs.map(({ dtype, data }) => {
    const buffer = backend.alloc(dtype, data.length, "test");
    backend.write(buffer, dtype, data);
    return buffer;
  });
  const results = backend.run(load({ nodes: [], outputs: [], inputCount: inputs.length, scalarCount: scalars.length }), buffers, scalars);
  const values = await Promise.all(
    lowered.outputs.map(async (output, i) => {
      const { dtype, length } = lowered.buffers.get(output) as BufferInfo;
      return Float64Array.from(await backend.read(results[i] as DeviceBuffer, dtype, length));
    }),
  );
  for (const buffer of [...results, ...buffers]) backend.free(buffer);
  return values;
}

/** The types of a program's scalars. */
export const scalarTypes = ({ scalars }: LoopProgram): DType[] => scalars.map(() => "f32");

/** Turns that write their numbers down. */
export const numberedTurns = (outer: number, inner: number): LoopProgram => turns(outer, inner, range(outer * inner));

/** More turns than two digits to the base 256 count. */
export const manyTurns = (): LoopProgram => numberedTurns(257, 256);

/** A program that is there to be looked at, of so many turns. */
export const loopsOfLoops = (outer: number, inner: number): LoopProgram => turns(outer, inner, [0]);

function turns(outer: number, inner: number, expected: readonly number[]): LoopProgram {
  const b = new Builder();
  const [i, j]: [Loop, Loop] = [
    { name: "i0", extent: outer },
    { name: "i1", extent: inner },
  ];
  const written = b.buffer(expected.length, "i32");
  const turn = slice(i, inner, over(j));
  const steps = [
    loop(
      i,
      loop(
        j,
        map(1, (s) => ({ buffer: written, index: turn, value: s.place(turn) })),
      ),
    ),
  ];
  return b.build(`${outer} × ${inner} turns`, steps, [{ buffer: written, expected }]);
}

/** The largest difference between outputs and what is expected of them. */
export function largestError(outputs: readonly Float64Array[], { expected }: LoopProgram): number {
  let most = 0;
  expected.forEach((wanted, i) => {
    wanted.forEach((number, at) => {
      most = Math.max(most, Math.abs((outputs[i]?.[at] ?? Number.NaN) - number));
    });
  });
  return most;
}

/** Of what a program says of itself, the kinds of its kernels and its loops, indented. */
export function outline(description: string): string[] {
  const found = description.split("\n").flatMap((line) => {
    const step = /\b(map|row|matmul|bins|scatter|loop × \d+)( |$)/.exec(line);
    return step === null ? [] : [{ indent: step.index, text: step[1] as string }];
  });
  const least = Math.min(...found.map(({ indent }) => indent));
  return found.map(({ indent, text }) => " ".repeat(indent - least) + text);
}
