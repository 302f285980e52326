import type { AccessMap } from "./access.js";
import type { Domain, MatmulLoops, ScatterLoops } from "./domain.js";

/**
 * Fusion groups: the nodes that one kernel computes, and which groups must run before which. The groups are the nodes of an acyclic graph
 * that grows one member at a time; before a node joins a group, a search from both ends asks whether that would close a circle.
 *
 *   r = sum(x)        group 0: [r]
 *   y = mul(x, r)     group 1: [y], after group 0
 *   z = add(r, 1)     may join group 0, whose rows it reads; not if it read y: group 1 runs after group 0
 */
export type FusionGroup = MapGroup | RowGroup | MatmulGroup | ScatterGroup | LoopGroup | CallGroup;

interface GroupBase {
  /** In topological order. */
  readonly members: readonly number[];
  /** Materialized nodes that must be there before the group runs, though no member may read them. */
  readonly after: readonly number[];
}

/** One loop, each member once for each turn. */
export interface MapGroup extends GroupBase {
  readonly kind: "map";
  readonly domain: Domain;
}

/** An outer loop over rows and an inner one, which reduces; members are computed in either. */
export interface RowGroup extends GroupBase {
  readonly kind: "row";
  readonly domain: Domain;
}

/** A product, its first member, and what happens to each element of it. */
export interface MatmulGroup extends GroupBase {
  readonly kind: "matmul";
  /** One loop over the elements of the result. */
  readonly domain: Domain;
  readonly loops: MatmulLoops;
}

/** A sum into bins, alone. */
export interface ScatterGroup extends GroupBase {
  readonly kind: "scatter";
  readonly loops: ScatterLoops;
}

/** A loop node, its first member, and its results. No kernel but a step of the program with kernels of its own. */
export interface LoopGroup extends GroupBase {
  readonly kind: "loop";
}

/** A call that is a kernel, its first member, and its results. */
export interface CallGroup extends GroupBase {
  readonly kind: "call";
}

/** A group of loops over a domain: rows where there is an inner loop. */
export const loopsOver = (domain: Domain, members: readonly number[], after: readonly number[]): MapGroup | RowGroup => ({
  kind: domain.axes.length > 0 ? "row" : "map",
  domain,
  members,
  after,
});

/** What a member reads and what it comes after. */
export type Dependencies = Pick<AccessMap, "nodes" | "after">;

/** What adding a node changed. */
interface Step {
  readonly node: number;
  readonly id: number;
  /** The group as it was, or undefined if the node opened it. */
  readonly group: FusionGroup | undefined;
  /** Groups that this one did not come after before. */
  readonly sources: readonly number[];
}

/** One side of a search for a dependency. */
interface Search {
  readonly seen: Set<number>;
  readonly waiting: number[];
  readonly next: readonly ReadonlySet<number>[];
}

/** Groups that a search for a dependency looks at before it gives up. */
const longestSearch = 4096;

/** Fusion groups in the making: nodes are added in topological order, and the latest can be taken out again; then groups can be merged. */
export class FusionGroups {
  readonly list: FusionGroup[] = [];
  private readonly homes: (number | undefined)[] = [];
  private readonly reads: (readonly number[])[] = [];
  private readonly readers: number[][] = [];
  /** Groups that a group comes after, and those that come after it. */
  private readonly before: Set<number>[] = [];
  private readonly after: Set<number>[] = [];
  private readonly steps: Step[] = [];

  /** The group that computes a node. */
  readonly home = (node: number): number | undefined => this.homes[node];

  /** The nodes with buffers or registers that a member reads. */
  readsOf(member: number): readonly number[] {
    return this.reads[member] ?? [];
  }

  /** The members that read a node. */
  readersOf(node: number): readonly number[] {
    return this.readers[node] ?? [];
  }

