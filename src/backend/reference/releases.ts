import { type Graph, type GraphNode, inputsOf } from "../../ir/graph.js";

const knownReleases = new WeakMap<Graph, number[][]>();

/**
 * For each node, the intermediates that nothing needs once it has run. Outputs are never among them, and neither is what outlives its
 * last use under another name: what barriers and results stand for.
 */
export function releasesOf(graph: Graph): number[][] {
  const known = knownReleases.get(graph);
  if (known) return known;
  const releases: number[][] = graph.nodes.map(() => []);
  const seen = new Set<number>(graph.outputs);
  for (const output of graph.outputs) keepNamesakes(graph, output, seen);
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    for (const used of [i, ...inputsOf(graph.nodes[i] as GraphNode)]) {
      if (seen.has(used)) continue;
      seen.add(used);
      // From the last use on, what it stands for has seen its last use too.
      keepNamesakes(graph, used, seen, (namesake) => releases[i]?.push(namesake));
      releases[i]?.push(used);
    }
  }
  knownReleases.set(graph, releases);
  return releases;
}

/** Marks the nodes whose memory a barrier or a result shares. */
function keepNamesakes({ nodes }: Graph, position: number, seen: Set<number>, found: (node: number) => void = () => undefined): void {
  for (let node = nodes[position]; node?.kind === "barrier" || node?.kind === "result"; ) {
    const below = node.inputs[0] as number;
    if (!seen.has(below)) found(below);
    seen.add(below);
    node = nodes[below];
  }
}
