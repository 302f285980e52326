import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type PositionedBatchesOptions, positionedBatches, type StepDraws, trainExtension } from "../../src/e2llm/extension.js";
import { modelFrequencies } from "../../src/e2llm/model-frequencies.js";
import {
  createE2Source,
  createPlainSource,
  createPositionSource,
  e2Row,
  type PositionDraw,
  type PositionSource,
  type PositionSourceOptions,
  plainPositions,
} from "../../src/e2llm/positions/index.js";
import type { RopeFrequencies } from "../../src/e2llm/schedules.js";
import { ropeTables } from "../../src/e2llm/tables.js";
import {
  attention,
  type Backend,
  grad,
  greaterEqual,
  iota,
  mapTensors,
  mul,
  rope,
  slice,
  sum,
  type Tensor,
  tensor,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { languageBatch, ropeTensors } from "../../src/nn/batch.js";
import { createWindowSampler } from "../../src/nn/data.js";
import { type Llama, llamaLoss } from "../../src/nn/llama.js";
import { adamw } from "../../src/nn/optimizers.js";
import { constant, type Schedule } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss } from "../../src/nn/training.js";
import { distance, integers, randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const window = 8;
const config = { ...tinyConfig, num_hidden_layers: 1, max_position_embeddings: window };
const documents = [{ name: "tokens", tokens: integers(200, config.vocab_size, 3) }];
const windows = createWindowSampler({ documents, length: window, batch: 2, seed: 5 });
const frequencies = modelFrequencies(config);
const flat = constant(0.01);

interface Run {
  readonly positions: PositionSource;
  readonly steps?: number;
  readonly schedule?: Schedule;
  readonly checkpoint?: boolean;
  readonly onDraws?: NonNullable<PositionedBatchesOptions["onDraws"]>;
  readonly trainStep?: ReturnType<typeof createStep>;
}

/** A source of each type that draws. */
const drawing: readonly Exclude<PositionSourceOptions, { type: "plain" }>[] = [
  { type: "e2", gMax: 5 },
  { type: "e2-yarn", gMax: 5 },
  { type: "pose", scale: 5, chunks: 3 },
  { type: "pose", scale: 5, scaling: "ntk" },
  { type: "randomized", lMax: 40, scaling: "linear" },
  { type: "random-scale", gMax: 5 },
  { type: "random-increments" },
];

const optimizer = adamw();
const createStep = () =>
  createTrainStep<Llama, ReturnType<typeof optimizer.init>, Parameters<typeof languageLoss>[1]>({ optimizer, loss: languageLoss });

async function extend({ steps = 4, schedule = flat, ...run }: Run) {
  const losses: number[] = [];
  const model = await tinyLlama(config);
  const result = await trainExtension({ model, optimizer, windows, steps, schedule, ...run, onStep: ({ loss }) => losses.push(loss) });
  return { losses, values: await valuesOf(result.model) };
}

const repeated =
  (draw: PositionDraw): PositionSource =>
  () =>
    draw;

describe.each(backends())("extension on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("E-7: with g ≡ 1 and sequences that fill the window is plain training, to the bit", async () => {
    const plain = await extend({ positions: createPlainSource() });
    const e2 = await extend({ positions: createE2Source({ window, gMax: 1 }) });
    expect(e2.losses).toEqual(plain.losses);
    expect(e2.values).toEqual(plain.values);
  });

  it("E-7: with t ≡ 0 is training at positions divided by g, to the bit", async () => {
    const interpolated = await extend({ positions: createPlainSource({ scale: 3 }), steps: 2 });
    const e2 = await extend({ positions: repeated(e2Row({ length: window, g: 3, t: 0 })), steps: 2 });
    expect(e2.losses).toEqual(interpolated.losses);
    expect(e2.values).toEqual(interpolated.values);
    const shifted = await extend({ positions: repeated(e2Row({ length: window, g: 3, t: 9 })), steps: 2 });
    expect(shifted.losses).not.toEqual(interpolated.losses);
  });

  it("E-11: is one program whatever g and t are, and logs the draws it used", async () => {
    const trainStep = createStep();
    const positions = createE2Source({ window, gMax: 4, seed: 7 });
    const log: StepDraws[] = [];
    await extend({ positions, trainStep, steps: 6, onDraws: (draws) => log.push(draws) });
    await extend({ positions: createPlainSource(), trainStep, steps: 2 });
    expect(trainStep.traces).toBe(1);
    expect(log).toEqual([0, 1, 2, 3, 4, 5].map((step) => ({ step, draws: positions({ batch: 2, length: window, step }).draws })));
    expect(new Set(log.map(({ draws }) => draws[0]?.g)).size).toBeGreaterThan(1);
  });

  it("M-5: at learning rate 0 leaves parameters bit-identical whatever a source draws", async () => {
    const before = await valuesOf(await tinyLlama(config));
    const trainStep = createStep();
    for (const options of drawing) {
      const positions = createPositionSource({ ...options, granularity: "sample" }, config);
      const { values } = await extend({ positions, schedule: constant(0), trainStep, steps: 2 });
      expect(values, options.type).toEqual(before);
    }
    // Frequencies reach the model as data, like positions: one program serves every source.
    expect(trainStep.traces).toBe(1);
  });

  it("trains with frequencies that are drawn for each sample as with those of each alone", async () => {
    const model = await tinyLlama(config);
    const positions = createPositionSource({ type: "e2-yarn", gMax: 4, seed: 3, granularity: "sample" }, config);
    const batches = positionedBatches({ windows, positions, frequencies });
    const draw = positions({ batch: 2, length: window, step: 6 });
    expect(new Set(draw.draws.map(({ g }) => g)).size).toBe(2);
    const whole = await languageLoss(model, batches(6)).item();
    const { inputs, targets } = windows.at(6);
    let sum = 0;
    for (const row of [0, 1]) {
      const own = (values: Int32Array): Int32Array => values.slice(row * window, (row + 1) * window);
      const placed = { numerators: own(draw.numerators), denominators: Int32Array.of(1), rows: 1 };
      const tables = ropeTables(placed, draw.frequencies?.[row] as RopeFrequencies);
      const alone = languageBatch({ inputs: own(inputs), targets: own(targets), batch: 1, length: window }, tables);
      sum += await languageLoss(model, alone).item();
    }
    expect(Math.abs(whole - sum / 2)).toBeLessThan(1e-5);
    // Negative control: the model's own frequencies give another loss.
    const { frequencies: _, ...plain } = draw;
    expect(
      Math.abs(whole - (await languageLoss(model, languageBatch(windows.at(6), ropeTables(plain, frequencies))).item())),
    ).toBeGreaterThan(1e-3);
  });

  it("E-13: a model read at one scale, at another and at the first again answers as at first, to the bit", async () => {
    const model = await tinyLlama(config);
    const lossAt = async (g: number): Promise<number> => {
      const { inputs, targets } = randomBatch(config, { batch: 1, time: 3 * window, seed: 2 });
      return llamaLoss(
        model,
        { inputs, targets },
        ropeTensors(ropeTables(plainPositions({ length: 3 * window, scale: g }), frequencies)),
      ).item();
    };
    const [first, other, again] = [await lossAt(3), await lossAt(5), await lossAt(3)];
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });
});

