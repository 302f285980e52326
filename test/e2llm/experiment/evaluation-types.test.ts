import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../../src/backend/wasm/index.js";
import {
  attentionMaps,
  type Backend,
  bitsPerByte,
  type Cell,
  type ExperimentDefinition,
  type ExperimentResults,
  encodeDocuments,
  evaluationExamples,
  evaluationTargets,
  experimentMarkdown,
  type Llama,
  ledgerTask,
  loadModel,
  longGeneration,
  measureContinuations,
  OptionError,
  readingTables,
  runExperiment,
  slidingWindowPerplexity,
  useBackend,
} from "../../../src/index.js";
import { byteTokenizer } from "../../../src/nn/tokenizers.js";
import { tiny } from "./tiny.js";

let backend: Backend;
let folder: string;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  useBackend(backend);
  folder = await mkdtemp(join(tmpdir(), "experiment-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await backend.close();
});

const words = (count: number, seed: number): string =>
  Array.from({ length: count }, (_, i) => ["sea", "whale", "ship", "the", "a", "harpoon"][(i * i * 7 + i * seed) % 6]).join(" ");
const text = {
  train: encodeDocuments([{ name: "train", text: words(400, 3) }], byteTokenizer),
  heldOut: encodeDocuments([{ name: "held out", text: words(200, 5) }], byteTokenizer),
};

/** Of a text: the judge comes last and is needed first. */
const ofText: ExperimentDefinition = {
  name: "of a text",
  text,
  model: tiny.model,
  window: 8,
  base: { steps: 3, batch: 2, lr: 1e-2 },
  variants: { plain: {}, full: { length: "4L", batch: 1 } },
  readings: { none: { schedule: "none" }, PI: { schedule: "linear" }, "Self-Extend": { schedule: "self-extend" } },
  rows: [
    { variant: "base", reading: ["none", "PI", "Self-Extend"] },
    { variant: ["plain", "full"], reading: "none" },
  ],
  evaluations: {
    loss: { type: "contexts", contexts: ["L", "2L"], count: 2, targets: 4 },
    sliding: { type: "sliding", contexts: ["L", "2L"], count: 2, stride: 3, targets: "5L" },
    long: { type: "generation", tokens: "3L", parts: 2, ngram: 2, count: 2, temperature: 0.5, judge: "full, none" },
  },
  seeds: [3],
};

const cellOf = ({ cells }: ExperimentResults, row: string, evaluation: string, group: string, context?: number): Cell => {
  const found = cells.find(
    (cell) => cell.row === row && cell.evaluation === evaluation && cell.group === group && (context ?? cell.context) === cell.context,
  );
  return found as Cell;
};
const modelOf = (run: string): Promise<Llama> => loadModel(join(folder, run));
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

