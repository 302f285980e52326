import { hostArray, isFloat, isHalf, representable } from "../ir/dtype.js";
import { type Graph, type GraphNode, inputsOf, nodeKey, type OperationNode, withInputs } from "../ir/graph.js";
import { isView } from "../ir/operand-accesses.js";
import type { PrimitiveName } from "../ir/primitives.js";
import { type Shape, sameShape, sizeOf } from "../ir/shape.js";

/**
 * Algebraic simplification with value numbering: one pass in topological order, in which each node is rewritten as far as its inputs,
 * which are simple already, allow (identities removed, constants folded, chains of views merged), and then looked up among the nodes
 * that are there (hash-consing), so that equal nodes are one. What nobody uses is dropped in the end. Values do not change, except that
 * x·1, x + 0 and x − 0 become x.
 *
 *   %1 = reshape(%0, [2, 6])     %4 = mul(%2, %3), %3 = 1           %1 = reshape(%0, [3, 4])
 *   %2 = reshape(%1, [3, 4])     %5 = reshape(%0, [3, 4])      →    %2 = add(%1, %1)
 *                                %6 = add(%4, %5)
 */
export function simplify(graph: Graph): Graph {
  const nodes: GraphNode[] = [];
  const known = new Map<string, number>();
  /** Where each node of the old graph went. */
  const moved: number[] = [];

  const place = (node: GraphNode): number => {
    // Each barrier is a value of its own.
    if (node.kind === "barrier") return nodes.push(node) - 1;
    const key = nodeKey(node);
    const existing = known.get(key);
    if (existing !== undefined) return existing;
    const position = nodes.push(node) - 1;
    known.set(key, position);
    return position;
  };

  for (const node of graph.nodes) {
    const here = withInputs(node, (input) => moved[input] as number);
    moved.push(reduceNode(here, nodes, place));
  }
  return prune({ ...graph, nodes, outputs: graph.outputs.map((output) => moved[output] as number) });
}

type Place = (node: GraphNode) => number;

const isOperation = <P extends PrimitiveName>(node: GraphNode | undefined, primitive: P): node is Extract<GraphNode, OperationNode<P>> =>
  node?.kind === "operation" && node.primitive === primitive;

/** The position of a node that computes the same as `node`, as simple as can be seen from here. */
function reduceNode(node: GraphNode, nodes: readonly GraphNode[], place: Place): number {
  if (node.kind !== "operation") return place(node);
  const input = (i: number): GraphNode => nodes[node.inputs[i] as number] as GraphNode;
  const first = node.inputs[0] as number;
  const constant = (value: number, shape: Shape = node.shape): number =>
    place({ kind: "operation", primitive: "const", inputs: [], params: { value, shape, dtype: node.dtype }, shape, dtype: node.dtype });

  if (node.primitive === "alias" || node.primitive === "stopGradient") return first;
  if (
    (node.primitive === "reshape" || node.primitive === "expand" || node.primitive === "cast") &&
    node.dtype === input(0).dtype &&
    sameShape(node.shape, input(0).shape)
  ) {
    return first;
  }
  const values = node.inputs.map((_, i) => constantValue(input(i)));
  if (
    node.primitive === "reshape" ||
    node.primitive === "expand" ||
    node.primitive === "permute" ||
    node.primitive === "flip" ||
    node.primitive === "slice"
  ) {
    if (values[0] !== undefined) return constant(values[0]);
  }
  if (isOperation(node, "reshape") && isOperation(input(0), "reshape")) {
    return reduceNode({ ...node, inputs: (input(0) as OperationNode).inputs }, nodes, place);
  }
  if (isOperation(node, "permute")) {
    const inner = input(0);
    const order = isOperation(inner, "permute") ? node.params.order.map((axis) => inner.params.order[axis] as number) : node.params.order;
    const from = isOperation(inner, "permute") ? (inner.inputs[0] as number) : first;
    if (order.every((axis, i) => axis === i)) return from;
    // Moving axes of extent 1 around is a reshape.
    const long = order.filter((axis) => (nodes[from] as GraphNode).shape[axis] !== 1);
    if (long.every((axis, i) => i === 0 || axis > (long[i - 1] as number))) {
      return reduceNode({ ...node, primitive: "reshape", inputs: [from], params: { shape: node.shape } } as GraphNode, nodes, place);
    }
    return place({ ...node, inputs: [from], params: { order } });
  }
  const fold = folds[node.primitive];
  if (fold && values.length > 0 && values.every((value): value is number => value !== undefined) && isFloat(node.dtype)) {
    const rounded = hostArray(node.dtype, 1);
    rounded[0] = fold(...values);
    return constant(rounded[0] as number);
  }
  if (isOperation(node, "cast") && values[0] !== undefined) {
    const rounded = representable(node.dtype, values[0]);
    if (isHalf(node.dtype)) return constant(rounded);
    if (isFloat(node.dtype) || values[0] === rounded) return constant(values[0]);
  }
  if (isOperation(node, "dot")) return place({ ...node, inputs: node.inputs.map((each) => beforeWidening(each, nodes, place)) });
  const neutral = (value: number | undefined, wanted: number): boolean => value !== undefined && Object.is(value, wanted);
  if (node.primitive === "mul" || node.primitive === "div") {
    if (neutral(values[1], 1)) return first;
    if (node.primitive === "mul" && neutral(values[0], 1)) return node.inputs[1] as number;
  }
  if (node.primitive === "add" || node.primitive === "sub") {
    if (neutral(values[1], 0)) return first;
    if (node.primitive === "add" && neutral(values[0], 0)) return node.inputs[1] as number;
  }
  if (node.primitive === "neg" && isOperation(input(0), "neg")) return (input(0) as OperationNode).inputs[0] as number;
  if (isOperation(node, "slice") && sameShape(node.shape, input(0).shape)) return first;
  if (isOperation(node, "pad") && sameShape(node.shape, input(0).shape)) return first;
  if (
    (node.primitive === "sum" || node.primitive === "maxReduce" || node.primitive === "minReduce") &&
    sizeOf(node.shape) === sizeOf(input(0).shape)
  ) {
    return reduceNode({ ...node, primitive: "reshape", params: { shape: node.shape } } as GraphNode, nodes, place);
  }
  return place(node);
}

