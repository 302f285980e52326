import fc from "fast-check";
import { type Graph, type GraphNode, withInputs } from "../../src/ir/graph.js";
import { barrierOf } from "./graphs.js";

/** For each edge of a graph in turn, over and over: whether it leads through a barrier, and after which earlier nodes, modulo their number. */
export const barrierPicks = fc.array(fc.record({ barrier: fc.boolean(), after: fc.array(fc.nat(10_000), { maxLength: 2 }) }), {
  minLength: 1,
  maxLength: 12,
});
type BarrierPicks = typeof barrierPicks extends fc.Arbitrary<infer Picks> ? Picks : never;

/** A graph with barriers on some of its edges, which change nothing of its values. */
export function withBarriers(graph: Graph, picks: BarrierPicks): Graph {
  const nodes: GraphNode[] = [];
  const moved: number[] = [];
  let edge = 0;
  /** Calls and loops have results in the place of a value. */
  const isValue = (position: number): boolean => nodes[position]?.kind !== "call" && nodes[position]?.kind !== "loop";
  const through = (input: number): number => {
    const pick = picks[edge++ % picks.length];
    if (pick === undefined || !pick.barrier) return input;
    return nodes.push(barrierOf(nodes, [input, ...pick.after.map((other) => other % nodes.length).filter(isValue)])) - 1;
  };
  for (const node of graph.nodes) {
    const here = withInputs(node, (input) => (node.kind === "result" ? (moved[input] as number) : through(moved[input] as number)));
    moved.push(nodes.push(here) - 1);
  }
  return { ...graph, nodes, outputs: graph.outputs.map((output) => through(moved[output] as number)) };
}
