import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  cutExample,
  evaluateAtContexts,
  evaluateGrid,
  evaluateTargets,
  evaluationExamples,
  exampleObservations,
  inductionScores,
  type Llama,
  type LlamaConfig,
  ledgerTask,
  OptionError,
  passkeyTask,
  readingTables,
  recallTask,
  ShapeError,
  summarizeByDistance,
  summarizeTargets,
  type TargetScore,
  type Task,
  type TaskExample,
  useBackend,
} from "../../src/index.js";
import { tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const window = 8;
const task = ledgerTask({ names: 2, values: 2, fillers: 1, asked: 4, warmUp: 20 });
const modelOf = (vocab_size: number, seed = 2): Promise<Llama> =>
  tinyLlama({ ...tinyConfig, num_hidden_layers: 1, max_position_embeddings: window, vocab_size }, { seed });
const examples = evaluationExamples({ task, length: 32, count: 4 });
const unscaled = (model: Llama) => (length: number) => readingTables(model.config, { schedule: "none", scale: 1, length, window });

const withConfig = (model: Llama, _config: LlamaConfig): Llama =>
  Object.assign(Object.create(Object.getPrototypeOf(model)), model, { _config });

/** The same but for what another order of sums changes. */
const expectSame = (found: readonly TargetScore[], expected: readonly TargetScore[]): void => {
  expect(found.map(({ nats: _, ...rest }) => rest)).toEqual(expected.map(({ nats: _, ...rest }) => rest));
  found.forEach(({ nats }, i) => {
    expect(Math.abs(nats - (expected[i]?.nats as number))).toBeLessThan(1e-5);
  });
};

describe.each(backends())("targets at several contexts on $name", { timeout: 120_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("are those of examples that were cut, each read by its tables, with truncation beside them", async () => {
    const model = await modelOf(task.vocabulary);
    const contexts = [32, 16];
    const found = await evaluateAtContexts({ model, task, examples, contexts });
    expect(found.contexts.map(({ context }) => context)).toEqual(contexts);
    for (const { context, scores, kinds, distances } of found.contexts) {
      const cut = examples.map((example) => cutExample(task, example, context));
      expectSame(scores, await evaluateTargets({ model, examples: cut }));
      expect(kinds).toEqual(summarizeTargets(scores));
      expect(distances).toEqual(summarizeByDistance(scores, [window]));
    }
    const last = examples.map((example) => cutExample(task, example, window));
    expect(found.truncation?.context).toBe(window);
    expectSame(found.truncation?.scores ?? [], await evaluateTargets({ model, examples: last, tables: unscaled(model) }));
    // Pairs: the same questions in the same order.
    const asked = ({ example, kind, distance }: TargetScore): unknown => ({ example, kind, distance });
    for (const { scores } of found.contexts) expect(scores.map(asked)).toEqual(found.truncation?.scores.map(asked));
  });

  it("are held against the last L tokens as the model knows how to read them, which for one of a single scale is at that scale", async () => {
    const model = await modelOf(task.vocabulary);
    const e2llm = { trained_window: window, g_max: 4, every_scale: false };
    const single = withConfig(model, { ...model.config, e2llm });
    const last = examples.map((example) => cutExample(task, example, window));
    const at = (scale: number) => (length: number) => readingTables(model.config, { schedule: "linear", scale, length, window });
    const { truncation } = await evaluateAtContexts({ model: single, task, examples, contexts: [16] });
    expectSame(truncation?.scores ?? [], await evaluateTargets({ model, examples: last, tables: at(4) }));
    const every = withConfig(model, { ...model.config, e2llm: { ...e2llm, every_scale: true } });
    const found = await evaluateAtContexts({ model: every, task, examples, contexts: [16] });
    expectSame(found.truncation?.scores ?? [], await evaluateTargets({ model, examples: last, tables: at(1) }));
  });

  it("on a grid are those of sequences made for each cell", async () => {
    const needles = passkeyTask({ names: 4, values: 2, fillers: 2, keys: 2 });
    const model = await modelOf(needles.vocabulary);
    const cells = await evaluateGrid({ model, task: needles, lengths: [8, 24], depths: [0, 1], count: 5, seed: 3 });
    expect(cells.map(({ length, depth }) => [length, depth])).toEqual([
      [8, 0],
      [8, 1],
      [24, 0],
      [24, 1],
    ]);
    for (const { length, depth, scores, targets, nats, accuracy, truncation } of cells) {
      const made = evaluationExamples({ task: needles.atDepth?.(depth) as Task, length, count: 5, seed: 3 });
      expectSame(scores, await evaluateTargets({ model, examples: made }));
      expect(scores.map(({ distance }) => distance)).toEqual(new Array(5).fill(depth === 0 ? length - 2 : 1));
      const cut = made.map((example) => cutExample(needles, example, 8));
      expectSame(truncation.scores, await evaluateTargets({ model, examples: cut, tables: unscaled(model) }));
      expect([targets, truncation.targets]).toEqual([5, 5]);
      expect(summarizeTargets(scores)).toEqual([{ kind: "key", targets, nats, accuracy }]);
    }
  });
});

describe("an evaluation of targets", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("asks only what every context holds", async () => {
    const recall = recallTask({ pairs: 4, keys: 6, values: 6, fillers: 2, power: 1 });
    const model = await modelOf(recall.vocabulary);
    const made = evaluationExamples({ task: recall, length: 40, count: 8 });
    const found = await evaluateAtContexts({ model, task: recall, examples: made, contexts: [40, 20], window: 16 });
    const kept = made.flatMap(({ questions }) => questions).filter(({ place }) => place > 40 - 16);
    expect(kept.length).toBeGreaterThan(0);
    for (const { scores } of found.contexts) expect(scores.map(({ distance }) => distance)).toEqual(kept.map(({ distance }) => distance));
    await expect(evaluateAtContexts({ model, task: recall, examples: made, contexts: [40, 1] })).rejects.toThrow(
      /no question is within the last 1/,
    );
  });

  it("truncates to the trained window, wherever the configuration states it", async () => {
    const model = await modelOf(task.vocabulary);
    const extended = { ...model.config, max_position_embeddings: 32 };
    for (const config of [
      { ...extended, rope_scaling: { rope_type: "linear", factor: 4 } },
      { ...extended, rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8 } },
      { ...extended, rope_scaling: { rope_type: "yarn", factor: 4 }, original_max_position_embeddings: 8 },
    ]) {
      const read = await evaluateAtContexts({ model: withConfig(model, config), task, examples, contexts: [16], tables: unscaled(model) });
      expect(read.truncation?.context).toBe(8);
      expect(read.contexts[0]?.distances).toEqual(summarizeByDistance(read.contexts[0]?.scores ?? [], [8]));
    }
  });

  it("tells of its passes and stops where it is asked to, with what is complete", async () => {
    const model = await modelOf(task.vocabulary);
    const done: number[] = [];
    const options = { model, task, examples, contexts: [16, 32], batch: 3 };
    await evaluateAtContexts({ ...options, onProgress: (progress) => done.push(progress.done / progress.total) });
    expect(done).toHaveLength(6);
    expect(done.at(-1)).toBe(1);
    let passes = 0;
    const stopped = await evaluateAtContexts({ ...options, onProgress: () => passes++, shouldStop: () => passes >= 3 });
    expect(stopped.contexts.map(({ context }) => context)).toEqual([16]);
    expect(stopped.truncation).toBeNull();
    passes = 0;
    const needles = passkeyTask({ names: 2, values: 2, fillers: 1 });
    const grid = { model: await modelOf(needles.vocabulary), task: needles, lengths: [12], depths: [0, 0.5, 1], count: 2 };
    const cells = await evaluateGrid({ ...grid, onProgress: () => passes++, shouldStop: () => passes >= 4 });
    expect(cells.map(({ depth }) => depth)).toEqual([0, 0.5]);
  });

  it("is refused before anything is read where something does not fit", async () => {
    const model = await modelOf(task.vocabulary);
    let passes = 0;
    const onProgress = (): unknown => passes++;
    const refused = async (promise: Promise<unknown>, error: new (...args: never[]) => Error): Promise<void> => {
      await expect(promise).rejects.toThrow(error);
      expect(passes).toBe(0);
    };
    const [example] = examples as [TaskExample];
    const options = { model, task, examples, contexts: [16, 32], onProgress };
    await refused(evaluateAtContexts({ ...options, contexts: [16, 33] }), OptionError);
    await refused(evaluateAtContexts({ ...options, contexts: [] }), OptionError);
    await refused(evaluateAtContexts({ ...options, edges: [4, 4] }), OptionError);
    await refused(evaluateAtContexts({ ...options, model: await modelOf(task.vocabulary - 1) }), OptionError);
    await refused(evaluateAtContexts({ ...options, tables: () => unscaled(model)(16) }), ShapeError);
    await refused(evaluateTargets({ model, examples: [example, cutExample(task, example, 16)], onProgress }), ShapeError);
    const { inputs, targets, questions } = example;
    for (const [wrong, error] of [
      [{ inputs, targets: targets.slice(1), questions }, ShapeError],
      [{ inputs, targets, questions, weights: new Float32Array(3) }, ShapeError],
      [{ inputs, targets, questions: [...questions].reverse() }, OptionError],
      [{ inputs, targets, questions: [{ place: 1, kind: "a" }] }, OptionError],
      [{ inputs: inputs.map(() => 99), targets, questions }, OptionError],
      [{ inputs, targets, questions: [] }, OptionError],
    ] as const) {
      await refused(evaluateTargets({ model, examples: [wrong], onProgress }), error);
    }
    await refused(evaluateGrid({ model, task, lengths: [16], depths: [0], onProgress }), OptionError);
    const needles = passkeyTask({ names: 2, values: 2, fillers: 1 });
    for (const grid of [
      { lengths: [], depths: [0] },
      { lengths: [8], depths: [] },
      { lengths: [8], depths: [1.5] },
      { lengths: [8, 2], depths: [0] },
    ]) {
      await refused(evaluateGrid({ model, task: needles, onProgress, ...grid }), OptionError);
    }
  });

  it("counts targets by the weights of their examples", async () => {
    const model = await modelOf(task.vocabulary);
    const weights = Float32Array.from({ length: 32 }, (_, i) => (i % 2) / 2 + (i > 30 ? 2 : 0));
    const scores = await evaluateTargets({ model, examples: examples.map((example) => ({ ...example, weights })) });
    for (const { weight, place } of scores) expect(weight).toBe(weights[place]);
    for (const { kind, nats, accuracy } of summarizeTargets(scores)) {
      const of = scores.filter((score) => score.kind === kind);
      const sum = (f: (score: TargetScore) => number): number => of.reduce((all, score) => all + (score.weight as number) * f(score), 0);
      expect(nats).toBeCloseTo(sum((score) => score.nats) / sum(() => 1), 10);
      expect(accuracy).toBeCloseTo(sum(({ correct }) => Number(correct)) / sum(() => 1), 10);
    }
  });
});

