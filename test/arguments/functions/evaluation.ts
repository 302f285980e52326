import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as dawngrad from "../../../src/index.js";
import { aBoundedNumber, aFlag, aFunction, aList, aName, anInteger, anObject, anyNumber, aText, optional, options } from "../parameters.js";
import { blocks, documents, llama, optimizer, scoring, tables } from "./values.js";

const models = (): unknown => ({ base: llama(), plain: llama(), e2: llama() });
const rows = (): unknown => [{ variant: "base", schedule: "none", scale: 1, context: 4 }];
const continuation = {
  judge: optional(anObject(() => ({ model: llama() }))),
  buckets: optional(anInteger(1)),
  ngram: optional(anInteger(1)),
};
const scratch = mkdtempSync(join(tmpdir(), "experiment-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
const experiment = (): dawngrad.ExperimentDefinition => ({
  name: "one step",
  task: { type: "ledger", names: 2, values: 2, fillers: 1, asked: 3, warmUp: 4 },
  model: { hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1, num_attention_heads: 2 },
  window: 8,
  base: { steps: 1, batch: 2, lr: 0.01 },
  readings: { none: { schedule: "none" } },
  rows: [{ variant: "base", reading: "none" }],
  evaluations: { all: { type: "contexts", contexts: ["L"], count: 2 } },
  seeds: [1],
  sizes: { small: { seeds: [2] } },
});
const experimentResults = (): unknown => ({
  ...{ name: "none", title: "none", description: "", window: 4, parameters: 1, backend: "reference", seeds: [1], complete: true },
  ...{ rows: [], evaluations: [], cells: [], chance: {}, runs: [], requirements: [], expectations: [] },
});
const tableOptions = { results: anObject(experimentResults), options: optional(options({ measure: optional(aName("nats")) })) };

/** What `src/e2llm` measures, and its experiments. */
export const functions = {
  measureContinuations: {
    options: options({
      ...continuation,
      texts: aList(() => [Int32Array.of(1, 2, 3)]),
      promptLength: anInteger(1),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  longGeneration: {
    options: options({
      ...continuation,
      model: anObject(llama),
      prompts: aList(() => [Int32Array.of(1, 2, 3)]),
      tokens: anInteger(1),
      tables: optional(aFunction(() => tables)),
      temperature: optional(aBoundedNumber()),
      topK: optional(anInteger()),
      seed: optional(anInteger(0)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  evaluateContexts: {
    options: options({
      ...scoring,
      documents: aList(documents),
      blocks: aList(blocks),
      targetLength: anInteger(2),
      contexts: aList(() => [4]),
      accuracy: optional(aFlag()),
    }),
  },
  lossByPosition: {
    options: options({ ...scoring, tokens: anObject(() => Int32Array.of(1, 2, 3, 4, 5)), accuracy: optional(aFlag()) }),
  },
  positionBuckets: {
    nats: aList(() => [Float32Array.of(1, 2)]),
    options: optional(options({ first: optional(anInteger(1)), correct: optional(aList(() => [Uint8Array.of(0, 1)])) })),
  },
  bitsPerByte: { nats: anyNumber(1), bytesPerToken: optional(aBoundedNumber(4)) },
  attentionMaps: {
    options: options({
      model: anObject(llama),
      tokens: anObject(() => Int32Array.of(1, 2, 3, 4)),
      queries: aList(() => [3]),
      tables: optional(aFunction(() => tables)),
      sinks: optional(anInteger(1)),
      span: optional(options({ from: anInteger(1), to: anInteger(2) })),
    }),
  },
  stepCost: {
    options: options({
      model: anObject(llama),
      optimizer: anObject(optimizer),
      maxNorm: optional(aBoundedNumber()),
      trainable: optional(aFunction(() => () => true)),
      checkpoint: optional(aFlag()),
      microBatch: optional(anInteger(1)),
      sizes: aList(() => [{ length: 4, batch: 1 }]),
      steps: optional(anInteger(1)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  slidingWindowPerplexity: {
    options: options({
      ...scoring,
      tokens: anObject(() => Int32Array.of(1, 2, 3, 4, 5)),
      window: anInteger(4),
      stride: anInteger(2),
      bytes: optional(aBoundedNumber(4)),
    }),
  },
  summarizeValues: { values: aList(() => [1, 2]) },
  pairedDifferences: { first: aList(() => [1, 2]), second: aList(() => [1, 3]) },
  bootstrapMean: {
    groups: aList(() => [1, 2]),
    options: optional(
      options({
        level: optional(aBoundedNumber(0.9)),
        resamples: optional(anInteger(3)),
        seed: optional(anInteger(0)),
        over: optional(aName("values")),
      }),
    ),
  },
  comparisonRows: {
    options: options({
      window: anInteger(4),
      contexts: optional(aList(() => [4])),
      scales: optional(aList(() => [1])),
      fullLength: optional(anInteger(4)),
    }),
  },
  compareVariants: {
    options: options({
      models: anObject(models),
      window: anInteger(4),
      rows: aList(rows),
      documents: aList(documents),
      blocks: aList(blocks),
      targetLength: anInteger(2),
      batch: optional(aFunction(() => () => 1)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  runExperiment: {
    definition: anObject(experiment),
    options: optional(
      options({
        folder: optional(aText(scratch)),
        seeds: optional(aList(() => [3])),
        only: optional(aList(() => ["base"])),
        loadText: optional(aFunction(() => async () => ({ train: [], heldOut: [] }))),
        saveEvery: optional(anInteger(1)),
        onProgress: optional(aFunction(() => () => undefined)),
        shouldStop: optional(aFunction(() => () => false)),
      }),
    ),
  },
  experimentOfSize: { definition: anObject(experiment), size: aName("small") },
  experimentTable: tableOptions,
  experimentMarkdown: tableOptions,
  comparisonTokens: {
    rows: aList(rows),
    sizes: options({ window: anInteger(4), blocks: anInteger(1), weight: optional(aFunction(() => () => 1)) }),
  },
} as const;
