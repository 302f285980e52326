import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluateTargets } from "../../src/e2llm/target-evaluation.js";
import {
  type Backend,
  constant,
  copyTree,
  createPlainSource,
  evaluationExamples,
  languageBatch,
  ledgerTask,
  NonFiniteError,
  OptionError,
  sgd,
  trainExtension,
  useBackend,
} from "../../src/index.js";
import { tinyConfig, tinyLlama } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const wrong = [-1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

describe("weights of targets", () => {
  let backend: Backend;
  beforeAll(async () => {
    const reference = backends().find(({ name }) => name === "reference");
    backend = (await reference?.create()) as Backend;
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each([0, 3])("are finite and at least 0 in a batch, at place %i too", (place) => {
    const tables = { cos: new Float32Array(2), sin: new Float32Array(2), rows: 1, length: 2, half: 1 };
    const batchOf = (weight: number) => {
      const weights = new Float32Array(4).fill(1);
      weights[place] = weight;
      return languageBatch({ inputs: new Int32Array(4), targets: new Int32Array(4), weights, batch: 2, length: 2 }, tables);
    };
    for (const weight of wrong) expect(() => batchOf(weight)).toThrow(OptionError);
    for (const weight of [0, 0.5, 1e30]) expect(batchOf(weight).weights?.shape).toEqual([2, 2]);
  });

  it.each(["no target", "no weight", "neither in any micro-batch"])(
    "ask nothing in a batch of %s, which is said as it is",
    async (which) => {
      const model = await tinyLlama(tinyConfig);
      const tokens = { inputs: new Int32Array(8), batch: 2, length: 4 };
      const empty = which === "no weight" ? new Int32Array(8) : new Int32Array(8).fill(-100);
      const none = which === "no weight" ? { weights: new Float32Array(8) } : {};
      const training = (asks: (step: number) => boolean) =>
        trainExtension({
          model: copyTree(model),
          optimizer: sgd(),
          windows: { at: (step) => ({ ...tokens, targets: asks(step) ? new Int32Array(8) : empty, ...(asks(step) ? {} : none) }) },
          positions: createPlainSource(),
          steps: 3,
          schedule: constant(0.1),
          ...(which.includes("micro") ? { microBatch: 1 } : {}),
        });
      const error = await training((step) => step !== 1).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(NonFiniteError);
      expect(error).toMatchObject({ step: 1, message: expect.stringContaining("nothing is asked") });
      expect((error as NonFiniteError).hint).not.toMatch(/learning rate|checkpoint/);
      expect((await training(() => true)).step).toBe(3);
      // A loss that is no number for another reason is that of a training that diverges.
      const broken = await trainExtension({
        model: copyTree(model),
        optimizer: sgd(),
        windows: { at: () => ({ ...tokens, targets: new Int32Array(8) }) },
        positions: createPlainSource(),
        steps: 3,
        schedule: () => Number.POSITIVE_INFINITY,
      }).catch((reason: unknown) => reason);
      expect((broken as NonFiniteError).hint).toContain("learning rate");
    },
  );

  it("are finite and at least 0 in an example that is evaluated", async () => {
    const task = ledgerTask({ names: 2, values: 2, fillers: 1 });
    const model = await tinyLlama({ ...tinyConfig, vocab_size: task.vocabulary });
    const [example] = evaluationExamples({ task, length: 8, count: 1 });
    for (const weight of wrong) {
      const weights = new Float32Array(8).fill(1);
      weights[2] = weight;
      await expect(evaluateTargets({ model, examples: [{ ...example, weights } as never] })).rejects.toThrow(OptionError);
    }
  });
});
