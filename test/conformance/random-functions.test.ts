import fc from "fast-check";
import { afterAll, beforeAll, describe } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { compile, grad, hvp, type Tensor, useBackend } from "../../src/index.js";
import { functionRecipes } from "../support/arbitraries.js";
import { backends } from "../support/backends.js";
import { floats, numbersOf, weighted } from "../support/floats.js";
import { law } from "../support/law.js";
import { randomFunction, stepNames } from "../support/random-functions.js";
import { createRoundingBackend } from "../support/rounding-backend.js";

const [exact, rounding] = [createReferenceBackend(), createRoundingBackend()];
const seed = 77;

describe.each(backends())("$name agrees with the reference on random functions:", ({ create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  law(
    "every backend is the reference: derivatives",
    "Values, gradients and second derivatives on every backend are those of the reference, within what rounding each result once, carried through the function, lets anybody promise.",
    { timeout: 120_000 },
    async () => {
      const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
        const { rows, columns } = recipe;
        const on = async (place: Backend): Promise<number[]> => {
          useBackend(place);
          const f = randomFunction(recipe);
          const [x, y, v] = [1, 2, 3].map((more) => floats([rows, columns], { seed: recipe.seed + more, dtype: "f32" })) as [
            Tensor,
            Tensor,
            Tensor,
          ];
          const loss = (at: Tensor): Tensor => weighted(f(at, y));
          const all = compile((at: Tensor, along: Tensor) => [f(at, y), grad(loss)(at), hvp(loss, at, along)]);
          return (await Promise.all(all(x, v).map(numbersOf))).flat();
        };
        const [wanted, rounded, found] = [await on(exact), await on(rounding), await on(backend)];
        const largest = Math.max(1, ...wanted.map(Math.abs));
        // What one rounding of each result moves says how far another order of them may lead.
        const moved = Math.max(...wanted.map((value, i) => Math.abs(value - (rounded[i] as number))));
        fc.pre(moved < 1e-3 * largest);
        const bound = 3e-3 * largest + 100 * moved;
        const worst = Math.max(...wanted.map((value, i) => Math.abs(value - (found[i] as number))));
        if (!(worst <= bound)) throw new Error(`off by ${worst} of ${largest}: ${stepNames(recipe)}`);
      });
      await fc.assert(holds, { seed, numRuns: stride === 1 ? 60 : 12 });
    },
  );
});
