import type { DType } from "../ir/dtype.js";
import type { Graph, GraphNode, OperationNode } from "../ir/graph.js";
import { datum, flatten, type IndexExpression, literal, reshapeCoordinates, unflatten, variable } from "../ir/index-expression.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { type Shape, sizeOf } from "../ir/shape.js";
import type { Cluster } from "./clusters.js";
import { type Domain, domainOf, innerLoop, isReduction, outerLoop } from "./domain.js";
import type { Fused } from "./fuse.js";
import type { BufferInfo, Kernel, Lowered, Reducer, Reduction, ScalarOperation, Store, Value } from "./program.js";
import { viewBase } from "./stored.js";
import { type Guard, isMovement, isView, readings } from "./views.js";

type ValueBody = Value extends infer V ? (V extends Value ? Omit<V, "id"> : never) : never;

const reducers: { readonly [P in PrimitiveName]?: Reducer } = {
  sum: "sum",
  maxReduce: "max",
  minReduce: "min",
  argmax: "argmax",
  argmin: "argmin",
};

/** Builds the scalar computation of one kernel, each distinct value once. */
class Scalars {
  readonly values: Value[] = [];
  readonly reductions: Reduction[] = [];
  private readonly known = new Map<string, Value>();
  /** Members of the cluster that have a value already. */
  private readonly registers = new Map<number, Value>();
  private readonly lowered = new Map<string, Value>();

  constructor(
    private readonly graph: Graph,
    private readonly stored: readonly boolean[],
    private readonly members: ReadonlySet<number>,
  ) {}

  private intern(body: ValueBody, key: string): Value {
    const full = `${body.dtype} ${key}`;
    const existing = this.known.get(full);
    if (existing) return existing;
    const value = { ...body, id: this.values.length } as Value;
    this.values.push(value);
    this.known.set(full, value);
    return value;
  }

  operation(operation: ScalarOperation, args: readonly Value[], dtype: DType): Value {
    return this.intern({ kind: "operation", operation, args, dtype }, `${operation}(${args.map((arg) => arg.id).join()})`);
  }

  constant(value: number, dtype: DType): Value {
    return this.intern({ kind: "const", value, dtype }, `const ${Object.is(value, -0) ? "-0" : value}`);
  }

  load(buffer: number, index: IndexExpression, dtype: DType): Value {
    return this.intern({ kind: "load", buffer, index, dtype }, `load ${buffer}[${index.key}]`);
  }

  inside({ index, low, high }: Guard): Value | undefined {
    if (index.low >= low && index.high < high) return undefined;
    return this.intern({ kind: "inside", index, low, high, dtype: "bool" }, `inside ${low} ${index.key} ${high}`);
  }

  /** The register of a new reduction, or of a product's sum. */
  register(node: number, dtype: DType): Value & { kind: "register" } {
    const register = this.registers.size;
    const value = this.intern({ kind: "register", register, dtype }, `register ${register}`) as Value & { kind: "register" };
    this.registers.set(node, value);
    return value;
  }

  define(node: number, value: Value): void {
    this.registers.set(node, value);
  }

  /** The value of a node at coordinates: from a register, from memory, or computed here. */
  at(position: number, coordinates: readonly IndexExpression[]): Value {
    const node = this.graph.nodes[position] as GraphNode;
    if (this.members.has(position)) {
      const register = this.registers.get(position);
      if (register) return register;
    } else if (this.stored[position] || node.kind === "input") return this.load(position, flatten(coordinates, node.shape), node.dtype);
    return this.compute(position, coordinates);
  }

  /** The value of a node at coordinates, computed from its operands. */
  compute(position: number, coordinates: readonly IndexExpression[]): Value {
    const node = this.graph.nodes[position] as GraphNode;
    const key = `${position}@${coordinates.map((index) => index.key).join()}`;
    let value = this.lowered.get(key);
    if (value === undefined) {
      value = this.fresh(position, node, coordinates);
      this.lowered.set(key, value);
    }
    return value;
  }

