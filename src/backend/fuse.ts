import type { PrimitiveName } from "../autograd/primitives.js";
import { dropAxes, type Shape, sameShape, sizeOf } from "../autograd/shape.js";
import type { Graph, GraphNode } from "./graph.js";
import { coefficient, datum, flatten, type IndexExpression, literal, reshapeCoordinates, unflatten, variable } from "./index-expression.js";
import { isMovement, isView, readings } from "./views.js";

/**
 * Which nodes of a graph are computed together. A cluster is one kernel: a domain (one outer loop, for rows an inner one)
 * and the nodes that it computes. A node may join the kernel of a node that it reads if it reads it at the very element
 * that the loop is at, for then the number is in a register. Nodes that no cluster lists are computed where they are read.
 */
export interface Cluster {
  readonly kind: "loop" | "contract" | "scatter";
  /** Shape that the loops run over, and which of its axes the inner loop takes. */
  shape: Shape;
  axes: readonly number[];
  /** In topological order. */
  readonly members: number[];
}

export interface FuseOptions {
  /** False makes one kernel for each node. */
  readonly fuse: boolean;
  /** Storage buffers that one kernel may touch. */
  readonly maxBuffers: number;
  /** Whether products go on with what happens to each element of the result. Default true. */
  readonly epilogues?: boolean;
}

export const outerLoop = "o";
export const innerLoop = "r";

export interface Domain {
  readonly outer: number;
  readonly inner: number;
  /** One index per axis of the cluster's shape. */
  readonly coordinates: IndexExpression[];
  /** Row-major positions of full and of row values. */
  readonly full: IndexExpression;
  readonly row: IndexExpression;
}

/** The loops of a domain. */
export function domainOf(shape: Shape, axes: readonly number[]): Domain {
  const outerShape = dropAxes(shape, axes);
  const innerShape = shape.filter((_, i) => axes.includes(i));
  const [outer, inner] = [sizeOf(outerShape), sizeOf(innerShape)];
  const row = variable(outerLoop, outer);
  const outside = unflatten(row, outerShape);
  const inside = unflatten(variable(innerLoop, inner), innerShape);
  const coordinates = shape.map((_, i) => (axes.includes(i) ? inside.shift() : outside.shift()) as IndexExpression);
  return { outer, inner, coordinates, full: flatten(coordinates, shape), row };
}

const reductions = new Set<PrimitiveName>(["sum", "maxReduce", "minReduce", "argmax", "argmin"]);
export const isReduction = (node: GraphNode): boolean => node.kind === "operation" && reductions.has(node.primitive);
const isSource = (node: GraphNode): boolean => node.kind !== "operation" || node.primitive === "const" || node.primitive === "iota";

const costs: { readonly [P in PrimitiveName]?: number } = {
  exp: 4,
  log: 4,
  sin: 4,
  cos: 4,
  tanh: 4,
  erf: 8,
  pow: 8,
  div: 2,
  recip: 2,
  sqrt: 2,
  mod: 2,
  randomBits: 40,
  gather: 1,
};
/** Recomputing up to this many operations is cheaper than a trip through memory. */
const cheap = 2;