describe("a batch of an extension", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("E-12: is the same whenever it is asked for, so that a recomputed forward pass sees the same draw", async () => {
    const batches = positionedBatches({ windows, positions: createE2Source({ window, gMax: 8, granularity: "sample" }), frequencies });
    expect(await valuesOf(batches(3))).toEqual(await valuesOf(batches(3)));
    expect(await valuesOf(batches(3))).not.toEqual(await valuesOf(batches(4)));
  });

  it("E-12: has the same draw in a layer that is computed again for the backward pass", async () => {
    const positions = createE2Source({ window, gMax: 6, granularity: "sample" });
    const [kept, again] = [await extend({ positions }), await extend({ positions, checkpoint: true })];
    again.losses.forEach((loss, step) => expect(Math.abs(loss - (kept.losses[step] as number))).toBeLessThan(1e-9));
  });

  it("M-2: has the same loss whatever is drawn where nothing rotates", async () => {
    const model = await tinyLlama(config);
    const still: RopeFrequencies = { ...frequencies, invFreq: frequencies.invFreq.map(() => 0) };
    const lossAt = (g: number, t: number, of = still) =>
      llamaLoss(
        model,
        randomBatch(config, { batch: 2, time: window, seed: 4 }),
        ropeTensors(ropeTables(e2Row({ length: window, g, t }), of)),
      ).item();
    expect(await lossAt(3, 9)).toBe(await lossAt(1, 0));
    // Negative control: with rotation it is not.
    expect(await lossAt(3, 9, frequencies)).not.toBe(await lossAt(1, 0, frequencies));
  });

  it("has one row of tables for the batch, or one for each sample", () => {
    const shapeOf = (granularity: "batch" | "sample") =>
      positionedBatches({ windows, positions: createE2Source({ window, gMax: 8, granularity }), frequencies })(0).tables.cos.shape;
    expect(shapeOf("batch")).toEqual([1, window, config.head_dim / 2]);
    expect(shapeOf("sample")).toEqual([2, window, config.head_dim / 2]);
  });

  it("M-6: has a loss near ln V at random weights for every g, t and length", async () => {
    const model = await tinyLlama(config, { scale: 1 });
    for (const [g, t] of [
      [1, 0],
      [2, 3],
      [3, 16],
      [8, 56],
    ] as const) {
      for (const time of [4, window]) {
        const batch = randomBatch(config, { batch: 4, time, seed: g });
        const tables = ropeTensors(ropeTables(e2Row({ length: time, g, t }), frequencies));
        expect(Math.abs((await llamaLoss(model, batch, tables).item()) - Math.log(config.vocab_size))).toBeLessThan(0.1);
      }
    }
  });

  it("M-3: has the gradients of W_q and W_k that central differences in f64 find, at scales that are no powers of two too", async () => {
    const model = await tinyLlama(config);
    const values = await valuesOf(model);
    const { inputs, targets } = randomBatch(config, { batch: 2, time: window, seed: 11 });
    for (const [g, t] of [
      [3, 10],
      [5, 1],
      [8, 40],
    ] as const) {
      const tables = ropeTensors(ropeTables(e2Row({ length: window, g, t }), frequencies));
      const grads = await valuesOf(valueAndGrad(languageLoss)(model, { inputs, targets, tables })[1]);
      const lossWith = async (path: string, index: number, delta: number): Promise<number> => {
        const moved = mapTensors(model, (at, name) => {
          if (name !== path) return at;
          const data = Float64Array.from(values.get(path) as number[]);
          data[index] = (data[index] as number) + delta;
          return tensor(data, { dtype: "f64", shape: at.shape }).cast("f32"); // which the reference does not round
        });
        return llamaLoss(moved, { inputs, targets }, tables).cast("f64").item();
      };
      for (const name of ["q_proj", "k_proj"]) {
        const path = `model.layers.0.self_attn.${name}.weight`;
        const gradient = grads.get(path) as number[];
        for (const index of [0, 37, gradient.length - 1]) {
          const numeric = ((await lossWith(path, index, 1e-4)) - (await lossWith(path, index, -1e-4))) / 2e-4;
          expect(Math.abs(numeric - (gradient[index] as number)), `g=${g} t=${t} ${path}[${index}]`).toBeLessThan(1e-7);
        }
      }
    }
  });
});

