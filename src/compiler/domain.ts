import type { Graph, GraphNode } from "../ir/graph.js";
import { flatten, type IndexExpression, unflatten, variable } from "../ir/index-expression.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { dropAxes, type Shape, sizeOf } from "../ir/shape.js";

export const outerLoop = "o";
export const innerLoop = "r";

/** One outer loop over a shape without `axes`, and an inner loop over these. */
export interface Domain {
  readonly shape: Shape;
  readonly axes: readonly number[];
  readonly outer: number;
  readonly inner: number;
  /** One index per axis of the shape. */
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
  return { shape, axes, outer, inner, coordinates, full: flatten(coordinates, shape), row };
}

const reductions = new Set<PrimitiveName>(["sum", "maxReduce", "minReduce", "argmax", "argmin"]);

/** Whether a node is computed by an inner loop. */
export const isReduction = (node: GraphNode): boolean => node.kind === "operation" && reductions.has(node.primitive);

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