/** For each node, whether it must have a buffer or a register of its own. */
function chooseStored(graph: Graph, options: FuseOptions): boolean[] {
  const { nodes } = graph;
  const stored = nodes.map(() => false);
  const readers = nodes.map(() => 0);
  /** True where each element is read more than once by one reader. */
  const amplified = nodes.map(() => false);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] as GraphNode;
    if (node.kind !== "operation") continue;
    node.inputs.forEach((input, k) => {
      const through = isView(node);
      readers[input] = (readers[input] as number) + (through ? Math.max(1, readers[i] as number) : 1);
      const repeats = node.primitive === "expand" || (node.primitive === "gather" && k === 0) || node.primitive === "scatterAdd";
      if (repeats || (through && amplified[i])) amplified[input] = true;
    });
  }
  for (const output of graph.outputs) stored[output] = true;

  const need = (position: number): void => {
    if (!isSource(nodes[position] as GraphNode)) stored[position] = true;
  };
  /** The node below a chain of views. */
  const base = (position: number): number => {
    const node = nodes[position] as GraphNode;
    return isView(node) && node.kind === "operation" ? base(node.inputs[0] as number) : position;
  };
  nodes.forEach((node, i) => {
    if (node.kind !== "operation") return;
    if (!options.fuse) need(i);
    if (isReduction(node) || node.primitive === "dot" || node.primitive === "scatterAdd") stored[i] = true;
    if (node.primitive === "scatterAdd") for (const input of node.inputs) need(input);
    if (node.primitive === "dot") {
      node.inputs.forEach((input, side) => {
        if (linearOperand(graph, i, side)) need(base(input));
        else stored[input] = true;
      });
    }
  });

  const cost = nodes.map(() => 0);
  const buffers: Set<number>[] = nodes.map(() => new Set());
  nodes.forEach((node, i) => {
    if (node.kind === "input") buffers[i]?.add(i);
    if (node.kind !== "operation") return;
    const own = isView(node) || isSource(node) ? 0 : (costs[node.primitive] ?? 1);
    const touched = (): Set<number> =>
      new Set(node.inputs.flatMap((input) => (stored[input] ? [input] : [...(buffers[input] as Set<number>)])));
    const open = node.inputs.filter((input) => !stored[input] && (buffers[input] as Set<number>).size > 1);
    open.sort((a, b) => (buffers[b] as Set<number>).size - (buffers[a] as Set<number>).size);
    while (touched().size > options.maxBuffers - 2 && open.length > 0) stored[open.shift() as number] = true;
    buffers[i] = touched();
    cost[i] = own + node.inputs.reduce((sum, input) => sum + (stored[input] ? 0 : (cost[input] as number)), 0);
    const shared = (readers[i] as number) > 1 || amplified[i];
    if (!isView(node) && shared && (cost[i] as number) > cheap) stored[i] = true;
  });
  return stored;
}

/** Whether an operand of a product is a view whose place is linear in row and column. */
export function linearOperand(graph: Graph, dot: number, side: number): boolean {
  const node = graph.nodes[dot] as GraphNode;
  if (node.kind !== "operation") return false;
  const operand = node.inputs[side] as number;
  const { shape } = graph.nodes[operand] as GraphNode;
  const names = ["row", "column"];
  const batch = shape.slice(0, -2);
  const coordinates = [
    ...unflatten(variable("b", sizeOf(batch)), batch),
    variable("row", shape.at(-2) as number),
    variable("column", shape.at(-1) as number),
  ];
  let [position, at] = [operand, coordinates as IndexExpression[]];
  for (;;) {
    const current = graph.nodes[position] as GraphNode;
    if (!isView(current) || current.kind !== "operation") {
      const index = flatten(at, current.shape);
      return (current.kind === "input" || !isSource(current)) && names.every((name) => (coefficient(index, name) ?? -1) >= 0);
    }
    const inputs = current.inputs;
    const reading = readings(current, at, (k) => (graph.nodes[inputs[k] as number] as GraphNode).shape)[0];
    if (reading === undefined) return false;
    [position, at] = [inputs[0] as number, reading.coordinates];
  }
}

