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

export type GraphNode = { [P in PrimitiveName]: OperationNode<P> }[PrimitiveName] | InputNode | ScalarNode;

/** A computation as data: nodes in topological order, the positions of the results, and how much each run is handed. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly outputs: readonly number[];
  readonly inputCount: number;
  readonly scalarCount: number;
}

/** A text that two graphs share exactly when they are the same computation; the key of every program cache. */
export function graphKey(graph: Graph): string {
  const lines = graph.nodes.map((node) => {
    const type = `${node.dtype}[${node.shape.join()}]`;
    switch (node.kind) {
      case "input":
        return `i${node.input}:${type}`;
      case "scalar":
        return `s${node.scalar}:${type}`;
      case "operation":
        return `${node.primitive}(${node.inputs.join()})${paramsKey(node.params)}:${type}`;
    }
  });
  return `${lines.join("\n")}\n>${graph.outputs.join()}`;
}

/** Parameters as text, with −0, NaN and the infinities kept apart. */
export function paramsKey(params: object): string {
  const entries = Object.entries(params);
  if (entries.length === 0) return "";
  return `{${entries.map(([name, value]) => `${name}=${Array.isArray(value) ? `[${value.join()}]` : Object.is(value, -0) ? "-0" : String(value)}`).join(";")}}`;
}