describe("an experiment on a text", () => {
  let results: ExperimentResults;
  beforeAll(async () => {
    results = await runExperiment(ofText, { folder: join(folder, "text") });
  });

  it("slides windows as slidingWindowPerplexity does, and tells bits per byte", async () => {
    const model = await modelOf("text/seed-3/base");
    const held = text.heldOut[0]?.tokens as Int32Array;
    expect(results.evaluations[1]).toMatchObject({ name: "sliding", contexts: [8, 16], shown: ["bitsPerByte"], groups: ["next"] });
    for (const window of [8, 16]) {
      // Two stretches of 40 targets, spread over the text that is held out.
      const starts = stretchesOf(40, 2, held);
      const found = await Promise.all(
        starts.map((tokens) =>
          slidingWindowPerplexity({
            model,
            tokens,
            window,
            stride: 3,
            tables: (length) => readingTables(model.config, { schedule: "linear", scale: window / 8, length, window: 8 }),
          }),
        ),
      );
      const cell = cellOf(results, "base, PI", "sliding", "next", window);
      expect(cell.targets).toBe(80);
      expect(cell.nats?.mean).toBeCloseTo(mean(found.map(({ nats }) => nats)), 5);
      expect(cell.bitsPerByte?.mean).toBeCloseTo(bitsPerByte(cell.nats?.mean ?? 0), 5);
    }
    const loss = cellOf(results, "plain, none", "loss", "next", 16);
    expect(loss.bitsPerByte?.mean).toBeCloseTo((loss.nats?.mean ?? 0) / Math.LN2, 5);
    expect(loss.difference?.bitsPerByte?.mean).toBeCloseTo((loss.difference?.nats?.mean ?? 0) / Math.LN2, 5);
  });

  it("continues texts at the scale of their planned length, judged by the row that is named", async () => {
    const [model, judge] = [await modelOf("text/seed-3/base"), await modelOf("text/seed-3/full")];
    const stretches = stretchesOf(28, 2, text.heldOut[0]?.tokens as Int32Array).map((tokens) => tokens.subarray(0, 28));
    const expected = await Promise.all(
      stretches.map(async (tokens, i) => {
        const { texts } = await longGeneration({
          model,
          prompts: [tokens.subarray(0, 4)],
          tokens: 24,
          seed: i,
          temperature: 0.5,
          tables: (length, planned) => readingTables(model.config, { schedule: "linear", scale: planned / 8, length, planned, window: 8 }),
        });
        const tables = (length: number) => readingTables(judge.config, { schedule: "none", scale: 1, length, window: 8 });
        return measureContinuations({ texts, promptLength: 4, buckets: 2, ngram: 2, judge: { model: judge, tables } });
      }),
    );
    for (const [part, name] of ["0–11", "12–23"].entries()) {
      const cell = cellOf(results, "base, PI", "long", `written/${name}`);
      expect(cell.context).toBe(28);
      for (const measure of ["repeated", "distinct", "drift", "nats"] as const) {
        expect(cell[measure]?.mean, `${measure} of ${name}`).toBeCloseTo(mean(expected.map((all) => all[part]?.[measure] as number)), 4);
      }
    }
    // How the text itself goes on is told once, by the first row.
    const real = results.cells.filter(({ evaluation, group }) => evaluation === "long" && group.startsWith("real"));
    expect(new Set(real.map(({ row }) => row))).toEqual(new Set(["base, none"]));
    expect(real.map(({ group }) => group)).toEqual(["real", "real/0–11", "real/12–23"]);
    expect(experimentMarkdown(results)).toContain("**long: written by place at 28, share of n-grams that came before**");
    expect(experimentMarkdown(results, { measure: "nats" })).toContain("**sliding: next, nats per target**");
  });

  it("needs no folder, and comes to the same where it was interrupted", async () => {
    const { cells } = await runExperiment(ofText);
    expect(cells).toEqual(results.cells);
    for (let sittings = 1; ; sittings++) {
      let asked = 0;
      const again = await runExperiment(ofText, { folder: join(folder, "pieces"), saveEvery: 2, shouldStop: () => ++asked > 130 });
      if (!again.complete) continue;
      expect(sittings).toBeGreaterThan(1);
      expect(again.cells).toEqual(results.cells);
      break;
    }
  });

  it("counts its work to the end", async () => {
    const seen: number[] = [];
    let total = 0;
    await runExperiment(ofText, {
      onProgress: ({ work, totalWork }) => {
        seen.push(work);
        total = totalWork;
      },
    });
    expect((seen.at(-1) ?? 0) / total).toBeCloseTo(1, 6);
  });
});

/** The stretches that an evaluation of so many places takes, with the token after each. */
function stretchesOf(length: number, count: number, tokens: Int32Array): Int32Array[] {
  const documents = [{ name: "held out", tokens }];
  const blocks = evaluationTargets({ documents, targetLength: length, maxContext: length, count });
  return blocks.map(({ start }) => tokens.subarray(start - 1, start + length));
}

