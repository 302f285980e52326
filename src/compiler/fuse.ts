import type { Graph, GraphNode } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import { type Cluster, Clusters } from "./clusters.js";
import { type Domain, isReduction, ownDomains } from "./domain.js";
import { readsIn } from "./reads.js";
import { chooseStored, comparedWithExtrema, viewBase } from "./stored.js";

export interface FuseOptions {
  /** False makes one kernel for each node. */
  readonly fuse: boolean;
  /** Storage buffers that one kernel may touch. */
  readonly maxBuffers: number;
  /** Whether products go on with what happens to each element of the result. Default true. */
  readonly epilogues?: boolean;
}

export interface Fused {
  readonly stored: readonly boolean[];
  /** In an order in which they can run. */
  readonly clusters: readonly Cluster[];
}

/** Divides a graph into clusters. */
export function fuse(graph: Graph, options: FuseOptions): Fused {
  const { nodes } = graph;
  const fromMemory = comparedWithExtrema(graph);
  const { stored, cost } = chooseStored(graph, options, fromMemory);
  const ownDomain = ownDomains(graph);
  const reads = readsIn(graph, stored);
  const clusters = new Clusters();
  const outputs = new Set(graph.outputs);
  /** Nodes that join no cluster. */
  const alone = new Set<number>();
  /** The nodes that read a node: those that were added so far, or all that there will be. */
  let readersOf = (member: number): readonly number[] => clusters.readersOf(member);

  /** Whether a cluster of these members, the last of which reads `more`, is small enough and touches few enough buffers. */
  const fits = (members: readonly number[], more: readonly number[]): boolean => {
    if (members.reduce((sum, member) => sum + (cost[member] as number) + 1, 0) > largestKernel) return false;
    // No more than this, if none of them is counted twice.
    const most = members.reduce((count, member) => count + clusters.readsOf(member).length + 1, more.length + 1);
    if (most <= options.maxBuffers) return true;
    const inside = new Set(members);
    const used = new Set(more.filter((read) => !inside.has(read)));
    for (const member of members) {
      for (const read of clusters.readsOf(member)) if (!inside.has(read)) used.add(read);
      const readOutside = readersOf(member).some((reader) => !inside.has(reader));
      if (outputs.has(member) || readOutside || member === members[members.length - 1]) used.add(member);
    }
    return used.size + Math.max(0, operandsReadAgain(members, more) - 1) <= options.maxBuffers;
  };
  /** Operands of a product that its epilogue reads as well: each may be bound twice, once as vectors of four. */
  const operandsReadAgain = ([first, ...others]: readonly number[], more: readonly number[]): number => {
    const head = nodes[first as number] as GraphNode;
    if (head.kind !== "operation" || head.primitive !== "dot") return 0;
    const again = new Set([...more, ...others.flatMap((member) => clusters.readsOf(member))]);
    return [...new Set(clusters.readsOf(first as number))].filter((operand) => again.has(operand)).length;
  };

  /** The stored nodes and inputs that a node reads when it is computed in a kernel of its own. */
  const readsOf = (position: number): readonly number[] => {
    const node = nodes[position] as GraphNode;
    if (node.kind !== "operation") return [];
    if (node.primitive === "scatterAdd") return node.inputs;
    return node.primitive === "dot"
      ? node.inputs.map((input) => viewBase(graph, stored, input))
      : reads(position, ownDomain(position)).nodes;
  };

  const isRowMember = (member: number, { axes, outer, inner }: Domain): boolean =>
    axes.length > 0 && (isReduction(nodes[member] as GraphNode) || (sizeOf((nodes[member] as GraphNode).shape) === outer && inner !== 1));

  /** Tries to compute `position` in an existing cluster. */
  const join = (position: number): boolean => {
    const node = nodes[position] as GraphNode;
    const own = ownDomain(position);
    const around = reads(position, own).nodes;
    const homes = new Set(around.map(clusters.home));
    // Reductions of the same rows that need the same numbers read them once.
    if (isReduction(node)) {
      const siblings = around.flatMap((read) => clusters.readersOf(read).map(clusters.home));
      for (const id of siblings) if (id !== undefined && clusters.list[id]?.domain === own) homes.add(id);
    }
    const candidates = [...homes].filter((id) => id !== undefined).sort((a, b) => b - a);
    for (const id of candidates) {
      const cluster = clusters.list[id] as Cluster;
      if (cluster.kind === "scatter" || (cluster.kind === "contract" && options.epilogues === false)) continue;
      const domain = joinedDomain(cluster, node, own);
      if (domain === undefined) continue;
      const { isRow, places, nodes: names } = reads(position, domain);
      const aligned = places.every(({ node: read, index }) => {
        if (clusters.home(read) !== id) return true;
        if (fromMemory.has(read)) return false;
        const readsRow = isRowMember(read, domain);
        return index.key === (readsRow ? domain.row : domain.full).key && (!isRow || readsRow);
      });
      if (!aligned) continue;
      const others = names.map(clusters.home).filter((other) => other !== undefined && other !== id);
      if (!fits([...cluster.members, position], names)) continue;
      if (others.some((other) => clusters.dependsOn(other as number, id))) continue;
      clusters.join(id, domain, position, names);
      return true;
    }
    return false;
  };

  const add = (position: number): void => {
    const node = nodes[position] as GraphNode;
    if (!stored[position] || node.kind !== "operation") return;
    const domain = ownDomain(position);
    if (node.primitive === "dot") clusters.open("contract", domain, position, readsOf(position));
    else if (node.primitive === "scatterAdd") clusters.open("scatter", domain, position, readsOf(position));
    else if (!options.fuse || alone.has(position) || sizeOf(node.shape) === 0 || !join(position)) {
      clusters.open("loop", domain, position, readsOf(position));
    }
  };

  // A node that is read by a kernel yet to come takes a buffer that nobody counted when others joined it, so clusters may
  // turn out to touch too many. Their last members then stay alone, and everything from there on is decided anew. Where that does
  // not come to an end, all readers are counted from the beginning, which fuses less.
  let start = 0;
  for (let round = 1; ; round++) {
    for (let position = start; position < nodes.length; position++) add(position);
    const crowded = clusters.list.filter(({ members }) => members.length > 1 && !fits(members, []));
    if (crowded.length === 0) return { stored, clusters: clusters.inOrder() };
    start = nodes.length;
    for (const { members } of crowded) {
      const last = members[members.length - 1] as number;
      alone.add(last);
      start = Math.min(start, last);
    }
    if (round === mostRounds) {
      const readers: number[][] = nodes.map(() => []);
      nodes.forEach((_, position) => {
        if (stored[position]) for (const read of readsOf(position)) readers[read]?.push(position);
      });
      readersOf = (member) => readers[member] as number[];
      alone.clear();
      start = 0;
    }
    clusters.rewind(start);
  }
}