  private fresh(position: number, node: GraphNode, at: readonly IndexExpression[]): Value {
    const { dtype } = node;
    if (node.kind === "scalar") return this.intern({ kind: "scalar", scalar: node.scalar, dtype }, `scalar ${node.scalar}`);
    if (node.kind === "input") return this.load(position, flatten(at, node.shape), dtype);
    if (node.kind !== "operation") throw new Error(`a ${node.kind} is read at another place than it is computed`);
    const shapeOf = (k: number): Shape => (this.graph.nodes[node.inputs[k] as number] as GraphNode).shape;
    if (isMovement(node)) return this.movement(node, at, shapeOf);
    switch (node.primitive) {
      case "const":
        return this.constant(node.params.value, dtype);
      case "iota": {
        const index = at[node.params.axis] as IndexExpression;
        const counted = this.intern({ kind: "index", index, dtype: "i32" }, `index ${index.key}`);
        return dtype === "i32" ? counted : this.operation("cast", [counted], dtype);
      }
      case "randomBits": {
        const [k0, k1] = [0, 1].map((lane) => this.at(node.inputs[0] as number, [literal(lane)])) as [Value, Value];
        const counter = flatten(at, node.shape);
        return this.intern({ kind: "threefry", key: [k0, k1], counter, dtype }, `threefry ${k0.id} ${k1.id} ${counter.key}`);
      }
      case "gather":
        return this.gather(node, at, shapeOf);
      case "alias":
      case "stopGradient":
        return this.at(node.inputs[0] as number, at);
      case "sum":
      case "maxReduce":
      case "minReduce":
      case "argmax":
      case "argmin":
      case "dot":
      case "scatterAdd":
        throw new Error(`${node.primitive} is read at another place than its kernel computes`);
      default: {
        const args = node.inputs.map((input) => this.at(input, at));
        return this.operation(node.primitive as ScalarOperation, args, dtype);
      }
    }
  }

  private movement(node: OperationNode, at: readonly IndexExpression[], shapeOf: (k: number) => Shape): Value {
    const all = readings(node as GraphNode, at, shapeOf);
    const padding = node.primitive === "pad" ? (node.params as { value: number }).value : 0;
    const last = all[all.length - 1];
    // The last reading of a concat holds wherever the others do not.
    let value: Value | undefined =
      node.primitive === "concat" && last ? this.at(node.inputs[last.operand] as number, last.coordinates) : undefined;
    for (const { operand, coordinates, guards } of (value ? all.slice(0, -1) : all).reverse()) {
      const taken = this.at(node.inputs[operand] as number, coordinates);
      const conditions = guards.map((guard) => this.inside(guard)).filter((condition) => condition !== undefined);
      if (conditions.length === 0) value = taken;
      else {
        const all = conditions.reduce((a, b) => this.operation("and", [a, b], "bool"));
        value = this.operation("where", [all, taken, value ?? this.constant(padding, node.dtype)], node.dtype);
      }
    }
    return value as Value;
  }

  private gather(node: OperationNode, at: readonly IndexExpression[], shapeOf: (k: number) => Shape): Value {
    const rank = shapeOf(1).length;
    const extent = shapeOf(0)[0] as number;
    const outside = this.constant(node.dtype === "i32" || node.dtype === "u32" || node.dtype === "bool" ? 0 : Number.NaN, node.dtype);
    const picked = this.at(node.inputs[1] as number, at.slice(0, rank));
    const signed = picked.dtype === "i32" ? picked : this.operation("cast", [picked], "i32");
    const row = datum(signed.id, extent);
    const taken = this.at(node.inputs[0] as number, [row, ...at.slice(rank)]);
    const valid = this.intern(
      {
        kind: "inside",
        index: { constant: row.constant, terms: row.terms, key: row.key, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY },
        low: 0,
        high: extent,
        dtype: "bool",
      },
      `inside 0 ${row.key} ${extent}`,
    );
    return this.operation("where", [valid, taken, outside], node.dtype);
  }
}

/** Kernels for the clusters of a graph. Buffers are numbered like the nodes that they hold. */
export function lower(graph: Graph, { stored, clusters }: Fused): Lowered {
  const readOutside = new Set(graph.outputs);
  const home = new Map<number, Cluster>();
  for (const cluster of clusters) for (const member of cluster.members) home.set(member, cluster);
  const drafts = clusters.map((cluster) => draft(graph, stored, cluster));
  for (const { cluster, scalars } of drafts) {
    for (const value of scalars.values) if (value.kind === "load" && home.get(value.buffer) !== cluster) readOutside.add(value.buffer);
  }
  const kernels = drafts
    .filter(({ cluster }) => sizeOf((graph.nodes[cluster.members[0] as number] as GraphNode).shape) > 0 || cluster.members.length > 1)
    .map((made) => finish(graph, made, readOutside));
  const buffers = new Map<number, BufferInfo>();
  graph.nodes.forEach((node, i) => {
    if (node.kind === "input" || readOutside.has(i)) buffers.set(i, { dtype: node.dtype, length: sizeOf(node.shape) });
  });
  const inputs: (number | undefined)[] = new Array(graph.inputCount).fill(undefined);
  graph.nodes.forEach((node, i) => {
    if (node.kind === "input") inputs[node.input] = i;
  });
  return { steps: kernels, buffers, inputs, outputs: graph.outputs };
}

