import { afterAll, beforeAll, describe } from "vitest";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import type { Backend } from "../../src/index.js";
import { fuzzRuns, fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { expectAgreement } from "../support/program-agreement.js";
import { holdsForPrograms } from "../support/program-runs.js";

describe("random programs on webgpu", () => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await createWebGpuBackend();
  }, 120_000);
  afterAll(async () => backend?.close());

  law(
    "webgpu is the reference: programs",
    "Values of a random program on WebGPU are those of the reference, and so are derivatives, batches and loops of one in five, as far as WebGPU promises its sines (2⁻¹¹).",
    { timeout: 1_200_000 },
    async () => {
      const tally = { compared: 0, passedOver: 0 };
      await holdsForPrograms((program) => expectAgreement(program, backend as Backend, { othersEvery: 5, relative: 3e-3 }, tally), {
        seed: fuzzSeed(92),
        runs: fuzzRuns(10),
      });
    },
  );
});