describe("attention at positions of E²-LLM", () => {
  const [T, D, sinks] = [12, 8, 4];
  const shape = [1, 1, T, D];
  const draw = (seed: number): Tensor =>
    tensor(
      Float32Array.from(integers(T * D, 2001, seed), (n) => n / 1000 - 1),
      { shape },
    );
  const [q, k, v, weights] = [draw(1), draw(2), draw(3), draw(4)];
  const tablesAt = (g: number, t: number) =>
    ropeTensors(ropeTables(e2Row({ length: T, g, t }), modelFrequencies({ head_dim: D, rope_theta: 10_000 })));
  const body = (x: Tensor): Tensor => slice(x, [null, null, [sinks]]);

  /** Outputs of the body and their gradients; keys of the first four tokens are hidden unless `sinksSeen`. */
  async function attend(options: { g: number; queryShift: number; keyShift: number; sinksSeen?: boolean }): Promise<number[]> {
    const { g, queryShift, keyShift, sinksSeen = false } = options;
    const [atQueries, atKeys] = [tablesAt(g, queryShift), tablesAt(g, keyShift)];
    const output = (inputs: { q: Tensor; k: Tensor; v: Tensor }): Tensor => {
      const turnedQ = rope(inputs.q, atQueries.cos, atQueries.sin);
      const turnedK = rope(inputs.k, atKeys.cos, atKeys.sin);
      const mask = sinksSeen ? {} : { mask: greaterEqual(iota([1, 1, 1, T], 3), sinks) };
      return body(attention(turnedQ, turnedK, inputs.v, { causal: true, ...mask }));
    };
    const grads = grad((inputs: { q: Tensor; k: Tensor; v: Tensor }) => sum(mul(output(inputs), body(weights))))({ q, k, v });
    const all = [output({ q, k, v }), body(grads.q), body(grads.k), body(grads.v)];
    return (await Promise.all(all.map((x) => x.data()))).flatMap((values) => [...values]);
  }

  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("E-6: without the four sink keys does not depend on the shift, in outputs and gradients", async () => {
    for (const g of [1, 3, 8]) {
      const unshifted = await attend({ g, queryShift: 0, keyShift: 0 });
      for (const t of [1, 17, 84]) expect(distance(await attend({ g, queryShift: t, keyShift: t }), unshifted)).toBeLessThan(1e-5);
    }
  });

  it("E-6, negative control: depends on the shift through the sink keys alone", async () => {
    const unshifted = await attend({ g: 3, queryShift: 0, keyShift: 0, sinksSeen: true });
    expect(distance(await attend({ g: 3, queryShift: 17, keyShift: 17, sinksSeen: true }), unshifted)).toBeGreaterThan(1e-2);
  });

  it("M-7, negative control: would depend on a shift that only the queries had", async () => {
    const unshifted = await attend({ g: 3, queryShift: 0, keyShift: 0 });
    expect(distance(await attend({ g: 3, queryShift: 17, keyShift: 0 }), unshifted)).toBeGreaterThan(1e-2);
  });
});
