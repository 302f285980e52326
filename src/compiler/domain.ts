import type { Graph, GraphNode, OperationNode } from "../ir/graph.js";
import { flatten, type IndexExpression, reshapeCoordinates, unflatten, variable } from "../ir/index-expression.js";
import { type PrimitivesWithTag, primitives } from "../ir/primitives.js";
import { dropAxes, type Shape, sizeOf } from "../ir/shape.js";
import type { Loop } from "./program.js";

/**
 * Iteration domains: the loops that a kernel runs, and the index expressions that a tensor's coordinates are in them.
 *
 *   y = exp(x), x: [4, 6]        for o < 24                    x at [o / 6, o mod 6], which is place o
 *   s = sum(x) over axis 1       for o < 4, for r < 6          x at [o, r], which is place 6·o + r;  s at o
 */
export interface Domain {
  readonly shape: Shape;
  /** The axes of the inner loop; the outer one runs over the others. */
  readonly axes: readonly number[];
  readonly outer: number;
  readonly inner: number;
  /** One index per axis of the shape. */
  readonly coordinates: readonly IndexExpression[];
  /** Row-major places of values that both loops compute, and of values that the outer loop alone does. */
  readonly full: IndexExpression;
  readonly row: IndexExpression;
}

export const outerLoop = "o";
export const innerLoop = "r";

/** The loops of a domain. */
export function domainOf(shape: Shape, axes: readonly number[]): Domain {
  const outerShape = dropAxes(shape, axes);
  const innerShape = shape.filter((_, i) => axes.includes(i));
  const [outer, inner] = [sizeOf(outerShape), sizeOf(innerShape)];
  const row = variable(outerLoop, outer);
  const outside = unflatten(row, outerShape);
  const inside = unflatten(variable(innerLoop, inner), innerShape);
  const coordinates = shape.map((_, i) => (axes.includes(i) ? inside.shift() : outside.shift()) as IndexExpression);
  return { shape, axes, outer, inner, coordinates, full: flatten(coordinates, shape), row };
}

type Reductions = PrimitivesWithTag<"reduce">;

/** Whether a node is computed by an inner loop. */
export const isReduction = (node: GraphNode): node is { [P in Reductions]: OperationNode<P> }[Reductions] =>
  node.kind === "operation" && primitives[node.primitive].tag === "reduce";

/** Whether a node that is computed in a domain has one value for each turn of the outer loop, as reductions have. */
export const isPerRow = (node: GraphNode, { axes, outer, inner }: Domain): boolean =>
  axes.length > 0 && (isReduction(node) || (sizeOf(node.shape) === outer && inner !== 1));

/** The coordinates of the element of a tensor that a turn of the loops is at: of the outer one for what is there per row. */
export const coordinatesIn = (domain: Domain, shape: Shape, perRow: boolean): readonly IndexExpression[] =>
  perRow ? unflatten(domain.row, shape) : reshapeCoordinates(domain.coordinates, domain.shape, shape);

/** The loops that compute a node on its own. Equal loops are one object. */
export function ownDomains(graph: Graph): (position: number) => Domain {
  const byLoops = new Map<string, Domain>();
  const byNode: Domain[] = [];
  const find = (node: GraphNode): Domain => {
    const reduces = node.kind === "operation" && isReduction(node);
    const shape = reduces ? (graph.nodes[node.inputs[0] as number] as GraphNode).shape : node.shape;
    const axes = reduces ? (node.params as { axes: readonly number[] }).axes : [];
    const key = `${shape}|${axes}`;
    const domain = byLoops.get(key) ?? domainOf(shape, axes);
    byLoops.set(key, domain);
    return domain;
  };
  return (position) => {
    byNode[position] ??= find(graph.nodes[position] as GraphNode);
    return byNode[position];
  };
}

/** The loops of a product c[…, m, n] = Σₖ a[…, m, k] · b[…, k, n], and the coordinates of a, b and c in them. */
export interface MatmulLoops {
  readonly batch: Loop;
  readonly m: Loop;
  readonly n: Loop;
  readonly k: Loop;
  readonly operands: readonly [a: readonly IndexExpression[], b: readonly IndexExpression[]];
  readonly result: readonly IndexExpression[];
}

export type MatmulLoopsOf = (product: OperationNode<"dot">) => MatmulLoops;

/** The loops of the products of a graph. Equal loops are one object. */
export function matmulLoopsIn({ nodes }: Graph): MatmulLoopsOf {
  const byShape = new Map<string, MatmulLoops>();
  return ({ inputs, shape }) => {
    const depth = (nodes[inputs[0] as number] as GraphNode).shape.at(-1) as number;
    const key = `${shape}|${depth}`;
    const loops = byShape.get(key) ?? matmulLoops(shape, depth);
    byShape.set(key, loops);
    return loops;
  };
}

function matmulLoops(shape: Shape, depth: number): MatmulLoops {
  const batchShape = shape.slice(0, -2);
  const loops = {
    batch: { name: "b", extent: sizeOf(batchShape) },
    m: { name: "m", extent: shape.at(-2) as number },
    n: { name: "n", extent: shape.at(-1) as number },
    k: { name: "k", extent: depth },
  };
  const batch = unflatten(loopVariable(loops.batch), batchShape);
  const [m, n, k] = [loops.m, loops.n, loops.k].map(loopVariable) as [IndexExpression, IndexExpression, IndexExpression];
  return {
    ...loops,
    operands: [
      [...batch, m, k],
      [...batch, k, n],
    ],
    result: [...batch, m, n],
  };
}

/** The loops of y[bin, column] = Σ over entries with index[entry] = bin of x[entry, column], and the coordinates of all three in them. */
export interface ScatterLoops {
  readonly bin: Loop;
  readonly column: Loop;
  readonly entry: Loop;
  /** The places of the entries in an order by bins. */
  readonly place: Loop;
  readonly values: readonly IndexExpression[];
  readonly index: readonly IndexExpression[];
  /** The row-major place in the result. */
  readonly result: IndexExpression;
}

export function scatterLoops(graph: Graph, { inputs, params, shape }: OperationNode<"scatterAdd">): ScatterLoops {
  const rowShape = shape.slice(1);
  const indexShape = (graph.nodes[inputs[1] as number] as GraphNode).shape;
  const bin = { name: "s", extent: params.size };
  const column = { name: "c", extent: sizeOf(rowShape) };
  const entry = { name: "e", extent: sizeOf(indexShape) };
  const place = { name: "p", extent: entry.extent };
  const index = unflatten(loopVariable(entry), indexShape);
  return {
    bin,
    column,
    entry,
    place,
    index,
    values: [...index, ...unflatten(loopVariable(column), rowShape)],
    result: flatten([loopVariable(bin), loopVariable(column)], [bin.extent, column.extent]),
  };
}

const loopVariable = ({ name, extent }: Loop): IndexExpression => variable(name, extent);
