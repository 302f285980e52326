import { type Graph, type GraphNode, inputsOf, type LoopNode, withInputs } from "../ir/graph.js";
import { isView } from "../ir/operand-accesses.js";

/**
 * What a loop hands to its body: constants, scalars and views among the inputs that stay the same move into the body (sinking), where they
 * cost nothing, as do slices of what is the same throughout; outside, each would be a buffer of its own. Bodies are then simplified like
 * any graph, and inputs that they no longer read are dropped.
 *
 *   %1 = const 2; %2 = permute(%0)                                 %1 = loop(%x, %0) { input 0, input 1;
 *   %3 = loop(%x, %1, %2) { … mul(input 0, input 1) … }      →         … mul(input 0, const 2) … permute(input 1) … }
 */
export function tidyLoops(graph: Graph, optimize: (body: Graph) => Graph): Graph {
  if (!graph.nodes.some(({ kind }) => kind === "loop")) return graph;
  const nodes: GraphNode[] = [];
  /** How many views lie on each other up to a node. */
  const views: number[] = [];
  const place = (node: GraphNode): number => {
    views.push(isView(node) ? (views[inputsOf(node)[0] as number] as number) + 1 : 0);
    return nodes.push(node) - 1;
  };
  const moved: number[] = [];
  const results = new Map<string, number>();
  graph.nodes.forEach((node, i) => {
    const here = withInputs(node, (input) => moved[input] as number);
    if (here.kind === "loop") moved[i] = place(tidy(here, { nodes, views }, optimize));
    else if (here.kind === "result") {
      const key = `${here.inputs[0]} ${here.index}`;
      moved[i] = results.get(key) ?? place(here);
      results.set(key, moved[i]);
    } else moved[i] = place(here);
  });
  return { ...graph, nodes, outputs: graph.outputs.map((output) => moved[output] as number) };
}

/** Views on each other that move into a body, at most: more of them are computed once, outside. */
const mostViews = 12;

/** A loop whose inputs are nodes of the graph in the making, tidied. */
function tidy(
  loop: LoopNode,
  { nodes: outside, views }: { readonly nodes: readonly GraphNode[]; readonly views: readonly number[] },
  optimize: (body: Graph) => Graph,
): LoopNode {
  const { body, carried, sliced } = loop;
  const moving = carried + sliced;
  const inputs = loop.inputs.slice(0, moving);
  const nodes: GraphNode[] = [];
  const place = (node: GraphNode): number => nodes.push(node) - 1;
  const known = new Map<number, number>();
  /** A node from outside as one of the body: itself where it costs nothing, an input of the loop otherwise. */
  const sink = (position: number): number => {
    const before = known.get(position);
    if (before !== undefined) return before;
    const node = outside[position] as GraphNode;
    const isFree = node.kind === "scalar" || (node.kind === "operation" && (node.primitive === "const" || node.primitive === "iota"));
    const { shape, dtype } = node;
    const here =
      isFree || (node.kind === "operation" && isView(node) && (views[position] as number) <= mostViews)
        ? place(withInputs(node, sink))
        : place({ kind: "input", input: inputs.push(position) - 1, shape, dtype });
    known.set(position, here);
    return here;
  };
  /** A slice that is the same in every iteration, as a node of the body. */
  const sinkSlice = (position: number): number | undefined => {
    const node = outside[position] as GraphNode;
    if (node.kind !== "operation") return undefined;
    const { dtype } = node;
    const shape = node.shape.slice(1);
    if (node.primitive === "const") return place({ ...node, params: { ...node.params, shape }, shape });
    if (node.primitive !== "expand") return undefined;
    const [below] = node.inputs as [number];
    const from = (outside[below] as GraphNode).shape;
    if (from[0] !== 1 || node.shape[0] === 1) return undefined;
    const one = from.slice(1);
    const flat = place({ kind: "operation", primitive: "reshape", inputs: [sink(below)], params: { shape: one }, shape: one, dtype });
    return place({ kind: "operation", primitive: "expand", inputs: [flat], params: { shape }, shape, dtype });
  };
  const moved: number[] = [];
  body.nodes.forEach((node, i) => {
    const input = node.kind === "input" ? node.input : -1;
    if (input >= moving) moved[i] = sink(loop.inputs[input] as number);
    else {
      const still = input >= carried ? sinkSlice(loop.inputs[input] as number) : undefined;
      moved[i] = still ?? place(withInputs(node, (read) => moved[read] as number));
    }
  });
  const outputs = body.outputs.map((output) => moved[output] as number);
  const optimized = optimize({ nodes, outputs, inputCount: inputs.length, scalarCount: body.scalarCount });
  return withoutUnread({ ...loop, body: optimized, inputs });
}

/** A loop without slices and constants that its body does not read. */
function withoutUnread(loop: LoopNode): LoopNode {
  const { body, carried, sliced, inputs } = loop;
  const read = new Set(body.nodes.flatMap((node) => (node.kind === "input" ? [node.input] : [])));
  const kept = inputs.flatMap((_, input) => (input < carried || read.has(input) ? [input] : []));
  if (kept.length === inputs.length) return loop;
  const numbers = new Map(kept.map((input, k) => [input, k]));
  const nodes = body.nodes.map((node) => (node.kind === "input" ? { ...node, input: numbers.get(node.input) as number } : node));
  return {
    ...loop,
    body: { ...body, nodes, inputCount: kept.length },
    sliced: kept.filter((input) => input >= carried && input < carried + sliced).length,
    inputs: kept.map((input) => inputs[input] as number),
  };
}
