import { type Graph, type GraphNode, inputsOf, paramsKey } from "../../ir/graph.js";
import { type Origin, originOfNode, placeOf } from "../../ir/origin.js";
import type { Shape } from "../../ir/shape.js";
import { nodeBytes, nodeFlops } from "../../ir/work.js";

/** One value of a graph that is explained. */
export interface ExplainedNode {
  /** Its place among the nodes. */
  readonly number: number;
  readonly kind: GraphNode["kind"];
  /** The primitive, the name of the call, "loop", …; for an input its name: "argument 0 w". */
  readonly operation: string;
  /** Parameters as text: "{axes=[0]}". */
  readonly params: string;
  readonly inputs: readonly number[];
  readonly shape: Shape;
  readonly dtype: string;
  readonly bytes: number;
  /** Floating-point operations, those of a loop over all of its steps. */
  readonly flops: number;
  readonly part: "input" | "forward" | "gradient";
  /** The line of the user's program that made it: "/home/me/train.js:12:7"; of a gradient, the line that asked for it. */
  readonly line: string | undefined;
  /** The functions of this library that made it there, the one that the user called first: ["softmax", "exp"]. */
  readonly calls: readonly string[];
  /** For a value of a gradient: the rule that made it. */
  readonly rule: ExplainedRule | undefined;
  /** What a call or a loop computes. */
  readonly body: ExplainedGraph | undefined;
}

/** The rule by which a value of a gradient was made. */
export interface ExplainedRule {
  /** What was differentiated: "log". */
  readonly of: string;
  /** "x̄ = ȳ/x". */
  readonly formula: string;
  /** The line of the forward value whose cotangent is pulled back here. */
  readonly line: string | undefined;
  readonly calls: readonly string[];
  /** That value among the nodes of this graph, where it is one of them. */
  readonly node: number | undefined;
}

export interface ExplainedGraph {
  readonly nodes: readonly ExplainedNode[];
  readonly outputs: readonly number[];
}

/** A graph with what was noted of its nodes. `nameOf` gives the name of an input or of a scalar. */
export function explainGraph(graph: Graph, nameOf: (node: GraphNode) => string): ExplainedGraph {
  const { nodes, outputs } = graph;
  const placeOfOrigin = new Map<Origin, number>();
  nodes.forEach((node, i) => {
    const origin = originOfNode(node);
    if (origin !== undefined && !placeOfOrigin.has(origin)) placeOfOrigin.set(origin, i);
  });
  const explained = nodes.map((node, number): ExplainedNode => {
    const origin = originOfNode(node);
    const place = origin === undefined ? undefined : placeOf(origin);
    const isSource = node.kind === "input" || node.kind === "scalar";
    return {
      number,
      kind: node.kind,
      operation: isSource ? nameOf(node) : operationOf(node),
      params: "params" in node ? paramsText(node) : "",
      inputs: inputsOf(node),
      shape: node.shape,
      dtype: node.dtype,
      bytes: nodeBytes(node),
      flops: nodeFlops(node, nodes),
      part: isSource ? "input" : origin?.derivation === undefined ? "forward" : "gradient",
      line: place?.line,
      calls: place?.calls ?? [],
      rule: origin?.derivation === undefined ? undefined : ruleOf(origin.derivation, placeOfOrigin),
      body: "body" in node ? explainGraph(node.body, bodyNames) : undefined,
    };
  });
  return { nodes: explained, outputs };
}

function ruleOf({ of, rule, forward }: NonNullable<Origin["derivation"]>, places: ReadonlyMap<Origin, number>): ExplainedRule {
  const place = forward === undefined ? undefined : placeOf(forward);
  return {
    of,
    formula: rule,
    line: place?.line,
    calls: place?.calls ?? [],
    node: forward === undefined ? undefined : places.get(forward),
  };
}

const bodyNames = (node: GraphNode): string => (node.kind === "input" ? `input ${node.input}` : "scalar");

/** What a node does, in a word. */
export function operationOf(node: GraphNode): string {
  switch (node.kind) {
    case "operation":
      return node.primitive;
    case "call":
      return node.name;
    case "loop":
      return `loop × ${node.count}`;
    case "result":
      return `result ${node.index}`;
    default:
      return node.kind;
  }
}

/** Graphs among the parameters, which are programs for one pair of a score, would fill pages. */
function paramsText(node: Extract<GraphNode, { params: object }>): string {
  const text = paramsKey(node.params);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
