import { type Graph, type GraphNode, inputsOf } from "../ir/graph.js";
import { isView } from "../ir/operand-accesses.js";

/**
 * Nodes that are compared with their own largest or smallest element, as the gradient of a maximum is shared among the places that
 * attain it. Two kernels may round one computation differently (fused multiply-adds, halves that one of them keeps in a register), and
 * then no element equals the maximum. So these are written to memory and whoever needs them reads them there.
 *
 *   m = maxReduce(x)
 *   hit = eq(x, expand(m))      →   x is one of them
 */
export function comparedWithExtrema({ nodes }: Graph): ReadonlySet<number> {
  const compared = new Set<number>();
  /** The node below views and casts, which map equal numbers to equal numbers. */
  const below = (position: number): number => {
    for (;;) {
      const node = nodes[position] as GraphNode;
      if (!isView(node) && !(node.kind === "operation" && node.primitive === "cast")) return position;
      position = inputsOf(node)[0] as number;
    }
  };
  for (const node of nodes) {
    if (node.kind !== "operation" || (node.primitive !== "eq" && node.primitive !== "lt")) continue;
    const [a, b] = node.inputs.map(below) as [number, number];
    for (const [extremum, other] of [
      [a, b],
      [b, a],
    ] as const) {
      // An extremum over several axes may be one of an extremum.
      const reduced: number[] = [];
      for (let at = extremum; at !== other; ) {
        const inner = nodes[at] as GraphNode;
        if (inner.kind !== "operation" || (inner.primitive !== "maxReduce" && inner.primitive !== "minReduce")) break;
        at = below(inner.inputs[0] as number);
        reduced.push(at);
      }
      if (reduced.at(-1) === other) for (const each of reduced) compared.add(each);
    }
  }
  return compared;
}
