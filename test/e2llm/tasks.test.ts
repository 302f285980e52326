import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Backend,
  cutExample,
  evaluateTargets,
  evaluationExamples,
  ledgerTask,
  noTarget,
  OptionError,
  randomStream,
  ShapeError,
  summarizeTargets,
  type TaskExample,
  tensor,
  trainingWindows,
  useBackend,
} from "../../src/index.js";
import { uniformBelow } from "../../src/ir/threefry.js";
import { languageLoss } from "../../src/nn/training.js";
import { integers, plainTables, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

describe("randomStream", () => {
  it("begins with the integer that its key stands for and goes on with others", () => {
    const stream = randomStream(7, 1, 2, 3);
    const again = randomStream(7, 1, 2, 3);
    const drawn = Array.from({ length: 50 }, () => stream.below(1000));
    expect(Array.from({ length: 50 }, () => again.below(1000))).toEqual(drawn);
    expect(new Set(drawn).size).toBeGreaterThan(40);
    const others = [randomStream(8, 1, 2, 3), randomStream(7, 2, 2, 3), randomStream(7, 1, 3, 3), randomStream(7, 1, 2, 4)];
    for (const other of others) expect(Array.from({ length: 50 }, () => other.below(1000))).not.toEqual(drawn);
    expect(() => stream.below(0)).toThrow(OptionError);
    expect(uniformBelow([1, 2], 3)).toBeLessThan(3);
  });

  it("draws units, permutations and subsets uniformly", () => {
    const stream = randomStream(0, 5);
    const units = Array.from({ length: 20_000 }, () => stream.unit());
    expect(Math.min(...units)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...units)).toBeLessThan(1);
    expect(Math.abs(units.reduce((a, b) => a + b) / units.length - 0.5)).toBeLessThan(0.01);
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = stream.permutation(3).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
      const chosen = stream.subset(2, 4).join("");
      counts.set(chosen, (counts.get(chosen) ?? 0) + 1);
    }
    for (const order of ["012", "021", "102", "120", "201", "210", "01", "02", "03", "12", "13", "23"]) {
      expect(Math.abs((counts.get(order) ?? 0) - 1000), order).toBeLessThan(150);
    }
    expect(stream.subset(5, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(stream.subset(0, 5)).toEqual([]);
  });
});

describe("the ledger", () => {
  const task = ledgerTask();
  const nameOf = (token: number): number => Math.floor((token - 1) / 4);

  it("asks for what was last written, and for the token one or two places back", () => {
    const examples = evaluationExamples({ task, length: 200, count: 40, seed: 3 });
    const kinds = new Map<string, number>();
    for (const { inputs, targets, questions } of examples) {
      expect(inputs[0]).toBe(0);
      expect(questions.map(({ place }) => place)).toEqual([...targets.keys()].filter((place) => targets[place] !== noTarget));
      for (const { place, kind, distance } of questions) {
        expect(place).toBeGreaterThanOrEqual(200 - 16);
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
        if (kind !== "question") {
          expect(targets[place]).toBe(inputs[place - (distance as number)]);
          expect(distance).toBe(kind === "echo1" ? 1 : 2);
          continue;
        }
        const name = (inputs[place] as number) - 97;
        let last = place - 1;
        while (last > 0 && !((inputs[last] as number) >= 1 && (inputs[last] as number) < 97 && nameOf(inputs[last] as number) === name))
          last--;
        if (last > 0) {
          expect(distance).toBe(place - last);
          expect(targets[place]).toBe(131 + (((inputs[last] as number) - 1) % 4));
        } else expect(distance).toBeGreaterThanOrEqual(place);
      }
    }
    expect([...kinds.keys()].sort()).toEqual(["echo1", "echo2", "question"]);
    const asked = [...kinds.values()].reduce((a, b) => a + b);
    expect((kinds.get("question") ?? 0) / asked).toBeGreaterThan(0.6);
  });

  it("has as much to find in each context as its description says", () => {
    // Perfect recall within W and a guess beyond: .53, .73, .90 and 1.00 of the questions at W = 64, 128, 256 and 512.
    const examples = evaluationExamples({ task, length: 512, count: 256, seed: 1 });
    const asked = examples.flatMap(({ questions }) => questions.filter(({ kind }) => kind === "question"));
    for (const [context, expected] of [
      [64, 0.53],
      [128, 0.73],
      [256, 0.9],
      [512, 1],
    ] as const) {
      const right = asked.map(({ place, distance }) => ((distance as number) <= place - (512 - context) - 1 ? 1 : 0.25));
      expect(Math.abs(right.reduce<number>((a, b) => a + b, 0) / right.length - expected), `${context}`).toBeLessThan(0.04);
    }
  });

  it("weighs in training what cannot be answered, as asked", () => {
    const request = (): { length: number; random: ReturnType<typeof randomStream>; purpose: "training" } => ({
      length: 64,
      random: randomStream(5, 1),
      purpose: "training",
    });
    const whole = task.example(request());
    expect(whole.weights).toBeUndefined();
    const { weights, ...rest } = ledgerTask({ unanswerable: 0.25 }).example(request());
    expect(rest).toEqual(whole);
    const expected = new Float32Array(64).fill(1);
    for (const { place, distance } of whole.questions) if ((distance as number) >= place) expected[place] = 0.25;
    expect(weights).toEqual(expected);
    expect([...expected].filter((weight) => weight === 0.25).length).toBeGreaterThan(5);
  });

  it("begins with an ordinary place without the token that begins it", () => {
    const bare = ledgerTask({ bos: false });
    expect(bare).toMatchObject({ bos: null, vocabulary: task.vocabulary });
    const request = { random: randomStream(5, 2), purpose: "training" } as const;
    const whole = task.example({ ...request, random: randomStream(5, 2), length: 65 });
    const { inputs, targets, questions } = bare.example({ ...request, length: 64 });
    expect(inputs).toEqual(whole.inputs.subarray(1));
    expect(questions).toEqual(whole.questions.map((question) => ({ ...question, place: question.place - 1 })));
    expect(targets).toEqual(whole.targets.subarray(1));
    const [example] = evaluationExamples({ task: bare, length: 64, count: 1 }) as [TaskExample];
    expect(cutExample(bare, example, 32).inputs).toEqual(example.inputs.subarray(32));
    // What stands before the sequence cannot be answered, and only that.
    const { weights } = ledgerTask({ bos: false, unanswerable: 0 }).example({ ...request, random: randomStream(5, 2), length: 64 });
    for (const { place, distance } of questions) expect(weights?.[place], `${place}`).toBe((distance as number) > place ? 0 : 1);
  });

  it("is cut to the same questions with less before them", () => {
    const [example] = evaluationExamples({ task, length: 128, count: 1 }) as [TaskExample];
    const cut = cutExample(task, example, 64);
    expect(cut.inputs).toEqual(Int32Array.of(0, ...example.inputs.subarray(65)));
    expect(cut.targets).toEqual(Int32Array.of(noTarget, ...example.targets.subarray(65)));
    expect(cut.questions).toEqual(example.questions.map((question) => ({ ...question, place: question.place - 64 })));
    expect(cutExample(task, example, 128)).toBe(example);
    for (const context of [8, 129]) expect(() => cutExample(task, example, context)).toThrow(OptionError);
  });

  it("gives training windows that depend on seed, step and row alone, none of them one of evaluation", () => {
    const windows = trainingWindows({ task, length: 32, batch: 3, seed: 9 });
    const step = windows.at(4);
    expect(windows.at(4)).toEqual(step);
    expect(trainingWindows({ task, length: 32, batch: 2, seed: 9 }).at(4).inputs).toEqual(step.inputs.subarray(0, 64));
    expect(windows.at(5).inputs).not.toEqual(step.inputs);
    expect([...step.targets].filter((target) => target !== noTarget).length).toBeGreaterThan(3 * 32 * 0.4);
    expect(evaluationExamples({ task, length: 32, count: 1, seed: 9 })[0]?.inputs).not.toEqual(windows.at(0).inputs.subarray(0, 32));
  });
});

describe.each(backends())("on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("targets count by their weights, and −100 counts for nothing", async () => {
    useBackend(backend);
    const model = await tinyLlama(tinyConfig, { seed: 3 });
    const T = 6;
    const inputs = tensor(integers(2 * T, 19, 1), { shape: [2, T] });
    const targets = integers(2 * T, 19, 2);
    targets[3] = -100;
    const tables = plainTables(T, tinyConfig.head_dim);
    const weights = Float32Array.from({ length: 2 * T }, (_, i) => (i % 3) / 2);
    const each = await model.headLoss(model.hidden(inputs, tables), tensor(targets, { shape: [2, T] }), { reduction: "none" }).data();
    const counted = weights.map((weight, i) => (targets[i] === -100 ? 0 : weight));
    const total = counted.reduce((sum, weight) => sum + weight, 0);
    const expected = counted.reduce((sum, weight, i) => sum + weight * (each[i] as number), 0) / total;
    const batch = { inputs, targets: tensor(targets, { shape: [2, T] }), tables };
    const weighted = languageLoss(model, { ...batch, weights: tensor(weights, { shape: [2, T] }) });
    expect(Math.abs((await weighted.item()) - expected)).toBeLessThan(1e-5);
    const even = languageLoss(model, { ...batch, weights: tensor(new Float32Array(2 * T).fill(0.5), { shape: [2, T] }) });
    expect(Math.abs((await even.item()) - (await languageLoss(model, batch).item()))).toBeLessThan(1e-5);
    expect(() => languageLoss(model, { ...batch, weights: tensor(weights) })).toThrow(ShapeError);
  });

  it("scores every question by loss and by the most probable token, whole and in blocks", async () => {
    useBackend(backend);
    const task = ledgerTask({ names: 2, values: 2, fillers: 1, asked: 5, warmUp: 10 });
    const config = { ...tinyConfig, vocab_size: task.vocabulary };
    const model = await tinyLlama(config, { seed: 5 });
    const T = 24;
    const examples = evaluationExamples({ task, length: T, count: 5 });
    const tables = (): ReturnType<typeof hostTables> => hostTables(T, config.head_dim);
    const scores = await evaluateTargets({ model, examples, tables });
    expect(scores.map(({ example, place, kind }) => ({ example, place, kind }))).toEqual(
      examples.flatMap(({ questions }, example) => questions.map(({ place, kind }) => ({ example, place, kind }))),
    );
    for (const [index, example] of examples.entries()) {
      const logits = await model.forward(tensor(example.inputs, { shape: [1, T] }), plainTables(T, config.head_dim)).array();
      for (const score of scores.filter((one) => one.example === index)) {
        const row = ((logits as number[][][])[0] as number[][])[score.place] as number[];
        const target = example.targets[score.place] as number;
        const peak = Math.max(...row);
        const nats = peak + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - peak), 0)) - (row[target] as number);
        expect(Math.abs(score.nats - nats)).toBeLessThan(1e-4);
        expect(score.correct).toBe(row.indexOf(peak) === target);
      }
    }
    const inBlocks = await evaluateTargets({ model, examples, tables, block: 7, batch: 2 });
    expect(inBlocks.map(({ correct }) => correct)).toEqual(scores.map(({ correct }) => correct));
    inBlocks.forEach(({ nats }, i) => {
      expect(Math.abs(nats - (scores[i]?.nats ?? Number.NaN))).toBeLessThan(1e-4);
    });
    const summary = summarizeTargets(scores);
    expect(summary.reduce((sum, { targets }) => sum + targets, 0)).toBe(scores.length);
    for (const { kind, nats, accuracy } of summary) {
      const own = scores.filter((score) => score.kind === kind);
      expect(nats).toBeCloseTo(own.reduce((sum, score) => sum + score.nats, 0) / own.length, 10);
      expect(accuracy).toBeCloseTo(own.filter(({ correct }) => correct).length / own.length, 10);
    }
  });
});

function hostTables(length: number, headDim: number) {
  const half = headDim / 2;
  const angle = (i: number): number => Math.floor(i / half) * 10_000 ** ((-2 * (i % half)) / headDim);
  const table = (f: (x: number) => number): Float32Array => Float32Array.from({ length: length * half }, (_, i) => f(angle(i)));
  return { cos: table(Math.cos), sin: table(Math.sin), rows: 1, length, half };
}