/**
 * What an operand of a product was before it was widened: kernels widen what they read, exactly, so a copy in f32 would only take room.
 *
 *   dot(x, permute(cast(w, f32)))     →     dot(x, permute(w))                  w: bf16
 */
function beforeWidening(position: number, nodes: readonly GraphNode[], place: Place): number {
  const node = nodes[position] as GraphNode;
  if (node.kind !== "operation" || node.dtype !== "f32") return position;
  const [input] = node.inputs as [number];
  if (node.primitive === "cast") return isHalf((nodes[input] as GraphNode).dtype) ? input : position;
  if (!isView(node)) return position;
  const narrow = beforeWidening(input, nodes, place);
  return narrow === input ? position : place({ ...node, inputs: [narrow], dtype: (nodes[narrow] as GraphNode).dtype });
}

const constantValue = (node: GraphNode): number | undefined => (isOperation(node, "const") ? node.params.value : undefined);

/** Elementwise primitives on constants, where the host's arithmetic is at least as good as the device's. */
const folds: { readonly [P in PrimitiveName]?: (...values: number[]) => number } = {
  neg: (x) => -(x as number),
  exp: (x) => Math.exp(x as number),
  log: (x) => Math.log(x as number),
  sqrt: (x) => Math.sqrt(x as number),
  recip: (x) => 1 / (x as number),
  add: (a, b) => (a as number) + (b as number),
  sub: (a, b) => (a as number) - (b as number),
  mul: (a, b) => (a as number) * (b as number),
  div: (a, b) => (a as number) / (b as number),
};

/**
 * Dead-code elimination: the graph without nodes that no output takes numbers from. Inputs and scalars keep their numbers. What a barrier
 * waits for is not computed for that alone; the barrier then waits for what it would have been computed from.
 */
export function prune(graph: Graph): Graph {
  const used = new Uint8Array(graph.nodes.length);
  for (const output of graph.outputs) used[output] = 1;
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i] as GraphNode;
    if (!used[i]) continue;
    for (const input of node.kind === "barrier" ? node.inputs.slice(0, 1) : inputsOf(node)) used[input] = 1;
  }
  if (!used.includes(0)) return graph;
  const moved: number[] = [];
  const nodes: GraphNode[] = [];
  graph.nodes.forEach((node, i) => {
    if (!used[i]) return;
    const here =
      node.kind === "barrier" ? { ...node, inputs: [node.inputs[0] as number, ...usedBelow(graph, used, node.inputs.slice(1))] } : node;
    moved[i] = nodes.length;
    nodes.push(withInputs(here, (input) => moved[input] as number));
  });
  return { ...graph, nodes, outputs: graph.outputs.map((output) => moved[output] as number) };
}

/** The nodes that are used among these and, where one is not, among what it is computed from. */
function usedBelow({ nodes }: Graph, used: Uint8Array, positions: readonly number[]): number[] {
  const found = new Set<number>();
  const seen = new Set(positions);
  const waiting = [...seen];
  for (let position = waiting.pop(); position !== undefined; position = waiting.pop()) {
    if (used[position]) found.add(position);
    else {
      for (const input of inputsOf(nodes[position] as GraphNode)) {
        if (seen.has(input)) continue;
        seen.add(input);
        waiting.push(input);
      }
    }
  }
  return [...found];
}
