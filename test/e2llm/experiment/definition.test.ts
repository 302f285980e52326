import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../../src/backend/reference/index.js";
import { tokensOf } from "../../../src/e2llm/experiment/names.js";
import { planExperiment } from "../../../src/e2llm/experiment/plan.js";
import { folderNames } from "../../../src/e2llm/experiment/run-folder.js";
import { type ExperimentDefinition, experimentOfSize, OptionError, runExperiment, useBackend } from "../../../src/index.js";
import { tiny } from "./tiny.js";

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("a definition", () => {
  it("is planned with every number decided", () => {
    const plan = planExperiment(tiny, undefined);
    expect(plan.config).toMatchObject({ max_position_embeddings: 8, vocab_size: 15 });
    expect(plan.variants.get("full")?.training).toMatchObject({ length: 32, batch: 1, steps: 4, lr: 5e-3 });
    expect(plan.variants.get("scratch")).toMatchObject({ from: "scratch", training: { steps: 5, batch: 4 } });
    expect(plan.evaluations[0]).toMatchObject({
      contexts: [8, 16, 32],
      buckets: [
        { name: "near", from: 0, to: 6 },
        { name: "far", from: 7 },
      ],
    });
    expect(plan.reference).toBe("base, none");
  });

  it("reads by every schedule and every method, with log-n on any of them", async () => {
    const schedules = [
      "none",
      "linear",
      "ntk",
      "yarn",
      "yarn-turns",
      "dynamic",
      "llama3",
      "self-extend",
      "rerope",
      "leaky-rerope",
      "streaming",
    ];
    const readings = Object.fromEntries(
      [...schedules, "logN"].map((schedule) => [schedule, schedule === "logN" ? { schedule: "none", logN: true } : { schedule }]),
    );
    const rows = [{ variant: "base", reading: Object.keys(readings) }];
    const results = await runExperiment({ ...tiny, base: { ...tiny.base, steps: 1 }, readings, rows, variants: {}, seeds: [1] });
    const nats = (reading: string, context: number) =>
      results.cells.find(({ row, group, ...cell }) => row === `base, ${reading}` && cell.context === context && group === "question")?.nats
        ?.mean;
    // Within the window nothing but streaming, which forgets, and the near windows differ from what was trained.
    for (const one of ["linear", "ntk", "yarn", "dynamic", "llama3", "logN"]) expect(nats(one, 8), one).toBe(nats("none", 8));
    const all = Object.keys(readings).map((reading) => nats(reading, 32));
    expect(all.every(Number.isFinite)).toBe(true);
    expect(new Set(all).size).toBeGreaterThan(9);
  });

  it("gives lengths in tokens or in windows", () => {
    expect([7, "L", "8L", "0.5L"].map((length) => tokensOf(length, 64))).toEqual([7, 64, 512, 32]);
    expect(() => tokensOf("8 L", 64)).toThrow(OptionError);
  });

  it("is changed by a size: objects merge, lists are replaced, null takes away", () => {
    const sized = { ...tiny, sizes: { small: { base: { steps: 2 }, seeds: [9], variants: { full: null, e2: { steps: 1 } } } } };
    const small = experimentOfSize(sized, "small");
    expect(small.base).toEqual({ ...tiny.base, steps: 2 });
    expect(small.seeds).toEqual([9]);
    expect(Object.keys(small.variants ?? {})).toEqual(["plain", "e2", "scratch"]);
    expect(small.variants?.["e2"]).toEqual({ ...tiny.variants?.["e2"], steps: 1 });
    expect(() => experimentOfSize(sized, "smal")).toThrow(/no size "smal"/);
  });

  const wrong: readonly [string, object, RegExp][] = [
    ["neither task nor text", { task: undefined }, /either a task or a text/],
    ["both", { text: "moby-dick" }, /either a task or a text/],
    ["a text that nobody loads", { task: undefined, text: "moby-dick" }, /has to be loaded/],
    ["an unknown task", { task: { type: "leger" } }, /leger/],
    ["an unknown field", { windows: 8 }, /no option "windows"/],
    ["an unknown field of a training", { base: { ...tiny.base, learningRate: 1 } }, /base: there is no option "learningRate"/],
    ["no rows", { rows: [] }, /rows/],
    ["a row of no variant", { rows: [{ variant: "e3", reading: "PI" }] }, /no variant "e3"/],
    ["a row of no reading", { rows: [{ variant: "e2", reading: "pi" }] }, /no reading "pi"/],
    ["one name for two rows", { rows: [{ variant: "e2", reading: ["PI", "PI"] }] }, /two rows/],
    ["a seed twice", { seeds: [3, 3] }, /twice/],
    ["a length that is none", { base: { ...tiny.base, length: "8l" } }, /length/],
    ["micro-batches that do not fit", { base: { ...tiny.base, microBatch: 3 } }, /does not divide/],
    ["a variant called base", { variants: { base: {} } }, /cannot be called "base"/],
    ["a reference that is no row", { reference: "plain" }, /no reference "plain"/],
    ["an unknown schedule", { readings: { ...tiny.readings, PI: { schedule: "linaer" } } }, /schedule/],
    ["an unknown option of a method", { readings: { ...tiny.readings, PI: { schedule: "rerope", group: 2 } } }, /no option "group"/],
    ["an unknown source", { variants: { ...tiny.variants, e2: { positions: { type: "e3" } } } }, /no position source "e3"/],
    ["an unknown option of a source", { variants: { ...tiny.variants, e2: { positions: { type: "e2", gmax: 8 } } } }, /gmax/],
    ["a context that a task cannot fill", { evaluations: { x: { type: "contexts", contexts: [3, 8], count: 1 } } }, /context/],
    ["an expectation of no row", { expectations: [{ type: "flat", name: "x", row: "e2", contexts: ["L"], within: 1 }] }, /no row "e2"/],
    [
      "an expectation at no context",
      { expectations: [{ type: "less", name: "x", of: { row: "E²", context: "8L" }, than: { row: "E²", context: "L" }, margin: 0 }] },
      /no context of 8L/,
    ],
    ["an expectation of no type", { expectations: [{ type: "smaller", name: "x" }] }, /"less" or "greater" or "flat" or "gradual"/],
    ["a requirement of nothing", { requires: [{ row: "E²", context: "L" }] }, /says what is needed/],
  ];
  it.each(wrong)("is refused with %s", async (_, change, message) => {
    const definition = { ...tiny, ...change } as ExperimentDefinition;
    const error = await runExperiment(definition).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).message).toMatch(message);
  });

  it("names folders by letters and digits, each another", () => {
    expect([...folderNames(["E² per sample", "e2 per sample", "−t", "g = 1.5·G"]).values()]).toEqual([
      "e2-per-sample",
      "e2-per-sample-2",
      "t",
      "g-1-5-g",
    ]);
  });
});
