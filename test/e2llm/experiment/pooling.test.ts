import { describe, expect, it } from "vitest";
import { judgeExpectations, judgeRequirements, Numbers } from "../../../src/e2llm/experiment/expectations.js";
import { planExperiment } from "../../../src/e2llm/experiment/plan.js";
import { poolCells } from "../../../src/e2llm/experiment/pooling.js";
import type { RowRecord } from "../../../src/e2llm/experiment/results.js";
import { type Expectation, experimentMarkdown, experimentTable, randomStream, runExperiment } from "../../../src/index.js";
import { tiny } from "./tiny.js";

/** Examples of which each asks n of a kind, answered by chance. */
function record(row: string, chance: number, options: { seed: number; examples?: number; nats?: number; context?: number }): RowRecord {
  const { seed, examples = 200, nats = 1, context = 8 } = options;
  // The luck of an example is the same for all rows of a seed, as its difficulty is.
  const random = randomStream(seed, 1);
  const asked = Array.from({ length: examples }, () => 1 + random.below(4));
  const luck = asked.map((n) => Array.from({ length: n }, () => random.unit()));
  const right = luck.map((all) => all.filter((one) => one < chance).length);
  const losses = asked.map((n, i) => n * nats * (0.5 + (luck[i]?.[0] ?? 0)));
  return {
    digest: "",
    row,
    scores: [{ evaluation: "recall", context, groups: [{ group: "question", asked, sums: { nats: losses, accuracy: right } }] }],
  };
}

const cellOf = (records: readonly (readonly RowRecord[])[], row: string) =>
  poolCells(records, { rows: records[0]?.map((one) => one.row) ?? [], reference: "a", shared: false }).find((cell) => cell.row === row);

describe("pooling", () => {
  it("is the mean over seeds of the means over targets, with the range of the seeds", () => {
    const records = [1, 2, 3].map((seed) => [record("a", 0.6, { seed })]);
    const cell = cellOf(records, "a");
    const bySeed = records.map(([one]) => {
      const { asked, sums } = (one as RowRecord).scores[0]?.groups[0] ?? { asked: [], sums: {} };
      return (sums.accuracy as number[]).reduce((a, b) => a + b, 0) / asked.reduce((a, b) => a + b, 0);
    });
    bySeed.forEach((value, i) => {
      expect(cell?.accuracy?.bySeed[i]).toBeCloseTo(value, 12);
    });
    expect(cell?.accuracy?.mean).toBeCloseTo(bySeed.reduce((a, b) => a + b) / 3, 12);
    expect(cell?.accuracy?.min).toBeCloseTo(Math.min(...bySeed), 12);
    expect(cell?.accuracy?.max).toBeCloseTo(Math.max(...bySeed), 12);
  });

  it("has intervals that hold the truth nineteen times in twenty, where only examples vary", () => {
    // One seed in each pool: what is drawn anew are the examples alone.
    const truth = 0.7;
    const held = Array.from({ length: 60 }, (_, seed) => cellOf([[record("a", truth, { seed, examples: 80 })]], "a")?.accuracy).filter(
      (found) => (found?.low ?? 1) <= truth && truth <= (found?.high ?? 0),
    );
    expect(held.length).toBeGreaterThanOrEqual(51); // 57 expected; fewer than 51 of 60 has a probability below 10⁻³ at 95 %
  });

  it("pairs differences: what examples have in common cancels", () => {
    const records = [1, 2, 3].map((seed) => [record("a", 0.6, { seed }), record("b", 0.62, { seed }), record("c", 0.6, { seed })]);
    const [b, c] = [cellOf(records, "b"), cellOf(records, "c")];
    expect(cellOf(records, "a")?.difference).toBeNull();
    expect(c?.difference?.accuracy).toMatchObject({ mean: 0, low: 0, high: 0 });
    const width = (pooled?: { low: number | null; high: number | null }): number => (pooled?.high ?? 0) - (pooled?.low ?? 0);
    expect(width(b?.difference?.accuracy)).toBeLessThan(width(b?.accuracy) / 2);
    expect(b?.difference?.accuracy?.low).toBeGreaterThan(0);
  });

  it("leaves out rows that lack a seed and says null for losses that are no numbers", () => {
    const broken: RowRecord = { ...record("a", 1, { seed: 2 }) };
    const group = broken.scores[0]?.groups[0];
    const nats = group?.sums.nats?.map((sum, i) => (i === 5 ? null : sum)) ?? [];
    const records = [
      [record("a", 1, { seed: 1 })],
      [{ ...broken, scores: [{ evaluation: "recall", context: 8, groups: [{ ...group, sums: { ...group?.sums, nats } } as never] }] }],
    ];
    expect(cellOf(records, "a")?.nats).toMatchObject({ mean: null, low: null, high: null });
    expect(cellOf(records, "a")?.accuracy?.mean).toBe(1);
    expect(poolCells([[record("a", 1, { seed: 1 })], []], { rows: ["a"], reference: "a", shared: false })).toEqual([]);
  });
});

