import type { AccessMaps } from "./access.js";
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
  /** Whether a kernel of these members, in topological order, is small enough and touches few enough buffers. */
  readonly fits: (members: readonly number[]) => boolean;
  /** Nodes that are read from memory even where they are in a register. */
  readonly fromMemory: ReadonlySet<number>;
}

export function mergeGroups(groups: FusionGroups, { accesses, fits, fromMemory }: MergeOptions): void {
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
      if (!fits(members)) continue;
      if ([...groups.groupsBefore(id)].some((between) => between !== other && groups.dependsOn(between, other))) continue;
      groups.merge(other, id, loopsOver(group.domain, members, [...new Set([...made.after, ...group.after])]));
    }
  });
}