interface Draft {
  readonly cluster: Cluster;
  readonly domain: Domain;
  readonly scalars: Scalars;
  /** Value and place of each member. */
  readonly results: readonly { member: number; value: Value; index: IndexExpression; inner: boolean }[];
  readonly reductions: readonly Reduction[];
  readonly operands: readonly Value[];
  readonly loops: { readonly batch: number; readonly m: number; readonly n: number; readonly k: number };
}

function draft(graph: Graph, stored: readonly boolean[], cluster: Cluster): Draft {
  const scalars = new Scalars(graph, stored, new Set(cluster.members));
  const none = { batch: 1, m: 1, n: 1, k: 1 };
  if (cluster.kind === "scatter") return draftScatter(graph, cluster, scalars);
  const head = graph.nodes[cluster.members[0] as number] as GraphNode;
  let { domain } = cluster;
  let loops = none;
  const operands: Value[] = [];
  if (cluster.kind === "contract" && head.kind === "operation") {
    const [left, right] = head.inputs as [number, number];
    const [m, n] = [head.shape.at(-2) as number, head.shape.at(-1) as number];
    const k = (graph.nodes[left] as GraphNode).shape.at(-1) as number;
    const batchShape = head.shape.slice(0, -2);
    loops = { batch: sizeOf(batchShape), m, n, k };
    const batch = unflatten(variable("b", loops.batch), batchShape);
    const [vm, vn, vk] = [variable("m", m), variable("n", n), variable("k", k)];
    operands.push(
      operandLoad(graph, stored, scalars, left, [...batch, vm, vk]),
      operandLoad(graph, stored, scalars, right, [...batch, vk, vn]),
    );
    const coordinates = [...batch, vm, vn];
    domain = { ...domain, coordinates, full: flatten(coordinates, head.shape) };
    scalars.register(cluster.members[0] as number, head.dtype);
  }
  const results: Draft["results"][number][] = [];
  const reductions: Reduction[] = [];
  for (const member of cluster.members) {
    const node = graph.nodes[member] as GraphNode;
    if (node.kind === "operation" && isReduction(node)) {
      const input = node.inputs[0] as number;
      const value = scalars.at(input, reshapeCoordinates(domain.coordinates, domain.shape, (graph.nodes[input] as GraphNode).shape));
      const register = scalars.register(member, node.dtype);
      reductions.push({ register: register.register, reducer: reducers[node.primitive] as Reducer, value, dtype: value.dtype });
      results.push({ member, value: register, index: domain.row, inner: false });
    } else if (node.kind === "operation" && node.primitive === "dot") {
      results.push({ member, value: scalars.at(member, []), index: domain.full, inner: false });
    } else {
      const isRow = domain.axes.length > 0 && sizeOf(node.shape) === domain.outer && domain.inner !== 1;
      const coordinates = isRow ? unflatten(domain.row, node.shape) : reshapeCoordinates(domain.coordinates, domain.shape, node.shape);
      const value = scalars.compute(member, coordinates);
      scalars.define(member, value);
      results.push({ member, value, index: isRow ? domain.row : domain.full, inner: domain.axes.length > 0 && !isRow });
    }
  }
  return { cluster, domain, scalars, results, reductions, operands, loops };
}

/** An operand of a product as one load: views below it only move the place. */
function operandLoad(
  graph: Graph,
  stored: readonly boolean[],
  scalars: Scalars,
  position: number,
  coordinates: readonly IndexExpression[],
): Value {
  let [node, at] = [graph.nodes[position] as GraphNode, coordinates as IndexExpression[]];
  const base = viewBase(graph, stored, position);
  let here = position;
  while (here !== base && isView(node) && node.kind === "operation") {
    const inputs = node.inputs;
    const reading = readings(node, at, (k) => (graph.nodes[inputs[k] as number] as GraphNode).shape)[0];
    if (reading === undefined) break;
    [here, at] = [inputs[0] as number, reading.coordinates];
    node = graph.nodes[here] as GraphNode;
  }
  return scalars.load(base, flatten(at, node.shape), node.dtype);
}

