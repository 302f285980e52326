import * as dawngrad from "../../../src/index.js";
import { aBoundedNumber, aFlag, aFunction, aList, aName, anInteger, anObject, aText, optional, options } from "../parameters.js";
import { documents, scoring, tables } from "./values.js";

const task = (): unknown => dawngrad.ledgerTask({ names: 2, values: 2, fillers: 1 });
const example = (): unknown => ({
  inputs: Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7),
  targets: Int32Array.of(-100, -100, -100, -100, -100, -100, -100, 1),
  questions: [{ place: 7, kind: "a" }],
});

/** The tasks of `src/e2llm/tasks` and what is measured on them. */
export const functions = {
  ledgerTask: {
    options: optional(
      options({
        names: optional(anInteger(2)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        asked: optional(anInteger(2)),
        warmUp: optional(anInteger(0)),
        unanswerable: optional(aBoundedNumber(0)),
        bos: optional(aFlag()),
      }),
    ),
  },
  passkeyTask: {
    options: optional(
      options({
        keys: optional(anInteger(2)),
        valuesPerKey: optional(anInteger(1)),
        asked: optional(anInteger(1)),
        names: optional(anInteger(4)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        form: optional(aName("pair")),
        depth: optional(aBoundedNumber(0.5)),
      }),
    ),
  },
  recallTask: {
    options: optional(
      options({
        pairs: optional(anInteger(2)),
        keys: optional(anInteger(8)),
        values: optional(anInteger(8)),
        fillers: optional(anInteger(1)),
        asked: optional(anInteger(1)),
        power: optional(aBoundedNumber(1)),
      }),
    ),
  },
  inductionTask: {
    options: optional(
      options({ symbols: optional(anInteger(40)), segment: optional(anInteger(2)), freshWeight: optional(aBoundedNumber(0.5)) }),
    ),
  },
  posgenTask: {
    options: options({
      rule: aName("cot"),
      near: optional(anInteger(1)),
      far: optional(anInteger(1)),
      modulus: optional(anInteger(3)),
      asked: optional(anInteger(2)),
    }),
  },
  variableTask: {
    options: optional(
      options({
        chains: optional(anInteger(1)),
        hops: optional(anInteger(4)),
        names: optional(anInteger(24)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  commonWordTask: {
    options: optional(
      options({
        words: optional(anInteger(30)),
        common: optional(anInteger(4)),
        rare: optional(anInteger(8)),
        ratio: optional(aBoundedNumber(5)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  frequentWordTask: {
    options: optional(
      options({
        words: optional(anInteger(30)),
        used: optional(anInteger(8)),
        alpha: optional(aBoundedNumber(2)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  labelTask: {
    options: optional(
      options({
        classes: optional(anInteger(3)),
        words: optional(anInteger(2)),
        labels: optional(anInteger(16)),
        noise: optional(aBoundedNumber(0.1)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  textTask: {
    options: options({
      documents: aList(documents),
      heldOut: optional(aList(documents)),
      vocabulary: optional(anInteger(11)),
      asked: optional(anInteger(2)),
    }),
  },
  createTask: { options: anObject(() => ({ type: "ledger", names: 2 })) },
  trainingWindows: { options: options({ task: anObject(task), length: anInteger(8), batch: anInteger(1), seed: optional(anInteger(0)) }) },
  evaluationExamples: {
    options: options({ task: anObject(task), length: anInteger(8), count: anInteger(1), seed: optional(anInteger(0)) }),
  },
  cutExample: { task: anObject(task), example: anObject(example), context: anInteger(8) },
  evaluateTargets: { options: options({ ...scoring, examples: aList(() => [example()]) }) },
  evaluateAtContexts: {
    options: options({
      ...scoring,
      task: anObject(task),
      examples: aList(() => [example()]),
      contexts: aList(() => [8]),
      edges: optional(aList(() => [4])),
      window: optional(anInteger(8)),
      truncated: optional(aFunction(() => tables)),
    }),
  },
  evaluateGrid: {
    options: options({
      ...scoring,
      task: anObject(() => dawngrad.passkeyTask({ names: 1, values: 2, fillers: 1 })),
      lengths: aList(() => [6]),
      depths: aList(() => [0.5]),
      count: optional(anInteger(1)),
      seed: optional(anInteger(0)),
      window: optional(anInteger(8)),
      truncated: optional(aFunction(() => tables)),
    }),
  },
  summarizeByDistance: { scores: aList(() => [{ kind: "a", distance: 3, nats: 1, correct: true }]), edges: aList(() => [2]) },
  exampleObservations: {
    scores: aList(() => [{ example: 0, kind: "a", distance: 3, nats: 1, correct: true }]),
    options: options({
      measure: aName("nats"),
      kind: optional(aText("a")),
      from: optional(anInteger(0)),
      to: optional(anInteger(9)),
    }),
  },
  inductionScores: {
    scores: aList(() => [
      { example: 0, kind: "repeat", distance: 3, nats: 1, correct: true },
      { example: 0, kind: "fresh", nats: 2, correct: false },
    ]),
    edges: aList(() => [2]),
  },
  summarizeTargets: { scores: aList(() => [{ kind: "a", nats: 1, correct: true }]) },
} as const;
