import type { Backend } from "../../src/backend/backend.js";
import type { Graph, GraphNode } from "../../src/ir/graph.js";
import type { PrimitiveName } from "../../src/ir/primitives.js";

/** A backend that takes one primitive for another: what a suite must notice. */
export function confused(backend: Backend, wrong: PrimitiveName, taken: PrimitiveName): Backend {
  const compile = backend.compile.bind(backend);
  const swap = (node: GraphNode): GraphNode => {
    if (node.kind === "call" || node.kind === "loop") return { ...node, body: swapped(node.body) };
    return node.kind === "operation" && node.primitive === wrong ? ({ ...node, primitive: taken } as GraphNode) : node;
  };
  const swapped = (graph: Graph): Graph => ({ ...graph, nodes: graph.nodes.map(swap) });
  backend.compile = (graph, options) => compile(swapped(graph), options);
  return backend;
}
