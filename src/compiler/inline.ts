import { type Graph, type GraphNode, withInputs } from "../ir/graph.js";

/**
 * Inlining: every call becomes the nodes of its body, in bodies of loops too, so that the passes after this one see nothing but
 * primitives, loops and barriers. What a body computes and nobody reads is for dead-code elimination.
 *
 *   %2 = call f(%0, %1) { return mul(i0, i1), add(i0, i1) }        %2 = mul(%0, %1)
 *   %3 = result 1(%2)                                         →    %3 = add(%0, %1)
 */
export function inline(graph: Graph): Graph {
  if (!hasCalls(graph)) return graph;
  const target = new Target();
  const inputs: number[] = [];
  const outputs = target.copy(graph, inputs);
  return { ...graph, nodes: target.nodes, outputs };
}

/** A graph in the making. */
class Target {
  readonly nodes: GraphNode[] = [];

  place(node: GraphNode): number {
    return this.nodes.push(node) - 1;
  }

  /** Places the nodes of a graph whose inputs are nodes placed before, or new input nodes. Returns the places of its outputs. */
  copy(graph: Graph, inputs: readonly number[]): number[] {
    const moved: number[] = [];
    /** The places of the results of each call. */
    const calls = new Map<number, readonly number[]>();
    graph.nodes.forEach((node, i) => {
      if (node.kind === "call") {
        calls.set(
          i,
          this.copy(
            node.body,
            node.inputs.map((input) => moved[input] as number),
          ),
        );
        return;
      }
      if (node.kind === "result" && calls.has(node.inputs[0] as number)) {
        moved[i] = (calls.get(node.inputs[0] as number) as number[])[node.index] as number;
        return;
      }
      if (node.kind === "input" && inputs[node.input] !== undefined) {
        moved[i] = inputs[node.input] as number;
        return;
      }
      const here = withInputs(node, (input) => moved[input] as number);
      moved[i] = this.place(here.kind === "loop" ? { ...here, body: inline(here.body) } : here);
    });
    return graph.outputs.map((output) => moved[output] as number);
  }
}

const hasCalls = ({ nodes }: Graph): boolean => nodes.some((node) => node.kind === "call" || (node.kind === "loop" && hasCalls(node.body)));