/** Places at which stored nodes are read when a node is computed at given coordinates. */
export function frontier(
  graph: Graph,
  stored: readonly boolean[],
  start: number,
  coordinates: readonly IndexExpression[],
): { node: number; index: IndexExpression }[] {
  const found: { node: number; index: IndexExpression }[] = [];
  const seen = new Set<string>();
  const visit = (position: number, at: readonly IndexExpression[]): void => {
    const node = graph.nodes[position] as GraphNode;
    const index = flatten(at, node.shape);
    const key = `${position}@${index.key}`;
    if (seen.has(key)) return;
    seen.add(key);
    if (stored[position] || node.kind === "input") found.push({ node: position, index });
    else descend(position, at);
  };
  const descend = (position: number, at: readonly IndexExpression[]): void => {
    const node = graph.nodes[position] as GraphNode;
    if (node.kind !== "operation") return;
    const shapeOf = (k: number): Shape => (graph.nodes[node.inputs[k] as number] as GraphNode).shape;
    if (isMovement(node)) {
      for (const { operand, coordinates: where } of readings(node, at, shapeOf)) visit(node.inputs[operand] as number, where);
    } else if (node.primitive === "gather") {
      const index = node.inputs[1] as number;
      const rank = shapeOf(1).length;
      visit(index, at.slice(0, rank));
      visit(node.inputs[0] as number, [datum(-position - 1, shapeOf(0)[0] as number), ...at.slice(rank)]);
    } else if (node.primitive === "randomBits") {
      for (const lane of [0, 1]) visit(node.inputs[0] as number, [literal(lane)]);
    } else for (const input of node.inputs) visit(input, at);
  };
  descend(start, coordinates);
  return found;
}

export interface Fused {
  readonly stored: readonly boolean[];
  /** In an order in which they can run. */
  readonly clusters: readonly Cluster[];
}

/** Divides a graph into clusters. */
export function fuse(graph: Graph, options: FuseOptions): Fused {
  const stored = chooseStored(graph, options);
  const alone = new Set<number>();
  for (;;) {
    const { clusters, crowded } = cluster(graph, options, stored, alone);
    if (crowded.length === 0) return { stored, clusters };
    for (const { members } of crowded) alone.add(members[members.length - 1] as number);
  }
}

/**
 * Lets nodes join clusters one after another, but for those of `alone`. A node that is read by a kernel yet to come takes a
 * buffer that nobody counted when others joined it, so clusters may turn out to touch too many: those are the crowded ones.
 */
