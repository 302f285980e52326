import { type Graph, type GraphNode, inputsOf } from "../../ir/graph.js";
import type { KernelReport, ProgramReport, ValueReport } from "../../ir/program-report.js";
import { show } from "../../ir/shape.js";
import { bytesRead, nodeBytes, nodeFlops } from "../../ir/work.js";
import { describeNode } from "./describe.js";
import { releasesOf } from "./releases.js";

/** A graph as the reference runs it: every node is a step of its own, whose value is dropped after its last use. */
export function reportGraph(graph: Graph): ProgramReport {
  const { nodes } = graph;
  const releases = releasesOf(graph);
  const steps = nodes.flatMap((node, i) => (node.kind === "input" || node.kind === "scalar" ? [] : [i]));
  const stepOf = new Map(steps.map((node, step) => [node, step]));
  const end = Math.max(0, steps.length - 1);
  const released = new Map(releases.flatMap((list, at) => list.map((node) => [node, stepOf.get(at) ?? 0] as const)));
  const outputs = new Map(graph.outputs.map((node, output) => [node, output]));
  const values = placed(
    nodes.map((node, i): ValueReport => {
      const use = node.kind === "input" ? "input" : outputs.has(i) ? "output" : "scratch";
      const index = node.kind === "input" ? node.input : outputs.get(i);
      return {
        use,
        index,
        bytes: nodeBytes(node),
        slot: i,
        offset: 0,
        first: stepOf.get(i) ?? 0,
        last: use === "scratch" ? (released.get(i) ?? end) : end,
      };
    }),
  );
  const live = steps.map((_, step) =>
    values.reduce((sum, { use, bytes, first, last }) => sum + (use === "scratch" && first <= step && step <= last ? bytes : 0), 0),
  );
  const kernels = steps.map((i, step): KernelReport => {
    const node = nodes[i] as GraphNode;
    return {
      kind: node.kind === "operation" ? node.primitive : node.kind,
      label: node.kind === "call" ? node.name : node.kind === "operation" ? node.primitive : node.kind,
      size: show(node.shape),
      turns: 1,
      flops: nodeFlops(node, nodes),
      bytesRead: bytesRead(node, nodes),
      bytesWritten: nodeBytes(node),
      reads: [...new Set(inputsOf(node))],
      writes: [i],
      liveBytes: live[step] as number,
    };
  });
  const scratchBytes = live.reduce((a, b) => Math.max(a, b), 0);
  return { kernels, values, scratchBytes, listing: (kernel) => describeNode(nodes[steps[kernel] as number] as GraphNode) };
}

/** The same with offsets as a heap gives them that looks for the first gap; arrays of the host have none of their own. */
function placed(values: readonly ValueReport[]): ValueReport[] {
  const living: ValueReport[] = [];
  return values.map((value) => {
    if (value.use !== "scratch") return value;
    let offset = 0;
    for (const other of living.filter(({ last }) => last >= value.first).sort((a, b) => a.offset - b.offset)) {
      if (other.offset - offset >= value.bytes) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    const found = { ...value, offset };
    living.push(found);
    return found;
  });
}
