import type { Graph, GraphNode } from "../ir/graph.js";
import { sizeOf } from "../ir/shape.js";
import type { AccessMaps } from "./access.js";
import type { Domain } from "./domain.js";
import { type FusionGroup, type FusionGroups, loopsOver, type MapGroup } from "./groups.js";

/**
 * Merging: two elementwise groups over the same loop become one kernel where one of them reads what the other computes, and reads that at
 * the very element that the loop is at. Fusion (fuse.ts) adds one node at a time, and a node that joins a group leaves another that it could
 * have joined as well; such are the two moments of Adam, of which neither reads the other:
 *
 *   m′ = β₁·m + (1 − β₁)·g         group 0: m′               group 0: m′, v′, p′
 *   v′ = β₂·v + (1 − β₂)·g²        group 1: v′, p′      →    reads g once, and m′ and v′ stay in registers
 *   p′ = p − lr·m′ / √v′
 *
 * As for nodes, the kernel must stay small enough and touch few enough buffers, and nothing may have to run between the two.
 */
export interface MergeOptions {
  readonly accesses: AccessMaps;
  readonly graph: Graph;
  /** For each input of the graph, whether results may be written over it. Default: none. */
  readonly donated?: readonly boolean[] | undefined;
  /** Whether a kernel of these members, in topological order, is small enough and touches few enough buffers, of which so many pairs are one. */
  readonly fits: (members: readonly number[], pairs: number) => boolean;
  /** Nodes that are read from memory even where they are in a register. */
  readonly fromMemory: ReadonlySet<number>;
}

export function mergeGroups(groups: FusionGroups, options: MergeOptions): void {
  const { accesses, fits, fromMemory, graph } = options;
  const outputs = new Set(graph.outputs);
  const isMap = (group: FusionGroup): group is MapGroup => group.kind === "map";

  /** Whether all that `reader` reads of the group `made` is there where its loop is. */
  const aligned = ({ members, domain }: MapGroup, made: number): boolean =>
    members.every((member) => {
      const { accesses: reads, after } = accesses.in(member, domain);
      const inPlace = reads.every(
        ({ node, index }) => groups.home(node) !== made || (index.key === domain.full.key && !fromMemory.has(node)),
      );
      return inPlace && !after.some((earlier) => groups.home(earlier) === made);
    });

  groups.list.forEach((_, id) => {
    for (const other of [...groups.groupsBefore(id)].sort((a, b) => b - a)) {
      const [group, made] = [groups.list[id] as FusionGroup, groups.list[other] as FusionGroup];
      if (!isMap(group) || !isMap(made) || group.domain !== made.domain || !aligned(group, other)) continue;
      const members = [...made.members, ...group.members].sort((a, b) => a - b);
      if (!fits(members, heirCount(groups, outputs, members, group.domain, options))) continue;
      if ([...groups.groupsBefore(id)].some((between) => between !== other && groups.dependsOn(between, other))) continue;
      groups.merge(other, id, loopsOver(group.domain, members, [...new Set([...made.after, ...group.after])]));
    }
  });
}

/**
 * Results of an elementwise kernel that will lie where donated inputs do, so that each pair is one buffer: as many as there are inputs of
 * their kind that it alone reads, and at the element of its loop alone (heirs.ts pairs them).
 */
function heirCount(
  groups: FusionGroups,
  outputs: ReadonlySet<number>,
  members: readonly number[],
  domain: Domain,
  { graph, donated, accesses }: MergeOptions,
): number {
  const inside = new Set(members);
  const isSpare = (read: number): boolean => {
    const node = graph.nodes[read] as GraphNode;
    if (node.kind !== "input" || donated?.[node.input] !== true || outputs.has(read)) return false;
    return groups.readersOf(read).every((reader) => inside.has(reader) && readsInPlace(accesses, reader, read, domain));
  };
  const kindOf = (node: number): string => {
    const { dtype, shape } = graph.nodes[node] as GraphNode;
    return `${dtype} ${sizeOf(shape)}`;
  };
  const spare = [...new Set(members.flatMap((member) => groups.readsOf(member)))].filter(isSpare).map(kindOf);
  const results = members.filter((member) => outputs.has(member)).map(kindOf);
  return [...new Set(spare)].reduce((sum, kind) => {
    const [inputs, outputs] = [spare, results].map((kinds) => kinds.filter((other) => other === kind).length) as [number, number];
    return sum + Math.min(inputs, outputs);
  }, 0);
}

const readsInPlace = (accesses: AccessMaps, reader: number, read: number, domain: Domain): boolean =>
  accesses.in(reader, domain).accesses.every(({ node, index }) => node !== read || index.key === domain.full.key);
