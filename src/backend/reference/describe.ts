import { type Graph, type GraphNode, paramsKey } from "../../ir/graph.js";
import { show } from "../../ir/shape.js";

/** A graph as text, one line for each node, bodies further right: `%2 = mul(%0, %1) f32[2, 3]`. */
export const describeGraph = (graph: Graph): string => linesOf(graph).join("\n");

function linesOf(graph: Graph): string[] {
  const lines = graph.nodes.flatMap((node, i) => {
    const own = `%${i} = ${describeNode(node)}`;
    return node.kind === "call" || node.kind === "loop" ? [own, ...linesOf(node.body).map((line) => `    ${line}`)] : [own];
  });
  return [...lines, `return ${graph.outputs.map((output) => `%${output}`).join(", ")}`];
}

/** What a node computes, as text: `mul(%0, %1) f32[2, 3]`. */
export const describeNode = (node: GraphNode): string => `${expression(node)} ${node.dtype}${show(node.shape)}`;

function expression(node: GraphNode): string {
  if (node.kind === "input") return `input ${node.input}`;
  if (node.kind === "scalar") return `scalar ${node.scalar}`;
  const inputs = `(${node.inputs.map((input) => `%${input}`).join(", ")})`;
  switch (node.kind) {
    case "operation":
      return `${node.primitive}${inputs}${paramsKey(node.params)}`;
    case "call":
      return `call ${node.name}${inputs}${paramsKey(node.params)}`;
    case "loop":
      return `loop${inputs}{count=${node.count};carried=${node.carried};sliced=${node.sliced}${node.reverse ? ";reverse" : ""}}`;
    case "result":
      return `result ${node.index}${inputs}`;
    case "barrier":
      return `barrier${inputs}`;
  }
}