/** Times that a graph is divided anew before all readers are counted from the beginning. */
const mostRounds = 12;

/** Operations of one kernel, more or less: those of drivers' compilers that take more than linear time do not notice so many. */
const largestKernel = 512;

/** Rows that make it worth while to give each one to one thread or workgroup. */
const enoughRows = 32;

/** The domain of a cluster after a node joined it whose own is `own`, or undefined where it cannot. */
function joinedDomain({ kind, domain }: Cluster, node: GraphNode, own: Domain): Domain | undefined {
  const size = sizeOf(domain.shape);
  if (own.axes.length > 0) {
    if (kind !== "loop" || sizeOf(own.shape) !== size) return undefined;
    if (domain.axes.length > 0) {
      // Only the same rows: both inner loops cover the same trailing axes, or the very same axes.
      return domain === own || (isTrailing(domain) && isTrailing(own) && domain.inner === own.inner) ? domain : undefined;
    }
    return isTrailing(own) && size / Math.max(1, own.inner) >= enoughRows ? own : undefined;
  }
  const elements = sizeOf(node.shape);
  if (elements === size) return domain;
  return kind === "loop" && domain.axes.length > 0 && elements === size / Math.max(1, domain.inner) ? domain : undefined;
}

/** Whether the inner loop takes the last axes, in order. */
const isTrailing = ({ shape, axes }: Domain): boolean => axes.every((axis, i) => axis === shape.length - axes.length + i);
