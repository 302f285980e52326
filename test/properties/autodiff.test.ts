import fc from "fast-check";
import { beforeAll, describe } from "vitest";
import { flatFunction } from "../../src/autograd/flat-function.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { grad, type Tensor, useBackend, vjp } from "../../src/index.js";
import { examine } from "../../src/testing/check-laws.js";
import { expectSame, type LawName, laws } from "../../src/testing/laws.js";
import { type FunctionRecipe, functionRecipes } from "../support/arbitraries.js";
import { floats, weighted } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { type RandomFunction, randomFunction } from "../support/random-functions.js";
import { lawF64 } from "../support/tolerances.js";

const seed = fuzzSeed(41);
const pairsOf = fc
  .tuple(functionRecipes, functionRecipes)
  .map(([first, second]): [FunctionRecipe, FunctionRecipe] => [first, { ...second, rows: first.rows, columns: first.columns }]);

/** Inputs of a recipe's shape, different for each `offset`. */
const inputs = ({ rows, columns, seed: start }: FunctionRecipe, offset = 0): [Tensor, Tensor] => [
  floats([rows, columns], { seed: start + 1 + offset }),
  floats([rows, columns], { seed: start + 2 + offset }),
];

/** Laws that cost more are held against fewer functions. */
const runs: Partial<Record<LawName, number>> = { differences: 60, "second differences": 12, adjoint: 60 };

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("for random functions", () => {
  for (const { name, statement, holds } of laws) {
    law(name, statement, () =>
      fc.assert(
        fc.asyncProperty(functionRecipes, async (recipe) => {
          const { flat, variables } = await flatFunction("the law", randomFunction(recipe), inputs(recipe));
          await holds(await examine(flat, variables, recipe.seed));
        }),
        { seed, numRuns: runs[name] ?? 20 },
      ),
    );
  }

  law("sum rule", "The gradient of a sum is the sum of gradients, and a factor comes out: ∇(c·f + g) = c·∇f + ∇g.", async () => {
    const holds = fc.asyncProperty(pairsOf, fc.integer({ min: -8, max: 8 }), async ([first, second], factor) => {
      const [f, g] = [randomFunction(first), randomFunction(second)];
      const [x, y] = inputs(first);
      const loss = (h: RandomFunction) => (at: Tensor) => weighted(h(at, y));
      const together = grad((at: Tensor) => loss(f)(at).mul(factor).add(loss(g)(at)))(x);
      await expectSame(
        [together],
        [
          grad(loss(f))(x)
            .mul(factor)
            .add(grad(loss(g))(x)),
        ],
        lawF64,
      );
    });
    await fc.assert(holds, { seed, numRuns: 30 });
  });

  law("chain rule of any two functions", "The Jacobian of a composition is the product of Jacobians: J(g∘f) = J(g)·J(f).", async () => {
    const holds = fc.asyncProperty(pairsOf, async ([first, second]) => {
      const [f, g] = [randomFunction(first), randomFunction(second)];
      const [x, y] = inputs(first);
      const w = inputs(first, 10)[0];
      const whole = vjp((at: Tensor) => g(f(at, y), y), x)[1](w)[0];
      const [middle, throughF] = vjp((at: Tensor) => f(at, y), x);
      const [, throughG] = vjp((at: Tensor) => g(at, y), middle);
      await expectSame([whole], [throughF(throughG(w)[0])[0]], lawF64);
    });
    await fc.assert(holds, { seed, numRuns: 30 });
  });
});
