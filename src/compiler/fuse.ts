import { type Graph, type GraphNode, inputsOf, isRegion } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import { type AccessMap, AccessMaps } from "./access.js";
import { type Domain, isPerRow, isReduction, matmulLoopsIn, ownDomains, scatterLoops } from "./domain.js";
import { comparedWithExtrema } from "./extrema.js";
import { type CallGroup, type FusionGroup, FusionGroups, type LoopGroup, loopsOver, type ScatterGroup } from "./groups.js";
import { type MaterializeOptions, materialize } from "./materialize.js";
import { mergeGroups } from "./merge-groups.js";

/**
 * Fusion: greedy, one materialized node after another in topological order. A node joins the kernel that computes something it reads,
 * the latest first, if it reads that at the very element that the loop is at (access maps say where), for then the number is in a
 * register; if the kernel stays small enough and touches few enough buffers; and if no kernel in between would have to run before and
 * after it. Otherwise it begins a kernel of its own.
 *
 *   s = sum(x, axis 1)          row kernel: s
 *   m = mul(s, 1/n)             joins: reads s at its row
 *   d = sub(x, expand(m))       joins: reads m at its row
 *   y = dot(d, w)               matmul kernel: y
 *   z = add(y, b)               joins: reads y at its element
 */
export interface FuseOptions extends MaterializeOptions {
  /** Whether all products go on with what happens to each element of the result, or large ones alone. Default true. */
  readonly epilogues?: boolean;
  /** Buffers of an elementwise kernel, where that may have more than `maxBuffers` because it needs none twice. */
  readonly maxMapBuffers?: number;
  /** For each input, whether results may be written over it: the two are one buffer then. Default: none. */
  readonly donated?: readonly boolean[] | undefined;
}

export interface Fused {
  readonly accesses: AccessMaps;
  /** In an order in which they can run. */
  readonly groups: readonly FusionGroup[];
}

