import type { Domain } from "./domain.js";

/**
 * Which nodes of a graph are computed together. A cluster is one kernel: a domain (one outer loop, for rows an inner one)
 * and the nodes that it computes. A node may join the kernel of a node that it reads if it reads it at the very element
 * that the loop is at, for then the number is in a register. Nodes that no cluster lists are computed where they are read.
 */
export interface Cluster {
  readonly kind: "loop" | "contract" | "scatter";
  readonly domain: Domain;
  /** In topological order. */
  readonly members: readonly number[];
}

/** What adding a node changed. */
interface Step {
  readonly node: number;
  readonly id: number;
  /** The cluster as it was, or undefined if the node opened it. */
  readonly cluster: Cluster | undefined;
  /** Clusters that this one did not read from before. */
  readonly sources: readonly number[];
}

/** One side of a search for a dependency. */
interface Search {
  readonly seen: Set<number>;
  readonly waiting: number[];
  readonly next: readonly ReadonlySet<number>[];
}

/** Clusters that a search for a dependency looks at before it gives up. */
const longestSearch = 4096;

/** Clusters in the making: nodes are added in topological order, and the latest can be taken out again. */
export class Clusters {
  readonly list: Cluster[] = [];
  private readonly homes: (number | undefined)[] = [];
  private readonly reads: (readonly number[])[] = [];
  private readonly readers: number[][] = [];
  /** Clusters that a cluster reads from, and those that read from it. */
  private readonly before: Set<number>[] = [];
  private readonly after: Set<number>[] = [];
  private readonly steps: Step[] = [];

  /** The cluster that computes a node. */
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

  /** Makes a cluster of one node. */
  open(kind: Cluster["kind"], domain: Domain, node: number, reads: readonly number[]): void {
    const id = this.list.push({ kind, domain, members: [node] }) - 1;
    this.before.push(new Set());
    this.after.push(new Set());
    this.enter(id, node, reads, undefined);
  }

  /** Adds a node to a cluster, whose domain becomes the given one. */
  join(id: number, domain: Domain, node: number, reads: readonly number[]): void {
    const cluster = this.list[id] as Cluster;
    this.list[id] = { kind: cluster.kind, domain, members: [...cluster.members, node] };
    this.enter(id, node, reads, cluster);
  }

  private enter(id: number, node: number, reads: readonly number[], cluster: Cluster | undefined): void {
    const before = this.before[id] as Set<number>;
    const sources: number[] = [];
    this.homes[node] = id;
    this.reads[node] = reads;
    for (const read of reads) {
      this.readers[read] ??= [];
      this.readers[read].push(node);
      const source = this.homes[read];
      if (source === undefined || source === id || before.has(source)) continue;
      before.add(source);
      this.after[source]?.add(id);
      sources.push(source);
    }
    this.steps.push({ node, id, cluster, sources });
  }

  /** Takes out `node` and all that were added after it. */
  rewind(node: number): void {
    for (let step = this.steps.at(-1); step !== undefined && step.node >= node; step = this.steps.at(-1)) {
      const { id, cluster, sources } = step;
      for (const source of sources) {
        this.before[id]?.delete(source);
        this.after[source]?.delete(id);
      }
      for (const read of this.reads[step.node] as readonly number[]) this.readers[read]?.pop();
      this.homes[step.node] = undefined;
      if (cluster === undefined) for (const each of [this.list, this.before, this.after]) each.pop();
      else this.list[id] = cluster;
      this.steps.pop();
    }
  }

  /** The clusters in an order in which each comes after those that it reads from. */
  inOrder(): Cluster[] {
    const order: Cluster[] = [];
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
            order.push(this.list[id] as Cluster);
          }
        }
      }
    };
    this.list.forEach((_, id) => {
      if (state[id] === 0) visit(id);
    });
    return order;
  }
}
