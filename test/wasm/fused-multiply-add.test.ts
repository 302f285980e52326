import { setFlagsFromString } from "node:v8";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { hasRelaxedSimd } from "../../src/backend/wasm/features.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { useBackend } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { warmupCosine } from "../../src/nn/schedules.js";
import { createTrainStep } from "../../src/nn/train-step.js";
import { languageLoss, train } from "../../src/nn/training.js";
import { randomBatch, tinyConfig, tinyLlama } from "../nn/tiny.js";
import { difference } from "../support/compare.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";
import { fill } from "../support/samples.js";
import { sumBound } from "../support/tolerances.js";

// Some engines have relaxed SIMD behind a flag only, which must be set before the first module is compiled.
if (!hasRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");
const present = hasRelaxedSimd();

const productOf = (a: HostTensor, b: HostTensor) => {
  const builder = new GraphBuilder();
  return builder.build([builder.operation("dot", [builder.input(a), builder.input(b)], { dtype: "f32" })]);
};
const magnitude = ({ dtype, shape, data }: HostTensor): HostTensor => hostTensor(dtype, shape, (data as Float32Array).map(Math.abs));

const title = present
  ? "multiplying and adding in one rounding"
  : "without relaxed SIMD in this engine, even behind its flag, asking for fused multiply-add is no error and changes nothing:";

describe(title, () => {
  let fused: Backend;
  let plain: Backend;
  beforeAll(async () => {
    fused = await createWasmBackend({ threads: 2, chunks: "finest" });
    plain = await createWasmBackend({ threads: 2, chunks: "finest", fusedMultiplyAdd: false });
  });
  afterAll(async () => {
    useBackend(undefined);
    await Promise.all([fused.close(), plain.close()]);
  });

  it(present ? "is said in the adapter's name, and can be turned off" : "the adapter's name promises none", () => {
    expect(fused.info.adapter.includes("fused multiply-add")).toBe(present);
    expect(plain.info.adapter).not.toContain("fused multiply-add");
  });

  it(present ? "keeps what the rounding of a product would lose" : "a product is rounded before it is added", async () => {
    // (1 + ε)(1 − ε) − 1 = −ε², which is lost where the product is rounded to f32 first.
    const epsilon = 2 ** -13;
    const a = hostTensor("f32", [4, 2], [-1, 1 + epsilon, -1, 1 + epsilon, -1, 1 + epsilon, -1, 1 + epsilon]);
    const b = hostTensor(
      "f32",
      [2, 8],
      Array.from({ length: 16 }, (_, i) => (i < 8 ? 1 : 1 - epsilon)),
    );
    const lost = new Array<number>(32).fill(0);
    expect([...((await compute(plain, productOf(a, b)))[0] as HostTensor).data]).toEqual(lost);
    const kept = [...((await compute(fused, productOf(a, b)))[0] as HostTensor).data];
    expect(kept).toEqual(present ? new Array<number>(32).fill(-(2 ** -26)) : lost);
  });

  it("products of every size around the tiles stay within the bound of f32 sums", async () => {
    const reference = createReferenceBackend();
    for (const [i, [m, k, n]] of (
      [
        [1, 1, 1],
        [3, 5, 7],
        [4, 64, 8],
        [5, 65, 9],
        [33, 129, 31],
        [64, 300, 72],
      ] as const
    ).entries()) {
      const a = fill({ shape: [m, k], dtype: "f32", low: -2, high: 2 }, 10 + i);
      const b = fill({ shape: [k, n], dtype: "f32", low: -2, high: 2 }, 20 + i);
      const [expected] = (await compute(reference, productOf(a, b))) as [HostTensor];
      const [magnitudes] = (await compute(reference, productOf(magnitude(a), magnitude(b)))) as [HostTensor];
      for (const backend of [fused, plain]) {
        const [found] = (await compute(backend, productOf(a, b))) as [HostTensor];
        expect(difference(found, expected, (_, at) => sumBound(k, magnitudes.data[at] as number))).toBeUndefined();
      }
    }
  });

  it("training takes the same course to four digits", async () => {
    const optimizer = adamw();
    const trainStep = createTrainStep({ optimizer, loss: languageLoss });
    const lossesOn = async (backend: Backend): Promise<number[]> => {
      useBackend(backend);
      const losses: number[] = [];
      await train({
        model: await tinyLlama(),
        optimizer,
        trainStep,
        batches: (step) => randomBatch(tinyConfig, { batch: 2, time: 8, seed: step }),
        schedule: warmupCosine({ warmup: 4, total: 20, peak: 0.02 }),
        steps: 20,
        onStep: ({ loss }) => losses.push(loss),
      });
      useBackend(undefined);
      return losses;
    };
    const [found, expected] = [await lossesOn(fused), await lossesOn(plain)];
    expect(found).toHaveLength(20);
    found.forEach((loss, step) => {
      expect(Math.abs(loss / (expected[step] as number) - 1), `loss of step ${step}`).toBeLessThan(1e-4);
    });
  });
});
