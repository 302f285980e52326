import { type Graph, type GraphNode, inputsOf } from "../ir/graph.js";
import { coefficient } from "../ir/index-expression.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { accessThroughViews } from "./access.js";
import { isReduction, type MatmulLoops, matmulLoops } from "./domain.js";
import { isMovement, isView } from "./operand-accesses.js";

/**
 * Materialization: which nodes get a buffer (or a register of the kernel that computes them), and which are computed anew wherever they
 * are read. A cost model over the graph in topological order: a node is materialized when it is a result, when loops of its own compute
 * it, when a loop of the program takes it or hands it out, or when computing it again for each reader costs more than a trip through
 * memory.
 *
 *   e = exp(x)                 e  materialized: exp costs 4, and it is read twice
 *   s = sum(e, axis 1)         s  materialized: a reduction
 *   r = recip(s)               r  not: one reader, or as cheap as reading it
 *   y = mul(e, expand(r))      y  materialized: the result; computes r from s where it is read
 */
export interface MaterializeOptions {
  /** False materializes every operation. */
  readonly fuse: boolean;
  /** Storage buffers that one kernel may touch. */
  readonly maxBuffers: number;
}

/** Whether a node is there without being computed, or is computed from nothing. */
const isSource = (node: GraphNode): boolean =>
  node.kind === "input" ||
  node.kind === "scalar" ||
  (node.kind === "operation" && (node.primitive === "const" || node.primitive === "iota"));

/** The nodes that a node takes numbers from: what lies below its inputs where these are barriers, which are never worth a buffer. */
function operandsBelowBarriers({ nodes, outputs }: Graph): (readonly number[])[] {
  const results = new Set(outputs);
  const below: number[] = [];
  return nodes.map((node, i) => {
    const inputs = node.kind === "barrier" ? node.inputs.slice(0, 1) : inputsOf(node);
    const operands = inputs.some((input) => below[input] !== input) ? inputs.map((input) => below[input] as number) : inputs;
    below[i] = node.kind === "barrier" && !results.has(i) ? (operands[0] as number) : i;
    return operands;
  });
}

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
/** Operations from materialized values to one that is not, at most: whoever follows operands does not get deep. */
const largestCost = 128;
/** Movements between a materialized value and where it is read, at most: each may double the terms of the index. */
const mostMovements = 12;

export interface Materialized {
  /** For each node, whether it has a buffer or a register of its own. */
  readonly materialized: readonly boolean[];
  /** For each node, the operations that compute it from materialized nodes. */
  readonly cost: readonly number[];
}

