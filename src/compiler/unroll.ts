import { type Graph, type GraphNode, type LoopNode, withInputs } from "../ir/graph.js";

/** The graph with every loop written out, step after step: what a loop means. Calls must have been inlined. */
export function unroll(graph: Graph): Graph {
  const nodes: GraphNode[] = [];
  const outputs = copy(graph, [], nodes);
  return { ...graph, nodes, outputs };
}

function copy(graph: Graph, inputs: readonly number[], nodes: GraphNode[]): number[] {
  const moved: number[] = [];
  const loops = new Map<number, readonly number[]>();
  graph.nodes.forEach((node, i) => {
    const at = (input: number): number => moved[input] as number;
    if (node.kind === "loop") loops.set(i, written(node, node.inputs.map(at), nodes));
    else if (node.kind === "result") moved[i] = loops.get(node.inputs[0] as number)?.[node.index] as number;
    else if (node.kind === "input" && inputs[node.input] !== undefined) moved[i] = inputs[node.input] as number;
    else moved[i] = nodes.push(withInputs(node, at)) - 1;
  });
  return graph.outputs.map((output) => moved[output] as number);
}

/** The results of a loop, step after step. */
function written({ body, count, reverse, carried, sliced }: LoopNode, inputs: readonly number[], nodes: GraphNode[]): number[] {
  const place = (node: GraphNode): number => nodes.push(node) - 1;
  const node = (position: number): GraphNode => nodes[position] as GraphNode;
  const reshape = (input: number, shape: readonly number[]): number =>
    place({ kind: "operation", primitive: "reshape", inputs: [input], params: { shape }, shape, dtype: node(input).dtype });
  let state = inputs.slice(0, carried);
  const stacks: number[][] = body.outputs.slice(carried).map(() => []);
  for (let turn = 0; turn < count; turn++) {
    const at = reverse ? count - 1 - turn : turn;
    const slices = inputs.slice(carried, carried + sliced).map((input) => {
      const { shape, dtype } = node(input);
      const starts = shape.map((_, axis) => (axis === 0 ? at : 0));
      const stops = shape.map((extent, axis) => (axis === 0 ? at + 1 : extent));
      const params = { starts, stops, steps: shape.map(() => 1) };
      const one = place({ kind: "operation", primitive: "slice", inputs: [input], params, shape: [1, ...shape.slice(1)], dtype });
      return reshape(one, shape.slice(1));
    });
    const results = copy(body, [...state, ...slices, ...inputs.slice(carried + sliced)], nodes);
    state = results.slice(0, carried);
    stacks.forEach((stack, k) => {
      const result = results[carried + k] as number;
      stack[at] = reshape(result, [1, ...node(result).shape]);
    });
  }
  const stacked = stacks.map((parts) => {
    const { shape, dtype } = node(parts[0] as number);
    return place({ kind: "operation", primitive: "concat", inputs: parts, params: { axis: 0 }, shape: [count, ...shape.slice(1)], dtype });
  });
  return [...state, ...stacked];
}