describe("expectations", () => {
  const plan = planExperiment({ ...tiny, rows: [{ variant: "base", reading: ["none", "PI", "g = 4"] }] }, undefined);
  const names = plan.rows.map(({ name }) => name);
  const nats = [1, 1.3, 2.5];
  const records = [1, 2].map((seed) =>
    names.map((name, i): RowRecord => {
      const scores = [8, 16, 32].flatMap(
        (context) => record(name, 0.5, { seed, nats: (nats[i] as number) + context / 1000, context }).scores,
      );
      return { digest: "", row: name, scores };
    }),
  );
  const cells = poolCells(records, { rows: names, reference: names[0] as string, shared: false });
  const numbers = new Numbers(plan, cells);
  const [none, PI, g4] = names as [string, string, string];
  const holds = (expectation: Expectation): boolean | undefined => judgeExpectations([expectation], numbers)[0]?.held;

  it("are judged on means and seed by seed", () => {
    const less = { type: "less", name: "x", of: { row: none, context: "L" }, than: { row: g4, context: "L" } } as const;
    expect(judgeExpectations([{ ...less, margin: 0.5 }], numbers)[0]).toMatchObject({ held: true, seedsHeld: 2, seeds: 2 });
    expect(holds({ ...less, margin: 5 })).toBe(false);
    expect(holds({ ...less, type: "greater", margin: 0 })).toBe(false);
    expect(holds({ ...less, type: "greater", of: less.than, than: less.of, margin: 0.5 })).toBe(true);
    expect(holds({ type: "flat", name: "x", row: none, contexts: ["L", "2L", "4L"], within: 0.05 })).toBe(true);
    expect(holds({ type: "flat", name: "x", row: none, contexts: ["L", "4L"], within: 0.001 })).toBe(false);
    expect(holds({ type: "gradual", name: "x", rows: [none, PI], context: "2L", within: 0.5 })).toBe(true);
    expect(holds({ type: "gradual", name: "x", rows: [none, PI, g4], context: "2L", within: 0.5 })).toBe(false);
    expect(holds({ type: "gradual", name: "x", rows: [g4, PI, none], context: "2L", within: 0 })).toBe(true);
  });

  it("are left out where their row was not measured", () => {
    const partial = new Numbers(
      plan,
      cells.filter(({ row }) => row !== g4),
    );
    expect(judgeExpectations([{ type: "gradual", name: "x", rows: [none, g4], context: "L", within: 9 }], partial)).toEqual([]);
  });

  it("requirements hold where they hold for every seed", () => {
    const bySeed = cells.find(({ row, context }) => row === none && context === 8)?.accuracy?.bySeed as number[];
    const bound = (Math.min(...bySeed) + Math.max(...bySeed)) / 2;
    const [one, other] = judgeRequirements(
      [
        { row: none, context: "L", atLeast: 0.1 },
        { row: none, context: "L", atLeast: bound },
      ],
      numbers,
    );
    expect(one).toMatchObject({ held: true, seedsHeld: 2 });
    expect(other).toMatchObject({ held: bySeed[0] === bySeed[1], seedsHeld: bySeed[0] === bySeed[1] ? 2 : 1 });
  });
});

describe("tables", () => {
  it("have a line for each row and say what does not hold", async () => {
    const results = {
      ...(await emptyResults()),
      requirements: [{ name: "the base recalls", held: false, found: "0.100 by seed", seedsHeld: 0, seeds: 1 }],
      held: false,
    };
    const text = experimentTable(results);
    expect(text).toContain("E²");
    expect(text).toContain("8 (L)");
    expect(text).toContain("DOES NOT HOLD: the base recalls");
    const markdown = experimentMarkdown(results, { measure: "nats" });
    expect(markdown).toContain("| E² |");
    expect(markdown).toContain("nats per target");
  });
});

const emptyResults = async () => {
  const { createReferenceBackend } = await import("../../../src/backend/reference/index.js");
  const { useBackend } = await import("../../../src/index.js");
  useBackend(createReferenceBackend());
  return runExperiment({ ...tiny, base: { ...tiny.base, steps: 1 }, extension: { steps: 1 }, seeds: [1] }, { only: ["base", "e2"] });
};
