import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type Graph, type GraphNode, withInputs } from "../../src/ir/graph.js";

/**
 * The reference with every f32 result rounded to f32: the least that a real f32 backend gets wrong. The suites must
 * accept it, or their tolerances are too tight for anybody.
 */
export function createRoundingBackend(): Backend {
  const backend = createReferenceBackend();
  const compile = backend.compile.bind(backend);
  backend.compile = (graph, options) => compile(rounding(graph), options);
  const memoryOf = backend.memoryOf.bind(backend);
  backend.memoryOf = (graph, options) => memoryOf(rounding(graph), options);
  return backend;
}

/** The graph with a bitcast to i32 and back behind each f32 operation, which is where the reference rounds. */
function rounding(graph: Graph): Graph {
  const nodes: GraphNode[] = [];
  const moved: number[] = [];
  const add = (node: GraphNode): number => nodes.push(node) - 1;
  for (const node of graph.nodes) {
    const here = withInputs(node, (input) => moved[input] as number);
    const exact = add("body" in here ? { ...here, body: rounding(here.body) } : here);
    if (node.kind !== "operation") {
      moved.push(exact);
      continue;
    }
    const bitcast = (input: number, dtype: "f32" | "i32"): number =>
      add({ kind: "operation", primitive: "bitcast", inputs: [input], params: { dtype }, shape: node.shape, dtype });
    moved.push(node.dtype === "f32" ? bitcast(bitcast(exact, "i32"), "f32") : exact);
  }
  return { ...graph, nodes, outputs: graph.outputs.map((output) => moved[output] as number) };
}
