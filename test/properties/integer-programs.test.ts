import fc from "fast-check";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { type Backend, compile, useBackend } from "../../src/index.js";
import { backends } from "../support/backends.js";
import { numbersOf } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { integerProgram, integerRecipes } from "../support/random-integers.js";

describe.each(backends())("random programs of integers on $name", ({ graphs, create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => backend.close());

  law(
    "integers are exact",
    "Programs of integers give what integer arithmetic modulo 2³² gives, compiled or not, on every backend.",
    { timeout: 120_000 },
    async () => {
      const holds = fc.asyncProperty(integerRecipes, async (recipe) => {
        const { run, inputs, expected } = integerProgram(recipe);
        for (const f of [run, compile(run)]) {
          const found = await Promise.all(f(...inputs).map(numbersOf));
          expect(found.map((values) => values.map((value) => value + 0))).toEqual(expected);
        }
      });
      await fc.assert(holds, { seed: fuzzSeed(12), numRuns: 3 * graphs });
    },
  );
});
