import type { Graph, GraphNode } from "../ir/graph.js";
import { datum, flatten, type IndexExpression, literal, reshapeCoordinates, unflatten } from "../ir/index-expression.js";
import { type Shape, sizeOf } from "../ir/shape.js";
import { type Domain, isReduction } from "./domain.js";
import { isMovement, readings } from "./views.js";

/** One place of a node that has a buffer or a register. */
export interface Place {
  readonly node: number;
  readonly index: IndexExpression;
}

/** What a node reads when it is computed in given loops. */
export interface Reads {
  /** True where the node has one value for each turn of the outer loop, and the inner loop does not compute it. */
  readonly isRow: boolean;
  readonly places: readonly Place[];
  /** The nodes of `places`, which may repeat. */
  readonly nodes: readonly number[];
}

/** A function that says what a node reads when it is computed in the loops of a domain. It keeps its answers. */
export function readsIn(graph: Graph, stored: readonly boolean[]): (position: number, domain: Domain) => Reads {
  const known: Map<Domain, Reads>[] = [];
  return (position, domain) => {
    known[position] ??= new Map();
    const reads = known[position].get(domain) ?? findReads(graph, stored, position, domain);
    known[position].set(domain, reads);
    return reads;
  };
}

function findReads(graph: Graph, stored: readonly boolean[], position: number, domain: Domain): Reads {
  const node = graph.nodes[position] as GraphNode;
  const { shape, axes, outer, inner } = domain;
  const size = sizeOf(node.shape);
  const reduces = node.kind === "operation" && isReduction(node);
  const isRow = !reduces && axes.length > 0 && size === outer && size !== outer * inner;
  let places: Place[];
  if (reduces) {
    const input = node.inputs[0] as number;
    const inputNode = graph.nodes[input] as GraphNode;
    const at = reshapeCoordinates(domain.coordinates, shape, inputNode.shape);
    places =
      stored[input] || inputNode.kind === "input"
        ? [{ node: input, index: flatten(at, inputNode.shape) }]
        : frontier(graph, stored, input, at);
  } else {
    const at = isRow ? unflatten(domain.row, node.shape) : reshapeCoordinates(domain.coordinates, shape, node.shape);
    places = frontier(graph, stored, position, at);
  }
  return { isRow, places, nodes: places.map((place) => place.node) };
}

/** Places at which stored nodes are read when a node is computed at given coordinates. */
function frontier(graph: Graph, stored: readonly boolean[], start: number, coordinates: readonly IndexExpression[]): Place[] {
  const found: Place[] = [];
  const seen = new Set<string>();
  const visit = (position: number, at: readonly IndexExpression[], index: IndexExpression): void => {
    const key = `${position}@${index.key}`;
    if (seen.has(key)) return;
    seen.add(key);
    if (stored[position] || (graph.nodes[position] as GraphNode).kind === "input") found.push({ node: position, index });
    else descend(position, at, index);
  };
  /** `index` is the row-major position of `at`. */
  const descend = (position: number, at: readonly IndexExpression[], index: IndexExpression): void => {
    const node = graph.nodes[position] as GraphNode;
    if (node.kind !== "operation") return;
    const shapeOf = (k: number): Shape => (graph.nodes[node.inputs[k] as number] as GraphNode).shape;
    const read = (operand: number, where: readonly IndexExpression[]): void =>
      visit(node.inputs[operand] as number, where, flatten(where, shapeOf(operand)));
    if (isMovement(node)) {
      for (const { operand, coordinates: where } of readings(node, at, shapeOf)) read(operand, where);
    } else if (node.primitive === "gather") {
      const rank = shapeOf(1).length;
      read(1, at.slice(0, rank));
      read(0, [datum(-position - 1, shapeOf(0)[0] as number), ...at.slice(rank)]);
    } else if (node.primitive === "randomBits") {
      for (const lane of [0, 1]) read(0, [literal(lane)]);
    } else {
      // Elementwise: operands have the node's own shape, so the place in them is the same.
      for (const input of node.inputs) visit(input, at, index);
    }
  };
  descend(start, coordinates, flatten(coordinates, (graph.nodes[start] as GraphNode).shape));
  return found;
}
