import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Clusters } from "../../src/compiler/clusters.js";
import { domainOf } from "../../src/compiler/domain.js";

/** What happens to each node: the nodes that it reads, and the cluster that it joins if that makes no circle. */
interface Choice {
  readonly reads: readonly number[];
  readonly joins: number;
}

const choices = fc.array(fc.record({ reads: fc.array(fc.nat(60), { maxLength: 4 }), joins: fc.nat(80) }), { minLength: 1, maxLength: 60 });
const [narrow, wide] = [domainOf([4], []), domainOf([4, 2], [1])];

function add(clusters: Clusters, node: number, { reads, joins }: Choice): void {
  const earlier = reads.filter((read) => read < node);
  const homes = earlier.map(clusters.home) as number[];
  const possible = joins < clusters.list.length && homes.every((home) => home === joins || !clusters.dependsOn(home, joins));
  if (possible) clusters.join(joins, wide, node, earlier);
  else clusters.open("loop", narrow, node, earlier);
}

function made(list: readonly Choice[]): Clusters {
  const clusters = new Clusters();
  list.forEach((choice, node) => add(clusters, node, choice));
  return clusters;
}

/** All that can be asked of clusters. */
const answers = (clusters: Clusters, nodes: number) => ({
  list: clusters.list.map(({ kind, domain, members }) => ({ kind, rows: domain === wide, members })),
  order: clusters.inOrder().map(({ members }) => members),
  nodes: Array.from({ length: nodes }, (_, node) => [clusters.home(node), [...clusters.readersOf(node)]]),
  depends: clusters.list.map((_, from) => clusters.list.map((_, target) => clusters.dependsOn(from, target))),
});

describe("clusters in the making", () => {
  it("depend on what their members read, through any number of others", () => {
    const property = fc.property(choices, (list) => {
      const clusters = made(list);
      const reaches = (from: number, target: number, seen = new Set<number>()): boolean =>
        (clusters.list[from]?.members ?? []).some((member) =>
          clusters.readsOf(member).some((read) => {
            const home = clusters.home(read) as number;
            if (home === from || seen.has(home)) return false;
            seen.add(home);
            return home === target || reaches(home, target, seen);
          }),
        );
      const { depends } = answers(clusters, list.length);
      expect(depends).toEqual(clusters.list.map((_, from) => clusters.list.map((_, target) => reaches(from, target))));
    });
    fc.assert(property, { seed: 49, numRuns: 200 });
  });

  it("are as if the nodes had never been added that were taken out again", () => {
    const property = fc.property(choices, choices, fc.nat(), (list, others, choice) => {
      const cut = choice % list.length;
      const kept = list.slice(0, cut);
      const clusters = made([...kept, ...list.slice(cut), ...others].slice(0, 100));
      clusters.rewind(cut);
      expect(answers(clusters, 100)).toEqual(answers(made(kept), 100));
      // They go on as if nothing had been.
      others.forEach((other, i) => add(clusters, cut + i, other));
      expect(answers(clusters, 200)).toEqual(answers(made([...kept, ...others]), 200));
    });
    fc.assert(property, { seed: 50, numRuns: 200 });
  });

  it("run after those that they read from", () => {
    const property = fc.property(choices, (list) => {
      const clusters = made(list);
      const done = new Set<number>();
      for (const { members } of clusters.inOrder()) {
        for (const member of members) done.add(member);
        for (const member of members) for (const read of clusters.readsOf(member)) expect(done.has(read)).toBe(true);
      }
      expect(done.size).toBe(list.length);
    });
    fc.assert(property, { seed: 51, numRuns: 200 });
  });
});
