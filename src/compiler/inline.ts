import { inputsOfKernel, isAttention } from "../ir/attention.js";
import { type CallNode, type Graph, type GraphNode, withInputs } from "../ir/graph.js";

/** A call with nothing but what its kernel reads. */
const withKernelInputs = (call: CallNode): CallNode => (isAttention(call) ? { ...call, inputs: inputsOfKernel(call) } : call);

/** Whether a backend has a kernel for a call, whose inputs are the operands. */
export type HasKernel = (call: CallNode, operands: readonly GraphNode[]) => boolean;

/**
 * Inlining: every call that no kernel is known for becomes the nodes of its body, in bodies of loops too, so that the passes after this
 * one see primitives, loops, barriers and calls with kernels. What a body computes and nobody reads is for dead-code elimination.
 *
 *   %2 = call f(%0, %1) { return mul(i0, i1), add(i0, i1) }        %2 = mul(%0, %1)
 *   %3 = result 1(%2)                                         →    %3 = add(%0, %1)
 */
export function inline(graph: Graph, hasKernel: HasKernel = () => false): Graph {
  if (!hasCalls(graph)) return graph;
  const target = new Target(hasKernel);
  const inputs: number[] = [];
  const outputs = target.copy(graph, inputs);
  return { ...graph, nodes: target.nodes, outputs };
}

/** A graph in the making. */
class Target {
  readonly nodes: GraphNode[] = [];

  constructor(private readonly hasKernel: HasKernel) {}

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
        const operands = node.inputs.map((input) => moved[input] as number);
        const isKept = this.hasKernel(
          node,
          operands.map((operand) => this.nodes[operand] as GraphNode),
        );
        if (isKept) moved[i] = this.place(withKernelInputs({ ...node, inputs: operands }));
        else calls.set(i, this.copy(node.body, operands));
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
      moved[i] = this.place(here.kind === "loop" ? { ...here, body: inline(here.body, this.hasKernel) } : here);
    });
    return graph.outputs.map((output) => moved[output] as number);
  }
}

const hasCalls = ({ nodes }: Graph): boolean => nodes.some((node) => node.kind === "call" || (node.kind === "loop" && hasCalls(node.body)));