  /**
   * Whether `target` must run before `from`. Two searches meet, one back from `from` and one on from `target`: where one of them ends,
   * it does not depend. In graphs so large that neither comes to an end it may, and the answer is yes, for whom a kernel more is
   * no harm.
   */
  dependsOn(from: number, target: number): boolean {
    if (from === target) return false;
    const back: Search = { seen: new Set([from]), waiting: [from], next: this.before };
    const on: Search = { seen: new Set([target]), waiting: [target], next: this.after };
    for (let looked = 0; looked < longestSearch; looked++) {
      for (const [search, other] of [
        [back, on],
        [on, back],
      ] as const) {
        const id = search.waiting.pop();
        if (id === undefined) return false;
        for (const neighbour of search.next[id] as Set<number>) {
          if (other.seen.has(neighbour)) return true;
          if (search.seen.has(neighbour)) continue;
          search.seen.add(neighbour);
          search.waiting.push(neighbour);
        }
      }
    }
    return true;
  }

  /** Adds a group of one node. */
  open(group: FusionGroup, node: number, dependencies: Dependencies): void {
    const id = this.list.push(group) - 1;
    this.before.push(new Set());
    this.after.push(new Set());
    this.enter(id, node, dependencies, undefined);
  }

  /** Puts a group that `node` has joined in the place of the one that it was. */
  join(id: number, group: FusionGroup, node: number, dependencies: Dependencies): void {
    const before = this.list[id];
    this.list[id] = group;
    this.enter(id, node, dependencies, before);
  }

  private enter(id: number, node: number, { nodes, after }: Dependencies, group: FusionGroup | undefined): void {
    const before = this.before[id] as Set<number>;
    const sources: number[] = [];
    const follow = (other: number): void => {
      const source = this.homes[other];
      if (source === undefined || source === id || before.has(source)) return;
      before.add(source);
      this.after[source]?.add(id);
      sources.push(source);
    };
    this.homes[node] = id;
    this.reads[node] = nodes;
    for (const read of nodes) {
      this.readers[read] ??= [];
      this.readers[read].push(node);
      follow(read);
    }
    for (const earlier of after) follow(earlier);
    this.steps.push({ node, id, group, sources });
  }

  /** Takes out `node` and all that were added after it. */
  rewind(node: number): void {
    for (let step = this.steps.at(-1); step !== undefined && step.node >= node; step = this.steps.at(-1)) {
      const { id, group, sources } = step;
      for (const source of sources) {
        this.before[id]?.delete(source);
        this.after[source]?.delete(id);
      }
      for (const read of this.reads[step.node] as readonly number[]) this.readers[read]?.pop();
      this.homes[step.node] = undefined;
      if (group === undefined) for (const each of [this.list, this.before, this.after]) each.pop();
      else this.list[id] = group;
      this.steps.pop();
    }
  }

  /** The groups that a group comes after directly. */
  groupsBefore(id: number): ReadonlySet<number> {
    return this.before[id] as Set<number>;
  }

  /**
   * Puts `group` in the place of the group `into`, with the members of the group `from`, which is empty then: when all nodes are added, for
   * this cannot be taken back. No other group may have to run between the two.
   */
  merge(from: number, into: number, group: FusionGroup): void {
    for (const member of (this.list[from] as FusionGroup).members) this.homes[member] = into;
    this.list[from] = { ...(this.list[from] as FusionGroup), members: [], after: [] };
    this.list[into] = group;
    for (const [there, back] of [
      [this.before, this.after],
      [this.after, this.before],
    ] as const) {
      for (const other of there[from] as Set<number>) {
        back[other]?.delete(from);
        if (other === into) continue;
        back[other]?.add(into);
        there[into]?.add(other);
      }
      there[from]?.clear();
    }
  }

  /** The groups in an order in which each runs after those that it must come after. */
  inOrder(): FusionGroup[] {
    const order: FusionGroup[] = [];
    const state = new Uint8Array(this.list.length);
    const visit = (first: number): void => {
      const stack = [first];
      while (stack.length > 0) {
        const id = stack[stack.length - 1] as number;
        const waiting = state[id] === 0 ? [...(this.before[id] as Set<number>)].filter((other) => state[other] === 0) : [];
        if (state[id] === 0) state[id] = 1;
        if (waiting.length > 0) for (const other of waiting) stack.push(other);
        else {
          stack.pop();
          if (state[id] === 1) {
            state[id] = 2;
            order.push(this.list[id] as FusionGroup);
          }
        }
      }
    };
    this.list.forEach((_, id) => {
      if (state[id] === 0) visit(id);
    });
    return order.filter(({ members }) => members.length > 0);
  }
}
