import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  adamw,
  type Backend,
  ClexOde,
  type ClexOptions,
  checkGrads,
  clexPlaces,
  compile,
  createRandomScaleSource,
  createTrainStep,
  inferenceScale,
  key,
  type Llama,
  llamaLoss,
  mapTensors,
  OptionError,
  ropeFrequencies,
  ShapeError,
  type Tensor,
  type TokenBatch,
  tensor,
  useBackend,
} from "../../src/index.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { distance, randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";
import { trigonometric } from "../support/tolerances.js";

const shape = { headDim: 8, theta: 500 };

/** An ODE whose last layer is not zero. */
function trained(options: Partial<ClexOptions> = {}): ClexOde {
  const ode = new ClexOde({ ...shape, factor: 2, ...options, key: key(3) });
  const drawn = (size: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) => threefry2x32(8, 9, i, 0)[0] / 2 ** 34 - 0.125);
  return mapTensors(ode, (t, path) => (path.startsWith("down") ? tensor(drawn(t.size), { shape: t.shape }) : t));
}

const activations = { silu: (x: number) => x / (1 + Math.exp(-x)), tanh: Math.tanh };

/** ln θ(t) by Runge–Kutta steps through all of z = ln θ, as the equation is printed. */
async function solution(ode: ClexOde, t: number, steps: number, activation: "silu" | "tanh", { headDim: D, theta } = shape) {
  const values = await valuesOf(ode);
  const [up, down] = [values.get("up_proj.weight"), values.get("down_proj.weight")] as [number[], number[]];
  const half = D / 2;
  const hidden = up.length / half;
  const derivative = (z: number[], time: number): number[] => {
    const alpha = 2 * time - 1;
    const ntk = z.map((_, j) => Math.log(theta ** ((-2 * j) / D) * alpha ** ((-2 * j) / (D - 2))));
    const units = Array.from({ length: hidden }, (_, i) =>
      activations[activation](z.reduce((sum, zj, j) => sum + (up[i * half + j] as number) * (zj + (ntk[j] as number)), 0)),
    );
    return z.map((_, j) => units.reduce((sum, unit, i) => sum + (down[j * hidden + i] as number) * unit, 0) - (4 * j) / (D - 2) / alpha);
  };
  const moved = (z: number[], by: number[], h: number): number[] => z.map((x, j) => x + h * (by[j] as number));
  const h = (t - 1) / steps;
  let z = Array.from({ length: half }, (_, j) => ((-2 * j) / D) * Math.log(theta));
  for (let n = 0; n < steps; n++) {
    const at = 1 + n * h;
    const k1 = derivative(z, at);
    const k2 = derivative(moved(z, k1, h / 2), at + h / 2);
    const k3 = derivative(moved(z, k2, h / 2), at + h / 2);
    const k4 = derivative(moved(z, k3, h), at + h);
    z = z.map((x, j) => x + (h / 6) * ((k1[j] as number) + 2 * (k2[j] as number) + 2 * (k3[j] as number) + (k4[j] as number)));
  }
  return z;
}

describe.each(backends())("CLEX on $name", { timeout: 180_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("has the frequencies that small steps through the equation as printed find", async () => {
    for (const activation of ["silu", "tanh"] as const) {
      const ode = trained({ activation, steps: 64 });
      for (const t of [1, 1.5, 2, 4.25]) {
        const found = await ode.logFrequencies(t).data();
        expect(distance(found, await solution(ode, t, 4000, activation)), `t = ${t}, ${activation}`).toBeLessThan(2e-5);
      }
    }
  });

  it("begins with those of NTK-aware scaling by 2t − 1", async () => {
    const ode = new ClexOde({ ...shape, key: key(1) });
    for (const t of [1, 1.25, 2, 7, 64]) {
      const { invFreq } = await ode.frequencies(t);
      const expected = ropeFrequencies({ type: "ntk", factor: 2 * t - 1 }, shape).invFreq;
      expect(
        distance(
          invFreq.map((x, j) => x / (expected[j] as number)),
          new Array(4).fill(1),
        ),
      ).toBeLessThan(1e-5);
    }
  });

  it("makes tables of positions and scales that are data: one program serves all of them", async () => {
    const ode = trained();
    const tables = compile((at: ClexOde, positions: Tensor, t: Tensor) => at.tables(positions, t));
    const positions = [0, 1, 2.5, 40, 3, 4, 5, 6];
    for (const scales of [
      [1, 2],
      [3, 1.5],
    ]) {
      const found = tables(ode, tensor(Float32Array.from(positions), { shape: [2, 4] }), tensor(Float32Array.from(scales)));
      const rows = await Promise.all(scales.map((t) => ode.logFrequencies(t).data()));
      const angles = positions.flatMap((p, i) => [...(rows[Math.floor(i / 4)] as Float32Array)].map((z) => p * Math.exp(z)));
      expect(found.cos.shape).toEqual([2, 4, 4]);
      expect(distance(await found.cos.data(), angles.map(Math.cos))).toBeLessThan(trigonometric.absolute);
      expect(distance(await found.sin.data(), angles.map(Math.sin))).toBeLessThan(trigonometric.absolute);
    }
    expect(tables.traces).toBe(1);
  });

  it("is trained with a model, at scales that are drawn", async () => {
    interface Params {
      readonly model: Llama;
      readonly ode: ClexOde;
    }
    type Batch = TokenBatch & { readonly positions: Tensor; readonly t: Tensor };
    const [batch, time] = [2, 8];
    const source = createRandomScaleSource({ gMax: 4, granularity: "sample", scaling: "linear", seed: 5 });
    const optimizer = adamw({ weightDecay: 0 });
    const step = createTrainStep({
      optimizer,
      loss: ({ model, ode }: Params, { inputs, targets, positions, t }: Batch) =>
        llamaLoss(model, { inputs, targets }, ode.tables(positions, t)),
    });
    const config = { ...tinyConfig, num_hidden_layers: 1 };
    let params: Params = {
      model: await tinyLlama(config, { scale: 4 }),
      ode: new ClexOde({ headDim: config.head_dim, theta: config.rope_theta, steps: 4, key: key(2) }),
    };
    const before = await valuesOf(params.ode);
    let state = optimizer.init(params);
    const losses: number[] = [];
    const { inputs, targets } = randomBatch(config, { batch, time, seed: 4 });
    for (let i = 0; i < 20; i++) {
      const [next, nextState, { loss }] = step(
        params,
        state,
        { inputs, targets, ...clexPlaces(source({ batch, length: time, step: i })) },
        0.02,
      );
      [params, state] = [next, nextState];
      losses.push(await loss.item());
    }
    expect(step.traces).toBe(1);
    expect(losses[19]).toBeLessThan(0.6 * (losses[0] as number));
    for (const [path, values] of await valuesOf(params.ode)) expect(values, path).not.toEqual(before.get(path));
  });
});

