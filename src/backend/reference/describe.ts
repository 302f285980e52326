import { type Graph, type GraphNode, paramsKey } from "../../ir/graph.js";
import { show } from "../../ir/shape.js";

/** A graph as text, one line for each node: `%2 = mul(%0, %1) f32[2, 3]`. */
export function describeGraph(graph: Graph): string {
  const lines = graph.nodes.map((node, i) => `%${i} = ${expression(node)} ${node.dtype}${show(node.shape)}`);
  return [...lines, `return ${graph.outputs.map((output) => `%${output}`).join(", ")}`].join("\n");
}

function expression(node: GraphNode): string {
  switch (node.kind) {
    case "input":
      return `input ${node.input}`;
    case "scalar":
      return `scalar ${node.scalar}`;
    case "operation":
      return `${node.primitive}(${node.inputs.map((input) => `%${input}`).join(", ")})${paramsKey(node.params)}`;
  }
}
