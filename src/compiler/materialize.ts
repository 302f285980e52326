import { type Graph, type GraphNode, inputsOf, isRegion } from "../ir/graph.js";
import { coefficient, type IndexExpression } from "../ir/index-expression.js";
import { isMovement, isView } from "../ir/operand-accesses.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { isRowUpdate } from "../ir/row-update.js";
import { sizeOf } from "../ir/shape.js";
import { accessThroughViews } from "./access.js";
import { operandsOfCall } from "./call-operands.js";
import { isReduction, type MatmulLoopsOf } from "./domain.js";

/**
 * Materialization: which nodes get a buffer (or a register of the kernel that computes them), and which are computed anew wherever they
 * are read. A cost model over the graph in topological order: a node is materialized when it is a result, when loops of its own compute
 * it, when a loop of the program takes it or hands it out, or when computing it again for each reader costs more than a trip through
 * memory.
 *
 *   e = exp(x)                 e  materialized: exp costs 4, and it is read twice, once by a reduction
 *   s = sum(e, axis 1)         s  materialized: a reduction
 *   r = recip(s)               r  not: one reader, or as cheap as reading it
 *   y = mul(e, expand(r))      y  materialized: the result; computes r from s where it is read
 *
 *   p = dot(y, w)              p  materialized: a product
 *   z = add(p, x)              z  materialized if read twice: nobody else reads p, so it takes the place of p in memory
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
/**
 * The same for values that are made of the elements of one tensor: whoever reads them has that tensor's element at hand or reads it instead. An
 * activation and its derivative, for which a sigmoid, its exponential and its complement would else be kept beside each other.
 */
const cheapOfOne = 24;
/** The same for what is picked from a table, which cannot be written over as long as somebody picks from it. */
const cheapPicked = 1;
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

const nothing: ReadonlySet<number> = new Set();