describe("summaries of targets", () => {
  const score = (example: number, distance: number | undefined, nats: number, kind = "a"): TargetScore => ({
    example,
    place: 9,
    kind,
    ...(distance === undefined ? {} : { distance }),
    nats,
    correct: nats < 1,
  });
  const scores = [score(0, 1, 0.5), score(0, 4, 2), score(2, 5, 3), score(2, undefined, 7, "b"), score(2, 4, 0, "b")];

  it("by distance hold what lies from one edge to the next", () => {
    expect(summarizeByDistance(scores, [4, 5])).toEqual([
      { kind: "a", from: 0, to: 4, targets: 1, nats: 0.5, accuracy: 1 },
      { kind: "a", from: 4, to: 5, targets: 1, nats: 2, accuracy: 0 },
      { kind: "a", from: 5, targets: 1, nats: 3, accuracy: 0 },
      { kind: "b", from: 4, to: 5, targets: 1, nats: 0, accuracy: 1 },
    ]);
    expect(summarizeByDistance(scores, []).map(({ targets, from }) => [targets, from])).toEqual([
      [3, 0],
      [1, 0],
    ]);
  });

  it("give one observation for each example that was asked", () => {
    expect(exampleObservations(scores, { measure: "nats", kind: "a" })).toEqual([
      { value: 1.25, weight: 2 },
      { value: 3, weight: 1 },
    ]);
    expect(exampleObservations(scores, { measure: "accuracy", from: 4, to: 5 })).toEqual([
      { value: 0, weight: 1 },
      { value: 1, weight: 1 },
    ]);
    expect(() => exampleObservations(scores, { measure: "nats", kind: "c" })).toThrow(OptionError);
    expect(() => exampleObservations(scores, { measure: "loss" as never })).toThrow(OptionError);
  });

  it("give the in-context-learning score by the distance of the repetition", () => {
    const repeats = [score(0, 3, 0.25, "repeat"), score(0, 9, 2, "repeat"), score(1, 9, 3, "repeat")];
    const fresh = [score(0, undefined, 4, "fresh"), score(1, undefined, 5, "fresh")];
    expect(inductionScores([...repeats, ...fresh], [8])).toEqual([
      { from: 0, to: 8, targets: 1, nats: 0.25 - 4.5, accuracy: 1 },
      { from: 8, targets: 2, nats: -2, accuracy: 0 },
    ]);
    expect(() => inductionScores(repeats, [8])).toThrow(OptionError);
    expect(() => inductionScores(fresh, [8])).toThrow(OptionError);
  });
});