function cluster(
  graph: Graph,
  options: FuseOptions,
  stored: readonly boolean[],
  alone: ReadonlySet<number>,
): { clusters: Cluster[]; crowded: Cluster[] } {
  const { nodes } = graph;
  const clusters: (Cluster | undefined)[] = [];
  const home = new Map<number, number>();
  /** Clusters that a cluster reads from. */
  const before: Set<number>[] = [];
  const outputs = new Set(graph.outputs);
  const readersOf: number[][] = nodes.map(() => []);

  const dependsOn = (from: number, target: number): boolean => {
    const stack = [...(before[from] as Set<number>)];
    const seen = new Set<number>();
    while (stack.length > 0) {
      const next = stack.pop() as number;
      if (next === target) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      stack.push(...(before[next] as Set<number>));
    }
    return false;
  };

  const open = (cluster: Cluster, reads: readonly number[]): void => {
    const id = clusters.push(cluster) - 1;
    before.push(new Set());
    enter(id, cluster.members[0] as number, reads);
  };
  const enter = (id: number, node: number, reads: readonly number[]): void => {
    home.set(node, id);
    for (const read of reads) {
      readersOf[read]?.push(node);
      const other = home.get(read);
      if (other !== undefined && other !== id) before[id]?.add(other);
    }
  };

  /** Buffers that a cluster would touch with one more member. */
  const touches = (members: readonly number[], reads: readonly number[]): number => {
    const inside = new Set(members);
    const used = new Set(reads.filter((read) => !inside.has(read)));
    for (const member of members) {
      for (const read of readsOf.get(member) ?? []) if (!inside.has(read)) used.add(read);
      const readOutside = (readersOf[member] as number[]).some((reader) => !inside.has(reader));
      if (outputs.has(member) || readOutside || member === members[members.length - 1]) used.add(member);
    }
    return used.size + Math.max(0, operandsReadAgain(members, reads) - 1);
  };
  /** Operands of a product that its epilogue reads as well: each may be bound twice, once as vectors of four. */
  const operandsReadAgain = ([first, ...others]: readonly number[], reads: readonly number[]): number => {
    const head = nodes[first as number] as GraphNode;
    if (head.kind !== "operation" || head.primitive !== "dot") return 0;
    const again = new Set([...reads, ...others.flatMap((member) => readsOf.get(member) ?? [])]);
    return [...new Set(readsOf.get(first as number))].filter((operand) => again.has(operand)).length;
  };
  const readsOf = new Map<number, number[]>();

  /** Tries to compute `position` in an existing cluster. */
  const join = (position: number): boolean => {
    const node = nodes[position] as GraphNode;
    if (node.kind !== "operation") return false;
    const reduces = isReduction(node);
    const axes = reduces ? (node.params as { axes: readonly number[] }).axes : [];
    const input = reduces ? (nodes[node.inputs[0] as number] as GraphNode) : node;
    const start = frontierOf(position, input.shape, axes);
    const candidates = [...new Set(start.map(({ node: read }) => home.get(read)).filter((id): id is number => id !== undefined))].sort(
      (a, b) => b - a,
    );
    for (const id of candidates) {
      const cluster = clusters[id];
      if (cluster === undefined || cluster.kind === "scatter" || (cluster.kind === "contract" && options.epilogues === false)) continue;
      const shape = joinedShape(cluster, node, input.shape, axes);
      if (shape === undefined) continue;
      const domain = domainOf(shape.shape, shape.axes);
      const isRow =
        !reduces &&
        shape.axes.length > 0 &&
        node.shape.length >= 0 &&
        sizeOf(node.shape) === domain.outer &&
        sizeOf(node.shape) !== domain.outer * domain.inner;
      const at = reduces
        ? reshapeCoordinates(domain.coordinates, shape.shape, input.shape)
        : isRow
          ? unflatten(domain.row, node.shape)
          : reshapeCoordinates(domain.coordinates, shape.shape, node.shape);
      const reads = reduces ? frontierFrom(node.inputs[0] as number, at) : frontier(graph, stored, position, at);
      const aligned = reads.every(({ node: read, index }) => {
        if (home.get(read) !== id) return true;
        const readsRow = isRowMember(read, shape.axes, domain);
        return index.key === (readsRow ? domain.row : domain.full).key && (!isRow || readsRow);
      });
      if (!aligned) continue;
      const others = reads.map(({ node: read }) => home.get(read)).filter((other): other is number => other !== undefined && other !== id);
      if (others.some((other) => dependsOn(other, id))) continue;
      const names = reads.map(({ node: read }) => read);
      if (touches([...cluster.members, position], names) > options.maxBuffers) continue;
      cluster.shape = shape.shape;
      cluster.axes = shape.axes;
      cluster.members.push(position);
      readsOf.set(position, names);
      enter(id, position, names);
      return true;
    }
    return false;
  };

  const isRowMember = (member: number, axes: readonly number[], domain: Domain): boolean =>
    axes.length > 0 &&
    (isReduction(nodes[member] as GraphNode) || (sizeOf((nodes[member] as GraphNode).shape) === domain.outer && domain.inner !== 1));

  const frontierFrom = (position: number, at: readonly IndexExpression[]): { node: number; index: IndexExpression }[] =>
    stored[position] || (nodes[position] as GraphNode).kind === "input"
      ? [{ node: position, index: flatten(at, (nodes[position] as GraphNode).shape) }]
      : frontier(graph, stored, position, at);

  const frontierOf = (position: number, shape: Shape, axes: readonly number[]): { node: number; index: IndexExpression }[] => {
    const node = nodes[position] as GraphNode;
    const domain = domainOf(shape, axes);
    if (node.kind === "operation" && isReduction(node)) return frontierFrom(node.inputs[0] as number, domain.coordinates);
    return frontier(graph, stored, position, domain.coordinates);
  };

  nodes.forEach((node, position) => {
    if (!stored[position] || node.kind !== "operation") return;
    if (node.primitive === "dot") {
      const reads = node.inputs.map((input) => (stored[input] ? input : viewBase(graph, stored, input)));
      readsOf.set(position, reads);
      open({ kind: "contract", shape: node.shape, axes: [], members: [position] }, reads);
      return;
    }
    if (node.primitive === "scatterAdd") {
      readsOf.set(position, [...node.inputs]);
      open({ kind: "scatter", shape: node.shape, axes: [], members: [position] }, node.inputs);
      return;
    }
    if (options.fuse && !alone.has(position) && sizeOf(node.shape) > 0 && join(position)) return;
    const reduces = isReduction(node);
    const shape = reduces ? (nodes[node.inputs[0] as number] as GraphNode).shape : node.shape;
    const axes = reduces ? (node.params as { axes: readonly number[] }).axes : [];
    const reads = frontierOf(position, shape, axes).map(({ node: read }) => read);
    readsOf.set(position, reads);
    open({ kind: "loop", shape, axes, members: [position] }, reads);
  });
  const made = clusters.filter((cluster) => cluster !== undefined);
  const crowded = made.filter(({ members }) => members.length > 1 && touches(members, []) > options.maxBuffers);
  return { clusters: inOrder(made, before), crowded };
}

