import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import * as dawngrad from "../../src/index.js";
import { type Backend, useBackend } from "../../src/index.js";
import { checkLaws } from "../../src/testing/index.js";
import { translate } from "../support/compiled.js";
import { confused } from "../support/confused-backend.js";
import { numbersOf } from "../support/floats.js";
import { fuzzRuns, fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { expectAgreement, expectSameWhenDonated } from "../support/program-agreement.js";
import { operations } from "../support/program-operations.js";
import { holdsForPrograms } from "../support/program-runs.js";
import { functionOf, inputsOf, printed, programOf, programRecipes } from "../support/programs.js";

const timeout = 1_200_000;
const seed = fuzzSeed(91);

describe("random programs on wasm", () => {
  let [fused, plain]: Backend[] = [];
  beforeAll(async () => {
    fused = await createWasmBackend({ threads: 1, poison: true });
    plain = await createWasmBackend({ threads: 1, kernels: "definitions", poison: true });
  });
  afterAll(async () => {
    await fused?.close();
    await plain?.close();
  });

  law(
    "every backend is the reference: programs",
    "Values, derivatives, batches and loops of a random program are those of the reference, within what rounding each result once, carried through the program, lets anybody promise.",
    { timeout },
    async () => {
      const tally = { compared: 0, passedOver: 0 };
      await holdsForPrograms((program) => expectAgreement(program, fused as Backend, { othersEvery: 1, relative: 1e-5 }, tally), {
        seed,
        runs: fuzzRuns(25),
      });
      expect(tally.passedOver).toBeLessThan(0.05 * tally.compared + 2);
    },
  );

  law(
    "fused is unfused, inlined is lowered",
    "With every fusion and every kernel for a call turned off a program computes the same.",
    { timeout },
    async () => {
      const tally = { compared: 0, passedOver: 0 };
      await holdsForPrograms((program) => expectAgreement(program, plain as Backend, { othersEvery: 1, relative: 1e-5 }, tally), {
        seed: seed + 1,
        runs: Math.ceil(fuzzRuns(40) / 4),
      });
    },
  );

  law(
    "donated is kept",
    "A program that takes its arguments over has the bits of one that leaves them alone, at every call.",
    { timeout },
    async () => {
      await holdsForPrograms((program) => expectSameWhenDonated(program, fused as Backend), {
        seed: seed + 2,
        runs: Math.ceil(fuzzRuns(40) / 8),
      });
    },
  );
});

describe("random programs", () => {
  it("reach every operation and nest functions", () => {
    const reached = new Set<number>();
    const count = (steps: readonly { operation: number; body: readonly unknown[] }[]): void => {
      for (const { operation, body } of steps) {
        reached.add(operation % operations.length);
        count(body as typeof steps);
      }
    };
    const bodies = fc.sample(programRecipes, { seed: 5, numRuns: 250 }).map((recipe) => {
      count(recipe.steps);
      return programOf(recipe).body;
    });
    expect(reached.size).toBe(operations.length);
    const text = bodies.join("\n");
    for (const name of [
      "grad(",
      "jvp(",
      "vjp(",
      "hvp(",
      "vmap(",
      "vmap(grad(",
      "jacobian(",
      "hessian(",
      "scan(",
      "cond(",
      "whileLoop(",
      "checkpoint(",
      "compile(",
      "customVjp(",
      "attention(",
    ])
      expect(text, name).toContain(name);
  });

  it("are printed as TypeScript that runs as it is and gives their values", async () => {
    useBackend(createReferenceBackend());
    const AsyncFunction = (async () => {}).constructor as new (...lines: string[]) => (...given: unknown[]) => Promise<void>;
    for (const recipe of fc.sample(programRecipes, { seed: 8, numRuns: 4 })) {
      const program = programOf(recipe);
      const code = (await translate(printed(program, "adjoint"))).replace(/import (\{.*?\}) from "(.*?)";/g, 'const $1 = packages["$2"];');
      const shown: unknown[] = [];
      const run = new AsyncFunction("packages", "console", code);
      await run({ dawngrad, "dawngrad/testing": { checkLaws } }, { log: (value: unknown) => shown.push(value) });
      const expected = functionOf(program)(...inputsOf(program, "f32"));
      const numbers = (await Promise.all(expected.map(numbersOf))).flat();
      // Results that are asked for one after another are rounded in between.
      expect(shown.length).toBe(expected.length);
      for (const [i, value] of (shown as number[][]).flat(4).entries()) expect(value).toBeCloseTo(numbers[i] as number, 4);
    }
  });

  it("reveal a backend that takes one operation for another, in a short program that is printed", async () => {
    const tally = { compared: 0, passedOver: 0 };
    const broken = confused(createReferenceBackend(), "sub", "add");
    const found: unknown = await holdsForPrograms(
      (program) => expectAgreement(program, broken, { othersEvery: 1, relative: 1e-5 }, tally),
      {
        seed: 1,
        runs: 60,
        keeps: false,
      },
    ).catch((error: unknown) => error);
    const message = (found as Error).message;
    expect(message).toMatch(/element \d+ of result/);
    expect(message).toContain("const f = (x: Tensor, y: Tensor): Tensor[] => {");
    const body = /Tensor\[\] => \{\n([\s\S]*?)\n\};/.exec(message)?.[1] ?? "";
    expect(body.split("\n").length).toBeLessThanOrEqual(5);
  });
});
