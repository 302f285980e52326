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
  /** The old ancestors of clusters that got more. */
  readonly ancestors: readonly (readonly [id: number, old: Bits])[];
}

/** Clusters in the making: nodes are added in topological order, and the latest can be taken out again. */
export class Clusters {
  readonly list: Cluster[] = [];
  private readonly homes: (number | undefined)[] = [];
  private readonly reads: (readonly number[])[] = [];
  private readonly readers: number[][] = [];
  /** Clusters that a cluster reads from, and those that read from it. */
  private readonly before: Set<number>[] = [];
  private readonly after: Set<number>[] = [];
  /** Clusters that must run before a cluster. */
  private readonly ancestors: Bits[] = [];
  private readonly steps: Step[] = [];

  private readonly words: number;

  /** `limit` is the largest number of clusters that there can be. */
  constructor(limit: number) {
    this.words = Math.ceil(limit / 32);
  }

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

  /** Whether `target` must run before `from`. */
  dependsOn(from: number, target: number): boolean {
    return has(this.ancestors[from] as Bits, target);
  }

  /** Makes a cluster of one node. */
  open(kind: Cluster["kind"], domain: Domain, node: number, reads: readonly number[]): void {
    const id = this.list.push({ kind, domain, members: [node] }) - 1;
    this.before.push(new Set());
    this.after.push(new Set());
    this.ancestors.push(none);
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
    this.steps.push({ node, id, cluster, sources, ancestors: this.inherit(id, sources) });
  }

  /** Puts sources and their ancestors before a cluster and before all that depend on it; returns what these had. */
  private inherit(id: number, sources: readonly number[]): [number, Bits][] {
    const changed: [number, Bits][] = [];
    if (sources.length === 0) return changed;
    const gained = new Uint32Array(this.words);
    // The latest know most of the others, and whoever is known has brought its ancestors.
    for (const source of [...sources].sort((a, b) => b - a)) {
      if (has(gained, source)) continue;
      unite(gained, this.ancestors[source] as Bits);
      gained[source >> 5] = (gained[source >> 5] as number) | (1 << (source & 31));
    }
    const reached = [id];
    for (let next = reached.pop(); next !== undefined; next = reached.pop()) {
      const old = this.ancestors[next] as Bits;
      if (includes(old, gained)) continue;
      changed.push([next, old]);
      const all = gained.slice();
      unite(all, old);
      this.ancestors[next] = all;
      reached.push(...(this.after[next] as Set<number>));
    }
    return changed;
  }

  /** Takes out `node` and all that were added after it. */
  rewind(node: number): void {
    for (let step = this.steps.at(-1); step !== undefined && step.node >= node; step = this.steps.at(-1)) {
      const { id, cluster, sources, ancestors } = step;
      for (const [changed, old] of ancestors) this.ancestors[changed] = old;
      for (const source of sources) {
        this.before[id]?.delete(source);
        this.after[source]?.delete(id);
      }
      for (const read of this.reads[step.node] as readonly number[]) this.readers[read]?.pop();
      this.homes[step.node] = undefined;
      if (cluster === undefined) for (const each of [this.list, this.before, this.after, this.ancestors]) each.pop();
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
        if (waiting.length > 0) stack.push(...waiting);
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

/** A set of small numbers; without words it is empty. Those in use are not changed, so that they can be gone back to. */
type Bits = Readonly<Uint32Array>;

const none: Bits = new Uint32Array(0);

const has = (bits: Bits, i: number): boolean => i >> 5 < bits.length && (((bits[i >> 5] as number) >> (i & 31)) & 1) === 1;

function includes(all: Bits, some: Bits): boolean {
  for (let i = 0; i < some.length; i++) if (((some[i] as number) & ~(all[i] ?? 0)) !== 0) return false;
  return true;
}

function unite(all: Uint32Array, more: Bits): void {
  for (let i = 0; i < more.length; i++) all[i] = (all[i] as number) | (more[i] as number);
}