/** The stored node or input below a chain of views. */
export function viewBase(graph: Graph, stored: readonly boolean[], position: number): number {
  const node = graph.nodes[position] as GraphNode;
  return !stored[position] && isView(node) && node.kind === "operation" ? viewBase(graph, stored, node.inputs[0] as number) : position;
}

/** Rows that make it worth while to give each one to one thread or workgroup. */
const enoughRows = 32;

/** The domain of a cluster after a node joined it, or undefined where it cannot. */
function joinedShape(
  cluster: Cluster,
  node: GraphNode,
  input: Shape,
  axes: readonly number[],
): { shape: Shape; axes: readonly number[] } | undefined {
  const size = sizeOf(cluster.shape);
  if (axes.length > 0) {
    if (cluster.kind !== "loop" || sizeOf(input) !== size) return undefined;
    if (cluster.axes.length > 0) {
      // Only the same rows: both inner loops cover the same trailing axes, or the very same axes.
      if (sameShape(cluster.shape, input) && sameShape(cluster.axes, axes)) return cluster;
      return trailing(cluster.shape, cluster.axes) &&
        trailing(input, axes) &&
        innerSize(cluster.shape, cluster.axes) === innerSize(input, axes)
        ? cluster
        : undefined;
    }
    return trailing(input, axes) && size / Math.max(1, innerSize(input, axes)) >= enoughRows ? { shape: input, axes } : undefined;
  }
  const own = sizeOf(node.shape);
  if (own === size) return cluster;
  return cluster.kind === "loop" && cluster.axes.length > 0 && own === size / Math.max(1, innerSize(cluster.shape, cluster.axes))
    ? cluster
    : undefined;
}

const innerSize = (shape: Shape, axes: readonly number[]): number => axes.reduce((n, axis) => n * (shape[axis] as number), 1);
const trailing = (shape: Shape, axes: readonly number[]): boolean => axes.every((axis, i) => axis === shape.length - axes.length + i);

/** Clusters in an order in which each comes after those that it reads from. */
function inOrder(clusters: readonly Cluster[], before: readonly ReadonlySet<number>[]): Cluster[] {
  const order: Cluster[] = [];
  const state = new Uint8Array(clusters.length);
  const visit = (first: number): void => {
    const stack = [first];
    while (stack.length > 0) {
      const id = stack[stack.length - 1] as number;
      const waiting = state[id] === 0 ? [...(before[id] as ReadonlySet<number>)].filter((other) => state[other] === 0) : [];
      if (state[id] === 0) state[id] = 1;
      if (waiting.length > 0) stack.push(...waiting);
      else {
        stack.pop();
        if (state[id] === 1) {
          state[id] = 2;
          order.push(clusters[id] as Cluster);
        }
      }
    }
  };
  clusters.forEach((_, id) => {
    if (state[id] === 0) visit(id);
  });
  return order;
}