/** Chooses the nodes that are materialized; those of `fromMemory` are, and others where recomputing them would cost more. */
export function materialize(
  graph: Graph,
  options: MaterializeOptions,
  fromMemory: ReadonlySet<number>,
  loopsOf: MatmulLoopsOf,
): Materialized {
  const { nodes } = graph;
  const materialized = nodes.map(() => false);
  const operands = operandsBelowBarriers(graph);
  const { readers, amplified, reduced } = countReaders(graph, operands);
  for (const output of graph.outputs) materialized[output] = true;

  const need = (position: number): void => {
    if (!isSource(nodes[position] as GraphNode)) materialized[position] = true;
  };
  /** What a cast reads: converting numbers where they are read costs less than a copy of them. */
  const belowCast = (position: number): number => {
    const node = nodes[position] as GraphNode;
    return node.kind === "operation" && node.primitive === "cast" ? ((operands[position] as number[])[0] as number) : position;
  };
  /** What a reshaped tensor lies in: it has the same numbers in the same order. */
  const belowReshapes = (position: number): number => {
    const node = nodes[position] as GraphNode;
    if (materialized[position] || node.kind !== "operation" || node.primitive !== "reshape") return position;
    const below = belowReshapes((operands[position] as number[])[0] as number);
    const source = nodes[below] as GraphNode;
    return isSource(source) && source.kind !== "input" ? position : below;
  };
  for (const position of fromMemory) need(position);
  const movements = nodes.map(() => 0);
  const linearOperands: LinearOperand[] = [];
  const needLinear = (operand: LinearOperand): void => {
    const base = linearBase(graph, materialized, operand);
    if (base === undefined) materialized[operand.input] = true;
    else need(base);
    linearOperands.push(operand);
  };
  nodes.forEach((node, i) => {
    for (const input of operands[i] as number[]) {
      if (!materialized[input]) movements[i] = Math.max(movements[i] as number, movements[input] as number);
    }
    if (node.kind === "loop") (operands[i] as number[]).forEach((input, k) => need(k < node.carried ? input : belowReshapes(input)));
    if (isRegion(node) || node.kind === "result") materialized[i] = true;
    if (node.kind === "call") {
      operandsOfCall(graph, node).forEach((operand, k) => {
        const input = (operands[i] as number[])[k] as number;
        if (operand.kind === "whole") need(input);
        if (operand.kind === "linear") needLinear({ input, ...operand });
      });
    }
    if (node.kind !== "operation") return;
    if (!options.fuse) need(i);
    if (isMovement(node) || node.primitive === "gather") movements[i] = (movements[i] as number) + 1;
    if ((movements[i] as number) > mostMovements) materialized[i] = true;
    if (isReduction(node) || node.primitive === "dot" || node.primitive === "scatterAdd") materialized[i] = true;
    if (node.primitive === "scatterAdd") {
      const [values, index] = operands[i] as [number, number];
      need(belowCast(values));
      need(index);
    }
    if (node.primitive === "dot") {
      const { operands: coordinates, m, n, k } = loopsOf(node);
      const [a, b] = operands[i] as [number, number];
      needLinear({ input: a, coordinates: coordinates[0], loops: [m.name, k.name] });
      needLinear({ input: b, coordinates: coordinates[1], loops: [k.name, n.name] });
    }
  });

  const cost = nodes.map(() => 0);
  const sizes = nodes.map(({ shape }) => sizeOf(shape));
  /** Whether a node picks elements by other numbers on the way from what is materialized. */
  const picks = nodes.map(() => false);
  /** Whether a node is made of the elements of one tensor and of smaller ones. Inputs may be written over as soon as they were read. */
  const isOfOne = (i: number): boolean => {
    let whole = 0;
    for (const buffer of buffers[i] as ReadonlySet<number>) {
      if ((nodes[buffer] as GraphNode).kind === "input") return false;
      if ((sizes[buffer] as number) >= (sizes[i] as number)) whole++;
    }
    return whole <= 1;
  };
  /** Whether a node goes on from a product of its size that nobody else reads. */
  const replacesProduct = (inputs: readonly number[], size: number): boolean =>
    inputs.some((input) => {
      const below = belowReshapes(input);
      const node = nodes[below] as GraphNode;
      return node.kind === "operation" && node.primitive === "dot" && readers[below] === 1 && sizes[below] === size;
    });
  /** Whether a node, not materialized, adds to a product of its size that nobody else reads. */
  const sums = nodes.map(() => false);
  const isSum = (input: number): boolean => {
    const below = belowReshapes(input);
    return sums[below] === true && !materialized[below] && readers[below] === 1;
  };
  /** For each node, the buffers that computing it reads. */
  const buffers: ReadonlySet<number>[] = [];
  nodes.forEach((node, i) => {
    buffers[i] = node.kind === "input" ? new Set([i]) : nothing;
    if (isRowUpdate(node)) {
      for (const input of operands[i] as number[])
        if ((buffers[input] as ReadonlySet<number>).size > options.maxBuffers - 3) materialized[input] = true;
    }
    if (node.kind !== "operation" && node.kind !== "barrier") return;
    const inputs = operands[i] as number[];
    if (node.kind === "operation" && node.primitive === "add") {
      sums[i] = replacesProduct(inputs, sizes[i] as number);
      // A sum of products grows in the place of each of them, one after another; else all of them would be there at once.
      if (sums[i]) for (const input of inputs) if (isSum(input)) materialized[belowReshapes(input)] = true;
    }
    const own = isView(node) || isSource(node) || node.kind !== "operation" ? 0 : (costs[node.primitive] ?? 1);
    const [only] = inputs;
    const touched = (): ReadonlySet<number> => {
      if (only === undefined) return nothing;
      if (inputs.length === 1 && !materialized[only]) return buffers[only] as ReadonlySet<number>;
      const all = new Set<number>();
      for (const input of inputs) {
        if (materialized[input]) all.add(input);
        else for (const buffer of buffers[input] as ReadonlySet<number>) all.add(buffer);
      }
      return all;
    };
    let all = touched();
    if (all.size > options.maxBuffers - 2) {
      const open = inputs.filter((input) => !materialized[input] && (buffers[input] as ReadonlySet<number>).size > 1);
      open.sort((a, b) => (buffers[b] as ReadonlySet<number>).size - (buffers[a] as ReadonlySet<number>).size);
      while (all.size > options.maxBuffers - 2 && open.length > 0) {
        materialized[open.shift() as number] = true;
        all = touched();
      }
    }
    buffers[i] = all;
    cost[i] = own + inputs.reduce((sum, input) => sum + (materialized[input] ? 0 : (cost[input] as number)), 0);
    picks[i] = (node.kind === "operation" && node.primitive === "gather") || inputs.some((input) => !materialized[input] && picks[input]);
    const shared = (readers[i] as number) > 1 || amplified[i];
    const affordable = picks[i] ? cheapPicked : amplified[i] || reduced[i] || !isOfOne(i) ? cheap : cheapOfOne;
    // What goes on from a product, or from a sum that is in the place of one, would else keep all that is added up for its readers.
    const inItsPlace = (): boolean => replacesProduct(inputs, sizes[i] as number) || inputs.some(isSum);
    if (!isView(node) && shared && ((cost[i] as number) > affordable || inItsPlace())) materialized[i] = true;
    if ((cost[i] as number) > largestCost && node.kind === "operation") materialized[i] = true;
  });
  // A view that was materialized late ends the chains that lead through it, and what is left of them may not be linear any more.
  const isUneven = (operand: LinearOperand): boolean =>
    !materialized[operand.input] && linearBase(graph, materialized, operand) === undefined;
  for (let more = linearOperands.filter(isUneven); more.length > 0; more = linearOperands.filter(isUneven)) {
    for (const { input } of more) materialized[input] = true;
  }
  return { materialized, cost };
}

/** How often each node is read, views left out, and whether one reader reads an element of it more than once, or reduces it. */
function countReaders(
  { nodes }: Graph,
  operands: readonly (readonly number[])[],
): { readers: readonly number[]; amplified: readonly boolean[]; reduced: readonly boolean[] } {
  const readers = nodes.map(() => 0);
  const amplified = nodes.map(() => false);
  const reduced = nodes.map(() => false);
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] as GraphNode;
    const through = isView(node);
    const repeatsAll = node.kind === "operation" && (node.primitive === "expand" || node.primitive === "scatterAdd");
    const repeatsFirst = node.kind === "operation" && node.primitive === "gather";
    operands[i]?.forEach((input, k) => {
      readers[input] = (readers[input] as number) + (through ? Math.max(1, readers[i] as number) : 1);
      if (repeatsAll || (repeatsFirst && k === 0) || (through && amplified[i])) amplified[input] = true;
      if (isReduction(node) || (through && reduced[i])) reduced[input] = true;
    });
  }
  return { readers, amplified, reduced };
}

/** What a product or another kernel with loops of its own reads at `coordinates`, linear in two of them. */
interface LinearOperand {
  readonly input: number;
  readonly coordinates: readonly IndexExpression[];
  readonly loops: readonly string[];
}

/** The node below an operand that is a view of it whose place is linear in the loops, as kernels want it. */
function linearBase(graph: Graph, materialized: readonly boolean[], { input, coordinates, loops }: LinearOperand): number | undefined {
  const { node, index } = accessThroughViews(graph, materialized, input, coordinates);
  const below = graph.nodes[node] as GraphNode;
  if (isSource(below) && below.kind !== "input") return undefined;
  return loops.every((name) => (coefficient(index, name) ?? -1) >= 0) ? node : undefined;
}