describe("CLEX", () => {
  let backend: Backend;
  beforeAll(() => {
    backend = createReferenceBackend();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it("has the gradient of central differences by its weights and by the scale", async () => {
    const ode = mapTensors(trained({ steps: 3 }), (t) => t.cast("f64"));
    const positions = tensor([0, 1, 3, 7]);
    const f = (at: ClexOde, t: Tensor) => at.tables(positions, t);
    for (const scale of [tensor(2.5, { dtype: "f64" }), tensor([1.5, 3], { dtype: "f64" })]) {
      await checkGrads(f, [ode, scale], { modes: ["reverse"], relative: 1e-5 });
    }
  });

  it("is of fourth order in the number of steps", async () => {
    const error = async (steps: number): Promise<number> => {
      const ode = trained({ steps });
      const exact = await solution(ode, 3, 4000, "silu");
      const found = ode.logFrequencies(3).cast("f64");
      return distance(await found.data(), exact);
    };
    const [two, four] = [await error(2), await error(4)];
    expect(two / four).toBeGreaterThan(8);
    expect(two / four).toBeLessThan(40);
  });

  it("leaves frequencies as they are at scale 1, which is that of a text within the window", async () => {
    const ode = trained();
    const plain = ropeFrequencies({ type: "default" }, shape).invFreq;
    expect(distance((await ode.frequencies(inferenceScale(100, 128))).invFreq, plain)).toBeLessThan(1e-6);
    expect(distance((await ode.frequencies(inferenceScale(300, 128))).invFreq, (await ode.frequencies(3)).invFreq)).toBe(0);
    expect(distance(await ode.logFrequencies(tensor(0.5)).data(), await ode.logFrequencies(1).data())).toBe(0);
  });

  it("at one scale is a longrope that other software knows", async () => {
    const { invFreq } = await trained().frequencies(4);
    const divisors = [...ropeFrequencies({ type: "default" }, shape).invFreq].map((theta, j) => theta / (invFreq[j] as number));
    const scaling = { factor: 4, originalMaxPositions: 32, shortFactor: divisors, longFactor: divisors, seqLen: 128, attentionFactor: 1 };
    const found = ropeFrequencies({ type: "longrope", ...scaling }, shape);
    expect(distance(found.invFreq, invFreq)).toBeLessThan(1e-12);
    expect(found.attentionFactor).toBe(1);
  });

  it("has one pair of channels that no scale changes where D is 2", async () => {
    const ode = new ClexOde({ headDim: 2, theta: 10_000, key: key(1) });
    expect([...(await ode.frequencies(9)).invFreq]).toEqual([1]);
  });

  it("refuses shapes, scales and options that cannot be", () => {
    const ode = trained();
    expect(() => new ClexOde({ headDim: 7, theta: 100, key: key(1) })).toThrow(OptionError);
    expect(() => new ClexOde({ ...shape, activation: "relu" as never, key: key(1) })).toThrow(/"silu" or "tanh"/);
    expect(() => ode.logFrequencies(0.5)).toThrow(/a finite number of at least 1/);
    expect(() => ode.logFrequencies(tensor([[1, 2]]))).toThrow(ShapeError);
    expect(() =>
      ode.tables(
        tensor([
          [0, 1],
          [0, 1],
          [0, 1],
        ]),
        tensor([1, 2]),
      ),
    ).toThrow(/positions \[3, 2\] with 2 scales/);
    expect(() => ode.tables(tensor(1), 2)).toThrow(ShapeError);
  });
});
