import type { Graph, GraphNode } from "../../ir/graph.js";
import { sizeOf } from "../../ir/shape.js";
import type { ProgramMemory } from "../backend.js";
import { releasesOf } from "./releases.js";
import { bytesPerElement } from "./values.js";

type Sized = Pick<GraphNode, "shape" | "dtype">;

const bytesOf = ({ shape, dtype }: Sized): number => sizeOf(shape) * bytesPerElement(dtype);
const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
const outputsOf = (graph: Graph): GraphNode[] => graph.outputs.map((output) => graph.nodes[output] as GraphNode);

/** What a run takes: inputs, results (copies all of them), and the intermediates that live at once. */
export function memoryOfGraph(graph: Graph): ProgramMemory {
  const inputs = new Map<number, number>();
  let largestTensorBytes = 0;
  for (const node of graph.nodes) {
    if (node.kind === "input") inputs.set(node.input, bytesOf(node));
    largestTensorBytes = Math.max(largestTensorBytes, bytesOf(node));
  }
  const inputBytes = sum([...inputs.values()]);
  const resultBytes = sum(outputsOf(graph).map(bytesOf));
  const { most, left } = intermediates(graph);
  // Results are copied while what they are copied from is still there.
  const peakBytes = inputBytes + Math.max(most, left + resultBytes);
  return { inputBytes, resultBytes, scratchBytes: most, programBytes: 0, peakBytes, largestTensorBytes };
}

/** Bytes of intermediates: the most while the graph is computed, and what is left of them when the results are taken. */
function intermediates(graph: Graph): { most: number; left: number } {
  const releases = releasesOf(graph);
  const held = graph.nodes.map(() => 0);
  let live = 0;
  let most = 0;
  graph.nodes.forEach((node, i) => {
    if ("body" in node) {
      most = Math.max(most, live + intermediates(node.body).most);
      const stacked = node.kind === "loop" ? node.count : 1;
      const carried = node.kind === "loop" ? node.carried : node.body.outputs.length;
      held[i] = sum(outputsOf(node.body).map((output, k) => bytesOf(output) * (k < carried ? 1 : stacked)));
    } else if (node.kind === "operation" || node.kind === "scalar") held[i] = bytesOf(node);
    live += held[i] as number;
    most = Math.max(most, live);
    for (const released of releases[i] ?? []) live -= held[released] as number;
  });
  return { most, left: live };
}