/** Divides a graph into fusion groups. */
export function fuse(graph: Graph, options: FuseOptions): Fused {
  const { nodes } = graph;
  const fromMemory = comparedWithExtrema(graph);
  const loopsOf = matmulLoopsIn(graph);
  const { materialized, cost } = materialize(graph, options, fromMemory, loopsOf);
  const ownDomain = ownDomains(graph);
  const accesses = new AccessMaps(graph, materialized);
  const groups = new FusionGroups();
  const outputs = new Set(graph.outputs);
  /** Nodes that join no group. */
  const lonely = new Set<number>();
  /** The nodes that read a node: those that were added so far, or all that there will be. */
  let readersOf = (member: number): readonly number[] => groups.readersOf(member);

  /** Whether a group of these members, the last of which reads `more`, is small enough and touches few enough buffers. */
  const fits = (members: readonly number[], more: readonly number[], maxBuffers = options.maxBuffers): boolean => {
    if (members.reduce((sum, member) => sum + (cost[member] as number) + 1, 0) > largestKernel) return false;
    // No more than this, if none of them is counted twice.
    const most = members.reduce((count, member) => count + groups.readsOf(member).length + 1, more.length + 1);
    if (most <= maxBuffers) return true;
    const inside = new Set(members);
    const used = new Set(more.filter((read) => !inside.has(read)));
    for (const member of members) {
      for (const read of groups.readsOf(member)) if (!inside.has(read)) used.add(read);
      const readOutside = readersOf(member).some((reader) => !inside.has(reader));
      if (outputs.has(member) || readOutside || member === members[members.length - 1]) used.add(member);
    }
    return used.size + Math.max(0, operandsReadAgain(members, more) - 1) <= maxBuffers;
  };
  /** Operands of a product that its epilogue reads as well: each may be bound twice, once as vectors of four. */
  const operandsReadAgain = ([first, ...others]: readonly number[], more: readonly number[]): number => {
    const head = nodes[first as number] as GraphNode;
    if (head.kind !== "operation" || head.primitive !== "dot") return 0;
    const again = new Set([...more, ...others.flatMap((member) => groups.readsOf(member))]);
    return [...new Set(groups.readsOf(first as number))].filter((operand) => again.has(operand)).length;
  };

  /** A kernel of its own for a node, and what it accesses. */
  const alone = (position: number): { group: FusionGroup; map: AccessMap } => {
    const node = nodes[position] as GraphNode;
    const members = [position];
    if (node.kind === "loop" || node.kind === "call") {
      const map = node.kind === "loop" ? accesses.ofLoop(position) : accesses.ofCall(position);
      return { group: { kind: node.kind, members, after: map.after }, map };
    }
    if (node.kind === "operation" && node.primitive === "dot") {
      const loops = loopsOf(node);
      const map = accesses.ofMatmul(position, loops);
      return { group: { kind: "matmul", domain: ownDomain(position), loops, members, after: map.after }, map };
    }
    if (node.kind === "operation" && node.primitive === "scatterAdd") {
      const loops = scatterLoops(graph, node);
      const map = accesses.ofScatter(position, loops);
      return { group: { kind: "scatter", loops, members, after: map.after }, map };
    }
    const map = accesses.in(position, ownDomain(position));
    return { group: loopsOver(ownDomain(position), members, map.after), map };
  };

  /** A product whose result is small enough for another trip through memory. */
  const isShortProduct = ({ kind, members: [product] }: FusionGroup): boolean =>
    kind === "matmul" && options.epilogues === false && sizeOf((nodes[product as number] as GraphNode).shape) < largeProduct;

  /** Tries to compute `position` in an existing group. */
  const join = (position: number): boolean => {
    const node = nodes[position] as GraphNode;
    const own = ownDomain(position);
    const around = accesses.in(position, own).nodes;
    const homes = new Set(around.map(groups.home));
    // Reductions of the same rows that need the same numbers read them once.
    if (isReduction(node)) {
      const siblings = around.flatMap((read) => groups.readersOf(read).map(groups.home));
      for (const id of siblings) if (id !== undefined && domainOfGroup(groups.list[id]) === own) homes.add(id);
    }
    const candidates = [...homes].filter((id) => id !== undefined).sort((a, b) => b - a);
    for (const id of candidates) {
      const group = groups.list[id] as FusionGroup;
      if (!isJoinable(group) || isShortProduct(group)) continue;
      const domain = joinedDomain(group, node, own);
      if (domain === undefined) continue;
      const map = accesses.in(position, domain);
      const aligned = map.accesses.every(({ node: read, index }) => {
        if (groups.home(read) !== id) return true;
        if (fromMemory.has(read)) return false;
        const readsRow = isPerRow(nodes[read] as GraphNode, domain);
        return index.key === (readsRow ? domain.row : domain.full).key && (!map.inOuterLoop || readsRow);
      });
      if (!aligned || map.after.some((earlier) => groups.home(earlier) === id)) continue;
      if (!fits([...group.members, position], map.nodes)) continue;
      const others = [...map.nodes, ...map.after].map(groups.home).filter((other) => other !== undefined && other !== id);
      if (others.some((other) => groups.dependsOn(other as number, id))) continue;
      groups.join(id, withMember(group, domain, position, map.after), position, map);
      return true;
    }
    return false;
  };

  const add = (position: number): void => {
    if (!materialized[position]) return;
    const node = nodes[position] as GraphNode;
    if (node.kind === "input" || node.kind === "scalar") return;
    if (node.kind === "result") {
      const id = groups.home(node.inputs[0] as number) as number;
      const group = groups.list[id] as FusionGroup;
      groups.join(id, { ...group, members: [...group.members, position] }, position, { nodes: [], after: [] });
      return;
    }
    const hasKernel = isRegion(node) || (node.kind === "operation" && (node.primitive === "dot" || node.primitive === "scatterAdd"));
    if (options.fuse && !hasKernel && !lonely.has(position) && sizeOf(node.shape) > 0 && join(position)) return;
    const { group, map } = alone(position);
    groups.open(group, position, map);
  };

  // A node that is read by a kernel yet to come takes a buffer that nobody counted when others joined it, so groups may
  // turn out to touch too many. Their last members then stay alone, and everything from there on is decided anew. Where that does
  // not come to an end, all readers are counted from the beginning, which fuses less.
  let start = 0;
  for (let round = 1; ; round++) {
    for (let position = start; position < nodes.length; position++) add(position);
    const crowded = groups.list.filter(
      ({ kind, members }) => kind !== "loop" && kind !== "call" && members.length > 1 && !fits(members, []),
    );
    if (crowded.length === 0) {
      const { maxMapBuffers = options.maxBuffers, donated } = options;
      const fitsMap = (members: readonly number[], pairs: number): boolean => fits(members, [], maxMapBuffers + pairs);
      if (options.fuse) mergeGroups(groups, { graph, accesses, fits: fitsMap, fromMemory, donated });
      return { accesses, groups: groups.inOrder() };
    }
    start = nodes.length;
    for (const { members } of crowded) {
      const last = members[members.length - 1] as number;
      lonely.add(last);
      start = Math.min(start, last);
    }
    if (round === mostRounds) {
      const readers: number[][] = nodes.map(() => []);
      nodes.forEach((_, position) => {
        const { kind } = nodes[position] as GraphNode;
        if (materialized[position] && kind !== "result" && inputsOf(nodes[position] as GraphNode).length > 0)
          for (const read of alone(position).map.nodes) readers[read]?.push(position);
      });
      readersOf = (member) => readers[member] as number[];
      lonely.clear();
      start = 0;
    }
    groups.rewind(start);
  }
}

