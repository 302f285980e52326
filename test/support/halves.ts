import type { Graph, GraphNode } from "../../src/backend/graph.js";

/** A graph with f16 wherever it has f32; undefined where a number is read as bits, whose width would change. */
export function inHalves(graph: Graph): Graph | undefined {
  if (graph.nodes.some((node) => node.kind === "operation" && node.primitive === "bitcast")) return undefined;
  const half = (node: GraphNode): GraphNode => {
    const dtype = node.dtype === "f32" ? "f16" : node.dtype;
    if (node.kind !== "operation") return { ...node, dtype };
    const params = "dtype" in node.params && node.params.dtype === "f32" ? { ...node.params, dtype: "f16" } : node.params;
    return { ...node, params, dtype } as GraphNode;
  };
  return { ...graph, nodes: graph.nodes.map(half) };
}
