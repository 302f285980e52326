import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  type Backend,
  BatchNorm,
  createTrainStep,
  key,
  Linear,
  loadTensors,
  mapTensors,
  relu,
  type Sequential,
  sequential,
  sgd,
  type Tensor,
  tensor,
  tensorsBlob,
  tensorsOf,
  useBackend,
} from "../../src/index.js";
import { distance } from "../nn/tiny.js";
import { goldenF32 } from "../support/tolerances.js";

/** What test/golden/make_batch_norm.py wrote, which says what the numbers are. */
interface Case {
  readonly momentum: number | null;
  readonly losses: readonly number[];
  readonly state: Readonly<Record<string, readonly number[]>>;
  readonly used: readonly number[];
}
const { cases } = JSON.parse(readFileSync(new URL("batch-norm.json", import.meta.url), "utf8")) as { cases: Case[] };

const backends = [
  { name: "reference, in f64", create: async () => createReferenceBackend(), dtype: "f64", allowed: 1e-12 },
  { name: "wasm, in f32", create: () => createWasmBackend({ threads: 1 }), dtype: "f32", allowed: goldenF32 },
] as const;

describe.each(backends)("five steps with batch normalisation are those of PyTorch on $name,", ({ create, dtype, allowed }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const spread = (shape: readonly number[], shift: number): Tensor => {
    const size = shape.reduce((count, extent) => count * extent, 1);
    const numbers = Float64Array.from({ length: size }, (_, k) => ((29 * k + 17 * shift + 5) % 64) / 32 - 1);
    return tensor(numbers, { shape: [...shape], dtype });
  };
  const network = (momentum: number | null): Sequential => {
    const plain = sequential(Linear.create(key(0), 3, 4), BatchNorm.create(4, { momentum }), relu, Linear.create(key(1), 4, 2));
    const parameters = tensorsOf(plain).filter(({ path }) => /weight|bias/.test(path));
    return mapTensors(plain, (t, path) => {
      const place = parameters.findIndex((one) => one.path === path);
      return place >= 0 ? spread(t.shape, place) : t.dtype === "i32" ? t : t.cast(dtype);
    });
  };
  interface Batch {
    readonly x: Tensor;
    readonly y: Tensor;
  }
  const batch = (step: number): Batch => ({ x: spread([6, 3], 10 + step), y: spread([6, 2], 20 + step) });
  const loss = (model: Sequential, { x, y }: Batch): [Tensor, Sequential] => {
    const [found, next] = model.train(x);
    return [found.sub(y).square().mean(), next];
  };
  const optimizer = sgd({ momentum: 0.9 });

  it.each(cases)("momentum $momentum", async ({ momentum, losses, state: expected, used }) => {
    const step = createTrainStep({ optimizer, loss, maxNorm: Number.POSITIVE_INFINITY });
    let [model, state] = [network(momentum), optimizer.init(network(momentum))];
    for (const [i, wanted] of losses.entries()) {
      const [next, nextState, metrics] = step(model, state, batch(i), 0.1);
      [model, state] = [next, nextState];
      expect(Math.abs((await metrics.loss.item()) - wanted)).toBeLessThan(allowed);
    }
    expect(step.traces).toBe(1);
    const found = new Map(tensorsOf(model).map(({ path, tensor: t }) => [path, t]));
    for (const [path, numbers] of Object.entries(expected)) {
      expect(distance(await (found.get(path) as Tensor).data(), numbers), path).toBeLessThan(allowed);
    }
    expect(await found.get("1.num_batches_tracked")?.item()).toBe(momentum === null ? 5 : undefined);
    // Saved, loaded and used by its averages.
    const loaded = await loadTensors(await (await tensorsBlob(model)).arrayBuffer(), { like: network(momentum) });
    expect(distance(await loaded.forward(batch(0).x).data(), used)).toBeLessThan(allowed);
  });
});
