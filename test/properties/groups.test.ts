import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { domainOf } from "../../src/compiler/domain.js";
import { FusionGroups, loopsOver } from "../../src/compiler/groups.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";

/** What happens to each node: the nodes that it reads, those that it must come after, and the group that it joins if that makes no circle. */
interface Choice {
  readonly reads: readonly number[];
  readonly after: readonly number[];
  readonly joins: number;
}

const earlier = (most: number) => fc.array(fc.nat(60), { maxLength: most });
const choices = fc.array(fc.record({ reads: earlier(4), after: earlier(1), joins: fc.nat(80) }), { minLength: 1, maxLength: 60 });
const [narrow, wide] = [domainOf([4], []), domainOf([4, 2], [1])];

function add(groups: FusionGroups, node: number, { reads, after, joins }: Choice): void {
  const dependencies = { nodes: reads.filter((read) => read < node), after: after.filter((other) => other < node) };
  const homes = [...dependencies.nodes, ...dependencies.after].map(groups.home) as number[];
  const comesAfter = dependencies.after.some((other) => groups.home(other) === joins);
  const possible = joins < groups.list.length && !comesAfter && homes.every((home) => home === joins || !groups.dependsOn(home, joins));
  const group = groups.list[joins];
  if (!possible || group === undefined) groups.open(loopsOver(narrow, [node], dependencies.after), node, dependencies);
  else groups.join(joins, loopsOver(wide, [...group.members, node], [...group.after, ...dependencies.after]), node, dependencies);
}

function made(list: readonly Choice[]): FusionGroups {
  const groups = new FusionGroups();
  list.forEach((choice, node) => add(groups, node, choice));
  return groups;
}

/** All that can be asked of groups. */
const answers = (groups: FusionGroups, nodes: number) => ({
  list: groups.list.map(({ kind, members, after }) => ({ kind, members, after })),
  order: groups.inOrder().map(({ members }) => members),
  nodes: Array.from({ length: nodes }, (_, node) => [groups.home(node), [...groups.readersOf(node)]]),
  depends: groups.list.map((_, from) => groups.list.map((_, target) => groups.dependsOn(from, target))),
});

describe("groups in the making", () => {
  it("depend on what their members read, through any number of others", () => {
    const property = fc.property(choices, (list) => {
      const groups = made(list);
      const reaches = (from: number, target: number, seen = new Set<number>()): boolean => {
        const { members = [], after = [] } = groups.list[from] ?? {};
        return [...members.flatMap((member) => groups.readsOf(member)), ...after].some((read) => {
          const home = groups.home(read) as number;
          if (home === from || seen.has(home)) return false;
          seen.add(home);
          return home === target || reaches(home, target, seen);
        });
      };
      const { depends } = answers(groups, list.length);
      expect(depends).toEqual(groups.list.map((_, from) => groups.list.map((_, target) => reaches(from, target))));
    });
    fc.assert(property, { seed: fuzzSeed(49), numRuns: 200 });
  });

  it("are as if the nodes had never been added that were taken out again", () => {
    const property = fc.property(choices, choices, fc.nat(), (list, others, choice) => {
      const cut = choice % list.length;
      const kept = list.slice(0, cut);
      const groups = made([...kept, ...list.slice(cut), ...others].slice(0, 100));
      groups.rewind(cut);
      expect(answers(groups, 100)).toEqual(answers(made(kept), 100));
      // They go on as if nothing had been.
      others.forEach((other, i) => add(groups, cut + i, other));
      expect(answers(groups, 200)).toEqual(answers(made([...kept, ...others]), 200));
    });
    fc.assert(property, { seed: fuzzSeed(50), numRuns: 200 });
  });

  law(
    "fusion makes no circle",
    "Groups of fused operations can be put in an order in which each runs after those that it reads from.",
    () => {
      const property = fc.property(choices, (list) => {
        const groups = made(list);
        const done = new Set<number>();
        for (const { members, after } of groups.inOrder()) {
          for (const other of after) expect(done.has(other)).toBe(true);
          for (const member of members) done.add(member);
          for (const member of members) for (const read of groups.readsOf(member)) expect(done.has(read)).toBe(true);
        }
        expect(done.size).toBe(list.length);
      });
      fc.assert(property, { seed: fuzzSeed(51), numRuns: 200 });
    },
  );
});
