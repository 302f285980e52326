import type { Graph, GraphNode } from "../../src/ir/graph.js";
import { type Computation, type HostTensor, hostTensor } from "./graphs.js";

/** A graph with inputs in place of its scalars, as bodies are. */
function bodyOf(graph: Graph): Graph {
  const nodes = graph.nodes.map((node): GraphNode => {
    if (node.kind !== "scalar") return node;
    const { shape, dtype } = node;
    return { kind: "input", input: graph.inputCount + node.scalar, shape, dtype };
  });
  return { ...graph, nodes, inputCount: graph.inputCount + graph.scalarCount, scalarCount: 0 };
}

/** The nodes that hand a computation its inputs and scalars; those that nothing reads are of one number. */
function handed({ graph, inputs }: Computation): GraphNode[] {
  const given: GraphNode[] = inputs.map(({ shape, dtype }, input) => ({ kind: "input", input, shape, dtype }));
  const dtypes = new Map(graph.nodes.flatMap((node) => (node.kind === "scalar" ? [[node.scalar, node.dtype] as const] : [])));
  for (let scalar = 0; scalar < graph.scalarCount; scalar++)
    given.push({ kind: "scalar", scalar, shape: [], dtype: dtypes.get(scalar) ?? "f32" });
  return given;
}

/** The computation as one call. */
export function inCall(computation: Computation): Computation {
  const { graph } = computation;
  const body = bodyOf(graph);
  const nodes = handed(computation);
  const [first] = graph.outputs.map((output) => graph.nodes[output] as GraphNode) as [GraphNode];
  const call =
    nodes.push({ kind: "call", name: "f", params: {}, body, inputs: nodes.map((_, i) => i), shape: first.shape, dtype: first.dtype }) - 1;
  const outputs = graph.outputs.map((output, index) => {
    const { shape, dtype } = graph.nodes[output] as GraphNode;
    return nodes.push({ kind: "result", index, inputs: [call], shape, dtype }) - 1;
  });
  return { ...computation, graph: { ...graph, nodes, outputs } };
}

/** What a loop of two steps makes of a computation, and where its results are in the stacks. */
export interface Looped {
  readonly computation: Computation;
  /** The slice of every stack that belongs to the computation's own inputs. */
  readonly slice: 0 | 1;
}

/**
 * A loop of two steps, one with the inputs of the computation and one with the same numbers in another order: of every second input the
 * loop takes slices, of the others what they are. What each step makes is stacked.
 */
export function inLoop(computation: Computation, reverse: boolean, slice: 0 | 1): Looped {
  const { graph, inputs } = computation;
  const isSliced = (input: number): boolean => input < inputs.length && input % 2 === 0;
  const all = handed(computation);
  const order = [...all.keys()].sort((a, b) => Number(isSliced(b)) - Number(isSliced(a)) || a - b);
  const place = new Map(order.map((input, k) => [input, k]));
  const plain = bodyOf(graph);
  const body: Graph = {
    ...plain,
    nodes: plain.nodes.map((node) => (node.kind === "input" ? { ...node, input: place.get(node.input) as number } : node)),
  };
  const stackOf = ({ shape, dtype, data }: HostTensor): HostTensor => {
    const [own, other] = [[...data], [...data].reverse()];
    return hostTensor(dtype, [2, ...shape], slice === 0 ? [...own, ...other] : [...other, ...own]);
  };
  const handedIn = inputs.map((input, i) => (isSliced(i) ? stackOf(input) : input));
  const nodes = all.map(
    (node): GraphNode => (node.kind === "input" ? { ...node, shape: (handedIn[node.input] as HostTensor).shape } : node),
  );
  const stacked = graph.outputs.map((output) => {
    const { shape, dtype } = graph.nodes[output] as GraphNode;
    return { shape: [2, ...shape], dtype };
  });
  const [first] = stacked as [(typeof stacked)[number]];
  const sliced = order.filter(isSliced).length;
  const loop = nodes.push({ kind: "loop", body, count: 2, reverse, carried: 0, sliced, inputs: order, ...first }) - 1;
  const outputs = stacked.map((type, index) => nodes.push({ kind: "result", index, inputs: [loop], ...type }) - 1);
  return { computation: { ...computation, graph: { ...graph, nodes, outputs }, inputs: handedIn }, slice };
}

/** One slice of a stack of two. */
export function sliceOf({ shape, dtype, data }: HostTensor, slice: 0 | 1): HostTensor {
  const size = data.length / 2;
  return hostTensor(dtype, shape.slice(1), data.slice(slice * size, (slice + 1) * size));
}