/** Times that a graph is divided anew before all readers are counted from the beginning. */
const mostRounds = 12;

/** Operations of one kernel, more or less: those of drivers' compilers that take more than linear time do not notice so many. */
const largestKernel = 512;

/** Elements of a product of which a second copy is more than a matter of time. */
const largeProduct = 1 << 22;

/** Rows that make it worth while to give each one to one thread or workgroup. */
const enoughRows = 32;

/** Groups that other nodes may join. */
type JoinableGroup = Exclude<FusionGroup, ScatterGroup | LoopGroup | CallGroup>;

const isJoinable = (group: FusionGroup): group is JoinableGroup => "domain" in group;

const domainOfGroup = (group: FusionGroup | undefined): Domain | undefined =>
  group !== undefined && isJoinable(group) ? group.domain : undefined;

/** A group with one member more, in the loops of `domain`. */
function withMember(group: JoinableGroup, domain: Domain, member: number, later: readonly number[]): FusionGroup {
  const members = [...group.members, member];
  const after = later.length === 0 ? group.after : [...new Set([...group.after, ...later])];
  return group.kind === "matmul" ? { ...group, members, after } : loopsOver(domain, members, after);
}

/** The domain of a group after a node joined it whose own is `own`, or undefined where it cannot. */
function joinedDomain({ kind, domain }: JoinableGroup, node: GraphNode, own: Domain): Domain | undefined {
  const size = sizeOf(domain.shape);
  if (own.axes.length > 0) {
    if (kind === "matmul" || sizeOf(own.shape) !== size) return undefined;
    // Only the same rows: both inner loops cover the same trailing axes, or the very same axes.
    if (kind === "row") return domain === own || (isTrailing(domain) && isTrailing(own) && domain.inner === own.inner) ? domain : undefined;
    return isTrailing(own) && size / Math.max(1, own.inner) >= enoughRows ? own : undefined;
  }
  return sizeOf(node.shape) === size || isPerRow(node, domain) ? domain : undefined;
}

/** Whether the inner loop takes the last axes, in order. */
const isTrailing = ({ shape, axes }: Domain): boolean => axes.every((axis, i) => axis === shape.length - axes.length + i);
