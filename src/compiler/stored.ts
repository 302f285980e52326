import type { Graph, GraphNode } from "../ir/graph.js";
import { coefficient, flatten, type IndexExpression, unflatten, variable } from "../ir/index-expression.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { sizeOf } from "../ir/shape.js";
import { isReduction } from "./domain.js";
import type { FuseOptions } from "./fuse.js";
import { isMovement, isView, readings } from "./views.js";

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
/** Operations from stored values to a value that is not stored, at most: whoever follows operands does not get deep. */
const largestCost = 128;
/** Movements between a stored value and where it is read, at most: each may double the terms of the index. */
const mostMovements = 12;

export interface Stored {
  /** For each node, whether it has a buffer or a register of its own. */
  readonly stored: readonly boolean[];
  /** For each node, the operations that compute it from stored nodes. */
  readonly cost: readonly number[];
}

/** Chooses the nodes that are stored; those of `fromMemory` are, and others where recomputing them would cost more. */
export function chooseStored(graph: Graph, options: FuseOptions, fromMemory: ReadonlySet<number>): Stored {
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
  for (const position of fromMemory) need(position);
  const movements = nodes.map(() => 0);
  nodes.forEach((node, i) => {
    if (node.kind !== "operation") return;
    if (!options.fuse) need(i);
    for (const input of node.inputs) if (!stored[input]) movements[i] = Math.max(movements[i] as number, movements[input] as number);
    if (isMovement(node) || node.primitive === "gather") movements[i] = (movements[i] as number) + 1;
    if ((movements[i] as number) > mostMovements) stored[i] = true;
    if (isReduction(node) || node.primitive === "dot" || node.primitive === "scatterAdd") stored[i] = true;
    if (node.primitive === "scatterAdd") for (const input of node.inputs) need(input);
    if (node.primitive === "dot") {
      node.inputs.forEach((input, side) => {
        if (linearOperand(graph, stored, i, side)) need(viewBase(graph, stored, input));
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
    const touched = (): Set<number> => {
      const all = new Set<number>();
      for (const input of node.inputs) {
        if (stored[input]) all.add(input);
        else for (const buffer of buffers[input] as Set<number>) all.add(buffer);
      }
      return all;
    };
    let all = touched();
    if (all.size > options.maxBuffers - 2) {
      const open = node.inputs.filter((input) => !stored[input] && (buffers[input] as Set<number>).size > 1);
      open.sort((a, b) => (buffers[b] as Set<number>).size - (buffers[a] as Set<number>).size);
      while (all.size > options.maxBuffers - 2 && open.length > 0) {
        stored[open.shift() as number] = true;
        all = touched();
      }
    }
    buffers[i] = all;
    cost[i] = own + node.inputs.reduce((sum, input) => sum + (stored[input] ? 0 : (cost[input] as number)), 0);
    const shared = (readers[i] as number) > 1 || amplified[i];
    if (!isView(node) && shared && (cost[i] as number) > cheap) stored[i] = true;
    if ((cost[i] as number) > largestCost) stored[i] = true;
  });
  // A view that was stored since ends the chains that lead through it, and what is left of them may be less even.
  const dots = nodes.flatMap((node, i) => (node.kind === "operation" && node.primitive === "dot" ? [{ i, operands: node.inputs }] : []));
  const uneven = ({ i, operands }: (typeof dots)[number]): number[] =>
    operands.filter((operand, side) => !stored[operand] && !linearOperand(graph, stored, i, side));
  for (let more = dots.flatMap(uneven); more.length > 0; more = dots.flatMap(uneven)) for (const operand of more) stored[operand] = true;
  return { stored, cost };
}

/**
 * Nodes that are compared with their own largest or smallest element, as the gradient of a maximum is shared among the places that
 * attain it. Two kernels may round one computation differently (fused multiply-adds, halves that one of them keeps in a register), and
 * then no element equals the maximum. So these are written to memory and whoever needs them reads them there.
 */
export function comparedWithExtrema({ nodes }: Graph): ReadonlySet<number> {
  const compared = new Set<number>();
  /** The node below views and casts, which map equal numbers to equal numbers. */
  const below = (position: number): number => {
    for (;;) {
      const node = nodes[position] as GraphNode;
      if (node.kind !== "operation" || !(isView(node) || node.primitive === "cast")) return position;
      position = node.inputs[0] as number;
    }
  };
  for (const node of nodes) {
    if (node.kind !== "operation" || (node.primitive !== "eq" && node.primitive !== "lt")) continue;
    const [a, b] = node.inputs.map(below) as [number, number];
    for (const [extremum, other] of [
      [a, b],
      [b, a],
    ] as const) {
      // An extremum over several axes may be one of an extremum.
      const reduced: number[] = [];
      for (let at = extremum; at !== other; ) {
        const inner = nodes[at] as GraphNode;
        if (inner.kind !== "operation" || (inner.primitive !== "maxReduce" && inner.primitive !== "minReduce")) break;
        at = below(inner.inputs[0] as number);
        reduced.push(at);
      }
      if (reduced.at(-1) === other) for (const each of reduced) compared.add(each);
    }
  }
  return compared;
}

/** Whether an operand of a product is a view whose place is linear in row and column. */
function linearOperand(graph: Graph, stored: readonly boolean[], dot: number, side: number): boolean {
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
    if (stored[position] || !isView(current) || current.kind !== "operation") {
      const index = flatten(at, current.shape);
      return (current.kind === "input" || !isSource(current)) && names.every((name) => (coefficient(index, name) ?? -1) >= 0);
    }
    const inputs = current.inputs;
    const reading = readings(current, at, (k) => (graph.nodes[inputs[k] as number] as GraphNode).shape)[0];
    if (reading === undefined) return false;
    [position, at] = [inputs[0] as number, reading.coordinates];
  }
}

/** The stored node or input below a chain of views. */
export function viewBase(graph: Graph, stored: readonly boolean[], position: number): number {
  for (let at = position; ; ) {
    const node = graph.nodes[at] as GraphNode;
    if (stored[at] || !isView(node) || node.kind !== "operation") return at;
    at = node.inputs[0] as number;
  }
}