describe("attention in an experiment", () => {
  const task = { type: "ledger", names: 3, values: 2, fillers: 1, asked: 6, warmUp: 16 };
  const definition: ExperimentDefinition = {
    ...tiny,
    model: { ...tiny.model, num_hidden_layers: 2 },
    variants: {},
    rows: [{ variant: "base", reading: ["none", "PI"] }],
    evaluations: { maps: { type: "attention", contexts: ["L", "4L"], count: 3, sinks: 2 } },
    seeds: [3],
    expectations: [
      {
        name: "somewhere",
        type: "greater",
        measure: "mass",
        of: { row: "base, PI", context: "4L", group: "sinks" },
        than: { row: "base, none", context: "4L", group: "answer" },
        margin: -1,
      },
    ],
  };

  it("is that of attentionMaps, and adds up", async () => {
    const results = await runExperiment(definition, { folder: join(folder, "maps") });
    expect(results.held).toBe(true);
    expect(results.evaluations[0]).toMatchObject({
      byPlace: ["distance"],
      groups: [
        ...["sinks", "sinks/layer 1", "sinks/layer 2", "sinks/strongest head"],
        ...["answer", "answer/layer 1", "answer/layer 2", "answer/strongest head"],
        ...["distance/0–1", "distance/2–3", "distance/4–7", "distance/8–15", "distance/16–31"],
      ],
    });
    const mass = (row: string, group: string, context = 32): number =>
      cellOf(results, row, "maps", group, context)?.mass?.mean ?? Number.NaN;
    for (const row of ["base, none", "base, PI"]) {
      const distances = (results.evaluations[0]?.groups ?? []).filter((group) => group.startsWith("distance/"));
      expect(mass(row, "sinks") + distances.reduce((sum, group) => sum + mass(row, group), 0)).toBeCloseTo(1, 5);
      for (const kind of ["sinks", "answer"]) {
        expect((mass(row, `${kind}/layer 1`) + mass(row, `${kind}/layer 2`)) / 2).toBeCloseTo(mass(row, kind), 5);
        expect(mass(row, `${kind}/strongest head`)).toBeGreaterThanOrEqual(mass(row, kind));
      }
    }

    const model = await modelOf("maps/seed-3/base");
    const { type: _, ...options } = task;
    const examples = evaluationExamples({ task: ledgerTask(options), length: 32, count: 3, seed: 3 });
    let [sinks, answer, heads, answered] = [0, 0, 0, 0];
    for (const { inputs, questions } of examples) {
      const maps = await attentionMaps({
        model,
        tokens: inputs,
        queries: questions.map(({ place }) => place),
        sinks: 2,
        tables: (length) => readingTables(model.config, { schedule: "linear", scale: 4, length, window: 8 }),
      });
      for (const map of maps) {
        heads++;
        sinks += map.sinks;
        const distance = questions.find(({ place }) => place === map.query)?.distance;
        if (distance === undefined) continue;
        answered++;
        answer += map.probabilities[map.query - distance] as number;
      }
    }
    expect(mass("base, PI", "sinks")).toBeCloseTo(sinks / heads, 5);
    expect(mass("base, PI", "answer")).toBeCloseTo(answer / answered, 5);
  });
});

describe("an evaluation is refused", () => {
  const evaluations = (rule: object): object => ({ evaluations: { x: { count: 1, ...rule } } });
  const wrong: readonly [string, ExperimentDefinition, object, RegExp][] = [
    ["of no type", ofText, evaluations({ type: "slide" }), /type/],
    ["with an option of another type", ofText, evaluations({ type: "sliding", depths: 2 }), /no option "depths"/],
    ["sliding over a task", tiny, evaluations({ type: "sliding" }), /slides over a text/],
    ["continuing a task", tiny, evaluations({ type: "generation" }), /continues a text/],
    ["with a stride past the window", ofText, evaluations({ type: "sliding", contexts: ["L", "2L"], stride: 9 }), /stride of 9/],
    ["with a window past the text", ofText, evaluations({ type: "sliding", contexts: ["4L"], targets: "2L" }), /do not fill a window/],
    ["with more text than there is", ofText, evaluations({ type: "sliding", contexts: ["L"], targets: 5000 }), /5000|tokens|text/],
    ["judged by no row", ofText, evaluations({ type: "generation", judge: "full" }), /no row "full"/],
    ["with fewer tokens than parts", ofText, evaluations({ type: "generation", tokens: 4 }), /no 8 parts/],
    ["with a map too large", tiny, evaluations({ type: "attention", contexts: ["L", "1024L"] }), /too large a map/],
    ["with kinds of distances", tiny, evaluations({ type: "attention", buckets: { near: { kind: "question" } } }), /no option "kind"/],
    [
      "asked for a measure that it does not have",
      tiny,
      {
        ...evaluations({ type: "attention", contexts: ["L"] }),
        requires: [{ row: "E²", context: "L", group: "sinks", atLeast: 0 }],
      },
      /does not measure accuracy/,
    ],
    [
      "asked for a group that it does not have",
      tiny,
      { requires: [{ row: "E²", context: "L", group: "questions", atLeast: 0 }] },
      /no group/,
    ],
  ];
  it.each(wrong)("%s", async (_, definition, change, message) => {
    const error = await runExperiment({ ...definition, expectations: [], ...change } as ExperimentDefinition).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).message).toMatch(message);
  });
});