function draftScatter(graph: Graph, cluster: Cluster, scalars: Scalars): Draft {
  const member = cluster.members[0] as number;
  const node = graph.nodes[member] as OperationNode<"scatterAdd">;
  const [values, index] = node.inputs as [number, number];
  const indexNode = graph.nodes[index] as GraphNode;
  const valueNode = graph.nodes[values] as GraphNode;
  const [bins, columns, entries] = [node.params.size, sizeOf(node.shape.slice(1)), sizeOf(indexNode.shape)];
  const entry = variable("e", entries);
  const column = variable("c", columns);
  const picked = scalars.at(index, unflatten(entry, indexNode.shape));
  const target = picked.dtype === "i32" ? picked : scalars.operation("cast", [picked], "i32");
  const value = scalars.at(values, [
    ...unflatten(entry, indexNode.shape),
    ...unflatten(column, valueNode.shape.slice(indexNode.shape.length)),
  ]);
  const sum = scalars.register(member, node.dtype);
  const place = flatten([variable("s", bins), column], [bins, columns]);
  return {
    cluster,
    domain: domainOf([bins], []),
    scalars,
    results: [{ member, value: sum, index: place, inner: false }],
    reductions: [],
    operands: [target, value],
    loops: { batch: 1, m: bins, n: columns, k: entries },
  };
}

function finish(graph: Graph, made: Draft, readOutside: ReadonlySet<number>): Kernel {
  const { cluster, domain, scalars, results, reductions, operands, loops } = made;
  const stores: Store[] = results
    .filter(({ member }) => readOutside.has(member))
    .map(({ member, value, index, inner }) => ({ buffer: member, index, value, inner }));
  const label = cluster.members.map((member) => (graph.nodes[member] as OperationNode).primitive).join(" ");
  const base = { label, values: scalars.values, stores };
  if (cluster.kind === "contract") {
    const [a, b] = operands as [Value & { kind: "load" }, Value & { kind: "load" }];
    return {
      kind: "contract",
      ...base,
      a,
      b,
      batch: { name: "b", extent: loops.batch },
      m: { name: "m", extent: loops.m },
      n: { name: "n", extent: loops.n },
      k: { name: "k", extent: loops.k },
    };
  }
  if (cluster.kind === "scatter") {
    const [target, value] = operands as [Value, Value];
    return {
      kind: "scatter",
      ...base,
      target,
      value,
      bin: { name: "s", extent: loops.m },
      column: { name: "c", extent: loops.n },
      entry: { name: "e", extent: loops.k },
    };
  }
  const outer = { name: outerLoop, extent: domain.outer };
  if (domain.axes.length === 0) return { kind: "map", ...base, outer };
  return { kind: "row", ...base, outer, inner: { name: innerLoop, extent: domain.inner }, stages: stagesOf(scalars.values, reductions) };
}

/** The values that a value is computed from directly. */
export function argumentsOf(value: Value, values: readonly Value[]): Value[] {
  const data = (index: IndexExpression): Value[] =>
    index.terms.flatMap(({ atom }) =>
      atom.kind === "datum" ? [values[atom.handle] as Value] : atom.kind === "variable" ? [] : data(atom.of),
    );
  switch (value.kind) {
    case "load":
    case "index":
    case "inside":
      return data(value.index);
    case "threefry":
      return [...value.key, ...data(value.counter)];
    case "operation":
      return [...value.args];
    default:
      return [];
  }
}

/** Groups reductions so that each group only needs the registers of earlier ones. */
function stagesOf(values: readonly Value[], reductions: readonly Reduction[]): Reduction[][] {
  // Arguments come before what is computed from them, and what a reduction reduces before its register.
  const level: number[] = [];
  const stageOf = ({ value }: Reduction): number => level[value.id] as number;
  const byRegister = new Map(reductions.map((reduction) => [reduction.register, reduction]));
  for (const value of values) {
    const after = value.kind === "register" ? stageOf(byRegister.get(value.register) as Reduction) + 1 : 0;
    level[value.id] = argumentsOf(value, values).reduce((most, { id }) => Math.max(most, level[id] as number), after);
  }
  const stages: Reduction[][] = [];
  for (const reduction of reductions) {
    const stage = stageOf(reduction);
    while (stages.length <= stage) stages.push([]);
    stages[stage]?.push(reduction);
  }
  return stages;
}