/** Chooses the nodes that are materialized; those of `fromMemory` are, and others where recomputing them would cost more. */
export function materialize(graph: Graph, options: MaterializeOptions, fromMemory: ReadonlySet<number>): Materialized {
  const { nodes } = graph;
  const materialized = nodes.map(() => false);
  const operands = operandsBelowBarriers(graph);
  const { readers, amplified } = countReaders(graph, operands);
  for (const output of graph.outputs) materialized[output] = true;

  const need = (position: number): void => {
    if (!isSource(nodes[position] as GraphNode)) materialized[position] = true;
  };
  for (const position of fromMemory) need(position);
  const movements = nodes.map(() => 0);
  nodes.forEach((node, i) => {
    for (const input of operands[i] as number[]) {
      if (!materialized[input]) movements[i] = Math.max(movements[i] as number, movements[input] as number);
    }
    if (node.kind === "loop") for (const input of operands[i] as number[]) need(input);
    if (node.kind === "loop" || node.kind === "result") materialized[i] = true;
    if (node.kind !== "operation") return;
    if (!options.fuse) need(i);
    if (isMovement(node) || node.primitive === "gather") movements[i] = (movements[i] as number) + 1;
    if ((movements[i] as number) > mostMovements) materialized[i] = true;
    if (isReduction(node) || node.primitive === "dot" || node.primitive === "scatterAdd") materialized[i] = true;
    if (node.primitive === "scatterAdd") for (const input of operands[i] as number[]) need(input);
    if (node.primitive === "dot") {
      const loops = matmulLoops(graph, node);
      operands[i]?.forEach((input, side) => {
        const base = linearOperand(graph, materialized, loops, side as 0 | 1, input);
        if (base === undefined) materialized[input] = true;
        else need(base);
      });
    }
  });

  const cost = nodes.map(() => 0);
  const buffers: Set<number>[] = nodes.map(() => new Set());
  nodes.forEach((node, i) => {
    if (node.kind === "input") buffers[i]?.add(i);
    if (node.kind !== "operation" && node.kind !== "barrier") return;
    const inputs = operands[i] as number[];
    const own = isView(node) || isSource(node) || node.kind !== "operation" ? 0 : (costs[node.primitive] ?? 1);
    const touched = (): Set<number> => {
      const all = new Set<number>();
      for (const input of inputs) {
        if (materialized[input]) all.add(input);
        else for (const buffer of buffers[input] as Set<number>) all.add(buffer);
      }
      return all;
    };
    let all = touched();
    if (all.size > options.maxBuffers - 2) {
      const open = inputs.filter((input) => !materialized[input] && (buffers[input] as Set<number>).size > 1);
      open.sort((a, b) => (buffers[b] as Set<number>).size - (buffers[a] as Set<number>).size);
      while (all.size > options.maxBuffers - 2 && open.length > 0) {
        materialized[open.shift() as number] = true;
        all = touched();
      }
    }
    buffers[i] = all;
    cost[i] = own + inputs.reduce((sum, input) => sum + (materialized[input] ? 0 : (cost[input] as number)), 0);
    const shared = (readers[i] as number) > 1 || amplified[i];
    if (!isView(node) && shared && (cost[i] as number) > cheap) materialized[i] = true;
    if ((cost[i] as number) > largestCost && node.kind === "operation") materialized[i] = true;
  });
  materializeUnevenOperands(graph, operands, materialized);
  return { materialized, cost };
}

/** How often each node is read, views left out, and whether one reader reads an element of it more than once. */
function countReaders(
  { nodes }: Graph,
  operands: readonly (readonly number[])[],
): { readers: readonly number[]; amplified: readonly boolean[] } {
  const readers = nodes.map(() => 0);
  const amplified = nodes.map(() => false);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] as GraphNode;
    const through = isView(node);
    const repeatsAll = node.kind === "operation" && (node.primitive === "expand" || node.primitive === "scatterAdd");
    const repeatsFirst = node.kind === "operation" && node.primitive === "gather";
    operands[i]?.forEach((input, k) => {
      readers[input] = (readers[input] as number) + (through ? Math.max(1, readers[i] as number) : 1);
      if (repeatsAll || (repeatsFirst && k === 0) || (through && amplified[i])) amplified[input] = true;
    });
  }
  return { readers, amplified };
}

/** A view that was materialized late ends the chains that lead through it, and what is left of them may not be linear any more. */
function materializeUnevenOperands(graph: Graph, operands: readonly (readonly number[])[], materialized: boolean[]): void {
  const sides = graph.nodes.flatMap((node, i) => {
    if (node.kind !== "operation" || node.primitive !== "dot") return [];
    const loops = matmulLoops(graph, node);
    return (operands[i] as number[]).map((input, side) => ({ input, side: side as 0 | 1, loops }));
  });
  const isUneven = ({ input, side, loops }: (typeof sides)[number]): boolean =>
    !materialized[input] && linearOperand(graph, materialized, loops, side, input) === undefined;
  for (let more = sides.filter(isUneven); more.length > 0; more = sides.filter(isUneven)) {
    for (const { input } of more) materialized[input] = true;
  }
}

/** The node below an operand of a product that is a view of it whose place is linear in row and column, as kernels want it. */
function linearOperand(
  graph: Graph,
  materialized: readonly boolean[],
  { operands, m, n, k }: MatmulLoops,
  side: 0 | 1,
  operand: number,
): number | undefined {
  const { node, index } = accessThroughViews(graph, materialized, operand, operands[side]);
  const below = graph.nodes[node] as GraphNode;
  if (isSource(below) && below.kind !== "input") return undefined;
  const loops = side === 0 ? [m, k] : [k, n];
  return loops.every(({ name }) => (coefficient(index, name) ?? -1) >= 0) ? node : undefined;
}
