import { elementBytes } from "./bytes.js";
import { isFloat } from "./dtype.js";
import { type Graph, type GraphNode, inputsOf } from "./graph.js";
import { type PrimitiveName, primitiveRecord } from "./primitives.js";
import { sizeOf } from "./shape.js";

/**
 * How much computing is: floating-point operations, of which each addition, product, quotient, exponential, … of floats is one, and a
 * multiplication with an addition two. Comparisons, choices, casts, movement and integers are none.
 */
const noArithmetic: ReadonlySet<PrimitiveName> = new Set(["cast", "bitcast", "where", "lt", "eq", "and", "or", "not"]);

/** Whether an elementwise primitive is an arithmetic operation. */
export const isArithmetic = (primitive: PrimitiveName): boolean => !noArithmetic.has(primitive);

const known = new WeakMap<Graph, number>();

/** The floating-point operations of a graph, loops as often as they run. */
export function graphFlops(graph: Graph): number {
  const found = known.get(graph) ?? graph.nodes.reduce((sum, node) => sum + nodeFlops(node, graph.nodes), 0);
  known.set(graph, found);
  return found;
}

/** The floating-point operations of one node of a graph. */
export function nodeFlops(node: GraphNode, nodes: readonly GraphNode[]): number {
  if (node.kind === "call") return graphFlops(node.body);
  if (node.kind === "loop") return node.count * graphFlops(node.body);
  if (node.kind !== "operation" || !isFloat(node.dtype)) return 0;
  const first = nodes[node.inputs[0] as number];
  const size = sizeOf(node.shape);
  switch (primitiveRecord(node.primitive).tag) {
    case "elementwise":
      return isArithmetic(node.primitive) ? size : 0;
    case "reduce":
      return first === undefined ? 0 : sizeOf(first.shape);
    case "contract":
      return 2 * size * (first?.shape.at(-1) ?? 1);
    case "index":
      return node.primitive === "scatterAdd" && first !== undefined ? sizeOf(first.shape) : 0;
    default:
      return 0;
  }
}

/** Bytes of a value. */
export const nodeBytes = ({ shape, dtype }: Pick<GraphNode, "shape" | "dtype">): number => sizeOf(shape) * elementBytes[dtype];

/** Bytes that a node reads, each input once. */
export const bytesRead = (node: GraphNode, nodes: readonly GraphNode[]): number =>
  [...new Set(inputsOf(node))].reduce((sum, input) => sum + nodeBytes(nodes[input] as GraphNode), 0);
