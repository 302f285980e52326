import type { DType } from "./dtype.js";
import type { PrimitiveName, PrimitiveParams } from "./primitives.js";
import type { Shape } from "./shape.js";

/** One operation of a graph; `inputs` are positions in {@link Graph.nodes}, all smaller than the node's own. */
export interface OperationNode<P extends PrimitiveName = PrimitiveName> {
  readonly kind: "operation";
  readonly primitive: P;
  readonly inputs: readonly number[];
  readonly params: PrimitiveParams[P];
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A buffer that the caller hands over at each run; `input` counts among the graph's buffers. */
export interface InputNode {
  readonly kind: "input";
  readonly input: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A number (shape []) that the caller hands over at each run; `scalar` counts among the graph's scalars. */
export interface ScalarNode {
  readonly kind: "scalar";
  readonly scalar: number;
  readonly shape: Shape;
  readonly dtype: DType;
}

/**
 * A graph applied to inputs, one for each input of `body`, which has no scalars. The call means exactly its body; its name says what a
 * backend may know a better kernel for. Its values are those of `result` nodes; shape and dtype are those of the first.
 */
export interface CallNode {
  readonly kind: "call";
  readonly name: string;
  /** Numbers, texts, lists of them and graphs that are part of the meaning, as a kernel reads them. */
  readonly params: object;
  readonly body: Graph;
  readonly inputs: readonly number[];
  readonly shape: Shape;
  readonly dtype: DType;
}

/**
 * `body` run `count` times. Its inputs are, in this order: `carried` values, which begin as the loop's first inputs and are then what
 * the step before made of them; slices i of the next `sliced` inputs along their first axis, of extent `count`; and the remaining
 * inputs, the same in every step. Its outputs are the next carried values and then what is stacked. The results of the loop are the
 * last carried values and the stacks [count, …].
 *
 *   step i (or count − 1 − i with `reverse`):   carried, (yᵢ, …) = body(carried, (xᵢ, …), constants)
 */
export interface LoopNode {
  readonly kind: "loop";
  readonly body: Graph;
  readonly count: number;
  /** From the last slice to the first. Stacks lie as the slices do. */
  readonly reverse: boolean;
  readonly carried: number;
  readonly sliced: number;
  readonly inputs: readonly number[];
  /** Those of the first result. */
  readonly shape: Shape;
  readonly dtype: DType;
}

/** One result of the call or the loop that is its only input. */
export interface ResultNode {
  readonly kind: "result";
  readonly index: number;
  readonly inputs: readonly number[];
  readonly shape: Shape;
  readonly dtype: DType;
}

/**
 * The first input, as a value of its own: common-subexpression elimination does not look through it, and whatever is computed from it
 * is computed after the other inputs, of which nothing else is used.
 */
export interface BarrierNode {
  readonly kind: "barrier";
  readonly inputs: readonly number[];
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Nodes that are made of others. */
export type InnerNode = { [P in PrimitiveName]: OperationNode<P> }[PrimitiveName] | CallNode | LoopNode | ResultNode | BarrierNode;
export type GraphNode = InnerNode | InputNode | ScalarNode;

/** A computation as data: nodes in topological order, the positions of the results, and how much each run is handed. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly outputs: readonly number[];
  readonly inputCount: number;
  readonly scalarCount: number;
}

const none: readonly number[] = [];

/** Whether a node has several results, which are nodes of their own. */
export const isRegion = (node: GraphNode): node is CallNode | LoopNode => node.kind === "call" || node.kind === "loop";

/** The positions that a node reads. */
export const inputsOf = (node: GraphNode): readonly number[] => (node.kind === "input" || node.kind === "scalar" ? none : node.inputs);

/** The node with every position that it reads replaced: itself where they stay. */
export function withInputs<N extends GraphNode>(node: N, replace: (input: number) => number): N {
  if (node.kind === "input" || node.kind === "scalar") return node;
  const inputs = node.inputs.map(replace);
  if (inputs.every((input, i) => input === node.inputs[i])) return node;
  if (node.kind !== "operation") return { ...node, inputs };
  // Most nodes of most graphs, and a literal is made in a fraction of the time of a copy.
  const { kind, primitive, params, shape, dtype } = node;
  return { kind, primitive, inputs, params, shape, dtype } as unknown as N;
}

const keys = new WeakMap<Graph, string>();

/** A text that two graphs share exactly when they are the same computation; the key of every program cache. */
export function graphKey(graph: Graph): string {
  let key = keys.get(graph);
  if (key === undefined) {
    key = `${graph.nodes.map(nodeKey).join("\n")}\n>${graph.outputs.join()}`;
    keys.set(graph, key);
  }
  return key;
}

/** A text that two nodes of one graph share exactly when they are the same computation, barriers apart. */
export function nodeKey(node: GraphNode): string {
  const type = `${node.dtype}[${node.shape.join()}]`;
  switch (node.kind) {
    case "input":
      return `i${node.input}:${type}`;
    case "scalar":
      return `s${node.scalar}:${type}`;
    case "operation":
      return `${node.primitive}(${node.inputs.join()})${paramsKey(node.params)}:${type}`;
    case "call":
      return `call ${JSON.stringify(node.name)}(${node.inputs.join()})${paramsKey(node.params)}{${graphKey(node.body)}}`;
    case "loop":
      return `loop ${node.count}${node.reverse ? " reverse" : ""} ${node.carried},${node.sliced}(${node.inputs.join()}){${graphKey(node.body)}}`;
    case "result":
      return `result ${node.index}(${node.inputs.join()})`;
    case "barrier":
      return `barrier(${node.inputs.join()})`;
  }
}

/** Parameters as text, with −0, NaN and the infinities kept apart. */
export function paramsKey(params: object): string {
  let text = "";
  for (const name of Object.keys(params)) {
    const value = (params as Record<string, unknown>)[name];
    text += `${text === "" ? "{" : ";"}${name}=${paramKey(value)}`;
  }
  return text === "" ? "" : `${text}}`;
}

function paramKey(value: unknown): string {
  if (Array.isArray(value)) return `[${value.join()}]`;
  if (typeof value === "object" && value !== null && "nodes" in value) return `{${graphKey(value as Graph)}}`;
  return Object.is(value, -0) ? "-0" : String(value);
}
